using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Training.Tests;

public sealed class AudioAugmentationTests
{
    const int Rate = 8000, Bins = 64, Frames = 101;

    static readonly SpectrogramPreprocessing s_spectrogram = SpectrogramPreprocessing.Clap(Rate, seconds: 1, melBins: Bins);
    static readonly AudioPreprocessing s_sounds = AudioPreprocessing.FromSpectrogram(s_spectrogram);

    static readonly AudioAugmentationOptions s_all = new()
    {
        Speed = 0.15f,
        ShiftMs = 200,
        GainDb = 10,
        Noise = 0.5f,
        FrequencyWarp = 0.1f,
        TimeStretch = 0.1f,
        Filter = 6,
        TimeMasks = 2,
        FrequencyMasks = 2,
    };

    static Waveform Tone(double hz, double seconds = 0.5) =>
        new([.. Enumerable.Range(0, (int)(seconds * Rate)).Select(i => 0.5f * MathF.Sin((float)(2 * Math.PI * hz * i / Rate)))], Rate);

    static float[] Apply(AudioAugmentationOptions options, Waveform sound, int epoch = 0, long index = 0, int seed = 1, AudioPreprocessing? sounds = null) =>
        new AudioAugmentation(options, sounds ?? s_sounds, seed).Apply(sound, epoch, index);

    /// <summary>The loudest bin of a frame.</summary>
    static int Peak(float[] spectrogram, int frame) => Enumerable.Range(0, Bins).MaxBy(f => spectrogram[frame * Bins + f]);

    /// <summary>Frames in which there is sound.</summary>
    static int[] Heard(float[] spectrogram) =>
        [.. Enumerable.Range(0, Frames).Where(t => spectrogram.AsSpan(t * Bins, Bins).ToArray().Max() > -30)];

    [Fact]
    public void By_default_nothing_changes() => Assert.Equal(s_sounds.Apply(Tone(440)), Apply(new(), Tone(440)));

    [Fact]
    public void One_sound_is_varied_alike_on_any_number_of_threads()
    {
        var augmentation = new AudioAugmentation(s_all, s_sounds, seed: 1);
        Waveform sound = Tone(440);
        float[][] inOrder = [.. Enumerable.Range(0, 40).Select(i => augmentation.Apply(sound, 1, i))];
        var parallel = new float[40][];
        Parallel.For(0, 40, i => parallel[39 - i] = augmentation.Apply(sound, 1, 39 - i));
        for (int i = 0; i < 40; i++) Assert.Equal(inOrder[i], parallel[i]);
        Assert.Equal(40, inOrder.Select(v => v.Sum()).Distinct().Count());
    }

    [Fact]
    public void Seed_epoch_and_index_each_vary_anew()
    {
        float[] first = Apply(s_all, Tone(440), epoch: 1, index: 1);
        Assert.NotEqual(first, Apply(s_all, Tone(440), epoch: 2, index: 1));
        Assert.NotEqual(first, Apply(s_all, Tone(440), epoch: 1, index: 2));
        Assert.NotEqual(first, Apply(s_all, Tone(440), epoch: 1, index: 1, seed: 2));
    }

    [Fact]
    public void Shifts_put_silence_before_the_sound_and_lose_none_of_it()
    {
        int[] firsts = [.. Enumerable.Range(0, 30).Select(i =>
        {
            int[] heard = Heard(Apply(new() { ShiftMs = 300 }, Tone(440), index: i));
            Assert.InRange(heard.Length, 49, 54); // half a second, and the windows at its edges
            return heard[0];
        })];
        Assert.InRange(firsts.Min(), 0, 4);
        Assert.InRange(firsts.Max(), 26, 30);
    }

    [Fact]
    public void Speed_changes_pitch_and_length_together()
    {
        (int Pitch, int Length)[] seen = [.. Enumerable.Range(0, 30).Select(i => Apply(new() { Speed = 0.2f }, Tone(1000), index: i))
            .Select(s => (Peak(s, 20), Heard(s).Length)).OrderBy(s => s.Item1)];
        Assert.True(seen[0].Pitch < Peak(s_sounds.Apply(Tone(1000)), 20) && seen[^1].Pitch > Peak(s_sounds.Apply(Tone(1000)), 20));
        Assert.True(seen[0].Length > seen[^1].Length, $"lower {seen[0]}, higher {seen[^1]}");
        Assert.InRange(seen[0].Length, 56, 65);
    }

    [Fact]
    public void Warping_changes_the_pitch_and_not_the_length_and_stretching_the_length_and_not_the_pitch()
    {
        float[] plain = s_sounds.Apply(Tone(1000));
        float[][] warped = [.. Enumerable.Range(0, 30).Select(i => Apply(new() { FrequencyWarp = 0.2f }, Tone(1000), index: i))];
        Assert.All(warped, w => Assert.Equal(Heard(plain).Length, Heard(w).Length));
        // 20 % of 1000 Hz, about four bins
        Assert.InRange(warped.Min(w => Peak(w, 20)), Peak(plain, 20) - 5, Peak(plain, 20) - 2);
        Assert.InRange(warped.Max(w => Peak(w, 20)), Peak(plain, 20) + 2, Peak(plain, 20) + 5);
        float[][] stretched = [.. Enumerable.Range(0, 30).Select(i => Apply(new() { TimeStretch = 0.2f }, Tone(1000), index: i))];
        Assert.All(stretched, s => Assert.Equal(Peak(plain, 20), Peak(s, 20)));
        Assert.True(stretched.Max(s => Heard(s).Length) - stretched.Min(s => Heard(s).Length) > 12);
    }

    [Fact]
    public void Gain_and_noise_are_of_the_size_that_is_asked_for()
    {
        float[] plain = s_sounds.Apply(Tone(1000));
        int at = 20 * Bins + Peak(plain, 20), low = 20 * Bins + 2;
        float[] gains = [.. Enumerable.Range(0, 40).Select(i => Apply(new() { GainDb = 6 }, Tone(1000), index: i)[at] - plain[at])];
        Assert.InRange(gains.Min(), -6.01f, -4);
        Assert.InRange(gains.Max(), 4, 6.01f);
        AudioAugmentationOptions noise = new() { Noise = 1, NoiseMinSnrDb = 20, NoiseMaxSnrDb = 20 };
        Assert.True(plain[low] < -30);
        Assert.All(Enumerable.Range(0, 10), i => Assert.InRange(Apply(noise, Tone(1000), index: i)[low] - plain[at], -60, -10));
    }

    [Fact]
    public void Masks_are_silent_runs_of_frames_and_bins()
    {
        var random = new Random(1);
        Waveform noise = new([.. Enumerable.Range(0, Rate).Select(_ => random.NextSingle() - 0.5f)], Rate);
        float[] plain = s_sounds.Apply(noise);
        float silence = plain.Min();
        float[] masked = Apply(new() { TimeMasks = 1, TimeMaskFrames = 30, FrequencyMasks = 1, FrequencyMaskBins = 20 }, noise, index: 3);
        int[] frames = [.. Enumerable.Range(0, Frames).Where(t => Enumerable.Range(0, Bins).All(f => masked[t * Bins + f] == silence))];
        int[] bins = [.. Enumerable.Range(0, Bins).Where(f => Enumerable.Range(0, Frames).All(t => masked[t * Bins + f] == silence))];
        Assert.InRange(frames.Length, 1, 30);
        Assert.InRange(bins.Length, 1, 20);
        Assert.Equal(frames.Length - 1, frames[^1] - frames[0]);
        Assert.Equal(bins.Length - 1, bins[^1] - bins[0]);
        for (int i = 0; i < plain.Length; i++)
            if (!frames.Contains(i / Bins) && !bins.Contains(i % Bins)) Assert.Equal(plain[i], masked[i]);
    }

    [Fact]
    public void A_filter_lifts_and_lowers_bins_alike_in_all_frames()
    {
        var random = new Random(1);
        Waveform noise = new([.. Enumerable.Range(0, Rate).Select(_ => random.NextSingle() - 0.5f)], Rate);
        float[] plain = s_sounds.Apply(noise), filtered = Apply(new() { Filter = 8 }, noise, index: 2);
        double[] gains = [.. Enumerable.Range(0, Bins).Select(f => (double)filtered[40 * Bins + f] - plain[40 * Bins + f])];
        Assert.All(gains, g => Assert.InRange(g, -8.001, 8.001));
        Assert.True(gains.Max() - gains.Min() > 2);
        Assert.All(Enumerable.Range(0, Bins), f => Assert.Equal(gains[f], filtered[60 * Bins + f] - plain[60 * Bins + f], 1e-3));
    }

    [Fact]
    public void Bins_before_frames_are_varied_as_frames_before_bins()
    {
        float[] expected = Apply(s_all, Tone(700), index: 5);
        float[] turned = Apply(s_all, Tone(700), index: 5, sounds: AudioPreprocessing.FromSpectrogram(s_spectrogram with { BinsFirst = true }));
        for (int t = 0; t < Frames; t++)
            for (int f = 0; f < Bins; f++) Assert.Equal(expected[t * Bins + f], turned[f * Frames + t]);
    }

    [Fact]
    public void Samples_are_varied_too_but_have_no_spectrogram()
    {
        AudioPreprocessing samples = AudioPreprocessing.FromSamples(Rate, normalizes: false);
        float[] shifted = Apply(new() { ShiftMs = 100 }, Tone(440), index: 1, sounds: samples);
        Assert.Equal(Tone(440).Samples.ToArray(), shifted[^4000..]);
        Assert.Contains("FrequencyWarp", Assert.Throws<ArgumentException>(() => Apply(s_all, Tone(440), sounds: samples)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Options_out_of_range_are_refused_by_name()
    {
        Assert.All(new (string, Func<AudioAugmentationOptions>)[]
        {
            ("Speed", () => new() { Speed = 0.6f }), ("ShiftMs", () => new() { ShiftMs = -1 }), ("GainDb", () => new() { GainDb = float.NaN }),
            ("Noise", () => new() { Noise = 2 }), ("NoiseMinSnrDb", () => new() { NoiseMinSnrDb = -21 }), ("FrequencyWarp", () => new() { FrequencyWarp = 1 }),
            ("TimeStretch", () => new() { TimeStretch = -0.1f }), ("Filter", () => new() { Filter = 61 }), ("TimeMasks", () => new() { TimeMasks = 17 }),
            ("TimeMaskFrames", () => new() { TimeMaskFrames = 0 }), ("FrequencyMasks", () => new() { FrequencyMasks = -1 }),
            ("FrequencyMaskBins", () => new() { FrequencyMaskBins = 0 }),
        }, option => Assert.Contains(option.Item1, Assert.Throws<ArgumentOutOfRangeException>(option.Item2).Message, StringComparison.Ordinal));
        Assert.Contains("NoiseMaxSnrDb", Assert.Throws<ArgumentException>(() => Apply(new() { NoiseMinSnrDb = 60 }, Tone(440))).Message, StringComparison.Ordinal);
    }
}
