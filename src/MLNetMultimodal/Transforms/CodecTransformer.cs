using Microsoft.ML;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Fits <see cref="CodecTransformer"/>: the estimator of <c>AudioTokens</c> and <c>DecodeAudio</c>. Its <c>Fit</c> throws
/// <see cref="ArgumentException"/> where the bit rate is none of the codec's, and <see cref="NotSupportedException"/> for a codec of several
/// channels or of sounds in pieces.</summary>
public sealed class CodecEstimator : RowEstimator<CodecTransformer>
{
    internal CodecEstimator(IHostEnvironment env, CodecOptions options) : this(env, options, SharedModel.From(options.Model,
        options.LoadedCodec, folder => AudioCodec.Load(folder, options.Inference), nameof(AudioTokensOptions.LoadedCodec)))
    {
    }

    CodecEstimator(IHostEnvironment env, CodecOptions options, SharedModel<AudioCodec> codec) : base(options.After, _ => new(env, options, codec))
    {
    }
}

/// <summary>Which of the two it is, as it is saved.</summary>
sealed record CodecOptions(AudioTokensOptions? Tokens, DecodeAudioOptions? Samples)
{
    internal string? Model => Tokens?.Model ?? Samples?.Model;

    internal AudioCodec? LoadedCodec => Tokens?.LoadedCodec ?? Samples?.LoadedCodec;

    internal InferenceOptions Inference => new() { Threads = Tokens?.Threads ?? Samples?.Threads ?? 0 };

    internal CodecOptions WithoutModel() => new(Tokens is null ? null : Tokens with { Model = null },
        Samples is null ? null : Samples with { Model = null });

    internal SchemaShape After(SchemaShape before) => Tokens?.After(before) ?? Samples?.After(before) ?? throw None();

    internal static InvalidDataException None() => new("there are neither options of codes nor of samples.");
}

/// <summary>Turns sounds into codes or codes into sounds.</summary>
public sealed class CodecTransformer : ModelTransformer<AudioCodec>
{
    internal const string Loader = "MLNetMultimodalCodec";
    static readonly ModelEntry Entry = new("MMCODEC ", Loader);

    readonly CodecOptions _options;

    internal CodecTransformer(IHostEnvironment env, CodecOptions options, SharedModel<AudioCodec> shared)
        : base(shared, codec =>
        {
            CheckIsWhole(codec.Config, codec.Files.Name);
            IHost host = env.Register(Loader);
            return options.Tokens is { } tokens ? new VectorComputation<SoundPart, uint>(host, tokens.Step(codec))
                : options.Samples is { } samples ? new VectorComputation<CodePart, float>(host, samples.Step(codec))
                : throw CodecOptions.None();
        }) => _options = options;

    /// <summary>Refuses codecs whose codes do not fit a column.</summary>
    internal static void CheckIsWhole(EncodecConfig config, string name)
    {
        if (config.Channels != 1 || config.Normalizes || config.SegmentSamples is not null)
            throw new NotSupportedException($"'{name}' codes {config.Channels} channels in pieces with a loudness "
                + "each, which a column of codes does not hold; codecs of one channel that code a sound as a whole are supported.");
    }

    /// <summary>The codec; the same as <see cref="ModelTransformer{TModel}.Model"/>.</summary>
    public AudioCodec Codec => Model;

    private protected override void Save(ModelSaveContext context) =>
        ModelContent.Save(Entry, context, Codec.Files, ModelContent.Names(Codec.Files), _options.WithoutModel());

    static CodecTransformer Create(IHostEnvironment env, object context)
    {
        var (options, files, _, _) = ModelContent.Load<CodecOptions>(Entry, context);
        return new(env, options, SharedModel.Of(AudioCodec.Load(files, options.Inference), owned: true));
    }
}
