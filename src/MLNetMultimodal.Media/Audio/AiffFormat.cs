using System.Buffers.Binary;
using System.Text;

namespace MLNetMultimodal.Media.Audio;

// AIFF and AIFF-C (Apple 1989, 1991), up to where the samples begin.
static class AiffFormat
{
    public static bool Knows(ReadOnlySpan<byte> start) => start.Length == ChunkStream.StartLength && start.StartsWith("FORM"u8)
        && (start.EndsWith("AIFF"u8) || start.EndsWith("AIFC"u8));

    // Null, and why, where the samples are packed by a codec that is not read here.
    public static AudioReader? Open(Stream stream, string name, bool leaveOpen, CancellationToken cancellation, out string? codec)
    {
        var chunks = new ChunkStream(stream, name, "AIFF", bigEndian: true);
        byte[]? common = null;
        (long Position, long Size)? samples = null;
        codec = null;
        while (chunks.Next(cancellation) is var (id, size))
        {
            if (id == "COMM")
                common = chunks.ReadWhole(id, size, atLeast: 18);
            else if (id == "SSND" && (common is not null || !stream.CanSeek))
                return Samples(chunks, name, common, size, leaveOpen, cancellation, out codec);
            else
            {
                if (id == "SSND")
                    samples = (stream.Position, size);
                chunks.Skip(id, size);
            }
        }
        if (samples is not { } found)
            throw new InvalidDataException($"'{name}' is an AIFF file without samples: it has no 'SSND' chunk.");
        stream.Position = found.Position;
        return Samples(chunks, name, common, found.Size, leaveOpen, cancellation, out codec);
    }

    static PcmAudioReader? Samples(ChunkStream chunks, string name, byte[]? common, long size, bool leaveOpen,
        CancellationToken cancellation, out string? codec)
    {
        if (common is null)
            throw new InvalidDataException($"'{name}' is a damaged AIFF file: the format of its samples is missing, " +
                "or comes after them.");
        int channels = BinaryPrimitives.ReadInt16BigEndian(common), bits = BinaryPrimitives.ReadInt16BigEndian(common.AsSpan(6));
        uint moments = BinaryPrimitives.ReadUInt32BigEndian(common.AsSpan(2));
        string packing = common.Length >= 22 ? Encoding.Latin1.GetString(common, 18, 4) : "NONE";
        int bytes = (bits + 7) / 8;
        PcmEncoding? encoding = packing switch
        {
            "NONE" or "twos" when bytes is >= 1 and <= 4 => new(SampleKind.Signed, bytes, BigEndian: true),
            "sowt" when bytes is >= 1 and <= 4 => new(SampleKind.Signed, bytes),
            "raw " when bytes == 1 => new(SampleKind.Unsigned8, 1),
            "fl32" or "FL32" => new(SampleKind.Float, 4, BigEndian: true),
            "fl64" or "FL64" => new(SampleKind.Float, 8, BigEndian: true),
            "alaw" or "ALAW" => new(SampleKind.ALaw, 1),
            "ulaw" or "ULAW" => new(SampleKind.MuLaw, 1),
            _ => null,
        };
        codec = encoding is null ? $"'{packing}' of {bits} bits" : null;
        if (encoding is not { } known)
            return null;
        byte[] places = new byte[8]; // where the samples begin, and the size of their blocks
        if (chunks.Stream.ReadAtLeast(places, 8, throwOnEndOfStream: false) < 8)
            throw new InvalidDataException($"'{name}' is a damaged AIFF file: it ends inside its chunk 'SSND'.");
        uint offset = BinaryPrimitives.ReadUInt32BigEndian(places);
        long claimed = (long)moments * Math.Max(0, channels) * known.Bytes;
        if (claimed > size - 8 - offset || claimed > (chunks.Remaining ?? long.MaxValue) - offset)
            throw new InvalidDataException($"'{name}' is cut off, or its header lies: it claims {claimed} bytes of sound, " +
                $"but {Math.Max(0, Math.Min(size - 8, chunks.Remaining ?? size) - offset)} follow.");
        chunks.Skip("SSND", offset);
        return new(chunks.Stream, name, Rate(common.AsSpan(8, 10)), channels, known, claimed, leaveOpen, cancellation);
    }

    // An 80-bit floating-point number: sign, 15 bits of exponent, 64 bits of mantissa.
    static int Rate(ReadOnlySpan<byte> number)
    {
        int exponent = BinaryPrimitives.ReadInt16BigEndian(number) - 16383 - 63;
        double rate = Math.ScaleB(BinaryPrimitives.ReadUInt64BigEndian(number[2..]), exponent);
        return rate is >= 0.5 and < int.MaxValue ? (int)Math.Round(rate) : 0;
    }
}
