using System.Numerics;

namespace MLNetMultimodal.Media.Audio;

/// <summary>
/// Settings of a log-mel spectrogram: overlapping windows, the power of their Fourier transforms, sums of it over bands that
/// are evenly spaced in mel, the logarithm. The presets are what the published models were trained with. Immutable.
/// </summary>
public sealed record LogMelConfig
{
    const int MaxFftSamples = 1 << 13;

    /// <summary>The rate of the sound that comes in.</summary>
    /// <value>1 to <see cref="AudioReader.MaxSampleRateHz"/>.</value>
    public required int SampleRateHz
    {
        get;
        init { AudioReader.CheckRate(value, nameof(SampleRateHz)); field = value; }
    }

    /// <summary>Length of a window.</summary>
    /// <value>1 to 8192 samples, not more than <see cref="FftSamples"/>.</value>
    public required int WindowSamples { get; init => field = Within(value, 1, MaxFftSamples, nameof(WindowSamples)); }

    /// <summary>From one window to the next.</summary>
    /// <value>1 to 1048576 samples.</value>
    public required int HopSamples { get; init => field = Within(value, 1, 1 << 20, nameof(HopSamples)); }

    /// <summary>Length of the Fourier transform; a shorter window is filled up with zeros after its end.</summary>
    /// <value>2 to 8192, even and without prime factors above 7.</value>
    public required int FftSamples
    {
        get;
        init => field = RealFft.Knows(value) ? Within(value, 2, MaxFftSamples, nameof(FftSamples)) : throw new
            ArgumentOutOfRangeException(nameof(FftSamples), value, "FftSamples must be even and have no prime factor above 7.");
    }

    /// <summary>F, the number of bands.</summary>
    /// <value>1 to 1024.</value>
    public required int MelBins { get; init => field = Within(value, 1, 1024, nameof(MelBins)); }

    /// <summary>Where the lowest band begins.</summary>
    /// <value>In hertz, at least 0; default 0.</value>
    public double MinHz
    {
        get;
        init => field = value >= 0 ? value
            : throw new ArgumentOutOfRangeException(nameof(MinHz), value, "MinHz must be at least 0.");
    }

    /// <summary>Where the highest band ends; null for half of <see cref="SampleRateHz"/>.</summary>
    /// <value>In hertz, above <see cref="MinHz"/>; default null.</value>
    public double? MaxHz { get; init; }

    /// <summary>The scale on which the bands are evenly spaced; default HTK's.</summary>
    public MelScale Scale { get; init; }

    /// <summary>True: a band rises and falls evenly in mel, as in Kaldi; false: in hertz.</summary>
    public bool TrianglesInMel { get; init; }

    /// <summary>True: a band is divided by half its width in hertz, so that all have the same area, as in Slaney's
    /// toolbox.</summary>
    public bool EqualArea { get; init; }

    /// <summary>The Hann window touches zero at both ends (Kaldi); otherwise only at its beginning, as if it went on.</summary>
    public bool SymmetricWindow { get; init; }

    /// <summary>True: windows are centred on multiples of the hop, with the sound mirrored beyond its ends; false: only windows
    /// that lie inside the sound count.</summary>
    public bool Centered { get; init; }

    /// <summary>Leaves out the last window, as Whisper does.</summary>
    public bool DropsLastFrame { get; init; }

    /// <summary>Subtracts a window's mean from it.</summary>
    public bool RemovesDcOffset { get; init; }

    /// <summary>How much of the sample before is subtracted from each sample of a window.</summary>
    /// <value>0 (default) to 1.</value>
    public float Preemphasis
    {
        get;
        init => field = value is >= 0 and <= 1 ? value
            : throw new ArgumentOutOfRangeException(nameof(Preemphasis), value, "Preemphasis must be 0 to 1.");
    }

    /// <summary>The logarithm.</summary>
    public SpectrogramLog Log { get; init; }

    /// <summary>The least power that counts: less, as in silence, is taken for it.</summary>
    /// <value>Above 0; default 1e-10.</value>
    public float Floor
    {
        get;
        init => field = value > 0 ? value : throw new ArgumentOutOfRangeException(nameof(Floor), value, "Floor must be above 0.");
    } = 1e-10f;

    /// <summary>How far a value may lie below the highest of the whole spectrogram, after the logarithm; what lies lower is
    /// lifted there. Null for no such limit.</summary>
    public float? MaxBelowPeak { get; init; }

    /// <summary>
    /// Kaldi's filter bank (Povey et al. 2011, "The Kaldi speech recognition toolkit") as AST (Gong et al. 2021,
    /// arXiv:2104.01778) and ImageBind (Girdhar et al. 2023, arXiv:2305.05665) use it: windows of 25 ms every 10 ms, natural
    /// logarithm, no dither.
    /// </summary>
    /// <param name="sampleRateHz">The rate, of which half is the end of the highest band.</param>
    /// <param name="melBins">F.</param>
    /// <returns>The settings.</returns>
    public static LogMelConfig Kaldi(int sampleRateHz = 16_000, int melBins = 128)
    {
        int window = (int)(sampleRateHz * 0.025);
        return new()
        {
            SampleRateHz = sampleRateHz,
            WindowSamples = window,
            HopSamples = (int)(sampleRateHz * 0.01),
            FftSamples = Math.Max(2, (int)BitOperations.RoundUpToPowerOf2((uint)window)),
            MelBins = melBins,
            MinHz = 20,
            TrianglesInMel = true,
            SymmetricWindow = true,
            RemovesDcOffset = true,
            Preemphasis = 0.97f,
            Floor = 1.1920929e-7f, // the step of a single-precision number at 1
        };
    }

    /// <summary>
    /// Whisper's spectrogram (Radford et al. 2022, arXiv:2212.04356, section 2.2): windows of 25 ms every 10 ms, decimal
    /// logarithm, at most 8 (80 dB) below the peak.
    /// </summary>
    /// <param name="melBins">F: 80, or 128 since large-v3.</param>
    /// <returns>The settings.</returns>
    public static LogMelConfig Whisper(int melBins = 80) => new()
    {
        SampleRateHz = 16_000,
        WindowSamples = 400,
        HopSamples = 160,
        FftSamples = 400,
        MelBins = melBins,
        MaxHz = 8000,
        Scale = MelScale.Slaney,
        EqualArea = true,
        Centered = true,
        DropsLastFrame = true,
        Log = SpectrogramLog.Decimal,
        MaxBelowPeak = 8,
    };

    /// <summary>CLAP's spectrogram (Wu et al. 2022, arXiv:2211.06687): windows of 21 ms every 10 ms at 48 kHz, in dB.</summary>
    /// <param name="scale"><see cref="MelScale.Slaney"/> (with bands of equal area) as inside the published models;
    /// <see cref="MelScale.Htk"/> as its training code computes for the fusion of long clips.</param>
    /// <returns>The settings.</returns>
    public static LogMelConfig Clap(MelScale scale = MelScale.Slaney) => new()
    {
        SampleRateHz = 48_000,
        WindowSamples = 1024,
        HopSamples = 480,
        FftSamples = 1024,
        MelBins = 64,
        MinHz = 50,
        MaxHz = 14_000,
        Scale = scale,
        EqualArea = scale == MelScale.Slaney,
        Centered = true,
        Log = SpectrogramLog.Decibel,
    };

    // Frames of a sound of so many samples.
    internal int FramesOf(int samples)
    {
        int frames = Centered ? samples / HopSamples + 1
            : samples < WindowSamples ? 0 : (samples - WindowSamples) / HopSamples + 1;
        return Math.Max(0, frames - (DropsLastFrame ? 1 : 0));
    }

    // The fewest samples that have so many frames.
    internal long SamplesOf(int frames) =>
        (frames - 1L + (DropsLastFrame ? 1 : 0)) * HopSamples + (Centered ? 0 : WindowSamples);

    internal double HighestHz => MaxHz ?? SampleRateHz / 2.0;

    // What no single setting can know.
    internal LogMelConfig Checked()
    {
        if (WindowSamples > FftSamples)
            throw new ArgumentException($"WindowSamples must not be more than FftSamples {FftSamples}, but is {WindowSamples}.");
        if (!(HighestHz > MinHz) || HighestHz > SampleRateHz / 2.0)
            throw new ArgumentException($"MaxHz must be above MinHz {MinHz} and at most half of SampleRateHz {SampleRateHz}, " +
                $"but is {HighestHz}.");
        return this;
    }

    static int Within(int value, int least, int most, string name) => value >= least && value <= most ? value
        : throw new ArgumentOutOfRangeException(name, value, $"{name} must be {least} to {most}.");
}
