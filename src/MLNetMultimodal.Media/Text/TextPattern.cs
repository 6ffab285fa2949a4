using System.Text.Json;
using System.Text.RegularExpressions;

namespace MLNetMultimodal.Media.Text;

// A pattern of a tokenizer.json, {"String": …} or {"Regex": …}. Matched without backtracking, so that none takes more than linear
// time.
static class TextPattern
{
    const int MaxChars = 1024;
    static readonly TimeSpan Timeout = TimeSpan.FromSeconds(30);

    public static Regex Read(JsonElement step)
    {
        JsonElement pattern = step.GetProperty("pattern");
        string text = pattern.TryGetProperty("String", out JsonElement literal) ? Regex.Escape(literal.GetString()!)
            : pattern.GetProperty("Regex").GetString()!;
        if (text.Length is 0 or > MaxChars)
            throw new FormatException($"a pattern must have 1 to {MaxChars} characters, but one has {text.Length}.");
        try
        {
            return new(text, RegexOptions.NonBacktracking | RegexOptions.CultureInvariant, Timeout);
        }
        catch (NotSupportedException e)
        {
            throw new FormatException($"its pattern '{text}' is not supported: {e.Message}", e);
        }
    }

    // What replaces it is plain text.
    public static Func<string, string> ReadReplacement(JsonElement step)
    {
        Regex pattern = Read(step);
        string content = step.GetProperty("content").GetString()!;
        return content.Length <= NormalizerSteps.MaxInsertedChars
            ? text => pattern.Replace(text, _ => content)
            : throw new FormatException(
                $"a Replace puts in {content.Length} characters; {NormalizerSteps.MaxInsertedChars} are allowed.");
    }
}
