namespace MLNetMultimodal.Training;

/// <summary>How sounds are varied while training. Everything is off by default.</summary>
/// <remarks>Speed, noise, loudness and shift vary the samples; warping, filtering and masking vary the spectrogram, and so are only for
/// models that take one.</remarks>
public sealed record AudioAugmentationOptions
{
    /// <summary>Most that a sound is played faster or slower, pitch and all, as a share: a factor evenly from 1 - value to 1 + value, in
    /// hundredths, value 0 to 0.5; default 0 (Ko et al. 2015, "Audio augmentation for speech recognition").</summary>
    public float Speed { get; init => field = Within(value, 0, 0.5f, nameof(Speed)); }

    /// <summary>Most silence put before a sound, in milliseconds, evenly from 0, 0 to 60,000; default 0.</summary>
    public float ShiftMs { get; init => field = Within(value, 0, 60_000, nameof(ShiftMs)); }

    /// <summary>Most that a sound gets louder or softer, in dB, 0 to 60; default 0.</summary>
    public float GainDb { get; init => field = Within(value, 0, 60, nameof(GainDb)); }

    /// <summary>Probability of adding noise of a random colour, from white to a fall of 6 dB an octave, 0 to 1; default 0.</summary>
    public float Noise { get; init => field = Within(value, 0, 1, nameof(Noise)); }

    /// <summary>Least that a sound stands above the noise, in dB, mean power to mean power, -20 to <see cref="NoiseMaxSnrDb"/>; default
    /// 10.</summary>
    public float NoiseMinSnrDb { get; init => field = Within(value, -20, 100, nameof(NoiseMinSnrDb)); } = 10;

    /// <summary>Most that a sound stands above the noise, in dB, up to 100; default 50.</summary>
    public float NoiseMaxSnrDb { get; init => field = Within(value, -20, 100, nameof(NoiseMaxSnrDb)); } = 50;

    /// <summary>Most that frequencies are stretched or squeezed, as a share, as if the vocal tract were shorter or longer: a factor
    /// evenly from 1 - value to 1 + value, value 0 to 0.5; default 0 (VTLP: Jaitly and Hinton 2013, "Vocal tract length perturbation
    /// improves speech recognition").</summary>
    public float FrequencyWarp { get; init => field = Within(value, 0, 0.5f, nameof(FrequencyWarp)); }

    /// <summary>Most that time is stretched or squeezed at an unchanged pitch, as a share: a factor evenly from 1 - value to 1 + value,
    /// value 0 to 0.5; default 0.</summary>
    public float TimeStretch { get; init => field = Within(value, 0, 0.5f, nameof(TimeStretch)); }

    /// <summary>Most that a part of the spectrum is lifted or lowered, in units of the spectrogram before it is normalised (dB for
    /// CLAP's), as another microphone or room would do, 0 to 60; default 0. Gains are drawn at 3 to 6 random frequencies and run evenly
    /// between them (FilterAugment: Nam et al. 2021, arXiv:2110.03282).</summary>
    public float Filter { get; init => field = Within(value, 0, 60, nameof(Filter)); }

    /// <summary>Runs of frames that are silenced, 0 to 16; default 0 (SpecAugment: Park et al. 2019, arXiv:1904.08779).</summary>
    public int TimeMasks { get; init => field = (int)Within(value, 0, 16, nameof(TimeMasks)); }

    /// <summary>Longest of them, in frames, evenly from 0, 1 to 1,048,576; default 10.</summary>
    public int TimeMaskFrames { get; init => field = (int)Within(value, 1, 1 << 20, nameof(TimeMaskFrames)); } = 10;

    /// <summary>Runs of mel bins that are silenced, 0 to 16; default 0 (SpecAugment).</summary>
    public int FrequencyMasks { get; init => field = (int)Within(value, 0, 16, nameof(FrequencyMasks)); }

    /// <summary>Widest of them, in mel bins, evenly from 0, 1 to 1,024; default 8.</summary>
    public int FrequencyMaskBins { get; init => field = (int)Within(value, 1, 1024, nameof(FrequencyMaskBins)); } = 8;

    /// <summary>True where the spectrogram is varied.</summary>
    internal bool VariesSpectrogram => FrequencyWarp > 0 || TimeStretch > 0 || Filter > 0 || TimeMasks > 0 || FrequencyMasks > 0;

    static float Within(float value, float min, float max, string name) =>
        value >= min && value <= max ? value : throw new ArgumentOutOfRangeException(name, value, FormattableString.Invariant($"must be from {min} to {max}."));
}
