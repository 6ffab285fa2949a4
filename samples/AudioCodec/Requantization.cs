using MLNetMultimodal.Media.Audio;

/// <summary>The plain way to few bits: fewer samples a second, of fewer bits each.</summary>
/// <param name="RateHz">Samples a second.</param>
/// <param name="Bits">Bits of a sample.</param>
sealed record Requantization(int RateHz, int Bits)
{
    /// <summary>All that make 3 kbit/s.</summary>
    public static IReadOnlyList<Requantization> Of3Kbps { get; } =
        [new(375, 8), new(500, 6), new(600, 5), new(750, 4), new(1000, 3), new(1500, 2), new(3000, 1)];

    // Where the steps end, as shares of the loudest sample: less leaves out peaks and makes finer steps of the rest.
    static readonly float[] s_ranges = [1, 0.85f, 0.7f, 0.6f, 0.5f, 0.4f, 0.3f, 0.2f];

    /// <summary>Samples to few values and back. The range of the steps is the best of eight for this very sound, which the
    /// receiver is told for nothing.</summary>
    public (float[] Sound, long Bits) Code(float[] sound, int sampleRateHz, Func<float[], double> quality)
    {
        float[] few = SincResampler.Resample(sound, sampleRateHz, RateHz);
        float peak = few.Max(MathF.Abs);
        float[] best = s_ranges.Select(range => Back(few, range * peak, sampleRateHz, sound.Length)).MaxBy(quality)!;
        return (best, (long)few.Length * Bits);
    }

    float[] Back(float[] few, float range, int sampleRateHz, int length)
    {
        float[] back = SincResampler.Resample(Array.ConvertAll(few, s => Nearest(s, range)), RateHz, sampleRateHz);
        Array.Resize(ref back, length);
        return back;
    }

    /// <summary>2^bits equal steps from -range to range; the middle of the one that the sample is in.</summary>
    float Nearest(float sample, float range)
    {
        int half = 1 << (Bits - 1);
        float step = range / half;
        return (Math.Clamp(MathF.Floor(sample / step), -half, half - 1) + 0.5f) * step;
    }
}
