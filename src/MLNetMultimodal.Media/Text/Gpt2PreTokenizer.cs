using Microsoft.ML.Tokenizers;

namespace MLNetMultimodal.Media.Text;

// GPT-2's split, by code points: an English contraction's end; a run of letters, of numbers or of anything else, each with one
// space before it; white space, of which the last before a word is left to it.
sealed class Gpt2PreTokenizer : PreTokenizer
{
    public override IEnumerable<(int Offset, int Length)> PreTokenize(ReadOnlySpan<char> text) => PreTokenize(text.ToString());

    public override IEnumerable<(int Offset, int Length)> PreTokenize(string text)
    {
        for (int i = 0; i < text.Length;)
        {
            int length = PieceAt(text.AsSpan(i));
            yield return (i, length);
            i += length;
        }
    }

    static int PieceAt(ReadOnlySpan<char> text)
    {
        if (ClipPreTokenizer.ContractionAt(text) is > 0 and int contraction)
            return contraction;
        int start = text[0] == ' ' && text.Length > 1 ? 1 : 0;
        ClipPreTokenizer.Kind kind = ClipPreTokenizer.KindOf(text[start..], out int length);
        if (kind != ClipPreTokenizer.Kind.Space)
            return start + RunAt(text[start..], kind);
        length = RunAt(text, ClipPreTokenizer.Kind.Space);
        return length < text.Length && length > 1 ? length - 1 : length;
    }

    static int RunAt(ReadOnlySpan<char> text, ClipPreTokenizer.Kind kind)
    {
        int length = 0;
        while (length < text.Length && length < ClipPreTokenizer.MaxPiece
            && ClipPreTokenizer.KindOf(text[length..], out int next) == kind)
            length += next;
        return length;
    }
}
