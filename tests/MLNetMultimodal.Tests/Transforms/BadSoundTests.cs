using System.Buffers.Binary;
using System.Text;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Tests.Audio;

namespace MLNetMultimodal.Tests.Transforms;

/// <summary>Sounds that are broken, odd or huge, through LoadAudio and MultimodalEmbed, as files and as bytes: a clear error that names
/// row and file, or the right result.</summary>
public sealed class BadSoundTests(TinySound tiny) : IClassFixture<TinySound>, IDisposable
{
    const int HeaderBytes = 44;

    readonly MLContext _ml = new(1);
    readonly TestMedia _media = new();

    public void Dispose() => _media.Dispose();

    string Write(string name, byte[] content)
    {
        File.WriteAllBytes(_media.PathOf(name), content);
        return _media.PathOf(name);
    }

    IDataView Data(string path) => _ml.Data.LoadFromEnumerable([new SoundRow { Path = path, Bytes = File.ReadAllBytes(path) }]);

    float[] Samples(IDataView data, string column = "Path", int? fixedSamples = null) =>
        _ml.Transforms.LoadAudio(new() { Audio = column, SampleRateHz = 16_000, FixedSamples = fixedSamples })
            .Fit(data).Transform(data).GetColumn<float[]>("Samples").Single();

    float[] Embedding(IDataView data, string column = "Path") =>
        _ml.Transforms.MultimodalEmbed(new() { Audio = column, LoadedModel = tiny.Model }).Fit(data).Transform(data)
            .GetColumn<float[]>("Embedding").Single();

    void Refused(string path, string reason)
    {
        IDataView data = Data(path);
        foreach (string column in (string[])["Path", "Bytes"])
            foreach (Action read in (Action[])[() => Samples(data, column), () => Embedding(data, column)])
            {
                string message = Assert.Throws<InvalidDataException>(read).Message;
                Assert.Contains($"row 0, column '{column}': the sound{(column == "Path" ? $" '{path}'" : "")}", message);
                Assert.Contains(column == "Path" || File.ReadAllBytes(path).Length > 0 ? reason : "there is none", message);
            }
    }

    static byte[] Wav(Waveform sound, WavEncoding encoding = WavEncoding.Pcm16)
    {
        using var stream = new MemoryStream();
        WavWriter.Write(sound, stream, encoding);
        return stream.ToArray();
    }

    static Waveform Tone(int samples, int rate = 8000, int channels = 1) => new([.. Enumerable.Range(0, channels * samples)
        .Select(i => 0.5f * MathF.Sin(i % samples * 440 * MathF.Tau / rate))], rate, channels);

    [Fact]
    public void Empty_file() => Refused(Write("empty.wav", []), "is empty");

    [Fact]
    public void Header_alone() => Refused(Write("header.wav", Wav(Tone(100))[..HeaderBytes]), "cut off");

    [Fact]
    public void Header_that_claims_more_sound_than_there_is()
    {
        byte[] wav = Wav(Tone(4000));
        Refused(Write("cut.wav", wav[..^2000]), "claims");
        BinaryPrimitives.WriteUInt32LittleEndian(wav.AsSpan(HeaderBytes - 4), 0x1000_0000);
        Refused(Write("lies.wav", wav), "claims");
    }

    [Theory, InlineData(22, 0), InlineData(24, 0), InlineData(24, int.MaxValue), InlineData(34, 7)] // channels, rate, rate, bits
    public void Header_with_impossible_numbers(int at, int value)
    {
        byte[] wav = Wav(Tone(4000));
        if (at == 24) BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(at), value);
        else BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(at), (short)value);
        Refused(Write("impossible.wav", wav), "'");
    }

    [Theory, InlineData(float.NaN), InlineData(float.PositiveInfinity)]
    public void Sample_that_is_no_number(float sample)
    {
        byte[] wav = Wav(Tone(4000), WavEncoding.Float32);
        BinaryPrimitives.WriteSingleLittleEndian(wav.AsSpan(wav.Length - 4000), sample);
        Refused(Write("nan.wav", wav), "is damaged: sample 3000");
    }

    [Fact]
    public void Samples_in_a_column_that_are_no_numbers()
    {
        IDataView data = _ml.Data.LoadFromEnumerable([new SoundRow { Samples = [0.1f, float.NaN, 0.2f] }]);
        foreach (Action read in (Action[])[
            () => _ = _ml.Transforms.LoadAudio(new() { Audio = "Samples", AudioSampleRateHz = 8000, Output = "Heard" }).Fit(data).Transform(data)
                .GetColumn<float[]>("Heard").Single(),
            () => _ = _ml.Transforms.MultimodalEmbed(new() { Audio = "Samples", AudioSampleRateHz = 8000, LoadedModel = tiny.Model })
                .Fit(data).Transform(data).GetColumn<float[]>("Embedding").Single()])
            Assert.Contains("sample 1 is NaN", Assert.Throws<InvalidDataException>(read).Message);
    }

    [Fact]
    public void Sound_of_one_sample()
    {
        IDataView data = Data(Write("one.wav", Wav(new([0.5f], 16_000), WavEncoding.Float32)));
        Assert.Equal([0.5f], Samples(data));
        Assert.Equal([0.5f, 0, 0], Samples(data, fixedSamples: 3));
        // The model's spectrogram has no window in it, and says so.
        Assert.Contains("at least 200 samples, one window, but has 1", Assert.Throws<InvalidDataException>(() => Embedding(data)).Message);
    }

    [Fact]
    public void Eight_channels_of_24_bits_at_192_kHz()
    {
        Waveform tone = Tone(192_000 / 2, 192_000);
        byte[] samples = [.. tone.Samples.ToArray().SelectMany(v => Enumerable.Repeat((int)MathF.Round(v * 8_388_607), 8))
            .SelectMany(v => new[] { (byte)v, (byte)(v >> 8), (byte)(v >> 16) })];
        IDataView data = Data(Write("studio.wav", WavFiles.File(
            WavFiles.Chunk("fmt ", WavFiles.Format(1, channels: 8, bits: 24, 192_000)), WavFiles.Chunk("data", samples))));
        float[] expected = tone.Resample(16_000).Samples.ToArray();
        Tolerance.Equal([expected], [Samples(data)], 1e-5f); // 24 bits
        float[] embedding = Embedding(data);
        Tolerance.Equal([tiny.Model.EmbedAudio([tone])[0]], [embedding], 1e-3f); // of the quantised tone
        Assert.Equal(embedding, Embedding(data, "Bytes"));
    }

    [Fact]
    public void Sound_of_three_hours_is_read_no_further_than_it_is_heard()
    {
        const long bytes = 3 * 60 * 60 * 8000L * 2;
        byte[] beginning = Wav(Tone(32_000));
        BinaryPrimitives.WriteUInt32LittleEndian(beginning.AsSpan(HeaderBytes - 4), (uint)bytes);
        string path = Write("long.wav", beginning), shorter = Write("short.wav", Wav(Tone(32_000)));
        using (FileStream file = File.OpenWrite(path)) file.SetLength(HeaderBytes + bytes); // a hole: takes no room on the disk
        IDataView row = _ml.Data.LoadFromEnumerable([new SoundRow { Path = path }]);
        long before = GC.GetTotalAllocatedBytes();
        Assert.Equal(Embedding(Data(shorter)), Embedding(row));
        Tolerance.Equal([Samples(Data(shorter), fixedSamples: 16_000)], [Samples(row, fixedSamples: 16_000)], 1e-6f);
        Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, bytes / 4); // 172,800,000 bytes were never there
    }

    [Fact]
    public void Ogg_that_is_cut_off_gives_its_beginning_and_a_stump_an_error()
    {
        string path = _media.Make("noise.ogg", "-f", "lavfi", "-i", "anoisesrc=duration=4:seed=1:sample_rate=16000", "-c:a", "libvorbis");
        if (!FFmpegProgram.Default.IsAvailable)
        {
            Refused(path, "apt-get install ffmpeg");
            return;
        }
        byte[] ogg = File.ReadAllBytes(path);
        float[] whole = Samples(Data(path)), cut = Samples(Data(Write("cut.ogg", ogg[..(ogg.Length / 2)])));
        Assert.InRange(cut.Length, 16_000, whole.Length - 1);
        Assert.Equal(whole[..cut.Length], cut);
        Assert.Equal(Embedding(Data(path)), Embedding(Data(_media.PathOf("cut.ogg")))); // the model hears less than that
        Refused(Write("stump.ogg", ogg[..40]), "ffmpeg");
    }

    [Fact]
    public void Text_that_is_called_a_sound() => Refused(Write("text.wav", Encoding.UTF8.GetBytes("This is a text. RIFF WAVE fmt data.")), "ffmpeg");

    [Fact]
    public void Video_without_sound_is_no_silence()
    {
        string path = _media.Make("silent.mkv", "-f", "lavfi", "-i", "color=s=20x16:r=10:d=1", "-c:v", "ffv1");
        Refused(path, FFmpegProgram.Default.IsAvailable ? "there is no sound in it" : "apt-get install ffmpeg");
    }

    [Fact]
    public void One_bad_sound_among_others_is_missing_alone()
    {
        string bad = Write("bad.wav", [1, 2, 3]);
        IDataView data = _ml.Data.LoadFromEnumerable<SoundRow>([tiny.Rows[0], new() { Path = bad }, tiny.Rows[1]]);
        float[][] got = [.. _ml.Transforms.MultimodalEmbed(new() { Audio = "Path", LoadedModel = tiny.Model, OnError = OnError.Missing })
            .Fit(data).Transform(data).GetColumn<float[]>("Embedding")];
        Tolerance.Equal(tiny.Model.EmbedAudio([tiny.Rows[0].Path, tiny.Rows[1].Path]), [got[0], got[2]]);
        Assert.All(got[1], x => Assert.True(float.IsNaN(x)));
    }
}
