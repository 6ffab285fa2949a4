namespace MLNetMultimodal.Media.Audio;

/// <summary>Which logarithm of the power a spectrogram holds.</summary>
public enum SpectrogramLog
{
    /// <summary>ln(power).</summary>
    Natural,

    /// <summary>log10(power).</summary>
    Decimal,

    /// <summary>10 log10(power), in dB.</summary>
    Decibel,
}
