using System.Buffers.Binary;
using System.Text;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

// WAV files put together by hand.
static class WavFiles
{
    public static byte[] Chunk(string id, byte[] content, uint? claimed = null, bool filled = true) =>
        [.. Encoding.ASCII.GetBytes(id), .. UInt32(claimed ?? (uint)content.Length), .. content,
            .. filled && content.Length % 2 != 0 ? [0] : Array.Empty<byte>()];

    public static byte[] Format(int tag, int channels, int bits, int rate = 8000, int? momentBytes = null)
    {
        byte[] format = new byte[16];
        BinaryPrimitives.WriteUInt16LittleEndian(format, (ushort)tag);
        BinaryPrimitives.WriteUInt16LittleEndian(format.AsSpan(2), (ushort)channels);
        BinaryPrimitives.WriteInt32LittleEndian(format.AsSpan(4), rate);
        BinaryPrimitives.WriteUInt16LittleEndian(format.AsSpan(12), (ushort)(momentBytes ?? channels * ((bits + 7) / 8)));
        BinaryPrimitives.WriteUInt16LittleEndian(format.AsSpan(14), (ushort)bits);
        return format;
    }

    // The tag inside an identifier, behind 22 bytes more.
    public static byte[] Extensible(int tag, int channels, int bits) =>
        [.. Format(0xFFFE, channels, bits), 22, 0, (byte)bits, 0, 0, 0, 0, 0, (byte)tag, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA,
            0,
            0x38, 0x9B, 0x71];

    public static byte[] File(params byte[][] chunks) => File("RIFF", null, chunks);

    public static byte[] File(string kind, uint? claimed, params byte[][] chunks)
    {
        byte[] body = [.. chunks.SelectMany(c => c)];
        return [.. Encoding.ASCII.GetBytes(kind), .. UInt32(claimed ?? (uint)(4 + body.Length)), .. "WAVE"u8, .. body];
    }

    public static byte[] Shorts(params short[] samples) => [.. samples.SelectMany(s => new[] { (byte)s, (byte)(s >> 8) })];

    public static byte[] UInt32(uint value) => [(byte)value, (byte)(value >> 8), (byte)(value >> 16), (byte)(value >> 24)];

    public static Waveform Read(byte[] file) => AudioDecoder.Default.Decode(file, name: "case.wav");

    public static string Refused(byte[] file)
    {
        string message = Assert.Throws<InvalidDataException>(() => Read(file)).Message;
        Assert.Contains("'case.wav'", message, StringComparison.Ordinal);
        return message;
    }

    public static float[] Noise(int length, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => (float)(2 * random.NextDouble() - 1))];
    }
}

// A stream that goes one way.
abstract class ForwardStream : Stream
{
    public override bool CanRead => true;
    public override bool CanSeek => false;
    public override bool CanWrite => false;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public abstract override int Read(Span<byte> buffer);
    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));
    public override void Flush() { }
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}

// It gives as much as it likes at a time.
sealed class OneWayStream(byte[] bytes) : ForwardStream
{
    int _at;

    public override int Read(Span<byte> buffer)
    {
        int got = Math.Min(Math.Min(buffer.Length, 1 + _at % 7), bytes.Length - _at);
        bytes.AsSpan(_at, got).CopyTo(buffer);
        _at += got;
        return got;
    }
}
