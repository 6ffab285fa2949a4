namespace MLNetMultimodal.Media.Audio;

/// <summary>How close a reproduced sound is to the original. Thread-safe.</summary>
public static class SoundQuality
{
    /// <summary>Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, arXiv:1811.02508, section 2): both signals
    /// without their means; what of the reproduction is a multiple of the original, against the rest of it. The phase
    /// counts.</summary>
    /// <param name="original">[T], finite, not all of one value.</param>
    /// <param name="reproduced">[T], finite.</param>
    /// <returns>Decibels: positive infinity for a multiple of the original, negative infinity where nothing of it is
    /// left.</returns>
    /// <exception cref="ArgumentException">The lengths differ, or the original is silent.</exception>
    public static double SiSdr(ReadOnlySpan<float> original, ReadOnlySpan<float> reproduced)
    {
        CheckLengths(original, reproduced);
        double originalMean = Mean(original), reproducedMean = Mean(reproduced), xx = 0, xy = 0, yy = 0;
        for (int i = 0; i < original.Length; i++)
        {
            double x = original[i] - originalMean, y = reproduced[i] - reproducedMean;
            (xx, xy, yy) = (xx + x * x, xy + x * y, yy + y * y);
        }
        if (xx == 0) throw new ArgumentException("the original is silent, so that nothing can be like it.", nameof(original));
        double target = xy * xy / xx, distortion = Math.Max(0, yy - target);
        return target == 0 ? double.NegativeInfinity : 10 * Math.Log10(target / distortion);
    }

    /// <summary>Mean absolute difference of log-mel spectrograms: what timbre has lost, whatever the phase.</summary>
    /// <param name="original">[T], at the spectrogram's rate, at least one window long.</param>
    /// <param name="reproduced">[T].</param>
    /// <param name="spectrogram">How they are heard. Its floor decides how much silence counts.</param>
    /// <returns>0 for equal sounds, in the unit of the spectrogram's logarithm.</returns>
    /// <exception cref="ArgumentException">The lengths differ, or the sounds are shorter than a window.</exception>
    public static double MelDistance(ReadOnlySpan<float> original, ReadOnlySpan<float> reproduced, LogMelSpectrogram spectrogram)
    {
        ArgumentNullException.ThrowIfNull(spectrogram);
        CheckLengths(original, reproduced);
        float[] a = spectrogram.Compute(original), b = spectrogram.Compute(reproduced);
        if (a.Length == 0)
            throw new ArgumentException($"sounds of {original.Length} samples are shorter than a window of "
                + $"{spectrogram.Config.WindowSamples}.", nameof(original));
        double sum = 0;
        for (int i = 0; i < a.Length; i++) sum += Math.Abs(a[i] - b[i]);
        return sum / a.Length;
    }

    static void CheckLengths(ReadOnlySpan<float> original, ReadOnlySpan<float> reproduced)
    {
        if (original.Length != reproduced.Length)
            throw new ArgumentException($"the original has {original.Length} samples, but the reproduction has {reproduced.Length}.", nameof(reproduced));
    }

    static double Mean(ReadOnlySpan<float> samples)
    {
        double sum = 0;
        foreach (float sample in samples) sum += sample;
        return samples.Length == 0 ? 0 : sum / samples.Length;
    }
}
