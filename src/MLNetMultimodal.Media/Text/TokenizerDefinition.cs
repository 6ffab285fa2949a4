using System.Text;
using System.Text.Json;

namespace MLNetMultimodal.Media.Text;

// The families of tokenizers.
enum TokenizerKind { ClipBpe, ByteLevelBpe, WordPiece, SentencePiece, Stepped }

// What a tokenizer's files say, in whichever form they say it.
sealed class TokenizerDefinition
{
    public const string TokenizerJson = "tokenizer.json", Vocab = "vocab.json", Merge = "merges.txt",
        VocabText = "vocab.txt", Config = "tokenizer_config.json", SpecialMap = "special_tokens_map.json";
    public const string DefaultBegin = "<|startoftext|>", DefaultEnd = "<|endoftext|>", WordEnd = "</w>";
    public const int DefaultContextLength = 77, MaxContextLength = 1 << 20, MaxId = 1 << 24;

    // CLIP's expression as tokenizers write it, without and with its special tokens.
    public const string SplitPattern = @"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    const string SplitPatternWithSpecials = @"<\|startoftext\|>|<\|endoftext\|>|" + SplitPattern;

    // SentencePiece's own files; the last is XLM-R's.
    public static readonly string[] PieceFiles = ["spiece.model", "tokenizer.model", "sentencepiece.bpe.model"];

    public TokenizerKind Kind { get; private set; }

    public Dictionary<string, int> Vocabulary { get; } = new(StringComparer.Ordinal);

    public List<string> Merges { get; } = [];

    // Recognised inside a text.
    public List<AddedToken> SpecialTokens { get; } = [];

    public string? Begin { get; private set; }

    public string? End { get; private set; }

    public string? Pad { get; private set; }

    public int? ContextLength { get; private set; }

    public bool Composes { get; private set; } = true;

    public bool Lowercases { get; private set; } = true;

    public bool SpecialTokensFirst { get; private set; }

    public string? Unknown { get; private set; }

    // Null: as Lowercases.
    public bool? StripsAccents { get; private set; }

    public bool SplitsChinese { get; private set; } = true;

    public int MaxWordChars { get; private set; } = 100;

    public bool AddsPrefixSpace { get; private set; }

    public bool RemovesPunctuation { get; private set; }

    public bool IsFairseq { get; private set; }

    public bool TruncatesLeft { get; private set; }

    public bool PadsLeft { get; private set; }

    // Of the kind Stepped, as its tokenizer.json says.
    public SteppedModel? Stepped { get; private set; }

    // What stands before and after every text.
    public IReadOnlyList<string> Before => _template?.Before ?? (Begin is null ? [] : [Begin]);

    public IReadOnlyList<string> After => _template?.After ?? [End!];

    // The file that holds the tokens.
    public string Source { get; private set; } = TokenizerJson;

    string? _class, _mask;
    bool? _lowercases, _addsBegin, _addsEnd;
    TokenTemplate? _template;

    public static TokenizerDefinition Read(IReadOnlyDictionary<string, ReadOnlyMemory<byte>> files, string name)
    {
        var definition = new TokenizerDefinition();
        foreach (string file in new[] { Config, SpecialMap })
            definition.ReadIfThere(files, name, file, definition.ReadConfig);
        string? pieces = PieceFiles.FirstOrDefault(files.ContainsKey);
        if (pieces is not null && !IsBpeJson(files))
            Guard($"{name}/{pieces}", () => definition.UsePieces(pieces));
        else if (definition.ReadIfThere(files, name, TokenizerJson, definition.ReadTokenizerJson))
            definition.SpecialTokensFirst = true;
        else if (files.TryGetValue(VocabText, out ReadOnlyMemory<byte> lines))
            Guard($"{name}/{definition.Source = VocabText}", () => definition.ReadVocabularyText(Encoding.UTF8.GetString(lines.Span)));
        else
        {
            definition.Source = Vocab;
            definition.ReadIfThere(files, name, Vocab, definition.ReadVocabulary);
            Guard($"{name}/{Merge}", () => definition.ReadMerges(Encoding.UTF8.GetString(files[Merge].Span)));
            if (!definition.Vocabulary.Keys.Any(t => t.EndsWith(WordEnd, StringComparison.Ordinal)))
                definition.Kind = TokenizerKind.ByteLevelBpe;
        }
        if (definition.Kind != TokenizerKind.SentencePiece)
            Guard($"{name}/{definition.Source}", definition._template is null ? definition.Complete : definition.CompleteStepped);
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

    // Folders have SentencePiece's file beside the same tokens as JSON; CLIP's and RoBERTa's JSON goes before it.
    static bool IsBpeJson(IReadOnlyDictionary<string, ReadOnlyMemory<byte>> files)
    {
        if (!files.TryGetValue(TokenizerJson, out ReadOnlyMemory<byte> json))
            return false;
        try
        {
            using JsonDocument document = JsonDocument.Parse(json);
            return document.RootElement.TryGetProperty("model", out JsonElement model) && model.TryGetProperty("type", out JsonElement type)
                && type.ValueEquals("BPE") && !(model.TryGetProperty("byte_fallback", out JsonElement fallback) && fallback.ValueKind == JsonValueKind.True);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return false;
        }
    }

    void UsePieces(string file)
    {
        (Kind, Source, IsFairseq) = (TokenizerKind.SentencePiece, file, file == PieceFiles[^1]);
        bool isSiglip = _class?.StartsWith("Siglip", StringComparison.Ordinal) == true;
        (Lowercases, RemovesPunctuation) = (_lowercases ?? isSiglip, isSiglip);
        if (IsFairseq)
            Begin ??= "<s>";
        else if (_class?.StartsWith("T5", StringComparison.Ordinal) == true || isSiglip)
            Begin = null;
        End ??= "</s>";
        Pad ??= isSiglip ? End : "<pad>";
    }

    // After the file of pieces has filled the vocabulary.
    public void CompletePieces()
    {
        foreach (string? token in new[] { Begin, End, Pad })
            if (token is not null && !Vocabulary.ContainsKey(token))
                throw new FormatException($"its vocabulary of {Vocabulary.Count} tokens has no '{token}', which {Config} names.");
    }

    // One token a line, numbered from 0.
    void ReadVocabularyText(string text)
    {
        Kind = TokenizerKind.WordPiece;
        Lowercases = _lowercases ?? true;
        int id = 0;
        foreach (ReadOnlySpan<char> line in text.AsSpan().TrimEnd('\n').EnumerateLines())
            AddToken(line.ToString(), id++);
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
        if (Find(root, "do_lower_case") is { ValueKind: JsonValueKind.True or JsonValueKind.False } lower)
        {
            _lowercases = lower.GetBoolean();
            Lowercases &= lower.GetBoolean();
        }
        if (Find(root, "strip_accents") is { ValueKind: JsonValueKind.True or JsonValueKind.False } accents)
            StripsAccents = accents.GetBoolean();
        if (Find(root, "tokenize_chinese_chars") is { ValueKind: JsonValueKind.False })
            SplitsChinese = false;
        if (Find(root, "add_prefix_space") is { ValueKind: JsonValueKind.True })
            AddsPrefixSpace = true;
        if (Find(root, "tokenizer_class") is { ValueKind: JsonValueKind.String } name)
            _class ??= name.GetString();
        TruncatesLeft |= Find(root, "truncation_side") is { ValueKind: JsonValueKind.String } cut && cut.ValueEquals("left");
        PadsLeft |= Find(root, "padding_side") is { ValueKind: JsonValueKind.String } side && side.ValueEquals("left");
        _addsBegin ??= Find(root, "add_bos_token")?.GetBoolean();
        _addsEnd ??= Find(root, "add_eos_token")?.GetBoolean();
        Begin ??= TokenText(root, "bos_token") ?? TokenText(root, "cls_token");
        End ??= TokenText(root, "eos_token") ?? TokenText(root, "sep_token");
        Pad ??= TokenText(root, "pad_token");
        Unknown ??= TokenText(root, "unk_token");
        _mask ??= TokenText(root, "mask_token");
    }

    static string? TokenText(JsonElement root, string name) => Find(root, name) switch
    {
        { ValueKind: JsonValueKind.String } text => text.GetString(),
        { ValueKind: JsonValueKind.Object } token => token.GetProperty("content").GetString(),
        _ => null,
    };

    public void ReadVocabulary(JsonElement vocabulary)
    {
        foreach (JsonProperty entry in vocabulary.EnumerateObject())
            AddToken(entry.Name, entry.Value.GetInt32());
    }

    public void AddToken(string token, int id)
    {
        if (id is < 0 or > MaxId)
            throw new FormatException($"the id of '{token}' must be 0 to {MaxId}, but is {id}.");
        if (!Vocabulary.TryAdd(token, id) && Vocabulary[token] != id)
            throw new FormatException($"'{token}' has two ids, {Vocabulary[token]} and {id}.");
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
        if (SteppedModel.Fits(root))
        {
            Kind = TokenizerKind.Stepped;
            Stepped = new(root, this);
            _template = ReadTemplate(Find(root, "post_processor"));
        }
        else
        {
            ReadModel(root.GetProperty("model"));
            ReadAddedTokens(root);
            ReadNormalizer(Find(root, "normalizer"));
            ReadPreTokenizer(root.GetProperty("pre_tokenizer"));
            ReadPostProcessor(Find(root, "post_processor"));
        }
        if (Find(root, "padding") is { ValueKind: JsonValueKind.Object } padding)
            Pad ??= TokenText(padding, "pad_token");
        if (Find(root, "truncation") is { ValueKind: JsonValueKind.Object } truncation
            && truncation.GetProperty("max_length").TryGetInt32(out int length) && length is >= 2 and <= MaxContextLength)
            ContextLength ??= length;
    }

    public void ReadAddedTokens(JsonElement root)
    {
        if (Find(root, "added_tokens") is not { } added)
            return;
        foreach (JsonElement token in added.EnumerateArray())
        {
            string content = token.GetProperty("content").GetString()!;
            bool IsOn(string option) => Find(token, option) is { ValueKind: JsonValueKind.True };
            AddToken(content, token.GetProperty("id").GetInt32());
            if (IsOn("single_word"))
                throw new FormatException($"'{content}' is a single_word token, which is not supported.");
            SpecialTokens.Add(new(content, IsOn("lstrip"), IsOn("rstrip"), IsOn("normalized")));
        }
    }

    // Llama's and Gemma's classes put the two tokens as tokenizer_config.json says, whatever the template.
    TokenTemplate ReadTemplate(JsonElement? processor)
    {
        TokenTemplate template = TokenTemplate.Read(processor);
        bool Is(string family) => _class?.StartsWith(family, StringComparison.Ordinal) == true;
        if (!Is("Llama") && !Is("Gemma"))
            return template;
        if (_addsBegin is { } addsBegin && Begin is not null)
            template = template with { Before = addsBegin ? [Begin] : [] };
        if (_addsEnd is { } addsEnd && End is not null)
            template = template with { After = addsEnd ? [End] : [] };
        return template;
    }

    void ReadModel(JsonElement model)
    {
        string? type = Find(model, "type")?.GetString() ?? "BPE";
        if (type == "WordPiece")
        {
            Kind = TokenizerKind.WordPiece;
            if (Find(model, "continuing_subword_prefix")?.GetString() is not (null or "##"))
                throw new FormatException("its model must continue words with ##; other WordPiece is not supported.");
            Unknown = Find(model, "unk_token")?.GetString() ?? Unknown;
            if (Find(model, "max_input_chars_per_word") is { } chars)
                MaxWordChars = chars.GetInt32();
            ReadVocabulary(model.GetProperty("vocab"));
            return;
        }
        if (type != "BPE")
            throw new FormatException(
                $"its model is {type}; supported are WordPiece, Unigram, byte-level BPE and BPE with byte_fallback.");
        string suffix = Find(model, "end_of_word_suffix")?.GetString() ?? "";
        Kind = suffix == WordEnd ? TokenizerKind.ClipBpe : TokenizerKind.ByteLevelBpe;
        if (suffix is not ("" or WordEnd) || Find(model, "continuing_subword_prefix")?.GetString() is { Length: > 0 })
            throw new FormatException($"its model must end words with {WordEnd} as CLIP's does, or have no mark as GPT-2's; "
                + "other BPE is not supported.");
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
            if (Kind == TokenizerKind.WordPiece)
                ReadBertNormalizer(step);
            else if (Kind == TokenizerKind.ClipBpe)
                ReadClipNormalizer(step);
            else
                throw new FormatException($"its normalizer {step.GetProperty("type")} is not supported; GPT-2's and RoBERTa's have none.");
    }

    void ReadClipNormalizer(JsonElement step)
    {
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

    void ReadBertNormalizer(JsonElement step)
    {
        if (step.GetProperty("type").GetString() != "BertNormalizer" || Find(step, "clean_text") is { ValueKind: JsonValueKind.False })
            throw new FormatException($"its normalizer {step.GetProperty("type")} is not supported; BERT's is a BertNormalizer with clean_text.");
        Lowercases = Find(step, "lowercase") is not { ValueKind: JsonValueKind.False };
        SplitsChinese = Find(step, "handle_chinese_chars") is not { ValueKind: JsonValueKind.False };
        StripsAccents = Find(step, "strip_accents")?.GetBoolean();
    }

    void ReadPreTokenizer(JsonElement preTokenizer)
    {
        if (Kind != TokenizerKind.ClipBpe)
        {
            string wanted = Kind == TokenizerKind.WordPiece ? "BertPreTokenizer" : "ByteLevel";
            if (preTokenizer.GetProperty("type").GetString() != wanted || Find(preTokenizer, "use_regex") is { ValueKind: JsonValueKind.False })
                throw new FormatException($"its pre_tokenizer {preTokenizer.GetProperty("type")} is not supported; for its model it is {wanted}.");
            AddsPrefixSpace = Find(preTokenizer, "add_prefix_space") is { ValueKind: JsonValueKind.True };
            return;
        }
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

    public static IEnumerable<JsonElement> Steps(JsonElement? whole, string list) => whole is not { } step ? []
        : step.GetProperty("type").GetString() != "Sequence" ? [step]
        : step.GetProperty(list).EnumerateArray().SelectMany(inner => Steps(inner, list));

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
        (string begin, string end, string? pad) = Kind switch
        {
            TokenizerKind.WordPiece => ("[CLS]", "[SEP]", "[PAD]"),
            TokenizerKind.ByteLevelBpe => ("<s>", "</s>", "<pad>"),
            _ => (DefaultBegin, DefaultEnd, null),
        };
        Begin ??= begin;
        End ??= end;
        Pad ??= pad ?? End;
        if (Kind == TokenizerKind.WordPiece)
            Unknown ??= "[UNK]";
        foreach (string token in new[] { Begin, End, Pad, Kind == TokenizerKind.WordPiece ? Unknown! : End })
            if (!Vocabulary.ContainsKey(token))
                throw new FormatException($"its vocabulary of {Vocabulary.Count} tokens has no '{token}', which its kind, {Kind}, needs"
                    + (Source == Vocab && Kind == TokenizerKind.ByteLevelBpe ? $"; it is of that kind because no token ends in {WordEnd}." : "."));
        if (Kind == TokenizerKind.ClipBpe && !Vocabulary.Keys.Any(t => t.EndsWith(WordEnd, StringComparison.Ordinal)))
            throw new FormatException($"no token of its vocabulary ends in {WordEnd}, as those of CLIP's kind do.");
        if (Kind == TokenizerKind.ClipBpe && !SpecialTokensFirst)
            SpecialTokens.AddRange([new(Begin), new(End)]);
        else if (!SpecialTokensFirst)
            foreach (string? token in new[] { Begin, End, Pad, Unknown, _mask ?? (Kind == TokenizerKind.WordPiece ? "[MASK]" : "<mask>") })
                if (token is not null && Vocabulary.ContainsKey(token) && SpecialTokens.All(t => t.Content != token))
                    SpecialTokens.Add(new(token, StripsLeft: token == "<mask>")); // RoBERTa's mask takes in the space before it
        CheckIds();
    }

    void CheckIds()
    {
        if (Vocabulary.Values.Distinct().Count() != Vocabulary.Count)
            throw new FormatException("two tokens of its vocabulary share an id.");
    }

    void CompleteStepped()
    {
        Begin = Before.Count > 0 ? Before[0] : null;
        End = After.Count > 0 ? After[^1] : End ?? "</s>";
        Pad ??= Vocabulary.ContainsKey("<pad>") ? "<pad>" : End;
        foreach (string token in (string[])[.. Before, .. After, End, Pad])
            if (!Vocabulary.ContainsKey(token))
                throw new FormatException($"its vocabulary of {Vocabulary.Count} tokens has no '{token}', which its post_processor "
                    + $"or {Config} names.");
        CheckIds();
    }

    public static JsonElement? Find(JsonElement parent, string name) =>
        parent.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;
}
