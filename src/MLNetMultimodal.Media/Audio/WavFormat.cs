using System.Buffers.Binary;

namespace MLNetMultimodal.Media.Audio;

// RIFF/WAVE and its 64-bit form (EBU Tech 3306), up to where the samples begin.
sealed class WavFormat
{
    const int Pcm = 1, Float = 3, ALaw = 6, MuLaw = 7, Extensible = 0xFFFE;

    // Extensible formats carry their tag in an identifier that ends so.
    static ReadOnlySpan<byte> SubformatEnd => [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

    readonly ChunkStream _chunks;
    readonly string _name;
    readonly bool _is64;
    readonly uint _riffBytes; // what the file claims to have after its first 8 bytes
    long? _dataBytes64;

    WavFormat(ChunkStream chunks, ReadOnlySpan<byte> start, string name)
    {
        (_chunks, _name, _is64) = (chunks, name, !start.StartsWith("RIFF"u8));
        _riffBytes = BinaryPrimitives.ReadUInt32LittleEndian(start[4..]);
    }

    public static bool Knows(ReadOnlySpan<byte> start) =>
        start is [.., _, _, _, _, (byte)'W', (byte)'A', (byte)'V', (byte)'E'] && start.Length == ChunkStream.StartLength
        && (start.StartsWith("RIFF"u8) || start.StartsWith("RF64"u8) || start.StartsWith("BW64"u8));

    // Null, and why, where the samples are packed by a codec that is not read here.
    public static AudioReader? Open(Stream stream, ReadOnlySpan<byte> start, string name, bool leaveOpen,
        CancellationToken cancellation, out string? codec)
    {
        var format = new WavFormat(new(stream, name, "WAV", bigEndian: false), start, name);
        return format.Open(leaveOpen, cancellation, out codec);
    }

    PcmAudioReader? Open(bool leaveOpen, CancellationToken cancellation, out string? codec)
    {
        byte[]? format = null;
        codec = null;
        while (_chunks.Next(cancellation) is var (id, size))
        {
            if (id == "fmt ")
                format = _chunks.ReadWhole(id, size, atLeast: 16);
            else if (id == "ds64" && _is64)
                _dataBytes64 = BinaryPrimitives.ReadInt64LittleEndian(_chunks.ReadWhole(id, size, atLeast: 16).AsSpan(8));
            else if (id == "data")
                return format is null
                    ? throw new InvalidDataException($"'{_name}' is a damaged WAV file: its samples come before their format.")
                    : Samples(format, size, leaveOpen, cancellation, out codec);
            else
                _chunks.Skip(id, size);
        }
        throw new InvalidDataException($"'{_name}' is a WAV file without samples: it has no 'data' chunk.");
    }

    PcmAudioReader? Samples(byte[] format, long size, bool leaveOpen, CancellationToken cancellation, out string? codec)
    {
        int tag = BinaryPrimitives.ReadUInt16LittleEndian(format),
            channels = BinaryPrimitives.ReadUInt16LittleEndian(format.AsSpan(2)),
            momentBytes = BinaryPrimitives.ReadUInt16LittleEndian(format.AsSpan(12)),
            bits = BinaryPrimitives.ReadUInt16LittleEndian(format.AsSpan(14));
        uint rate = BinaryPrimitives.ReadUInt32LittleEndian(format.AsSpan(4));
        if (tag == Extensible && format.Length >= 40 && format.AsSpan(26, 14).SequenceEqual(SubformatEnd))
            tag = BinaryPrimitives.ReadUInt16LittleEndian(format.AsSpan(24));
        codec = tag is Pcm or Float or ALaw or MuLaw ? null : $"0x{tag:X4}";
        if (codec is not null)
            return null;
        int bytes = channels == 0 ? 0 : momentBytes / channels;
        PcmEncoding? encoding = (tag, bytes) switch
        {
            _ when channels == 0 || momentBytes % channels != 0 || bits > 8 * bytes || bits <= 8 * (bytes - 1) => null,
            (Pcm, 1) => new(SampleKind.Unsigned8, 1),
            (Pcm, >= 2 and <= 4) => new(SampleKind.Signed, bytes),
            (Float, 4 or 8) when bits == 8 * bytes => new(SampleKind.Float, bytes),
            (ALaw, 1) => new(SampleKind.ALaw, 1),
            (MuLaw, 1) => new(SampleKind.MuLaw, 1),
            _ => null,
        };
        if (encoding is null)
            throw new InvalidDataException($"'{_name}' is a damaged WAV file: a moment of {channels} channels cannot have " +
                $"{momentBytes} bytes with {bits} bits per sample (format 0x{tag:X4}).");
        return new(_chunks.Stream, _name, (int)Math.Min(rate, int.MaxValue), channels, encoding.Value,
            DataBytes(size, momentBytes), leaveOpen, cancellation);
    }

    // Null where the writer could not go back to fill in the length: then the samples last until the end.
    long? DataBytes(long size, int momentBytes)
    {
        if (_is64 && size == uint.MaxValue && _dataBytes64 is { } size64)
            size = size64;
        long? rest = _chunks.Remaining;
        bool isUnknown = size == 0 ? IsUnknown(_riffBytes) || _riffBytes + 8L <= _chunks.Consumed : IsUnknown(size);
        if (isUnknown && (size <= 0 || rest is null || rest < size))
            return null;
        if (size < 0 || rest < size / momentBytes * momentBytes)
            throw new InvalidDataException($"'{_name}' is cut off, or its header lies: it claims {size} bytes of sound, " +
                $"but {rest} follow.");
        return size;
    }

    // What writers to a pipe put there: nothing, or about the most that fits.
    static bool IsUnknown(long size) =>
        size is 0 or -1 or (>= 0x7FFF_F000 and <= 0x8000_0024) or (>= 0xFFFF_FF00 and <= uint.MaxValue);
}
