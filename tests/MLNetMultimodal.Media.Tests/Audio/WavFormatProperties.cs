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
        from kind in Gen.Elements("RIFF", "RF64", "BW64")
        from claimed in Gen.Choose(-1, 300)
        from chunks in Gen.ListOf(Chunks)
        from cut in Gen.Choose(0, 40)
        let file = WavFiles.File(kind, (uint)claimed, [.. chunks])
        select file[..Math.Max(12, file.Length - Math.Max(0, cut - 20))];

    static Gen<byte[]> Chunks =>
        from id in Gen.Elements("fmt ", "data", "ds64", "LIST", "fact", "\0\0\0\0")
        from content in id == "fmt " ? Formats : Gen.ArrayOf(Gen.Choose(0, 255).Select(b => (byte)b))
        from claimed in Gen.Frequency((8, Gen.Constant(content.Length)), (1, Gen.Choose(-1, 100)),
            (1, Gen.Constant(int.MaxValue)))
        from filled in Gen.Elements(true, false)
        select WavFiles.Chunk(id, content, (uint)claimed, filled);

    static Gen<byte[]> Formats =>
        from tag in Gen.Elements(1, 3, 6, 7, 0xFFFE)
        from channels in Gen.Frequency((8, Gen.Choose(0, 3)), (1, Gen.Constant(65535)))
        from bits in Gen.Elements(0, 1, 8, 16, 24, 32, 64, 65535)
        from rate in Gen.Elements(0, 1, 8000, int.MaxValue, -1)
        from extensible in Gen.Elements(true, false)
        select extensible ? WavFiles.Extensible(tag, channels, bits) : WavFiles.Format(tag, channels, bits, rate);

    static Gen<(int channels, int rate, int moments)> Shapes =>
        from channels in Gen.Choose(1, 9)
        from rate in Gen.Choose(1, AudioReader.MaxSampleRateHz)
        from moments in Gen.Choose(1, 9000)
        select (channels, rate, moments);

    static readonly AudioDecoder Own = new() { Openers = [] };

    [Property(MaxTest = 3000)]
    public Property Any_file_gives_finite_samples_or_a_named_error() => Prop.ForAll(Arb.From(Files), file =>
    {
        foreach (Func<AudioReader> open in new Func<AudioReader>[]
            { () => Own.Open(file, "any.wav"), () => Own.Open(new OneWayStream(file), "any.wav") })
            try
            {
                using AudioReader reader = open();
                Waveform sound = reader.ReadWaveform();
                Assert.True(sound.Samples.Length <= file.Length, $"{sound.Samples.Length} samples out of {file.Length} bytes");
            }
            catch (InvalidDataException e)
            {
                Assert.Contains("'any.wav'", e.Message, StringComparison.Ordinal);
            }
    });

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
