using MLNetMultimodal.Media.Audio;
using static MLNetMultimodal.Media.Tests.Audio.WavFiles;

namespace MLNetMultimodal.Media.Tests.Audio;

public sealed class WavFormatTests
{
    static readonly byte[] Mono16 = Chunk("fmt ", Format(tag: 1, channels: 1, bits: 16));
    static readonly byte[] Three = Chunk("data", Shorts(16384, -32768, 1));
    static readonly float[] ThreeSamples = [0.5f, -1, 1 / 32768f];

    [Fact]
    public void Every_width_is_scaled_to_one()
    {
        Assert.Equal([0, -1, 127 / 128f], Read(File(Chunk("fmt ", Format(1, 1, 8)), Chunk("data", [128, 0, 255]))).Samples);
        Assert.Equal(ThreeSamples, Read(File(Mono16, Three)).Samples);
        Assert.Equal([0.5f, -1, 1 / 8388608f],
            Read(File(Chunk("fmt ", Format(1, 1, 24)), Chunk("data", [0, 0, 64, 0, 0, 128, 1, 0, 0]))).Samples);
        Assert.Equal([0.5f, -1], Read(File(Chunk("fmt ", Format(1, 1, 32)), Chunk("data", [0, 0, 0, 64, 0, 0, 0, 128]))).Samples);
        Assert.Equal([0.25f, -3], Read(File(Chunk("fmt ", Format(3, 1, 32)),
            Chunk("data", [.. BitConverter.GetBytes(0.25f), .. BitConverter.GetBytes(-3f)]))).Samples);
        Assert.Equal([0.1f], Read(File(Chunk("fmt ", Format(3, 1, 64)), Chunk("data", BitConverter.GetBytes(0.1)))).Samples);
        Assert.Equal([0.5f], Read(File(Chunk("fmt ", Format(1, 1, 20)),
            Chunk("data", [0, 0, 64]))).Samples); // 20 bits in 3 bytes
    }

    // Values of the tables in ITU-T G.711: the ends and zero.
    [Fact]
    public void Companded_bytes_mean_what_their_tables_say()
    {
        Assert.Equal([-32124 / 32768f, 32124 / 32768f, 0, 0],
            Read(File(Chunk("fmt ", Format(7, 1, 8)), Chunk("data", [0x00, 0x80, 0x7F, 0xFF]))).Samples);
        Assert.Equal([-32256 / 32768f, 32256 / 32768f, -8 / 32768f, 8 / 32768f],
            Read(File(Chunk("fmt ", Format(6, 1, 8)), Chunk("data", [0x2A, 0xAA, 0x55, 0xD5]))).Samples);
    }

    [Fact]
    public void Channels_come_apart()
    {
        Waveform sound = Read(File(Chunk("fmt ", Format(1, 3, 16, rate: 192_000)),
            Chunk("data", Shorts(0, 8192, 16384, -8192, 0, 8192))));
        Assert.Equal((3, 2, 192_000), (sound.Channels, sound.Length, sound.SampleRateHz));
        Assert.Equal([0.25f, 0], sound.Channel(1));
        Assert.Equal([0.25f, 0], sound.ToMono().Samples);
    }

    [Fact]
    public void Eight_channels_of_24_bits_at_192_kHz_become_mono_at_16_kHz()
    {
        byte[] data = [.. Enumerable.Range(0, 19_200 * 8).SelectMany(_ => new byte[] { 0, 0, 32 })];
        Waveform sound = AudioDecoder.Default.Decode(File(Chunk("fmt ", Format(1, 8, 24, rate: 192_000)), Chunk("data", data)),
            16_000, 1);
        Assert.Equal((1600, 1, 16_000), (sound.Length, sound.Channels, sound.SampleRateHz));
        Assert.Equal(0.25, sound.Samples[800], 1e-3);
    }

    [Theory]
    [InlineData(1, 16)]
    [InlineData(3, 32)]
    public void Extensible_format_is_read_by_its_subformat(int tag, int bits)
    {
        byte[] data = bits == 16 ? Shorts(16384) : BitConverter.GetBytes(0.5f);
        Assert.Equal([0.5f], Read(File(Chunk("fmt ", Extensible(tag, 1, bits)), Chunk("data", data))).Samples);
    }

    [Fact]
    public void Other_chunks_before_between_and_after_are_left_out()
    {
        byte[] list = Chunk("LIST", [1, 2, 3]);
        Assert.Equal(ThreeSamples, Read(File(list, Mono16, Chunk("fact", [0, 0, 0, 0]), Three, list)).Samples);
        Assert.Equal(ThreeSamples, Read(File(Chunk("LIST", "odd"u8.ToArray(), filled: false), Mono16, Three)).Samples);
        Assert.Equal(ThreeSamples, Read([.. File(Mono16, Three), .. "waste"u8]).Samples);
    }

    [Theory]
    [InlineData("RF64")]
    [InlineData("BW64")]
    public void Length_of_64_bits_is_read(string kind)
    {
        byte[] lengths = [.. BitConverter.GetBytes(0L), .. BitConverter.GetBytes(6L), .. BitConverter.GetBytes(3L), 0, 0, 0, 0];
        byte[] data = [.. Chunk("data", Shorts(16384, -32768, 1), claimed: uint.MaxValue), .. Chunk("LIST", [1, 2, 3, 4])];
        Assert.Equal(ThreeSamples, Read(File(kind, uint.MaxValue, Chunk("ds64", lengths), Mono16, data)).Samples);
    }

    [Theory]
    [InlineData(0u, 0u)]
    [InlineData(uint.MaxValue, uint.MaxValue)]
    [InlineData(0x7FFF_F024u, 0x7FFF_F000u)]
    [InlineData(0x8000_0024u, 0x8000_0000u)]
    [InlineData(36u, 0u)]
    public void Streamed_file_without_a_length_lasts_until_its_end(uint fileBytes, uint dataBytes)
    {
        byte[] file = File("RIFF", fileBytes, Mono16, Chunk("data", Shorts(16384, -32768, 1), claimed: dataBytes));
        Assert.Equal(ThreeSamples, Read(file).Samples);
        using AudioReader reader = AudioDecoder.Default.Open(new OneWayStream(file));
        Assert.Equal(ThreeSamples, reader.ReadWaveform().Samples);
    }

    [Fact]
    public void Empty_sound_is_not_taken_for_what_follows_it()
    {
        Assert.Contains("no samples", Refused(File(Mono16, Chunk("data", []), Chunk("LIST", [1, 2, 3, 4]))),
            StringComparison.Ordinal);
    }

    [Fact]
    public void Header_that_claims_more_than_there_is_is_refused()
    {
        byte[] file = File(Mono16, Chunk("data", Shorts(1, 2, 3), claimed: 600));
        Assert.Contains("claims 600 bytes", Refused(file), StringComparison.Ordinal);
        using AudioReader reader = AudioDecoder.Default.Open(new OneWayStream(file), "pipe.wav");
        Assert.Contains("'pipe.wav' is cut off", Assert.Throws<InvalidDataException>(() => reader.ReadWaveform()).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Header_that_claims_less_than_there_is_is_believed()
    {
        Assert.Equal(ThreeSamples[..2], Read(File(Mono16, Chunk("data", Shorts(16384, -32768, 1), claimed: 4))).Samples);
    }

    [Fact]
    public void Sample_that_is_no_number_is_named()
    {
        byte[] data = [.. new[] { 1f, 0, 0, float.NaN }.SelectMany(BitConverter.GetBytes)];
        Assert.Contains("sample 1 of channel 1 is NaN", Refused(File(Chunk("fmt ", Format(3, 2, 32)), Chunk("data", data))),
            StringComparison.Ordinal);
        Assert.Contains("sample 0 of channel 0",
            Refused(File(Chunk("fmt ", Format(3, 1, 64)), Chunk("data", BitConverter.GetBytes(1e300)))),
            StringComparison.Ordinal);
    }

    [Fact]
    public void Single_sample_is_a_sound()
    {
        Waveform sound = AudioDecoder.Default.Decode(File(Mono16, Chunk("data", Shorts(16384))), sampleRateHz: 16_000);
        Assert.Equal(2, sound.Length);
        Assert.All(new[] { SpectrogramPreprocessing.Whisper(), SpectrogramPreprocessing.Clap() }, preprocessing =>
        {
            float[] result = new float[preprocessing.Frames * preprocessing.LogMel.MelBins];
            preprocessing.Apply(sound.Resample(preprocessing.LogMel.SampleRateHz), result);
            Assert.True(result.Distinct().Count() > 1, "a click is not silence");
        });
        Assert.Contains("400 samples", Assert.Throws<ArgumentException>(() =>
            SpectrogramPreprocessing.Ast().Apply(sound, new float[1024 * 128])).Message, StringComparison.Ordinal);
    }

    public static TheoryData<string, byte[]> Damaged() => new()
    {
        { "no 'data'", File(Mono16) },
        { "before their format", File(Three, Mono16) },
        { "chunk 'fmt '", File(Chunk("fmt ", [1, 0]), Three) },
        { "chunk 'fmt '", File(Chunk("fmt ", Format(1, 1, 16), claimed: uint.MaxValue)) },
        { "chunk 'LIST'", File(Chunk("LIST", [1], claimed: 1000), Mono16, Three) },
        { "0 channels", File(Chunk("fmt ", Format(1, 0, 16)), Three) },
        { "65535 channels", File(Chunk("fmt ", Format(1, 65535, 8, momentBytes: 65535)), Chunk("data", new byte[65535])) },
        { "0 samples per second", File(Chunk("fmt ", Format(1, 1, 16, rate: 0)), Three) },
        { "samples per second", File(Chunk("fmt ", Format(1, 1, 16, rate: -1)), Three) },
        { "7 bytes with 16 bits", File(Chunk("fmt ", Format(1, 2, 16, momentBytes: 7)), Three) },
        { "0 bytes with 16 bits", File(Chunk("fmt ", Format(1, 1, 16, momentBytes: 0)), Three) },
        { "16 bits per sample (format 0x0003)", File(Chunk("fmt ", Format(3, 1, 16)), Three) },
    };

    [Theory, MemberData(nameof(Damaged))]
    public void Damaged_header_is_refused_and_named(string reason, byte[] file) =>
        Assert.Contains(reason, Refused(file), StringComparison.Ordinal);
}
