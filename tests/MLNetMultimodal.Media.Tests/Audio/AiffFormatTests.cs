using System.Text;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

public sealed class AiffFormatTests
{
    // 44100 as an 80-bit number.
    static readonly byte[] Rate = [0x40, 0x0E, 0xAC, 0x44, 0, 0, 0, 0, 0, 0];

    static byte[] Chunk(string id, params byte[] content) =>
        [.. Encoding.ASCII.GetBytes(id), .. BigEndian(content.Length), .. content,
        .. new byte[content.Length % 2]];

    static byte[] BigEndian(int value) => [(byte)(value >> 24), (byte)(value >> 16), (byte)(value >> 8), (byte)value];

    static byte[] Common(int channels, int moments, int bits, string? packing = null) =>
        Chunk("COMM", [0, (byte)channels, .. BigEndian(moments),
        0, (byte)bits, .. Rate, .. packing is null ? [] : Encoding.ASCII.GetBytes(packing + "\0\0")]);

    static byte[] Samples(params byte[] samples) => Chunk("SSND", [0, 0, 0, 0, 0, 0, 0, 0, .. samples]);

    static byte[] File(string kind, params byte[][] chunks)
    {
        byte[] body = [.. chunks.SelectMany(c => c)];
        return [.. "FORM"u8, .. BigEndian(4 + body.Length), .. Encoding.ASCII.GetBytes(kind), .. body];
    }

    [Fact]
    public void Every_packing_is_scaled_to_one()
    {
        foreach ((string? packing, int bits, byte[] samples) in new (string?, int, byte[])[]
        {
            (null, 8, [64, 128]), (null, 16, [64, 0, 128, 0]), (null, 24, [64, 0, 0, 128, 0, 0]),
                (null, 32, [64, 0, 0, 0, 128, 0, 0, 0]),
            ("NONE", 16, [64, 0, 128, 0]), ("twos", 16, [64, 0, 128, 0]), ("sowt", 16, [0, 64, 0, 128]), ("raw ", 8, [192, 0]),
            ("fl32", 32, [0x3F, 0, 0, 0, 0xBF, 0x80, 0, 0]),
                ("fl64", 64, [0x3F, 0xE0, 0, 0, 0, 0, 0, 0, 0xBF, 0xF0, 0, 0, 0, 0, 0, 0]),
        })
        {
            byte[] file = File(packing is null ? "AIFF" : "AIFC", Common(1, 2, bits, packing), Samples(samples));
            Waveform sound = AudioDecoder.Default.Decode(file);
            Assert.Equal(44_100, sound.SampleRateHz);
            Assert.Equal([0.5f, -1], sound.Samples);
        }
    }

    [Fact]
    public void Format_may_come_after_the_samples()
    {
        byte[] file = File("AIFF", Chunk("NAME", 65), Samples(64, 0, 128, 0), Common(2, 1, 16));
        Waveform sound = AudioDecoder.Default.Decode(file);
        Assert.Equal((2, 1), (sound.Channels, sound.Length));
        Assert.Throws<InvalidDataException>(() => AudioDecoder.Default.Open(new OneWayStream(file), "late.aiff"));
    }

    [Fact]
    public void Header_that_claims_more_than_there_is_is_refused()
    {
        foreach (byte[] file in new[] { File("AIFF", Common(1, 3, 16), Samples(1, 2, 3, 4)),
            File("AIFF", Common(1, 2, 16), Samples(1, 2, 3, 4))[..^2],
            File("AIFF", Common(1, -1, 16), Samples(1, 2, 3, 4)), File("AIFF", Common(1, 2, 16)), File("AIFF", Samples(1, 2)) })
            Assert.Contains("'lies.aiff'", Assert.Throws<InvalidDataException>(() =>
                AudioDecoder.Default.Decode(file, name: "lies.aiff")).Message,
                StringComparison.Ordinal);
    }
}
