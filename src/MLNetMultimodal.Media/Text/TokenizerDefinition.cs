using System.Text;
using System.Text.Json;

namespace MLNetMultimodal.Media.Text;

// What a tokenizer's files say, in whichever form they say it.
sealed class TokenizerDefinition
{
    public const string TokenizerJson = "tokenizer.json", Vocab = "vocab.json", Merge = "merges.txt",
        Config = "tokenizer_config.json", SpecialMap = "special_tokens_map.json";
    public const string DefaultBegin = "<|startoftext|>", DefaultEnd = "<|endoftext|>", WordEnd = "</w>";
    public const int DefaultContextLength = 77, MaxContextLength = 1 << 20, MaxId = 1 << 24;

    // CLIP's expression as tokenizers write it, without and with its special tokens.
    public const string SplitPattern = @"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    const string SplitPatternWithSpecials = @"<\|startoftext\|>|<\|endoftext\|>|" + SplitPattern;

    public Dictionary<string, int> Vocabulary { get; } = new(StringComparer.Ordinal);

    public List<string> Merges { get; } = [];

    // Recognised inside a text.
    public List<string> SpecialTokens { get; } = [];

    public string? Begin { get; private set; }

    public string? End { get; private set; }

    public string? Pad { get; private set; }

    public int? ContextLength { get; private set; }

    public bool Composes { get; private set; } = true;

    public bool Lowercases { get; private set; } = true;

    public bool SpecialTokensFirst { get; private set; }

    public static TokenizerDefinition Read(IReadOnlyDictionary<string, ReadOnlyMemory<byte>> files, string name)
    {
        var definition = new TokenizerDefinition();
        foreach (string file in new[] { Config, SpecialMap })
            definition.ReadIfThere(files, name, file, definition.ReadConfig);
        if (definition.ReadIfThere(files, name, TokenizerJson, definition.ReadTokenizerJson))
            definition.SpecialTokensFirst = true;
        else
        {
            definition.ReadIfThere(files, name, Vocab, definition.ReadVocabulary);
            Guard($"{name}/{Merge}", () => definition.ReadMerges(Encoding.UTF8.GetString(files[Merge].Span)));
        }
        Guard($"{name}/{(definition.SpecialTokensFirst ? TokenizerJson : Vocab)}", definition.Complete);
        return definition;
    }

    // Whatever goes wrong inside is the file's fault, and the message says which file.
    public static void Guard(string file, Action read)
    {
        try
        {
            read();
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException or ArgumentException
            or KeyNotFoundException or OverflowException or IndexOutOfRangeException)
        {
            throw new InvalidDataException($"'{file}' cannot be used: {e.Message}", e);
        }
    }

    bool ReadIfThere(IReadOnlyDictionary<string, ReadOnlyMemory<byte>> files, string name, string file, Action<JsonElement> read)
    {
        if (!files.TryGetValue(file, out ReadOnlyMemory<byte> bytes))
            return false;
        Guard($"{name}/{file}", () =>
        {
            if (bytes.Span.StartsWith((ReadOnlySpan<byte>)[0xEF, 0xBB, 0xBF]))
                bytes = bytes[3..];
            using JsonDocument document = JsonDocument.Parse(bytes);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new FormatException($"it must be an object, but is {document.RootElement.ValueKind}.");
            read(document.RootElement);
        });
        return true;
    }

    void ReadConfig(JsonElement root)
    {
        if (Find(root, "model_max_length") is { ValueKind: JsonValueKind.Number } length && length.TryGetDouble(out double value)
            && value is >= 2 and <= MaxContextLength)
            ContextLength = (int)value;
        if (Find(root, "do_lower_case") is { ValueKind: JsonValueKind.False })
            Lowercases = false;
        Begin ??= TokenText(root, "bos_token");
        End ??= TokenText(root, "eos_token");
        Pad ??= TokenText(root, "pad_token");
    }

    static string? TokenText(JsonElement root, string name) => Find(root, name) switch
    {
        { ValueKind: JsonValueKind.String } text => text.GetString(),
        { ValueKind: JsonValueKind.Object } token => token.GetProperty("content").GetString(),
        _ => null,
    };

    void ReadVocabulary(JsonElement vocabulary)
    {
        foreach (JsonProperty entry in vocabulary.EnumerateObject())
            AddToken(entry.Name, entry.Value.GetInt32());
    }

    void AddToken(string token, int id)
    {
        if (id is < 0 or > MaxId)
            throw new FormatException($"the id of '{token}' must be 0 to {MaxId}, but is {id}.");
        if (Vocabulary.TryGetValue(token, out int other) && other != id)
            throw new FormatException($"'{token}' has two ids, {other} and {id}.");
        Vocabulary[token] = id;
    }

    void ReadMerges(string text)
    {
        bool first = true;
        foreach (ReadOnlySpan<char> line in text.AsSpan().EnumerateLines())
        {
            if (!line.IsEmpty && !(first && line.StartsWith("#version", StringComparison.Ordinal)))
                Merges.Add(line.ToString());
            first = false;
        }
    }

    void ReadTokenizerJson(JsonElement root)
    {
        ReadModel(root.GetProperty("model"));
        if (Find(root, "added_tokens") is { } added)
            foreach (JsonElement token in added.EnumerateArray())
            {
                string content = token.GetProperty("content").GetString()!;
                AddToken(content, token.GetProperty("id").GetInt32());
                if (Find(token, "single_word") is { ValueKind: JsonValueKind.True })
                    throw new FormatException($"'{content}' is a single_word token, which is not supported.");
                SpecialTokens.Add(content);
            }
        ReadNormalizer(Find(root, "normalizer"));
        ReadPreTokenizer(root.GetProperty("pre_tokenizer"));
        ReadPostProcessor(Find(root, "post_processor"));
        if (Find(root, "padding") is { ValueKind: JsonValueKind.Object } padding)
            Pad ??= TokenText(padding, "pad_token");
        if (Find(root, "truncation") is { ValueKind: JsonValueKind.Object } truncation
            && truncation.GetProperty("max_length").TryGetInt32(out int length) && length is >= 2 and <= MaxContextLength)
            ContextLength ??= length;
    }

    void ReadModel(JsonElement model)
    {
        if (Find(model, "type") is { } type && type.GetString() != "BPE")
            throw new FormatException($"its model is {type.GetString()}, but only BPE of CLIP's kind is supported.");
        if (Find(model, "end_of_word_suffix")?.GetString() != WordEnd
            || Find(model, "continuing_subword_prefix")?.GetString() is { Length: > 0 })
            throw new FormatException($"its model must end words with {WordEnd} as CLIP's does; other BPE is not supported.");
        foreach (string option in new[] { "dropout", "byte_fallback", "ignore_merges" })
            if (Find(model, option) is { ValueKind: not JsonValueKind.False })
                throw new FormatException($"its model uses {option}, which is not supported.");
        ReadVocabulary(model.GetProperty("vocab"));
        foreach (JsonElement merge in model.GetProperty("merges").EnumerateArray())
            Merges.Add(merge.ValueKind == JsonValueKind.Array ? $"{merge[0].GetString()} {merge[1].GetString()}"
                : merge.GetString()!);
    }

    void ReadNormalizer(JsonElement? normalizer)
    {
        Composes = Lowercases = false;
        foreach (JsonElement step in Steps(normalizer, "normalizers"))
            switch (step.GetProperty("type").GetString())
            {
                case "NFC":
                    Composes = true;
                    break;
                case "Lowercase":
                    Lowercases = true;
                    break;
                case "Replace" when step.GetProperty("pattern").TryGetProperty("Regex", out JsonElement regex)
                    && regex.GetString() == @"\s+" && step.GetProperty("content").GetString() == " ":
                    break;
                default:
                    throw new FormatException($"its normalizer {step.GetProperty("type")} is not supported; " +
                        @"CLIP's has NFC, Replace of \s+ and Lowercase.");
            }
    }

    static void ReadPreTokenizer(JsonElement preTokenizer)
    {
        bool splits = false;
        foreach (JsonElement step in Steps(preTokenizer, "pretokenizers"))
            switch (step.GetProperty("type").GetString())
            {
                case "Split" when step.GetProperty("pattern").TryGetProperty("Regex", out JsonElement regex)
                    && regex.GetString() is SplitPattern or SplitPatternWithSpecials
                    && step.GetProperty("behavior").GetString() == "Removed" && step.GetProperty("invert").GetBoolean():
                    splits = true;
                    break;
                case "ByteLevel" when Find(step, "add_prefix_space") is null or { ValueKind: JsonValueKind.False }:
                    break;
                default:
                    throw new FormatException($"its pre_tokenizer {step.GetProperty("type")} is not supported; " +
                        $"CLIP's is a Split by {SplitPattern}, then ByteLevel.");
            }
        if (!splits)
            throw new FormatException($"its pre_tokenizer must split by {SplitPattern}, as CLIP's does.");
    }

    static IEnumerable<JsonElement> Steps(JsonElement? whole, string list) => whole is not { } step ? []
        : step.GetProperty("type").GetString() == "Sequence" ? step.GetProperty(list).EnumerateArray() : [step];

    void ReadPostProcessor(JsonElement? processor)
    {
        if (processor is not { } p)
            return;
        switch (p.GetProperty("type").GetString())
        {
            case "RobertaProcessing" or "BertProcessing":
                Begin = p.GetProperty("cls")[0].GetString();
                End = p.GetProperty("sep")[0].GetString();
                break;
            case "TemplateProcessing" when p.GetProperty("single") is var single && single.GetArrayLength() == 3
                && single[1].TryGetProperty("Sequence", out _):
                Begin = single[0].GetProperty("SpecialToken").GetProperty("id").GetString();
                End = single[2].GetProperty("SpecialToken").GetProperty("id").GetString();
                break;
            default:
                throw new FormatException($"its post_processor {p.GetProperty("type")} is not supported; " +
                    "CLIP's puts one token before and one after.");
        }
    }

    void Complete()
    {
        Begin ??= DefaultBegin;
        End ??= DefaultEnd;
        Pad ??= End;
        foreach (string token in new[] { Begin, End, Pad })
            if (!Vocabulary.ContainsKey(token))
                throw new FormatException($"its vocabulary of {Vocabulary.Count} tokens has no '{token}'; " +
                    "only tokenizers of CLIP's kind are supported.");
        if (!Vocabulary.Keys.Any(t => t.EndsWith(WordEnd, StringComparison.Ordinal)))
            throw new FormatException($"no token of its vocabulary ends in {WordEnd}; only CLIP's kind is supported.");
        if (!SpecialTokensFirst)
            SpecialTokens.AddRange([Begin, End]);
        if (Vocabulary.Values.Distinct().Count() != Vocabulary.Count)
            throw new FormatException("two tokens of its vocabulary share an id.");
    }

    static JsonElement? Find(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;
}
