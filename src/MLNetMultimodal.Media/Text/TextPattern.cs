using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace MLNetMultimodal.Media.Text;

// A pattern of a tokenizer.json, {"String": …} or {"Regex": …}. An expression is matched without backtracking, so that none takes
// more than linear time; what needs none is searched for without.
abstract class TextPattern
{
    const int MaxChars = 1024;
    static readonly TimeSpan Timeout = TimeSpan.FromSeconds(30);

    public static TextPattern WhiteSpace { get; } = new AnyOf(SearchValues.Create(
        [.. Enumerable.Range(0, char.MaxValue + 1).Select(c => (char)c).Where(char.IsWhiteSpace)]));

    // The first match from start on; one of no characters is none.
    public abstract bool TryFind(ReadOnlySpan<char> text, int start, out int index, out int length);

    public virtual string Replace(string text, string content)
    {
        if (!TryFind(text, 0, out int index, out int length))
            return text;
        var result = new StringBuilder(text.Length);
        int last = 0;
        do
        {
            result.Append(text, last, index - last).Append(content);
            last = index + length;
        }
        while (TryFind(text, last, out index, out length));
        return result.Append(text, last, text.Length - last).ToString();
    }

    public static TextPattern Of(string literal) => new Literal(literal);

    public static TextPattern Read(JsonElement step)
    {
        JsonElement pattern = step.GetProperty("pattern");
        bool isLiteral = pattern.TryGetProperty("String", out JsonElement literal);
        string text = (isLiteral ? literal : pattern.GetProperty("Regex")).GetString()!;
        if (text.Length is 0 or > MaxChars)
            throw new FormatException($"a pattern must have 1 to {MaxChars} characters, but one has {text.Length}.");
        if (isLiteral)
            return new Literal(text);
        try
        {
            return new Expression(new(text, RegexOptions.NonBacktracking | RegexOptions.CultureInvariant, Timeout));
        }
        catch (NotSupportedException e)
        {
            throw new FormatException($"its pattern '{text}' is not supported: {e.Message}", e);
        }
    }

    // What replaces it is plain text.
    public static Func<string, string> ReadReplacement(JsonElement step)
    {
        TextPattern pattern = Read(step);
        string content = step.GetProperty("content").GetString()!;
        return content.Length <= NormalizerSteps.MaxInsertedChars
            ? text => pattern.Replace(text, content)
            : throw new FormatException(
                $"a Replace puts in {content.Length} characters; {NormalizerSteps.MaxInsertedChars} are allowed.");
    }

    sealed class Literal(string literal) : TextPattern
    {
        public override bool TryFind(ReadOnlySpan<char> text, int start, out int index, out int length)
        {
            int at = text[start..].IndexOf(literal, StringComparison.Ordinal);
            (index, length) = (start + at, literal.Length);
            return at >= 0;
        }
    }

    sealed class Expression(Regex regex) : TextPattern
    {
        public override bool TryFind(ReadOnlySpan<char> text, int start, out int index, out int length)
        {
            foreach (ValueMatch match in regex.EnumerateMatches(text, start))
                if (match.Length > 0)
                {
                    (index, length) = (match.Index, match.Length);
                    return true;
                }
            (index, length) = (-1, 0);
            return false;
        }

        public override string Replace(string text, string content) => regex.Replace(text, _ => content);
    }

    sealed class AnyOf(SearchValues<char> characters) : TextPattern
    {
        public override bool TryFind(ReadOnlySpan<char> text, int start, out int index, out int length)
        {
            int at = text[start..].IndexOfAny(characters);
            (index, length) = (start + at, 1);
            return at >= 0;
        }
    }
}
