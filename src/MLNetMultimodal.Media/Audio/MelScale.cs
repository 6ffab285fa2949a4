namespace MLNetMultimodal.Media.Audio;

/// <summary>How hertz become mel, the scale on which pitches that sound equally far apart are.</summary>
public enum MelScale
{
    /// <summary>2595 log10(1 + f / 700), as in HTK and Kaldi.</summary>
    Htk,

    /// <summary>Linear up to 1000 Hz, logarithmic above, as in Slaney's Auditory Toolbox (1998) and librosa.</summary>
    Slaney,
}
