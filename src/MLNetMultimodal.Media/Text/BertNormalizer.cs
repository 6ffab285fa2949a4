using System.Globalization;
using System.Text;
using Microsoft.ML.Tokenizers;

namespace MLNetMultimodal.Media.Text;

// BERT's cleaning: no control characters, one kind of space, spaces around Chinese characters, no accents, lower case; the same
// whatever culture data the program has.
sealed class BertNormalizer(bool lowercases, bool stripsAccents, bool splitsChinese) : Normalizer
{
    public override string Normalize(ReadOnlySpan<char> original) => Normalize(original.ToString());

    public override string Normalize(string original)
    {
        if (!original.AsSpan().ContainsAnyExceptInRange(' ', '~'))
            return lowercases ? original.ToLowerInvariant() : original;
        var text = new StringBuilder(original.Length);
        Span<char> chars = stackalloc char[2];
        foreach (Rune rune in original.EnumerateRunes())
        {
            if (rune.Value is '\t' or '\n' or '\r' || Rune.IsWhiteSpace(rune) && !IsControl(rune))
                text.Append(' ');
            else if (rune.Value is not (0 or 0xFFFD) && !IsControl(rune))
            {
                bool splits = splitsChinese && IsChinese(rune.Value);
                text.Append(splits ? " " : "").Append(chars[..rune.EncodeToUtf16(chars)]).Append(splits ? " " : "");
            }
        }
        return stripsAccents || lowercases ? Fold(text.ToString(), stripsAccents, lowercases) : text.ToString();
    }

    // Each character by itself: the final sigma is as any other.
    public static string Lower(string text) => Fold(text, stripsAccents: false, lowercases: true);

    static string Fold(string text, bool stripsAccents, bool lowercases)
    {
        if (stripsAccents)
            text = CanonicalComposition.Decompose(text);
        var result = new StringBuilder(text.Length);
        Span<char> chars = stackalloc char[2];
        foreach (Rune rune in text.EnumerateRunes())
        {
            if (stripsAccents && Rune.GetUnicodeCategory(rune) == UnicodeCategory.NonSpacingMark)
                continue;
            if (lowercases && rune.Value == 0x130)
                result.Append("i\u0307");
            else
                result.Append(chars[..(lowercases ? Rune.ToLowerInvariant(rune) : rune).EncodeToUtf16(chars)]);
        }
        return result.ToString();
    }

    static bool IsControl(Rune rune) => rune.Value is not ('\t' or '\n' or '\r') && Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.OtherNotAssigned or UnicodeCategory.PrivateUse
            or UnicodeCategory.Surrogate;

    static bool IsChinese(int code) => code is (>= 0x4E00 and <= 0x9FFF) or (>= 0x3400 and <= 0x4DBF) or (>= 0x20000 and <= 0x2A6DF)
        or (>= 0x2A700 and <= 0x2B73F) or (>= 0x2B740 and <= 0x2B81F) or (>= 0x2B920 and <= 0x2CEAF)
        or (>= 0xF900 and <= 0xFAFF) or (>= 0x2F800 and <= 0x2FA1F);
}

// BERT's split: at white space, and each punctuation mark by itself.
sealed class BertPreTokenizer : PreTokenizer
{
    public override IEnumerable<(int Offset, int Length)> PreTokenize(ReadOnlySpan<char> text) => PreTokenize(text.ToString());

    public override IEnumerable<(int Offset, int Length)> PreTokenize(string text)
    {
        int start = 0, i = 0;
        foreach (Rune rune in text.EnumerateRunes())
        {
            int length = rune.Utf16SequenceLength;
            bool isSpace = Rune.IsWhiteSpace(rune), isMark = IsPunctuation(rune);
            if ((isSpace || isMark) && i > start)
                yield return (start, i - start);
            if (isMark)
                yield return (i, length);
            i += length;
            if (isSpace || isMark)
                start = i;
        }
        if (i > start)
            yield return (start, i - start);
    }

    static bool IsPunctuation(Rune rune) => rune.IsAscii && rune.Value is > 32 and < 127 && !Rune.IsLetterOrDigit(rune)
        || Rune.IsPunctuation(rune);
}
