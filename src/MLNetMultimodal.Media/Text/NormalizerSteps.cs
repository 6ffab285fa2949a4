using System.Globalization;
using System.Text;
using System.Text.Json;

namespace MLNetMultimodal.Media.Text;

// A text as the steps leave it, and whether what it began with is still there: a Metaspace with the scheme "first" asks.
readonly record struct NormalizedText(string Text, bool KeepsStart);

// The normalizer of a tokenizer.json: steps that change a text before it is cut.
static class NormalizerSteps
{
    public const int MaxInsertedChars = 32;
    const int MaxSteps = 64, MaxTextChars = 1 << 22, MaxGrowth = 64;

    sealed record Step(Func<string, string> Apply, Func<string, bool>? DropsStart = null);

    public static Func<string, NormalizedText> Read(JsonElement? normalizer)
    {
        Step[] steps = [.. TokenizerDefinition.Steps(normalizer, "normalizers").Select(ReadStep)];
        if (steps.Length > MaxSteps)
            throw new FormatException($"its normalizer has {steps.Length} steps; {MaxSteps} are allowed.");
        return text =>
        {
            string result = text;
            bool keepsStart = true;
            foreach (Step step in steps)
            {
                keepsStart &= result.Length == 0 || step.DropsStart?.Invoke(result) != true;
                result = step.Apply(result);
                if (result.Length > MaxTextChars && result.Length / MaxGrowth > text.Length)
                    throw new InvalidDataException(
                        $"the tokenizer's normalizer makes {result.Length} characters of {text.Length}.");
            }
            return new(result, keepsStart);
        };
    }

    static Step ReadStep(JsonElement step)
    {
        switch (step.GetProperty("type").GetString())
        {
            case "Precompiled":
                var map = new PrecompiledCharsMap(step.GetProperty("precompiled_charsmap").GetBytesFromBase64());
                return new(map.Normalize, text => map.Normalize(StringInfo.GetNextTextElement(text)).Length == 0);
            case "NFC": return new(CanonicalComposition.Compose);
            case "NFD": return new(CanonicalComposition.Decompose);
            case "NFKC": return new(CanonicalComposition.ComposeCompatible);
            case "NFKD": return new(CanonicalComposition.DecomposeCompatible);
            case "Lowercase": return new(BertNormalizer.Lower);
            case "StripAccents": return new(StripMarks, text => IsMark(Rune.GetRuneAt(text, 0)));
            case "Replace":
                TextPattern pattern = TextPattern.Read(step);
                bool removes = step.GetProperty("content").GetString()!.Length == 0;
                return new(TextPattern.ReadReplacement(step),
                    text => removes && pattern.TryFind(text, 0, out int index, out _) && index == 0);
            case "Strip":
                bool left = step.GetProperty("strip_left").GetBoolean(), right = step.GetProperty("strip_right").GetBoolean();
                return new(text => (left ? text.TrimStart() : text) is var rest && right ? rest.TrimEnd() : rest,
                    text => left && char.IsWhiteSpace(text[0]));
            case "Prepend":
                string prefix = step.GetProperty("prepend").GetString()!;
                return prefix.Length > MaxInsertedChars
                    ? throw new FormatException($"a Prepend puts in {prefix.Length} characters; {MaxInsertedChars} are allowed.")
                    : new(text => text.Length > 0 ? prefix + text : text);
            default:
                throw new FormatException($"its normalizer {step.GetProperty("type")} is not supported; Precompiled, NFC, NFD, "
                    + "NFKC, NFKD, Lowercase, StripAccents, Replace, Strip and Prepend are.");
        }
    }

    static string StripMarks(string text)
    {
        var result = new StringBuilder(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
            if (!IsMark(rune))
                result.Append(rune);
        return result.ToString();
    }

    static bool IsMark(Rune rune) => Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark;
}
