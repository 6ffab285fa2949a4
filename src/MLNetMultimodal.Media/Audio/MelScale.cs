namespace MLNetMultimodal.Media.Audio;

/// <summary>How hertz become mel, the scale on which pitches that sound equally far apart are.</summary>
public enum MelScale
{
    /// <summary>2595 log10(1 + f / 700), as in HTK and Kaldi.</summary>
    Htk,

    /// <summary>Linear up to 1000 Hz, logarithmic above, as in Slaney's Auditory Toolbox (1998) and librosa.</summary>
    Slaney,
}

/// <summary>From hertz to mel and back.</summary>
public static class MelScaleConversion
{
    extension(MelScale scale)
    {
        /// <summary>The mel of a frequency.</summary>
        /// <param name="hz">In hertz, at least 0.</param>
        public double ToMel(double hz) => scale == MelScale.Htk ? 2595 * Math.Log10(1 + hz / 700)
            : hz < 1000 ? hz * 3 / 200 : 15 + Math.Log(hz / 1000) * 27 / Math.Log(6.4);

        /// <summary>The frequency of a mel, in hertz.</summary>
        /// <param name="mel">At least 0.</param>
        public double ToHz(double mel) => scale == MelScale.Htk ? 700 * (Math.Pow(10, mel / 2595) - 1)
            : mel < 15 ? mel * 200 / 3 : 1000 * Math.Exp((mel - 15) * Math.Log(6.4) / 27);
    }
}
