using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace MLNetMultimodal.Media.Text;

// SentencePiece's compiled normalisation (Kudo and Richardson 2018, arXiv:1808.06226, section 3.3): a double-array trie of UTF-8
// sequences, each with the place of its replacement in a list of texts that end in zero. As Hugging Face's Rust code applies it: a
// whole grapheme of less than 6 bytes is looked up first, then its characters one by one; of several entries the shortest counts.
sealed class PrecompiledCharsMap
{
    const int MaxGraphemeBytes = 5, MaxReplacementBytes = 256;

    readonly uint[] _trie;
    readonly byte[] _replacements;
    readonly SearchValues<char> _plain; // ASCII that stays as it is; a carriage return may be half a grapheme

    // A little-endian count of bytes, the trie of that size, the replacements.
    public PrecompiledCharsMap(ReadOnlySpan<byte> map)
    {
        uint size = map.Length < 8 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(map);
        if (size == 0 || size % 4 != 0 || size > map.Length - 4)
            throw new FormatException("its precompiled_charsmap is cut off.");
        _trie = new uint[size / 4];
        for (int i = 0; i < _trie.Length; i++)
            _trie[i] = BinaryPrimitives.ReadUInt32LittleEndian(map[(4 + i * 4)..]);
        _replacements = map[(4 + (int)size)..].ToArray();
        if (_replacements.Length == 0 || _replacements[^1] != 0)
            throw new FormatException("the replacements of its precompiled_charsmap do not end in zero.");
        for (int start = 0, end; start < _replacements.Length; start = end + 1)
            if ((end = _replacements.AsSpan(start).IndexOf((byte)0) + start) - start > MaxReplacementBytes)
                throw new FormatException(
                    $"its precompiled_charsmap has a replacement of {end - start} bytes; {MaxReplacementBytes} are allowed.");
        _plain = SearchValues.Create(
            [.. Enumerable.Range(0, 128).Where(c => c != '\r' && Find([(byte)c]) is null).Select(c => (char)c)]);
    }

    public string Normalize(string text)
    {
        if (!text.AsSpan().ContainsAnyExcept(_plain))
            return text;
        var result = new StringBuilder(text.Length);
        Span<byte> utf8 = stackalloc byte[MaxGraphemeBytes];
        for (int start = 0, length; start < text.Length; start += length)
        {
            length = PlainLength(text.AsSpan(start));
            if (length > 0)
            {
                result.Append(text, start, length);
                continue;
            }
            length = StringInfo.GetNextTextElementLength(text, start);
            ReadOnlySpan<char> grapheme = text.AsSpan(start, length);
            if (Encoding.UTF8.TryGetBytes(grapheme, utf8, out int written) && Find(utf8[..written]) is { } whole)
                result.Append(whole);
            else
                foreach (Rune rune in grapheme.EnumerateRunes())
                    if (Find(utf8[..rune.EncodeToUtf8(utf8)]) is { } part)
                        result.Append(part);
                    else
                        result.Append(rune);
        }
        return result.ToString();
    }

    // The last of plain characters belongs to the grapheme of what follows it, unless that is ASCII too.
    int PlainLength(ReadOnlySpan<char> text)
    {
        int length = text.IndexOfAnyExcept(_plain);
        return length < 0 ? text.Length : length > 0 && !char.IsAscii(text[length]) ? length - 1 : length;
    }

    // A unit holds the byte that leads to it (or a value), whether a value follows, and how far away its children are; a place
    // outside the array is no match, so that a damaged trie finds too little and never reads elsewhere.
    string? Find(ReadOnlySpan<byte> key)
    {
        uint unit = _trie[0], place = Offset(unit);
        foreach (byte b in key)
        {
            place ^= b;
            if (b == 0 || place >= _trie.Length || ((unit = _trie[place]) & 0x800000FFu) != b)
                return null;
            place ^= Offset(unit);
            if ((unit & 0x100u) == 0)
                continue;
            if (place >= _trie.Length || (_trie[place] & 0x7FFFFFFFu) is var value && value >= _replacements.Length)
                return null;
            ReadOnlySpan<byte> rest = _replacements.AsSpan((int)value);
            return Encoding.UTF8.GetString(rest[..rest.IndexOf((byte)0)]);
        }
        return null;
    }

    static uint Offset(uint unit) => (unit >> 10) << (int)((unit & 0x200u) >> 6);
}
