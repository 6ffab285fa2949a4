using System.Text.Json;

namespace MLNetMultimodal.Media.Text;

// A part of a text that is cut by itself.
readonly record struct TextPart(ReadOnlyMemory<char> Text, bool BeginsText);

// The pre_tokenizer of a tokenizer.json: steps that cut a normalised text into words.
static class PreTokenizerSteps
{
    enum Behavior { Removed, Isolated, Contiguous, MergedWithPrevious, MergedWithNext }

    public static Func<TextPart, List<TextPart>> Read(JsonElement? preTokenizer)
    {
        Action<TextPart, List<TextPart>>[] steps = [.. TokenizerDefinition.Steps(preTokenizer, "pretokenizers").Select(ReadStep)];
        return text =>
        {
            List<TextPart> parts = [text];
            foreach (var step in steps)
            {
                List<TextPart> finer = [];
                foreach (TextPart part in parts)
                    step(part, finer);
                parts = finer;
            }
            return parts;
        };
    }

    // A step adds the parts of a part, none of them empty, to a list.
    static Action<TextPart, List<TextPart>> ReadStep(JsonElement step)
    {
        switch (step.GetProperty("type").GetString())
        {
            case "Metaspace": return ReadMetaspace(step);
            case "WhitespaceSplit":
                return (part, parts) => Split(part, TextPattern.WhiteSpace, Behavior.Removed, inverts: false, parts);
            case "Split":
                TextPattern pattern = TextPattern.Read(step);
                bool inverts = TokenizerDefinition.Find(step, "invert")?.GetBoolean() ?? false;
                return Enum.TryParse(step.GetProperty("behavior").GetString(), out Behavior behavior) && Enum.IsDefined(behavior)
                    ? (part, parts) => Split(part, pattern, behavior, inverts, parts)
                    : throw new FormatException($"the behavior {step.GetProperty("behavior")} of a Split is not supported.");
            default:
                throw new FormatException($"its pre_tokenizer {step.GetProperty("type")} is not supported; Metaspace, "
                    + "WhitespaceSplit and Split are.");
        }
    }

    // SentencePiece's visible space, one put before a word too; older files say add_prefix_space.
    static Action<TextPart, List<TextPart>> ReadMetaspace(JsonElement step)
    {
        (string mark, string scheme) = MetaspaceOptions(step);
        bool splits = TokenizerDefinition.Find(step, "split")?.GetBoolean() ?? true;
        TextPattern pattern = TextPattern.Of(mark);
        return (part, parts) =>
        {
            ReadOnlyMemory<char> text = part.Text;
            if (text.Span.Contains(' '))
                text = text.ToString().Replace(" ", mark, StringComparison.Ordinal).AsMemory();
            bool prepends = scheme == "always" || (scheme == "first" && part.BeginsText);
            if (prepends && !text.Span.StartsWith(mark, StringComparison.Ordinal))
                text = string.Concat(mark, text.Span).AsMemory();
            part = part with { Text = text };
            if (splits)
                Split(part, pattern, Behavior.MergedWithNext, inverts: false, parts);
            else
                parts.Add(part);
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

    static void Split(TextPart part, TextPattern pattern, Behavior behavior, bool inverts, List<TextPart> parts)
    {
        ReadOnlyMemory<char> text = part.Text;
        int first = parts.Count, last = 0, partStart = 0;
        bool lastMatched = false;
        while (last < text.Length)
        {
            bool isFound = pattern.TryFind(text.Span, last, out int index, out int length);
            int start = isFound ? index : text.Length;
            if (start > last)
                Take(last, start, isMatch: inverts);
            if (isFound)
                Take(start, start + length, isMatch: !inverts);
            last = start + (isFound ? length : 0);
        }

        void Take(int start, int end, bool isMatch)
        {
            bool joins = parts.Count > first && behavior switch
            {
                Behavior.MergedWithPrevious => isMatch && !lastMatched,
                Behavior.MergedWithNext => !isMatch && lastMatched,
                Behavior.Contiguous => isMatch == lastMatched,
                _ => false,
            };
            partStart = joins ? partStart : start;
            var taken = new TextPart(text[partStart..end], part.BeginsText && partStart == 0);
            if (joins)
                parts[^1] = taken;
            else if (!(isMatch && behavior == Behavior.Removed))
                parts.Add(taken);
            lastMatched = isMatch;
        }
    }
}
