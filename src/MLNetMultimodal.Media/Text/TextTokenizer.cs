using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Tokenizers;

namespace MLNetMultimodal.Media.Text;

/// <summary>
/// From a text to token ids and back, as CLIP's byte-level BPE does it (Radford et al. 2021, arXiv:2103.00020, section 2.4;
/// Sennrich et al. 2016,
/// arXiv:1508.07909). Reads the files that Hugging Face's CLIP tokenizers consist of. Immutable and thread-safe.
/// </summary>
public sealed class TextTokenizer
{
    const long MaxFileBytes = 1 << 28;

    static readonly string[] FileNames =
    [
        TokenizerDefinition.TokenizerJson, TokenizerDefinition.Vocab, TokenizerDefinition.Merge, TokenizerDefinition.Config,
            TokenizerDefinition.SpecialMap,
    ];

    static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, NewLine = "\n" };

    readonly BpeTokenizer _bpe;
    readonly Dictionary<int, string> _tokens;

    TextTokenizer(IReadOnlyDictionary<string, ReadOnlyMemory<byte>> files, TokenizerDefinition definition, BpeTokenizer bpe)
    {
        Files = files;
        _bpe = bpe;
        _tokens = definition.Vocabulary.ToDictionary(t => t.Value, t => t.Key);
        VocabularySize = _tokens.Keys.Max() + 1;
        ContextLength = definition.ContextLength ?? TokenizerDefinition.DefaultContextLength;
        BeginId = definition.Vocabulary[definition.Begin!];
        EndId = definition.Vocabulary[definition.End!];
        PadId = definition.Vocabulary[definition.Pad!];
    }

    TextTokenizer(TextTokenizer other, int contextLength)
    {
        _bpe = other._bpe;
        _tokens = other._tokens;
        (VocabularySize, BeginId, EndId, PadId) = (other.VocabularySize, other.BeginId, other.EndId, other.PadId);
        ContextLength = contextLength;
        Files = other.FilesWith(contextLength);
    }

    /// <summary>V, one more than the highest id: the rows that an embedding needs.</summary>
    public int VocabularySize { get; }

    /// <summary>L, the most tokens of a text, with the begin and end tokens; 77 for CLIP.</summary>
    public int ContextLength { get; }

    /// <summary>The id that fills up shorter texts of a batch.</summary>
    public int PadId { get; }

    /// <summary>The id that every text begins with.</summary>
    public int BeginId { get; }

    /// <summary>The id that every text ends with.</summary>
    public int EndId { get; }

    /// <summary>
    /// The tokenizer's own files by name, to be saved beside a model; <see cref="Load(Func{string, ReadOnlyMemory{byte}?},
    /// string)"/> reads them again.
    /// </summary>
    public IReadOnlyDictionary<string, ReadOnlyMemory<byte>> Files { get; }

    /// <summary>
    /// Reads the tokenizer of a model folder: <c>tokenizer.json</c>, or <c>vocab.json</c> with <c>merges.txt</c>; also
    /// <c>tokenizer_config.json</c> and <c>special_tokens_map.json</c> where they are there.
    /// </summary>
    /// <param name="folder">The model folder.</param>
    /// <returns>The tokenizer.</returns>
    /// <exception cref="FileNotFoundException">The folder holds no tokenizer.</exception>
    /// <exception cref="InvalidDataException">A file is damaged, or of a kind that is not supported; the message names the
    /// file.</exception>
    public static TextTokenizer Load(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        return Load(file => ReadFile(Path.Combine(folder, file)), folder);
    }

    /// <summary>Reads a tokenizer from any store of files, such as a zip.</summary>
    /// <param name="readFile">Gives a file's bytes by its name, or null (or the default) where there is no such file.</param>
    /// <param name="name">What messages call the store.</param>
    /// <returns>The tokenizer.</returns>
    /// <exception cref="FileNotFoundException">The store holds no tokenizer.</exception>
    /// <exception cref="InvalidDataException">A file is damaged, or of a kind that is not supported; the message names the
    /// file.</exception>
    public static TextTokenizer Load(Func<string, ReadOnlyMemory<byte>?> readFile, string name)
    {
        ArgumentNullException.ThrowIfNull(readFile);
        ArgumentException.ThrowIfNullOrEmpty(name);
        var files = new Dictionary<string, ReadOnlyMemory<byte>>();
        foreach (string file in FileNames)
            if (readFile(file) is { } bytes && !bytes.Equals(default)) // `found ? bytes : null` is the default, not null
                files[file] = bytes;
        bool isWhole = files.ContainsKey(TokenizerDefinition.TokenizerJson);
        if (!isWhole && !(files.ContainsKey(TokenizerDefinition.Vocab) && files.ContainsKey(TokenizerDefinition.Merge)))
            throw new FileNotFoundException($"'{name}' has neither tokenizer.json nor vocab.json with merges.txt" +
                $"{(files.Count > 0 ? $", only {string.Join(", ", files.Keys)}" : "")}.");
        var definition = TokenizerDefinition.Read(files, name);
        BpeTokenizer? bpe = null;
        string source = isWhole ? TokenizerDefinition.TokenizerJson : TokenizerDefinition.Merge;
        TokenizerDefinition.Guard($"{name}/{source}", () => bpe = CreateBpe(definition));
        return new TextTokenizer(files.AsReadOnly(), definition, bpe!);
    }

    /// <summary>
    /// The token ids of a text: the begin token, the text, the end token. A longer text is cut to <see cref="ContextLength"/>,
    /// the end token kept last.
    /// </summary>
    /// <param name="text">Any text; special tokens written in it are recognised.</param>
    /// <returns>2 to <see cref="ContextLength"/> ids, without padding.</returns>
    public IReadOnlyList<int> Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Encode(text, ContextLength);
    }

    /// <summary>
    /// The text of token ids, lower-case and with a space between words, as they were encoded. Begin, end and padding tokens
    /// leave nothing.
    /// </summary>
    /// <param name="ids">Token ids, each from 0 to <see cref="VocabularySize"/> - 1.</param>
    /// <returns>The text; bytes that are no UTF-8 come out as U+FFFD.</returns>
    /// <exception cref="ArgumentOutOfRangeException">An id is not in the vocabulary.</exception>
    public string Decode(IEnumerable<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var bytes = new List<byte>();
        foreach (int id in ids)
        {
            if (id == BeginId || id == EndId || id == PadId)
                continue;
            if (!_tokens.TryGetValue(id, out string? token))
                throw new ArgumentOutOfRangeException(nameof(ids), id,
                    $"ids must be in the vocabulary of {_tokens.Count} tokens, but one is {id}.");
            bool endsWord = token.EndsWith(TokenizerDefinition.WordEnd, StringComparison.Ordinal);
            ByteLevel.AppendBytes(endsWord ? token.AsSpan(0, token.Length - TokenizerDefinition.WordEnd.Length) : token, bytes);
            if (endsWord)
                bytes.Add((byte)' ');
        }
        return Encoding.UTF8.GetString(bytes.ToArray()).TrimEnd(' ');
    }

    /// <summary>Token ids of several texts, as a model takes them.</summary>
    /// <param name="texts">B texts.</param>
    /// <param name="length">L, the length of each row, at least 2; texts are cut to it, or to <see cref="ContextLength"/> where
    /// that is less.</param>
    /// <param name="ids">[B, L], filled up with <see cref="PadId"/>.</param>
    /// <param name="keep">[B, L], true where there is a token and not padding; or empty, where nobody asks.</param>
    /// <exception cref="ArgumentException">A span is not [B, L].</exception>
    public void EncodeBatch(IReadOnlyList<string> texts, int length, Span<long> ids, Span<bool> keep)
    {
        ArgumentNullException.ThrowIfNull(texts);
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 2);
        if (ids.Length != (long)texts.Count * length)
            throw new ArgumentException($"ids must be [{texts.Count}, {length}], but has {ids.Length} values.", nameof(ids));
        if (!keep.IsEmpty && keep.Length != ids.Length)
            throw new ArgumentException($"keep must be like ids or empty, but has {keep.Length} values.", nameof(keep));
        ids.Fill(PadId);
        keep.Clear();
        for (int b = 0; b < texts.Count; b++)
        {
            string text = texts[b] ?? throw new ArgumentException($"texts must not hold null, but number {b} is.", nameof(texts));
            List<int> row = Encode(text, Math.Min(length, ContextLength));
            for (int i = 0; i < row.Count; i++)
                ids[b * length + i] = row[i];
            if (!keep.IsEmpty)
                keep.Slice(b * length, row.Count).Fill(true);
        }
    }

    /// <summary>The same tokenizer with another <see cref="ContextLength"/>; its <see cref="Files"/> say so too.</summary>
    /// <param name="contextLength">L, 2 to 1,048,576.</param>
    /// <returns>A tokenizer that shares the vocabulary with this one.</returns>
    public TextTokenizer WithContextLength(int contextLength)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(contextLength, 2);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(contextLength, TokenizerDefinition.MaxContextLength);
        return contextLength == ContextLength ? this : new TextTokenizer(this, contextLength);
    }

    List<int> Encode(string text, int length)
    {
        // One token more than fits would do: merging stops there instead of at the text's end.
        IReadOnlyList<int> body = _bpe.EncodeToIds(text, length - 1, out _, out _);
        return [BeginId, .. body.Take(length - 2), EndId];
    }

    static BpeTokenizer CreateBpe(TokenizerDefinition definition)
    {
        var normalizer = new ClipNormalizer(definition.Composes, definition.Lowercases);
        // Texts are searched after normalising, so the tokens are normalised as well.
        Dictionary<string, int> specialTokens = [];
        foreach (string token in definition.SpecialTokens)
            specialTokens.TryAdd(normalizer.Normalize(token), definition.Vocabulary[token]);
        return BpeTokenizer.Create(new BpeOptions(definition.Vocabulary)
        {
            Merges = definition.Merges,
            Normalizer = normalizer,
            PreTokenizer = new ClipPreTokenizer(specialTokens.Keys, definition.SpecialTokensFirst),
            SpecialTokens = specialTokens,
            EndOfWordSuffix = TokenizerDefinition.WordEnd,
            ByteLevel = true,
        });
    }

    Dictionary<string, ReadOnlyMemory<byte>> FilesWith(int contextLength)
    {
        JsonObject config = Files.TryGetValue(TokenizerDefinition.Config, out ReadOnlyMemory<byte> bytes)
            ? JsonNode.Parse(bytes.Span)!.AsObject()
            : new()
            {
                ["tokenizer_class"] = "CLIPTokenizer",
                ["bos_token"] = _tokens[BeginId],
                ["eos_token"] = _tokens[EndId],
                ["pad_token"] = _tokens[PadId],
            };
        config["model_max_length"] = contextLength;
        return new(Files) { [TokenizerDefinition.Config] = Encoding.UTF8.GetBytes(config.ToJsonString(Indented) + "\n") };
    }

    static ReadOnlyMemory<byte>? ReadFile(string path)
    {
        if (!File.Exists(path))
            return null;
        long length = new FileInfo(path).Length;
        return length <= MaxFileBytes ? File.ReadAllBytes(path)
            : throw new InvalidDataException($"'{path}' has {length} bytes, but may have at most {MaxFileBytes}.");
    }
}
