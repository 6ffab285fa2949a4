using FsCheck;
using FsCheck.Fluent;
using FsCheck.Xunit;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

[Properties(Replay = "20261124,7")] // a fixed seed
public sealed class WavFormatProperties
{
    // A sound file in which anything may be wrong: chunks, lengths, formats.
    static readonly Gen<byte[]> Files =
        from kind in Gen.Elements("RIFF", "RIFF", "RF64", "BW64")
        from claimed in Gen.Choose(-1, 300)
        from before in Gen.ListOf(Noise).Resize(2)
        from format in Gen.Frequency((9, ChunkOf("fmt ", Formats)), (1, Noise))
        from between in Gen.ListOf(Noise).Resize(2)
        from data in Gen.Frequency((9, ChunkOf("data", Bytes)), (1, Noise))
        from after in Gen.ListOf(Noise).Resize(2)
        from cut in Gen.Frequency((4, Gen.Constant(0)), (1, Gen.Choose(1, 40)))
        let file = WavFiles.File(kind, (uint)claimed, [.. before, format, .. between, data, .. after])
        select file[..Math.Max(12, file.Length - cut)];

    static Gen<byte[]> Bytes => Gen.ArrayOf(Gen.Choose(0, 255).Select(b => (byte)b));

    static Gen<byte[]> Noise =>
        from id in Gen.Elements("LIST", "LIST", "LIST", "fact", "fact", "fmt ", "data", "ds64", "\0\0\0\0")
        from chunk in ChunkOf(id, Bytes)
        select chunk;

    static Gen<byte[]> ChunkOf(string id, Gen<byte[]> contents) =>
        from content in contents
        from claimed in Gen.Frequency((18, Gen.Constant(content.Length)), (2, Gen.Choose(-1, 100)), (1, Gen.Constant(-2)))
        from filled in Gen.Elements(true, false)
        select WavFiles.Chunk(id, content, (uint)claimed, filled);

    static Gen<byte[]> Formats =>
        from encoding in Gen.Elements(
            (1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64), (6, 8), (7, 8), (1, 12), (3, 16), (2, 4), (1, 65535))
        from channels in Gen.Frequency((8, Gen.Choose(1, 3)), (1, Gen.Elements(0, 65535)))
        from rate in Gen.Frequency((8, Gen.Constant(8000)), (1, Gen.Elements(0, 1, int.MaxValue, -1)))
        from extensible in Gen.Elements(true, false)
        select extensible ? WavFiles.Extensible(encoding.Item1, channels, encoding.Item2)
            : WavFiles.Format(encoding.Item1, channels, encoding.Item2, rate);

    static Gen<(int channels, int rate, int moments)> Shapes =>
        from channels in Gen.Choose(1, 9)
        from rate in Gen.Choose(1, AudioReader.MaxSampleRateHz)
        from moments in Gen.Choose(1, 9000)
        select (channels, rate, moments);

    static readonly AudioDecoder Own = new() { Openers = [] };

    [Property(MaxTest = 3000)]
    public Property Any_file_gives_finite_samples_or_a_named_error_however_it_comes() => Prop.ForAll(Arb.From(Files), file =>
    {
        float[]? whole = Samples(() => Own.Open(file, "any.wav")),
            piecewise = Samples(() => Own.Open(new OneWayStream(file), "any.wav"));
        Assert.Equal(whole, piecewise);
        Assert.True(whole is null || whole.Length <= file.Length, $"{whole?.Length} samples out of {file.Length} bytes");
    });

    // Null where the file is refused.
    static float[]? Samples(Func<AudioReader> open)
    {
        try
        {
            using AudioReader reader = open();
            return reader.ReadWaveform().Samples.ToArray();
        }
        catch (InvalidDataException e)
        {
            Assert.Contains("'any.wav'", e.Message, StringComparison.Ordinal);
            return null;
        }
    }

    [Property]
    public Property What_is_written_is_read() => Prop.ForAll(
        Arb.From(Shapes),
        shape =>
        {
            var sound = new Waveform(WavFiles.Noise(shape.moments * shape.channels, seed: shape.rate), shape.rate,
                shape.channels);
            foreach ((WavEncoding encoding, double tolerance) in new[] { (WavEncoding.Float32, 0),
                (WavEncoding.Pcm16, 1 / 32768.0) })
            {
                var stream = new MemoryStream();
                WavWriter.Write(sound, stream, encoding);
                Waveform read = Own.Decode(stream.ToArray());
                Assert.Equal((sound.Channels, sound.SampleRateHz), (read.Channels, read.SampleRateHz));
                double max = Difference.Max(sound.Samples, read.Samples);
                Assert.True(max <= tolerance, $"max |written - read| = {max:g3}");
            }
        });
}
