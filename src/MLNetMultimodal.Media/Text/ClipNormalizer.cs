using System.Buffers;
using System.Globalization;
using System.Text;
using Microsoft.ML.Tokenizers;

namespace MLNetMultimodal.Media.Text;

// Composes (NFC), makes one space of each run of white space, and lower-cases with all of Unicode's rules, whatever culture data
// the program has.
sealed class ClipNormalizer(bool composes, bool lowercases) : Normalizer
{
    const char CapitalSigma = '\u03A3', SmallSigma = '\u03C3', FinalSigma = '\u03C2';

    static readonly SearchValues<char> Plain =
        SearchValues.Create([.. Enumerable.Range(' ', '~' - ' ' + 1).Select(c => (char)c)]);

    public override string Normalize(string original)
    {
        if (!original.AsSpan().ContainsAnyExcept(Plain) && !original.Contains("  ", StringComparison.Ordinal))
            return lowercases ? original.Trim(' ').ToLowerInvariant() : original.Trim(' ');
        string text = CollapseWhiteSpace(composes ? CanonicalComposition.Compose(original) : original);
        return lowercases ? Lower(text) : text;
    }

    public override string Normalize(ReadOnlySpan<char> original) => Normalize(original.ToString());

    // Half a surrogate pair becomes U+FFFD here, since runes cannot hold it.
    static string CollapseWhiteSpace(string text)
    {
        var result = new StringBuilder(text.Length);
        bool space = false;
        foreach (Rune rune in text.EnumerateRunes())
        {
            bool isSpace = Rune.IsWhiteSpace(rune) || rune.Value is >= 0x1C and <= 0x1F;
            if (!isSpace)
            {
                if (space && result.Length > 0)
                    result.Append(' ');
                Append(result, rune);
            }
            space = isSpace;
        }
        return result.ToString();
    }

    static string Lower(string text)
    {
        var result = new StringBuilder(text.Length);
        int i = 0;
        foreach (Rune rune in text.EnumerateRunes())
        {
            if (rune.Value == CapitalSigma)
                result.Append(EndsWord(text, i) ? FinalSigma : SmallSigma);
            else if (rune.Value == 0x130)
                result.Append("i\u0307");
            else
                Append(result, Rune.ToLowerInvariant(rune));
            i += rune.Utf16SequenceLength;
        }
        return result.ToString();
    }

    // The Unicode Standard, section 3.13, table 3-17: a cased letter before, none after, ignorable marks aside.
    static bool EndsWord(string text, int sigma)
    {
        ReadOnlySpan<char> before = text.AsSpan(0, sigma), after = text.AsSpan(sigma + 1);
        Rune rune = default;
        while (Rune.DecodeLastFromUtf16(before, out rune, out int length) == OperationStatus.Done && IsCaseIgnorable(rune))
            before = before[..^length];
        if (before.IsEmpty || !IsCased(rune))
            return false;
        while (Rune.DecodeFromUtf16(after, out rune, out int length) == OperationStatus.Done && IsCaseIgnorable(rune))
            after = after[length..];
        return after.IsEmpty || !IsCased(rune);
    }

    static bool IsCased(Rune rune) => Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
        || rune.Value is 0xAA or 0xBA or (>= 0x2160 and <= 0x217F) or (>= 0x24B6 and <= 0x24E9)
            or (>= 0x1F130 and <= 0x1F149) or (>= 0x1F150 and <= 0x1F169) or (>= 0x1F170 and <= 0x1F189);

    static bool IsCaseIgnorable(Rune rune) => Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.NonSpacingMark or UnicodeCategory.EnclosingMark or UnicodeCategory.Format
            or UnicodeCategory.ModifierLetter or UnicodeCategory.ModifierSymbol
        || rune.Value is '\'' or '.' or ':' or 0xB7 or 0x387 or 0x55F or 0x5F4 or 0x2018 or 0x2019 or 0x2024 or 0x2027
            or 0xFE13 or 0xFE52 or 0xFE55 or 0xFF07 or 0xFF0E or 0xFF1A;

    static void Append(StringBuilder target, Rune rune)
    {
        Span<char> chars = stackalloc char[2];
        target.Append(chars[..rune.EncodeToUtf16(chars)]);
    }
}
