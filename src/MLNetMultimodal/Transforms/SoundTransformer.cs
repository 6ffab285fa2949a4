using Microsoft.ML;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Makes <see cref="SoundTransformer"/>: the estimator of <c>LoadAudio</c> and <c>ExtractSpectrogram</c>.</summary>
public sealed class SoundEstimator : RowEstimator<SoundTransformer>
{
    internal SoundEstimator(IHostEnvironment env, SoundOptions options) : base(options.After, _ => new(env, options))
    {
    }
}

/// <summary>Which of the two it is, as it is saved.</summary>
sealed record SoundOptions(LoadAudioOptions? Samples, ExtractSpectrogramOptions? Spectrogram)
{
    public VectorStep<SoundPart, float> Step() => Samples?.Step() ?? Spectrogram?.Step() ?? throw None();

    public SchemaShape After(SchemaShape before) => Samples?.After(before) ?? Spectrogram?.After(before) ?? throw None();

    static InvalidDataException None() => new("there are neither options of samples nor of spectrograms.");
}

/// <summary>Makes samples or spectrograms of a column of sounds.</summary>
public sealed class SoundTransformer : RowTransformer
{
    internal const string Loader = "MLNetMultimodalSound";
    static readonly ModelEntry Entry = new("MMSOUND ", Loader);

    readonly SoundOptions _options;

    internal SoundTransformer(IHostEnvironment env, SoundOptions options)
        : base(new VectorComputation<SoundPart, float>(env.Register(Loader), options.Step())) => _options = options;

    private protected override void Save(ModelSaveContext context) => Entry.Save(context, _options);

    static SoundTransformer Create(IHostEnvironment env, object context) =>
        Entry.Open(context).Options<SoundOptions, SoundTransformer>(options => new(env, options));
}
