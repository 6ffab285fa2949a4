using System.Text.Json;
using System.Text.RegularExpressions;

namespace MLNetMultimodal.Media.Text;

// A part of a text that is cut by itself.
readonly record struct TextPart(string Text, bool BeginsText);

// The pre_tokenizer of a tokenizer.json: steps that cut a normalised text into words.
static class PreTokenizerSteps
{
    enum Behavior { Removed, Isolated, Contiguous, MergedWithPrevious, MergedWithNext }

    public static Func<TextPart, IEnumerable<TextPart>> Read(JsonElement? preTokenizer)
    {
        Func<TextPart, IEnumerable<TextPart>>[] steps =
            [.. TokenizerDefinition.Steps(preTokenizer, "pretokenizers").Select(ReadStep)];
        return text => steps.Aggregate((IEnumerable<TextPart>)[text],
            (parts, step) => parts.SelectMany(step).Where(p => p.Text.Length > 0));
    }

    static Func<TextPart, IEnumerable<TextPart>> ReadStep(JsonElement step)
    {
        switch (step.GetProperty("type").GetString())
        {
            case "Metaspace": return ReadMetaspace(step);
            case "WhitespaceSplit":
                var spaces = new Regex(@"\s", RegexOptions.NonBacktracking | RegexOptions.CultureInvariant);
                return part => Split(part, spaces, Behavior.Removed, inverts: false);
            case "Split":
                Regex pattern = TextPattern.Read(step);
                bool inverts = TokenizerDefinition.Find(step, "invert")?.GetBoolean() ?? false;
                return Enum.TryParse(step.GetProperty("behavior").GetString(), out Behavior behavior) && Enum.IsDefined(behavior)
                    ? part => Split(part, pattern, behavior, inverts)
                    : throw new FormatException($"the behavior {step.GetProperty("behavior")} of a Split is not supported.");
            default:
                throw new FormatException($"its pre_tokenizer {step.GetProperty("type")} is not supported; Metaspace, "
                    + "WhitespaceSplit and Split are.");
        }
    }

    // SentencePiece's visible space, one put before a word too; older files say add_prefix_space.
    static Func<TextPart, IEnumerable<TextPart>> ReadMetaspace(JsonElement step)
    {
        (string mark, string scheme) = MetaspaceOptions(step);
        bool splits = TokenizerDefinition.Find(step, "split")?.GetBoolean() ?? true;
        var pattern = new Regex(Regex.Escape(mark), RegexOptions.NonBacktracking | RegexOptions.CultureInvariant);
        return part =>
        {
            string text = part.Text.Replace(" ", mark, StringComparison.Ordinal);
            bool prepends = scheme == "always" || (scheme == "first" && part.BeginsText);
            if (prepends && !text.StartsWith(mark, StringComparison.Ordinal))
                text = mark + text;
            part = part with { Text = text };
            return splits ? Split(part, pattern, Behavior.MergedWithNext, inverts: false) : [part];
        };
    }

    public static (string Mark, string Scheme) MetaspaceOptions(JsonElement step)
    {
        string mark = TokenizerDefinition.Find(step, "replacement")?.GetString() ?? "\u2581";
        string scheme = TokenizerDefinition.Find(step, "prepend_scheme")?.GetString()
            ?? (TokenizerDefinition.Find(step, "add_prefix_space") is { ValueKind: JsonValueKind.False } ? "never" : "always");
        if (mark.Length is 0 or > 2 || scheme is not ("always" or "first" or "never"))
            throw new FormatException($"its Metaspace with replacement '{mark}' and prepend_scheme '{scheme}' is not supported.");
        return (mark, scheme);
    }

    static IEnumerable<TextPart> Split(TextPart part, Regex pattern, Behavior behavior, bool inverts)
    {
        var cuts = new List<(int Start, int End)>();
        bool lastMatched = false;
        List<(int Start, int End, bool IsMatch)> found = Find(part.Text, pattern, inverts);
        if (behavior == Behavior.MergedWithNext)
            found.Reverse();
        foreach (var (start, end, isMatch) in found)
        {
            bool joins = cuts.Count > 0 && behavior switch
            {
                Behavior.MergedWithPrevious or Behavior.MergedWithNext => isMatch && !lastMatched,
                Behavior.Contiguous => isMatch == lastMatched,
                _ => false,
            };
            if (joins)
                cuts[^1] = (Math.Min(cuts[^1].Start, start), Math.Max(cuts[^1].End, end));
            else if (!(isMatch && behavior == Behavior.Removed))
                cuts.Add((start, end));
            lastMatched = isMatch;
        }
        if (behavior == Behavior.MergedWithNext)
            cuts.Reverse();
        return cuts.Select(c => new TextPart(part.Text[c.Start..c.End], part.BeginsText && c.Start == 0));
    }

    // The matches and what stands between them.
    static List<(int Start, int End, bool IsMatch)> Find(string text, Regex pattern, bool inverts)
    {
        var found = new List<(int, int, bool)>();
        int last = 0;
        foreach (ValueMatch match in pattern.EnumerateMatches(text))
        {
            if (match.Length == 0)
                continue;
            if (match.Index > last)
                found.Add((last, match.Index, inverts));
            found.Add((match.Index, last = match.Index + match.Length, !inverts));
        }
        if (last < text.Length)
            found.Add((last, text.Length, inverts));
        return found;
    }
}
