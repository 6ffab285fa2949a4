using System.Text;
using Microsoft.ML.Tokenizers;

namespace MLNetMultimodal.Media.Text;

// BERT's WordPiece (Devlin et al. 2019, arXiv:1810.04805): the longest pieces of a word from its left, with ## before all but the
// first.
sealed class WordPieceModel : ITokenModel
{
    const string Inside = "##";

    readonly WordPieceTokenizer _pieces;
    readonly AddedTokens _added;
    readonly BertNormalizer _normalizer;

    public WordPieceModel(TokenizerDefinition definition)
    {
        _normalizer = new(definition.Lowercases, definition.StripsAccents ?? definition.Lowercases, definition.SplitsChinese);
        _added = new(definition);
        // The library numbers tokens by their line: a number without token gets a line that no text can match.
        var lines = new StringBuilder();
        var byId = definition.Vocabulary.ToDictionary(t => t.Value, t => t.Key);
        int count = byId.Keys.Max() + 1;
        if (count > definition.Vocabulary.Count + 100_000)
            throw new FormatException($"the highest id is {count - 1}, but there are only {definition.Vocabulary.Count} tokens.");
        for (int id = 0; id < count; id++)
            lines.Append(byId.TryGetValue(id, out string? token) ? token : $"\u0001{id}").Append('\n');
        using var stream = new MemoryStream(Encoding.UTF8.GetBytes(lines.ToString()));
        _pieces = WordPieceTokenizer.Create(stream, new()
        {
            PreTokenizer = new BertPreTokenizer(),
            Normalizer = _normalizer,
            UnknownToken = definition.Unknown!,
            ContinuingSubwordPrefix = Inside,
            MaxInputCharsPerWord = definition.MaxWordChars,
        });
    }

    public IReadOnlyList<int> Encode(string text, int max) =>
        _added.Encode(text, max, (part, at, rest) => _pieces.EncodeToIds(part, rest, out _, out _));

    public string Decode(IReadOnlyList<string> tokens)
    {
        var text = new StringBuilder();
        foreach (string token in tokens)
            if (token.StartsWith(Inside, StringComparison.Ordinal) && text.Length > 0)
                text.Append(token, Inside.Length, token.Length - Inside.Length);
            else
                text.Append(text.Length > 0 ? " " : "").Append(token);
        return text.ToString();
    }
}
