using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace MLNetMultimodal.Media.Text;

/// <summary>
/// From a text to token ids and back, by the tokenizers of Hugging Face's folders: byte-level BPE of CLIP's kind (Radford et al.
/// 2021, arXiv:2103.00020, section 2.4) and of GPT-2's and RoBERTa's (Sennrich et al. 2016, arXiv:1508.07909), BERT's WordPiece
/// (Devlin et al. 2019, arXiv:1810.04805), and SentencePiece (Kudo and Richardson 2018, arXiv:1808.06226) as SigLIP, T5, XLM-R,
/// Llama and Gemma use it, from its own file or written as <c>tokenizer.json</c>. Immutable and thread-safe.
/// </summary>
public sealed class TextTokenizer
{
    const long MaxFileBytes = 1 << 28;

    static readonly string[] FileNames =
    [
        TokenizerDefinition.TokenizerJson, TokenizerDefinition.Vocab, TokenizerDefinition.Merge, TokenizerDefinition.VocabText,
        TokenizerDefinition.Config, TokenizerDefinition.SpecialMap, .. TokenizerDefinition.PieceFiles,
    ];

    static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, NewLine = "\n" };

    readonly ITokenModel _model;
    readonly Dictionary<int, string> _tokens;
    readonly int[] _before, _after;
    readonly bool _truncatesLeft, _padsLeft;

    TextTokenizer(IReadOnlyDictionary<string, ReadOnlyMemory<byte>> files, TokenizerDefinition definition, ITokenModel model)
    {
        Files = files;
        _model = model;
        _tokens = new(definition.Vocabulary.Count);
        foreach (var (token, id) in definition.Vocabulary)
            _tokens.TryAdd(id, token);
        VocabularySize = _tokens.Keys.Max() + 1;
        ContextLength = definition.ContextLength ?? (definition.Kind == TokenizerKind.ClipBpe ? TokenizerDefinition.DefaultContextLength : 512);
        BeginId = definition.Begin is { } begin ? definition.Vocabulary[begin] : null;
        EndId = definition.Vocabulary[definition.End!];
        PadId = definition.Vocabulary[definition.Pad!];
        _before = [.. definition.Before.Select(t => definition.Vocabulary[t])];
        _after = [.. definition.After.Select(t => definition.Vocabulary[t])];
        (_truncatesLeft, _padsLeft) = (definition.TruncatesLeft, definition.PadsLeft);
    }

    TextTokenizer(TextTokenizer other, int contextLength, string prompt)
    {
        _model = other._model;
        _tokens = other._tokens;
        (VocabularySize, BeginId, EndId, PadId) = (other.VocabularySize, other.BeginId, other.EndId, other.PadId);
        (_before, _after, _truncatesLeft, _padsLeft) = (other._before, other._after, other._truncatesLeft, other._padsLeft);
        (ContextLength, Prompt) = (contextLength, prompt);
        Files = contextLength == other.ContextLength ? other.Files : other.FilesWith(contextLength);
    }

    /// <summary>V, one more than the highest id: the rows that an embedding needs.</summary>
    public int VocabularySize { get; }

    /// <summary>L, the most tokens of a text, with the begin and end tokens; 77 for CLIP.</summary>
    public int ContextLength { get; }

    /// <summary>The id that fills up shorter texts of a batch.</summary>
    public int PadId { get; }

    /// <summary>The id that every text begins with; null for a kind that has none, such as SigLIP's.</summary>
    public int? BeginId { get; }

    /// <summary>The id that ends a text; put after every one, except by the kinds that put none, such as Llama's.</summary>
    public int EndId { get; }

    /// <summary>What is put before every text; empty for nothing.</summary>
    public string Prompt { get; } = "";

    /// <summary>
    /// The tokenizer's own files by name, to be saved beside a model; <see cref="Load(Func{string, ReadOnlyMemory{byte}?},
    /// string)"/> reads them again.
    /// </summary>
    public IReadOnlyDictionary<string, ReadOnlyMemory<byte>> Files { get; }

    /// <summary>
    /// Reads the tokenizer of a model folder: <c>tokenizer.json</c>, <c>vocab.json</c> with <c>merges.txt</c>, <c>vocab.txt</c>, or
    /// SentencePiece's <c>spiece.model</c>, <c>tokenizer.model</c>, <c>sentencepiece.bpe.model</c>; also
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
        bool HasAny(params ReadOnlySpan<string> names)
        {
            foreach (string file in names)
                if (files.ContainsKey(file)) return true;
            return false;
        }

        bool hasPair = files.ContainsKey(TokenizerDefinition.Vocab) && files.ContainsKey(TokenizerDefinition.Merge);
        if (!hasPair && !HasAny([TokenizerDefinition.TokenizerJson, TokenizerDefinition.VocabText, .. TokenizerDefinition.PieceFiles]))
            throw new FileNotFoundException($"'{name}' has neither tokenizer.json nor vocab.json with merges.txt, vocab.txt or one of "
                + $"{string.Join(", ", TokenizerDefinition.PieceFiles)}{(files.Count > 0 ? $"; only {string.Join(", ", files.Keys)}" : "")}.");
        var definition = TokenizerDefinition.Read(files, name);
        ITokenModel? model = null;
        string source = definition.Source == TokenizerDefinition.Vocab ? TokenizerDefinition.Merge : definition.Source;
        TokenizerDefinition.Guard($"{name}/{source}", () => model = Create(definition, files));
        return new TextTokenizer(files.AsReadOnly(), definition, model!);
    }

    static ITokenModel Create(TokenizerDefinition definition, Dictionary<string, ReadOnlyMemory<byte>> files)
    {
        switch (definition.Kind)
        {
            case TokenizerKind.ClipBpe: return new ClipBpeModel(definition);
            case TokenizerKind.ByteLevelBpe: return new ByteLevelBpeModel(definition);
            case TokenizerKind.WordPiece: return new WordPieceModel(definition);
            case TokenizerKind.Stepped: return definition.Stepped!;
            default:
                var model = new SentencePieceModel(definition, files[definition.Source]);
                definition.CompletePieces();
                return model;
        }
    }

    /// <summary>
    /// The token ids of a text: the begin token, the text, the end token. A longer text is cut to <see cref="ContextLength"/>,
    /// the end token kept last; its beginning is cut off where <c>tokenizer_config.json</c> has the truncation_side left.
    /// </summary>
    /// <param name="text">Any text; special tokens written in it are recognised.</param>
    /// <returns>Up to <see cref="ContextLength"/> ids, without padding.</returns>
    public IReadOnlyList<int> Encode(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return Encode(text, ContextLength);
    }

    /// <summary>
    /// The text of token ids, as far as the tokens keep it: CLIP's and BERT's have lost case and the kind of white space. Begin,
    /// end and padding tokens leave nothing.
    /// </summary>
    /// <param name="ids">Token ids, each from 0 to <see cref="VocabularySize"/> - 1.</param>
    /// <returns>The text; bytes that are no UTF-8 come out as U+FFFD.</returns>
    /// <exception cref="ArgumentOutOfRangeException">An id is not in the vocabulary.</exception>
    public string Decode(IEnumerable<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var tokens = new List<string>();
        foreach (int id in ids)
        {
            if (id == EndId || id == PadId || _before.Contains(id) || _after.Contains(id))
                continue;
            tokens.Add(_tokens.TryGetValue(id, out string? token) ? token : throw new ArgumentOutOfRangeException(nameof(ids), id,
                $"ids must be in the vocabulary of {_tokens.Count} tokens, but one is {id}."));
        }
        return _model.Decode(tokens);
    }

    /// <summary>Token ids of several texts, as a model takes them.</summary>
    /// <param name="texts">B texts.</param>
    /// <param name="length">L, the length of each row, at least 2; texts are cut to it, or to <see cref="ContextLength"/> where
    /// that is less.</param>
    /// <param name="ids">[B, L], filled up as <see cref="Pad"/> does.</param>
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
        for (int b = 0; b < texts.Count; b++)
        {
            string text = texts[b] ?? throw new ArgumentException($"texts must not hold null, but number {b} is.", nameof(texts));
            List<int> row = Encode(text, Math.Min(length, ContextLength));
            Pad(row, ids.Slice(b * length, length));
            if (keep.IsEmpty)
                continue;
            keep.Slice(b * length, length).Clear();
            keep.Slice(b * length + (_padsLeft ? length - row.Count : 0), row.Count).Fill(true);
        }
    }

    /// <summary>Puts the ids of one text into a row of a batch. The rest is filled with <see cref="PadId"/>: after them, or
    /// before them where <c>tokenizer_config.json</c> has the padding_side left.</summary>
    /// <param name="ids">What <see cref="Encode(string)"/> gave.</param>
    /// <param name="row">[L], at least as long as the ids.</param>
    /// <exception cref="ArgumentException">The row is too short.</exception>
    public void Pad(IReadOnlyList<int> ids, Span<long> row)
    {
        ArgumentNullException.ThrowIfNull(ids);
        if (row.Length < ids.Count)
            throw new ArgumentException(
                $"row must have a place for each of the {ids.Count} ids, but has {row.Length}.", nameof(row));
        row.Fill(PadId);
        int first = _padsLeft ? row.Length - ids.Count : 0;
        for (int i = 0; i < ids.Count; i++)
            row[first + i] = ids[i];
    }

    /// <summary>The same tokenizer with another <see cref="ContextLength"/>; its <see cref="Files"/> say so too.</summary>
    /// <param name="contextLength">L, 2 to 1,048,576.</param>
    /// <returns>A tokenizer that shares the vocabulary with this one.</returns>
    public TextTokenizer WithContextLength(int contextLength)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(contextLength, 2);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(contextLength, TokenizerDefinition.MaxContextLength);
        return contextLength == ContextLength ? this : new TextTokenizer(this, contextLength, Prompt);
    }

    /// <summary>The same tokenizer, which puts a prompt before every text, as models do that were trained to embed
    /// <c>query: </c> and a question. <see cref="Files"/> do not hold it.</summary>
    /// <param name="prompt">The prompt, with the space that ends it; empty for none.</param>
    /// <returns>A tokenizer that shares the vocabulary with this one.</returns>
    public TextTokenizer WithPrompt(string prompt)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        return new(this, ContextLength, prompt);
    }

    List<int> Encode(string text, int length)
    {
        int room = Math.Max(0, length - _before.Length - _after.Length);
        // One token more than fits would do.
        IReadOnlyList<int> body = _model.Encode(Prompt + text, _truncatesLeft ? int.MaxValue : room + 1);
        int count = Math.Min(room, body.Count), first = _truncatesLeft ? body.Count - count : 0;
        var ids = new List<int>(_before.Length + count + _after.Length);
        ids.AddRange(_before);
        for (int i = 0; i < count; i++)
            ids.Add(body[first + i]);
        ids.AddRange(_after);
        return ids.Count <= length ? ids : ids[..length];
    }

    Dictionary<string, ReadOnlyMemory<byte>> FilesWith(int contextLength)
    {
        JsonObject config = Files.TryGetValue(TokenizerDefinition.Config, out ReadOnlyMemory<byte> bytes)
            ? JsonNode.Parse(bytes.Span)!.AsObject()
            : new()
            {
                ["tokenizer_class"] = "CLIPTokenizer",
                ["bos_token"] = BeginId is { } begin ? _tokens[begin] : null,
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
