using System.Numerics;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

public sealed class LogMelSpectrogramTests
{
    public static TheoryData<string> Names() => AudioGolden.Names();

    [Theory, MemberData(nameof(Names))]
    public void Filter_bank_equals_Kaldi_s_golden(string name)
    {
        float[] mono = AudioGolden.At16000(name).ToMono().Samples.ToArray();
        float mean = mono.Average();
        float[] got = new LogMelSpectrogram(LogMelConfig.Kaldi()).Compute([.. mono.Select(x => x - mean)]);
        float[] expected = AudioGolden.Case.Floats($"out.{name}.fbank");
        double max = Difference.Max(got, expected), average = Difference.Mean(got, expected);
        Assert.True(max <= AudioGolden.Tolerance("fbank"), $"max |got - expected| = {max:g3}");
        Assert.True(average <= AudioGolden.Tolerance("fbank", "mean_abs"), $"mean |got - expected| = {average:g3}");
    }

    [Theory, MemberData(nameof(Names))]
    public void Log_mel_equals_Whisper_s_golden(string name)
    {
        Waveform mono = AudioGolden.At16000(name).ToMono();
        float[] got = new LogMelSpectrogram(LogMelConfig.Whisper()).Compute(mono.Samples); // [T, 80]
        float[] scaled = AudioGolden.Transposed([.. got.Select(x => (x + 4) / 4)], columns: 80);
        double max = Difference.Max(scaled, AudioGolden.Case.Floats($"out.{name}.whisper"));
        Assert.True(max <= AudioGolden.Tolerance("whisper"), $"max |got - expected| = {max:g3}");
    }

    [Theory, MemberData(nameof(Names))]
    public void Mel_in_dB_equals_Clap_s_goldens(string name)
    {
        Waveform sound = AudioGolden.Case.Has($"out.{name}.resample_48000")
            ? new(AudioGolden.Case.Floats($"out.{name}.resample_48000"), 48_000) : AudioGolden.Sound(name).ToMono();
        foreach ((MelScale scale, string kind) in new[] { (MelScale.Htk, "htk"), (MelScale.Slaney, "slaney") })
        {
            float[] got = AudioGolden.Transposed(new LogMelSpectrogram(LogMelConfig.Clap(scale)).Compute(sound.Samples),
                columns: 64);
            double max = MaxWithin80dB(got, AudioGolden.Case.Floats($"out.{name}.clap_{kind}"));
            Assert.True(max <= AudioGolden.Tolerance("clap"), $"max |got - expected| = {max:g3} dB for {kind}");
        }
    }

    // As the case's tolerance says: rounding noise more than 80 dB below a frame's largest value does not count, but silence is
    // -100 dB.
    static double MaxWithin80dB(float[] got, float[] expected) // [64, T]
    {
        Assert.Equal(expected.Length, got.Length);
        int frames = expected.Length / 64;
        double max = 0;
        for (int t = 0; t < frames; t++)
        {
            float peak = Enumerable.Range(0, 64).Max(f => expected[f * frames + t]);
            for (int i = t; i < expected.Length; i += frames)
                if (expected[i] >= peak - 80)
                    max = Math.Max(max, Math.Abs(got[i] - expected[i]));
        }
        return max;
    }

    [Fact]
    public void Bands_equal_Whisper_s_published_filters()
    {
        float[] expected = AudioGolden.Case.Floats("out.whisper_mel_filters"); // [80, 201]
        var power = new Vector<float>[201];
        var bands = new Vector<float>[80];
        var filters = new MelFilters(LogMelConfig.Whisper());
        for (int k = 0; k < 201; k++)
        {
            Array.Clear(power);
            power[k] = Vector<float>.One;
            filters.Apply(power, bands);
            for (int f = 0; f < 80; f++)
                Assert.True(Math.Abs(bands[f][0] - expected[f * 201 + k]) < 1e-8,
                    $"band {f}, bin {k}: {bands[f][0]} for {expected[f * 201 + k]}");
        }
    }

    // Every lane holds another frame. Errors are relative to the largest power.
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(6)]
    [InlineData(70)]
    [InlineData(400)]
    [InlineData(480)]
    [InlineData(512)]
    [InlineData(1024)]
    public void Power_equals_a_transform_in_plain_loops(int size)
    {
        var random = new Random(size);
        float[][] frames = [.. Enumerable.Range(0, Vector<float>.Count)
            .Select(_ => Enumerable.Range(0, size).Select(_ => (float)random.NextDouble() - 0.3f).ToArray())];
        Vector<float>[] lanes = [.. Enumerable.Range(0,
            size).Select(i => new Vector<float>([.. frames.Select(frame => frame[i])]))];
        var power = new Vector<float>[size / 2 + 1];
        new RealFft(size).Power(lanes, power, new Vector<float>[size]);
        for (int lane = 0; lane < frames.Length; lane++)
        {
            double[] expected = [.. Enumerable.Range(0, size / 2 + 1).Select(k => Math.Pow(Complex.Abs(
                frames[lane].Select((x, t) => x * Complex.FromPolarCoordinates(1,
                    -2 * Math.PI * k * t / size)).Aggregate(Complex.Add)), 2))];
            double max = expected.Select((e, k) => Math.Abs(e - power[k][lane])).Max() / expected.Max();
            Assert.True(max < 1e-6, $"max |got - expected| / peak = {max:g3} in lane {lane}");
        }
    }

    [Fact]
    public void Spectrogram_of_frames_alone_equals_that_of_all()
    {
        LogMelConfig config = LogMelConfig.Kaldi();
        var spectrogram = new LogMelSpectrogram(config);
        var random = new Random(3);
        float[] sound = [.. Enumerable.Range(0, config.WindowSamples
            + 20 * config.HopSamples).Select(_ => (float)random.NextDouble() - 0.5f)];
        float[] all = spectrogram.Compute(sound);
        for (int t = 0; t <= 20; t++)
            Assert.Equal(all[(t * 128)..((t + 1) * 128)],
                spectrogram.Compute(sound.AsSpan(t * config.HopSamples, config.WindowSamples)));
    }

    [Fact]
    public void Silence_gives_the_floor()
    {
        float[] silence = new float[16_000];
        Assert.All(new LogMelSpectrogram(LogMelConfig.Kaldi()).Compute(silence), x => Assert.Equal(-15.9424, x, 1e-4));
        Assert.All(new LogMelSpectrogram(LogMelConfig.Clap()).Compute(silence), x => Assert.Equal(-100, x, 1e-4));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(199)]
    [InlineData(399)]
    public void Sound_shorter_than_a_window_is_mirrored_or_has_no_frame(int samples)
    {
        float[] sound = [.. Enumerable.Range(0, samples).Select(i => MathF.Sin(i))];
        Assert.Empty(new LogMelSpectrogram(LogMelConfig.Kaldi()).Compute(sound));
        float[] clap = new LogMelSpectrogram(LogMelConfig.Clap()).Compute(sound);
        Assert.Equal(64, clap.Length);
        Assert.All(clap, x => Assert.True(float.IsFinite(x)));
    }

    [Fact]
    public void Settings_that_do_not_fit_are_named()
    {
        LogMelConfig whisper = LogMelConfig.Whisper();
        Assert.Contains("FftSamples", Assert.Throws<ArgumentException>(() =>
            new LogMelSpectrogram(whisper with { WindowSamples = 401 })).Message);
        Assert.Contains("MaxHz", Assert.Throws<ArgumentException>(() =>
            new LogMelSpectrogram(whisper with { MaxHz = 8001 })).Message);
        Assert.Contains("MaxHz", Assert.Throws<ArgumentException>(() =>
            new LogMelSpectrogram(whisper with { MinHz = 8000 })).Message);
        Assert.Contains("HopSamples", Assert.Throws<ArgumentOutOfRangeException>(() => whisper with { HopSamples = 0 }).Message);
    }
}
