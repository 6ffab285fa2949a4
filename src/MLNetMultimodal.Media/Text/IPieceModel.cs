using System.Globalization;
using System.Text;

namespace MLNetMultimodal.Media.Text;

// What cuts one normalised word into pieces of the vocabulary.
interface IPieceModel
{
    void Encode(ReadOnlySpan<char> word, List<int> ids);
}

// From a piece to its id, or to the ids of its bytes, or to that of the unknown piece.
sealed class PieceLookup
{
    readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _vocabulary;
    readonly int[]? _bytes;

    public PieceLookup(Dictionary<string, int> vocabulary, string? unknown, bool fallsBackToBytes)
    {
        _vocabulary = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        int id;
        if (unknown is not null)
            Unknown = vocabulary.TryGetValue(unknown, out id) ? id
                : throw new FormatException($"its vocabulary has no '{unknown}', its unk_token.");
        if (!fallsBackToBytes)
            return;
        _bytes = new int[256];
        for (int b = 0; b < _bytes.Length; b++)
            _bytes[b] = vocabulary.TryGetValue(NameOf(b), out id) ? id : -1;
    }

    public int? Unknown { get; }

    public bool TryFind(ReadOnlySpan<char> piece, out int id) => _vocabulary.TryGetValue(piece, out id);

    public void Append(ReadOnlySpan<char> piece, List<int> ids)
    {
        if (_vocabulary.TryGetValue(piece, out int id))
            ids.Add(id);
        else if (!TryAppendBytes(piece, ids) && Unknown is { } unknown)
            ids.Add(unknown);
    }

    // Nothing is appended where a single byte has no token.
    public bool TryAppendBytes(ReadOnlySpan<char> piece, List<int> ids)
    {
        if (_bytes is null)
            return false;
        int count = ids.Count;
        Span<byte> utf8 = stackalloc byte[4];
        foreach (Rune rune in piece.EnumerateRunes())
            foreach (byte b in utf8[..rune.EncodeToUtf8(utf8)])
                if (_bytes[b] >= 0)
                    ids.Add(_bytes[b]);
                else
                {
                    ids.RemoveRange(count, ids.Count - count);
                    return false;
                }
        return true;
    }

    // The byte that a token such as <0x0A> stands for.
    public static bool TryParseByte(string token, out byte value)
    {
        value = 0;
        return token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
            && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }

    static string NameOf(int value) => $"<0x{value:X2}>";
}
