using System.Text;

namespace MLNetMultimodal.Media.Text;

// Byte-level BPE writes each byte as one visible character: the printable ones as themselves, the others from U+0100 on
// (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2).
static class ByteLevel
{
    // The order in which CLIP numbers the bytes: the printable ones first.
    public static readonly string Alphabet = MakeAlphabet();

    static readonly char[] Characters = MakeCharacters();

    static readonly Dictionary<char, byte> Bytes = Enumerable.Range(0, 256).ToDictionary(b => Characters[b], b => (byte)b);

    public static string FromText(ReadOnlySpan<char> text)
    {
        byte[] utf8 = new byte[Encoding.UTF8.GetByteCount(text)];
        Encoding.UTF8.GetBytes(text, utf8);
        return string.Create(utf8.Length, utf8, (target, bytes) =>
        {
            for (int i = 0; i < target.Length; i++)
                target[i] = Characters[bytes[i]];
        });
    }

    // A character that stands for no byte is kept as it is.
    public static void AppendBytes(ReadOnlySpan<char> token, List<byte> target)
    {
        Span<byte> utf8 = stackalloc byte[4];
        foreach (Rune rune in token.EnumerateRunes())
            if (rune.IsBmp && Bytes.TryGetValue((char)rune.Value, out byte value))
                target.Add(value);
            else
                target.AddRange(utf8[..rune.EncodeToUtf8(utf8)]);
    }

    static bool IsPrintable(int value) => value is (>= 33 and <= 126) or (>= 161 and <= 172) or (>= 174 and <= 255);

    static char[] MakeCharacters()
    {
        int next = 256;
        return [.. Enumerable.Range(0, 256).Select(b => IsPrintable(b) ? (char)b : (char)next++)];
    }

    static string MakeAlphabet()
    {
        char[] characters = MakeCharacters();
        return new string([.. characters.Where(c => c < 256), .. characters.Where(c => c >= 256)]);
    }
}
