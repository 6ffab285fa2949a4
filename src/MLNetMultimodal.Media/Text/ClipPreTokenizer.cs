using System.Globalization;
using System.Text;
using Microsoft.ML.Tokenizers;

namespace MLNetMultimodal.Media.Text;

// CLIP's split, by code points: a special token, an English contraction's end, a run of letters, one digit, or a run of anything
// else but white space.
// Hugging Face takes special tokens out first, so they end a run; OpenAI's expression meets them only where a piece begins.
sealed class ClipPreTokenizer(IEnumerable<string> specialTokens, bool specialTokensFirst) : PreTokenizer
{
    // Longer pieces are cut: merging takes time quadratic in the piece, and no caption has such a word.
    public const int MaxPiece = 16_384;

    static readonly string[] Contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

    readonly string[] _specialTokens =
        [.. specialTokens.Where(t => t.Length > 0).OrderByDescending(t => t.Length).ThenBy(t => t, StringComparer.Ordinal)];

    public enum Kind { Space, Letter, Number, Other }

    public override IEnumerable<(int Offset, int Length)> PreTokenize(ReadOnlySpan<char> text) => PreTokenize(text.ToString());

    public override IEnumerable<(int Offset, int Length)> PreTokenize(string text)
    {
        int special = specialTokensFirst ? NextSpecial(text, 0) : text.Length;
        for (int i = 0; i < text.Length;)
        {
            if (specialTokensFirst && special < i)
                special = NextSpecial(text, i);
            int length = SpecialAt(text, i);
            if (length == 0)
                length = PieceAt(text, i, special <= i ? text.Length : special);
            if (!char.IsWhiteSpace(text[i]))
                yield return (i, length);
            i += length;
        }
    }

    int NextSpecial(string text, int start)
    {
        int next = text.Length;
        foreach (string token in _specialTokens)
            if (text.AsSpan(start, next - start).IndexOf(token, StringComparison.Ordinal) is >= 0 and int found)
                next = start + found;
        return next;
    }

    int SpecialAt(string text, int start)
    {
        foreach (string token in _specialTokens)
            if (text.AsSpan(start).StartsWith(token, StringComparison.Ordinal))
                return token.Length;
        return 0;
    }

    static int PieceAt(string text, int start, int end)
    {
        ReadOnlySpan<char> rest = text.AsSpan(start..end);
        if (ContractionAt(rest) is > 0 and int contraction)
            return contraction;
        Kind kind = KindOf(rest, out int length);
        if (kind is Kind.Number or Kind.Space)
            return length;
        while (length < rest.Length && length < MaxPiece && KindOf(rest[length..], out int next) == kind)
            length += next;
        return length;
    }

    // Length of an English contraction's end at the start of the text; 0 where there is none.
    public static int ContractionAt(ReadOnlySpan<char> text)
    {
        if (text[0] == '\'')
            foreach (string contraction in Contractions)
                if (text.StartsWith(contraction, StringComparison.Ordinal))
                    return contraction.Length;
        return 0;
    }

    public static Kind KindOf(ReadOnlySpan<char> text, out int length)
    {
        Rune.DecodeFromUtf16(text, out Rune rune, out length);
        if (Rune.IsWhiteSpace(rune))
            return Kind.Space;
        return Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Kind.Other,
        };
    }
}
