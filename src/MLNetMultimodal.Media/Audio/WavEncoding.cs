namespace MLNetMultimodal.Media.Audio;

/// <summary>How a WAV file holds its samples.</summary>
public enum WavEncoding
{
    /// <summary>16-bit integers: half the space, read everywhere, rounded, and cut at full scale.</summary>
    Pcm16,

    /// <summary>32-bit floating point: without loss, beyond full scale too.</summary>
    Float32,
}
