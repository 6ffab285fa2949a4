using System.Text;
using System.Text.Json;

namespace MLNetMultimodal.Media.Text;

// A tokenizer.json that spells out its steps, as those made from SentencePiece's models do (XLM-R, T5, Llama, Gemma): normalise,
// cut into words, look the pieces up, and back.
sealed class SteppedModel : ITokenModel
{
    readonly IPieceModel _pieces;
    readonly AddedTokens _raw, _normalized;   // recognised before and after a text is normalised
    readonly Func<string, NormalizedText> _normalize;
    readonly Func<TextPart, List<TextPart>> _split;
    readonly Func<IReadOnlyList<string>, string> _decode;

    // Fills the definition's vocabulary and special tokens.
    public SteppedModel(JsonElement root, TokenizerDefinition definition)
    {
        JsonElement model = root.GetProperty("model");
        _pieces = model.GetProperty("type").ValueEquals("Unigram") ? ReadUnigram(model, definition) : ReadBpe(model, definition);
        definition.ReadAddedTokens(root);
        _normalize = NormalizerSteps.Read(TokenizerDefinition.Find(root, "normalizer"));
        _split = PreTokenizerSteps.Read(TokenizerDefinition.Find(root, "pre_tokenizer"));
        _decode = DecoderSteps.Read(TokenizerDefinition.Find(root, "decoder"));
        (AddedToken Token, int Id)[] added = [.. definition.SpecialTokens.Select(t => (t, definition.Vocabulary[t.Content]))];
        _raw = new(added.Where(t => !t.Token.IsNormalized));
        _normalized = new(added.Where(t => t.Token.IsNormalized)
            .Select(t => (t.Token with { Content = _normalize(t.Token.Content).Text }, t.Id)));
    }

    // Byte-level BPE, which has a token for everything, is another kind, whatever it says of unknown ones.
    public static bool Fits(JsonElement root)
    {
        if (TokenizerDefinition.Find(root, "model") is not { } model)
            return false;
        return TokenizerDefinition.Find(model, "type")?.GetString() switch
        {
            "Unigram" => true,
            "BPE" or null => IsOn(model, "byte_fallback") || (IsOn(model, "fuse_unk")
                && !TokenizerDefinition.Steps(TokenizerDefinition.Find(root, "pre_tokenizer"), "pretokenizers")
                    .Any(step => step.GetProperty("type").ValueEquals("ByteLevel"))),
            _ => false,
        };
    }

    static bool IsOn(JsonElement model, string option) => TokenizerDefinition.Find(model, option)?.GetBoolean() == true;

    static UnigramModel ReadUnigram(JsonElement model, TokenizerDefinition definition)
    {
        var pieces = new List<(string Piece, double Score)>();
        foreach (JsonElement entry in model.GetProperty("vocab").EnumerateArray())
        {
            (string piece, double score) = (entry[0].GetString()!, entry[1].GetDouble());
            if (piece.Length == 0 || !double.IsFinite(score))
                throw new FormatException($"piece {pieces.Count} of its vocabulary, '{piece}' with score {score}, is none.");
            definition.AddToken(piece, pieces.Count);
            pieces.Add((piece, score));
        }
        int unknown = TokenizerDefinition.Find(model, "unk_id")?.GetInt32()
            ?? throw new FormatException("its model has no unk_id.");
        if (unknown < 0 || unknown >= pieces.Count)
            throw new FormatException($"unk_id is {unknown}, but there are {pieces.Count} pieces.");
        var vocabulary = new Dictionary<string, int>(definition.Vocabulary, StringComparer.Ordinal);
        return new(pieces, unknown, new(vocabulary, pieces[unknown].Piece, IsOn(model, "byte_fallback")));
    }

    static PieceBpeModel ReadBpe(JsonElement model, TokenizerDefinition definition)
    {
        foreach (string option in new[] { "dropout", "continuing_subword_prefix", "end_of_word_suffix" })
            if (TokenizerDefinition.Find(model, option) is { } value
                && !(value.ValueKind == JsonValueKind.String && value.GetString()!.Length == 0))
                throw new FormatException($"its model uses {option}, which is not supported beside byte_fallback and fuse_unk.");
        definition.ReadVocabulary(model.GetProperty("vocab"));
        string? unknown = TokenizerDefinition.Find(model, "unk_token")?.GetString();
        var lookup = new PieceLookup(new(definition.Vocabulary, StringComparer.Ordinal), unknown, IsOn(model, "byte_fallback"));
        return new([.. model.GetProperty("merges").EnumerateArray().Select(ReadMerge)], lookup,
            IsOn(model, "fuse_unk"), IsOn(model, "ignore_merges"));
    }

    static (string, string) ReadMerge(JsonElement merge)
    {
        (string Left, string Right) parts = ("", "");
        if (merge.ValueKind == JsonValueKind.Array)
        {
            if (merge.GetArrayLength() == 2)
                parts = (merge[0].GetString()!, merge[1].GetString()!);
        }
        else if (merge.GetString()!.Split(' ') is [string left, string right])
            parts = (left, right);
        return parts is ({ Length: > 0 }, { Length: > 0 }) ? parts
            : throw new FormatException($"a merge must have two parts, but one is '{merge}'.");
    }

    public IReadOnlyList<int> Encode(string text, int max) => _raw.Encode(WellFormed(text), max, (part, at, rest) =>
    {
        (string normalized, bool keepsStart) = _normalize(part);
        return _normalized.Encode(normalized, rest,
            (piece, pieceAt, wanted) => Cut(new(piece.AsMemory(), keepsStart && at + pieceAt == 0), wanted));
    });

    List<int> Cut(TextPart part, int max)
    {
        var ids = new List<int>();
        foreach (TextPart word in _split(part))
        {
            if (ids.Count >= max)
                break;
            _pieces.Encode(word.Text.Span, ids);
        }
        return ids;
    }

    public string Decode(IReadOnlyList<string> tokens) => _decode(tokens);

    // Half a surrogate pair becomes U+FFFD.
    static string WellFormed(string text) => !text.AsSpan().ContainsAnyInRange('\uD800', '\uDFFF') ? text
        : Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text));
}
