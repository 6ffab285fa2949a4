using System.Buffers;

namespace MLNetMultimodal.Media.Text;

// A token that is recognised as it stands in a text, with the white space that it takes in on either side.
readonly record struct AddedToken(string Content, bool StripsLeft = false, bool StripsRight = false, bool IsNormalized = false);

// Takes the added tokens out of a text before anything else is done to it.
sealed class AddedTokens
{
    readonly (AddedToken Token, int Id)[] _tokens; // the longest first
    readonly SearchValues<string> _contents;

    public AddedTokens(IEnumerable<(AddedToken Token, int Id)> tokens)
    {
        _tokens = [.. tokens.Where(t => t.Token.Content.Length > 0).OrderByDescending(t => t.Token.Content.Length)];
        _contents = SearchValues.Create([.. _tokens.Select(t => t.Token.Content)], StringComparison.Ordinal);
    }

    public AddedTokens(TokenizerDefinition definition)
        : this(definition.SpecialTokens.Select(t => (t, definition.Vocabulary[t.Content])))
    {
    }

    // encode gets a text without added tokens, its place, and the number of ids that are still wanted.
    public IReadOnlyList<int> Encode(string text, int max, Func<string, int, int, IReadOnlyList<int>> encode)
    {
        var ids = new List<int>();
        for (int start = 0; start < text.Length && ids.Count < max;)
        {
            (int at, AddedToken token, int id) = Next(text, start);
            string before = text[start..at];
            if (token.StripsLeft)
                before = before.TrimEnd();
            if (before.Length > 0)
                ids.AddRange(encode(before, start, max - ids.Count));
            if (at == text.Length)
                break;
            ids.Add(id);
            start = at + token.Content.Length;
            while (token.StripsRight && start < text.Length && char.IsWhiteSpace(text[start]))
                start++;
        }
        return ids;
    }

    // The first one, and of those at one place the longest.
    (int At, AddedToken Token, int Id) Next(string text, int start)
    {
        int found = text.AsSpan(start).IndexOfAny(_contents);
        if (found < 0)
            return (text.Length, default, 0);
        int at = start + found;
        var (token, id) = _tokens.First(t => text.AsSpan(at).StartsWith(t.Token.Content, StringComparison.Ordinal));
        return (at, token, id);
    }
}
