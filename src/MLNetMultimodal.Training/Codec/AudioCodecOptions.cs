using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="AudioCodecTrainer"/> does. A row of the training is a segment: each recording gives as many as its
/// length holds, at places that every epoch draws anew. <see cref="TrainingOptions.BatchSize"/> counts segments.</summary>
public sealed record AudioCodecOptions : TrainingOptions
{
    /// <summary>The column that the transformer adds, as <c>AudioTokens</c> does; default <c>Codes</c>.</summary>
    public string Codes { get; init; } = "Codes";

    /// <inheritdoc cref="LoadAudioOptions.Audio"/>
    public required string Audio { get; init; }

    /// <inheritdoc cref="LoadAudioOptions.AudioFolder"/>
    public string? AudioFolder { get; init; }

    /// <inheritdoc cref="LoadAudioOptions.AudioSampleRateHz"/>
    public int? AudioSampleRateHz { get; init; }

    /// <summary>What happens where a sound cannot be read; default <see cref="OnError.Throw"/>. With <see cref="OnError.Missing"/>
    /// the training leaves such rows out.</summary>
    public OnError OnError { get; init; }

    /// <summary>Sizes of a codec that starts from random weights: of one channel, coding a sound as a whole. Its highest bit rate
    /// decides how many codebooks there are. Default <see cref="EncodecConfig.Small8k"/>.</summary>
    public EncodecConfig Model { get; init; } = EncodecConfig.Small8k;

    /// <summary>A codec to start from, in place of <see cref="Model"/>: a folder, or one of the hub, <c>hub:owner/name</c> or
    /// <c>hub:owner/name@revision</c> (<see cref="ModelFiles.FromFolder"/>); null, the default, starts from random weights.</summary>
    public string? Initialize { get; init; }

    /// <summary>Length of the segments that are trained on, in seconds, above 0 and at most 60; it is rounded up to whole frames.
    /// Short ones make cheap steps, long ones teach more of what comes before. Default 0.3. Recordings that are shorter are filled
    /// up with silence.</summary>
    public double SegmentSeconds { get; init => field = value is > 0 and <= 60 ? value : throw Wrong(nameof(SegmentSeconds), value, "above 0 and at most 60"); } = 0.3;

    /// <summary>Decibels by which segments are made louder or softer, at most, either way; half of them are turned upside down
    /// too. At least 0, default 6; 0 leaves all as they are.</summary>
    public double GainDb { get; init => field = value is >= 0 and <= 60 ? value : throw Wrong(nameof(GainDb), value, "0 to 60"); } = 6;

    /// <summary>Weight of the negative signal-to-distortion ratio in decibels (<see cref="ReconstructionLoss.NegativeSdr"/>), at
    /// least 0. Default 1: the waveform itself is to come back.</summary>
    public double SdrWeight { get; init => field = Weight(value, nameof(SdrWeight)); } = 1;

    /// <summary>Weight of the waveform's mean absolute error (<see cref="ReconstructionLoss.Absolute"/>), at least 0. Default 0;
    /// the paper takes it in place of the ratio.</summary>
    public double AbsoluteWeight { get; init => field = Weight(value, nameof(AbsoluteWeight)); }

    /// <summary>Weight of the spectral loss (<see cref="ReconstructionLoss.Spectral"/>), at least 0. More of it sounds better and
    /// keeps less of the waveform. Default 1.</summary>
    public double SpectralWeight { get; init => field = Weight(value, nameof(SpectralWeight)); } = 1;

    /// <summary>Windows of the spectral loss in samples, each at least 8 and at most a segment long. Default 64, 256 and
    /// 1,024.</summary>
    public IReadOnlyList<int> SpectralWindows
    {
        get;
        init => field = value.Count > 0 && value.All(w => w is >= 8 and <= 1 << 16) ? value
            : throw new ArgumentException($"{nameof(SpectralWindows)} must be lengths of 8 to 65536 samples, but are {string.Join(", ", value)}.", nameof(value));
    } = [64, 256, 1024];

    /// <summary>Weight of the commitment loss, which keeps the encoder near the code vectors (van den Oord et al. 2017,
    /// arXiv:1711.00937, equation 3), at least 0. Default 1.</summary>
    public double CommitmentWeight { get; init => field = Weight(value, nameof(CommitmentWeight)); } = 1;

    /// <summary>Share of the steps whose bit rate is drawn from the codec's, so that fewer codebooks make a sound too (Défossez et
    /// al. 2022, arXiv:2210.13438, section 3.4); the others use all codebooks. 0 to 1; the paper draws in all. Default
    /// 0.25.</summary>
    public double BandwidthDropout { get; init => field = Share(value, nameof(BandwidthDropout)); } = 0.25;

    /// <summary>Share of the steps in which a codec from random weights is not quantised yet, so that its codebooks start from
    /// latents that mean something; 0 to below 1. Default 0.05.</summary>
    public double UnquantizedShare { get; init => field = Fraction(value, nameof(UnquantizedShare)); } = 0.05;

    /// <summary>Decay of the moving averages that code vectors are made of, 0 to below 1. Default 0.99.</summary>
    public double CodebookDecay { get; init => field = Fraction(value, nameof(CodebookDecay)); } = 0.99;

    /// <summary>A code that is used less than this share of an equal use of all codes begins anew at a vector of the batch; at
    /// least 0, and 0 never does that. Default 0.1.</summary>
    public double ExpireBelow { get; init => field = Weight(value, nameof(ExpireBelow)); } = 0.1;

    private protected override IReadOnlyCollection<string> NotDescribed =>
        [nameof(Codes), nameof(Audio), nameof(AudioFolder), nameof(AudioSampleRateHz), nameof(OnError), nameof(Model)];

    static double Weight(double value, string name) => value >= 0 && double.IsFinite(value) ? value : throw Wrong(name, value, "at least 0");
}
