using System.Buffers;
using FsCheck;
using FsCheck.Fluent;
using FsCheck.Xunit;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

[Properties(Replay = "20261124,7")] // a fixed seed
public sealed class SincResamplerTests
{
    // The kernel is not normalised: its ripple at 0 Hz.
    const double Ripple = 2e-3;

    public static TheoryData<string> Names() => AudioGolden.Names();

    static readonly Arbitrary<(int From, int To, int Length, int Seed)> Cases = Arb.From(
        from rates in Gen.Two(Gen.Frequency((3, Gen.Elements(8000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000)),
            (1, Gen.Choose(1, 3000))))
        from length in Gen.Choose(0, 3000)
        from seed in Gen.Choose(0, 1000)
        select (rates.Item1, rates.Item2, length, seed));

    [Theory, MemberData(nameof(Names))]
    public void Resampled_sound_equals_torchaudio_s_golden(string name)
    {
        Waveform sound = AudioGolden.Sound(name);
        int compared = 0;
        foreach (int rate in new[] { 16_000, 24_000, 48_000 })
        {
            string tensor = $"out.{name}.resample_{rate}";
            if (!AudioGolden.Case.Has(tensor))
                continue;
            Waveform got = (rate == 48_000 ? sound.ToMono() : sound).Resample(rate);
            double max = Difference.Max(got.Samples, AudioGolden.Case.Floats(tensor));
            Assert.True(max <= AudioGolden.Tolerance("resample"), $"max |got - expected| = {max:g3} at {rate} Hz");
            compared++;
        }
        Assert.True(compared > 0);
    }

    [Property(MaxTest = 100)]
    public Property Length_is_that_of_the_same_time() => Prop.ForAll(Cases, c =>
    {
        long expected = ((long)c.Length * c.To + c.From - 1) / c.From;
        if (expected > 1_000_000)
            return;
        Assert.Equal(expected, SincResampler.Resample(WavFiles.Noise(c.Length, c.Seed), c.From, c.To).Length);
        Assert.Equal(expected, new SincResampler(c.From, c.To).OutputLength(c.Length));
    });

    [Property(MaxTest = 100)]
    public Property Cutting_into_blocks_changes_no_bit() => Prop.ForAll(Cases, c =>
    {
        if ((long)c.Length * c.To / c.From > 1_000_000)
            return;
        float[] sound = WavFiles.Noise(c.Length, c.Seed);
        var random = new Random(c.Seed);
        var resampler = new SincResampler(c.From, c.To);
        var output = new ArrayBufferWriter<float>();
        for (int at = 0; at < sound.Length;)
        {
            int count = Math.Min(random.Next(random.Next(2) == 0 ? 5 : 2000), sound.Length - at);
            resampler.Write(sound.AsSpan(at, count), output);
            at += count;
        }
        resampler.Complete(output);
        Assert.Equal(SincResampler.Resample(sound, c.From, c.To), output.WrittenSpan.ToArray());
    });

    [Property(MaxTest = 50)]
    public Property Sum_of_sounds_becomes_the_sum() => Prop.ForAll(Cases, c =>
    {
        if ((long)c.Length * c.To / c.From > 1_000_000)
            return;
        float[] x = WavFiles.Noise(c.Length, c.Seed), y = WavFiles.Noise(c.Length, c.Seed + 1);
        float[] sum = SincResampler.Resample([.. x.Zip(y, (a, b) => 0.5f * a - 2 * b)], c.From, c.To);
        float[] rx = SincResampler.Resample(x, c.From, c.To), ry = SincResampler.Resample(y, c.From, c.To);
        double max = Difference.Max(sum, [.. rx.Zip(ry, (a, b) => 0.5f * a - 2 * b)]);
        Assert.True(max < 1e-5, $"max |difference| = {max:g3}");
    });

    [Property(MaxTest = 50)]
    public Property Constant_stays_constant_away_from_the_ends() => Prop.ForAll(Cases, c =>
    {
        int reach = 7 * Math.Max(1, (c.From + c.To - 1) / c.To); // samples that come in
        if ((long)(2 * reach + 50) * c.To / c.From > 1_000_000)
            return;
        float[] ones = new float[2 * reach + 50];
        Array.Fill(ones, 1);
        float[] got = SincResampler.Resample(ones, c.From, c.To);
        int edge = (int)Math.Ceiling((double)reach * c.To / c.From);
        Assert.All(got[edge..Math.Max(edge, got.Length - edge)], x => Assert.Equal(1, x, Ripple));
    });

    [Theory]
    [InlineData(44_100, 16_000)]
    [InlineData(8000, 48_000)]
    [InlineData(192_000, 16_000)]
    public void Tone_keeps_its_height_and_its_place_in_time(int from, int to)
    {
        float[] Tone(int rate) => [.. Enumerable.Range(0, rate).Select(i => (float)Math.Sin(2 * Math.PI * 440.0 * i / rate))];
        float[] got = SincResampler.Resample(Tone(from), from, to);
        double max = Difference.Max(got.AsSpan(500, to - 1000), Tone(to).AsSpan(500, to - 1000));
        Assert.True(max < Ripple, $"max |difference| = {max:g3}");
    }

    [Fact]
    public void Tone_above_half_of_the_new_rate_is_gone()
    {
        float[] tone = [.. Enumerable.Range(0, 48_000).Select(i => (float)Math.Sin(2 * Math.PI * 12_000 * i / 48_000.0))];
        float max = SincResampler.Resample(tone, 48_000, 16_000)[500..^500].Max(Math.Abs);
        Assert.True(max < 0.005, $"max = {max:g3}");
    }

    [Fact]
    public void Equal_rates_change_nothing()
    {
        float[] sound = WavFiles.Noise(1000, seed: 1);
        Assert.Equal(sound, SincResampler.Resample(sound, 8000, 8000));
    }

    [Fact]
    public void After_the_end_nothing_more_is_taken()
    {
        var resampler = new SincResampler(8000, 16_000);
        var output = new ArrayBufferWriter<float>();
        resampler.Complete(output);
        Assert.Equal(0, output.WrittenCount);
        Assert.Throws<InvalidOperationException>(() => resampler.Write([1], output));
    }
}
