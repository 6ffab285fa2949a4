using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

public sealed class SoundQualityTests
{
    static readonly LogMelSpectrogram s_mel = new(new() { SampleRateHz = 8000, WindowSamples = 256, HopSamples = 64, FftSamples = 256, MelBins = 32, Floor = 1e-6f });

    static float[] Tone(float hz, float loudness = 0.5f, float phase = 0) =>
        [.. Enumerable.Range(0, 4000).Select(i => loudness * MathF.Sin(i * hz * MathF.Tau / 8000 + phase))];

    static float[] Sum(float[] a, float[] b) => [.. a.Zip(b, (x, y) => x + y)];

    [Theory, InlineData(0.5f, 0), InlineData(0.05f, 20), InlineData(0.005f, 40)]
    public void The_ratio_is_that_of_the_powers_of_sound_and_distortion(float distortion, double expected) =>
        Assert.Equal(expected, SoundQuality.SiSdr(Tone(400), Sum(Tone(400), Tone(1000, distortion))), 3);

    [Fact]
    public void Neither_scale_nor_sign_nor_offset_counts()
    {
        float[] x = Tone(400), y = Sum(x, Tone(1000, 0.1f));
        double ratio = SoundQuality.SiSdr(x, y);
        Assert.Equal(ratio, SoundQuality.SiSdr(x, [.. y.Select(v => -3 * v + 0.25f)]), 3);
        Assert.Equal(ratio, SoundQuality.SiSdr([.. x.Select(v => v + 0.5f)], y), 3);
    }

    [Fact]
    public void Its_ends_are_infinite()
    {
        float[] x = Tone(400);
        Assert.True(SoundQuality.SiSdr(x, x) > 100);
        Assert.Equal(double.NegativeInfinity, SoundQuality.SiSdr(x, new float[x.Length]));
    }

    [Fact]
    public void What_cannot_be_compared_is_refused()
    {
        Assert.Contains("4000", Assert.Throws<ArgumentException>(() => SoundQuality.SiSdr(Tone(400), [1])).Message);
        Assert.Contains("silent", Assert.Throws<ArgumentException>(() => SoundQuality.SiSdr(new float[5], new float[5])).Message);
        Assert.Contains("silent", Assert.Throws<ArgumentException>(() => SoundQuality.SiSdr([], [])).Message);
        Assert.Contains("window of 256", Assert.Throws<ArgumentException>(() => SoundQuality.MelDistance(new float[99], new float[99], s_mel)).Message);
        Assert.Throws<ArgumentException>(() => SoundQuality.MelDistance(new float[999], new float[998], s_mel));
    }

    [Fact]
    public void The_mel_distance_hears_timbre_and_not_phase()
    {
        float[] x = Sum(Tone(400), Tone(1200));
        Assert.Equal(0, SoundQuality.MelDistance(x, x, s_mel));
        double shifted = SoundQuality.MelDistance(x, Sum(Tone(400, phase: 1), Tone(1200, phase: 2)), s_mel), dull = SoundQuality.MelDistance(x, Tone(400), s_mel);
        Assert.True(shifted < dull / 3, $"another phase: {shifted:f3}, without the upper tone: {dull:f3}");
        Assert.Equal(Math.Log(4), SoundQuality.MelDistance(Noise(0.5f), Noise(1), s_mel), 3); // twice as loud is four times the power
    }

    static float[] Noise(float loudness)
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, 4000).Select(_ => loudness * (random.NextSingle() - 0.5f))];
    }
}
