namespace MLNetMultimodal.Media.Audio;

/// <summary>What fills a sound that is shorter than the model's input.</summary>
public enum SpectrogramPadding
{
    /// <summary>Zeros in the spectrogram, after the logarithm and before normalising, as AST and ImageBind do.</summary>
    Frames,

    /// <summary>Silence after the sound, as Whisper does.</summary>
    Silence,

    /// <summary>The sound again and again, as often as it fits whole, then silence: CLAP's "repeatpad".</summary>
    Repeats,
}
