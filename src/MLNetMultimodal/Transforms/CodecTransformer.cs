using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Fits <see cref="CodecTransformer"/>: the estimator of <c>AudioTokens</c> and <c>DecodeAudio</c>. All transformers
/// that one estimator fits share one loaded codec.</summary>
public sealed class CodecEstimator : IEstimator<CodecTransformer>
{
    readonly IHostEnvironment _env;
    readonly CodecOptions _options;
    readonly SharedModel<AudioCodec> _codec;

    internal CodecEstimator(IHostEnvironment env, CodecOptions options)
    {
        (_env, _options) = (env, options);
        _codec = SharedModel.From(options.Model, options.LoadedCodec,
            folder => AudioCodec.Load(folder, new() { Threads = options.Threads }), nameof(AudioTokensOptions.LoadedCodec));
    }

    /// <summary>Loads the codec. No rows are read.</summary>
    /// <param name="input">The data; only its schema is looked at.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type, or the bit rate is none of the
    /// codec's.</exception>
    /// <exception cref="IOException">The folder or one of its files is missing.</exception>
    /// <exception cref="InvalidDataException">A file of the codec is not sound.</exception>
    /// <exception cref="NotSupportedException">The model is no codec, or one of several channels or of sounds in
    /// pieces.</exception>
    public CodecTransformer Fit(IDataView input)
    {
        GetOutputSchema(MlNet.ShapeOf(input.Schema));
        return new(_env, _options, _codec);
    }

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema) => _options.After(inputSchema);
}

/// <summary>Which of the two it is, as it is saved.</summary>
sealed record CodecOptions(AudioTokensOptions? Tokens, DecodeAudioOptions? Samples)
{
    internal string? Model => Tokens?.Model ?? Samples?.Model;

    internal AudioCodec? LoadedCodec => Tokens?.LoadedCodec ?? Samples?.LoadedCodec;

    internal int Threads => Tokens?.Threads ?? Samples?.Threads ?? 0;

    internal CodecOptions WithoutModel() => new(Tokens is null ? null : Tokens with { Model = null },
        Samples is null ? null : Samples with { Model = null });

    internal SchemaShape After(SchemaShape before) => Tokens?.After(before) ?? Samples?.After(before) ?? throw None();

    internal static InvalidDataException None() => new("there are neither options of codes nor of samples.");
}

/// <summary>Turns sounds into codes or codes into sounds. Saved by <c>MLContext.Model.Save</c> with the codec's files in the same
/// zip. Thread-safe, but for <see cref="Dispose"/>.</summary>
public sealed class CodecTransformer : ITransformer, IDisposable
{
    internal const string Loader = "MLNetMultimodalCodec";
    static readonly ModelEntry Entry = new("MMCODEC ", Loader);

    readonly CodecOptions _options;
    readonly SharedModel<AudioCodec> _shared;
    readonly IVectorComputation _computation;
    bool _disposed;

    internal CodecTransformer(IHostEnvironment env, CodecOptions options, SharedModel<AudioCodec> codec)
    {
        (_options, _shared, Codec) = (options, codec, codec.Rent());
        try
        {
            CheckIsWhole(Codec.Config, Codec.Files.Name);
            IHost host = env.Register(Loader);
            _computation = options.Tokens is { } tokens ? new VectorComputation<SoundPart, uint>(host, tokens.Step(Codec))
                : options.Samples is { } samples ? new VectorComputation<CodePart, float>(host, samples.Step(Codec))
                : throw CodecOptions.None();
        }
        catch
        {
            codec.Return();
            throw;
        }
    }

    /// <summary>Refuses codecs whose codes do not fit a column.</summary>
    internal static void CheckIsWhole(EncodecConfig config, string name)
    {
        if (config.Channels != 1 || config.Normalizes || config.SegmentSamples is not null)
            throw new NotSupportedException($"'{name}' codes {config.Channels} channels in pieces with a loudness "
                + "each, which a column of codes does not hold; codecs of one channel that code a sound as a whole are supported.");
    }

    /// <summary>The codec; it lives as long as the transformer.</summary>
    public AudioCodec Codec { get; }

    /// <summary>True: each row is computed from that row alone.</summary>
    public bool IsRowToRowMapper => true;

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public DataViewSchema GetOutputSchema(DataViewSchema inputSchema) => _computation.OutputSchema(inputSchema);

    /// <summary>A lazy view with the new column: nothing is computed before one of its values is asked for.</summary>
    /// <param name="input">The data.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public IDataView Transform(IDataView input) => _computation.Over(input);

    /// <summary>The transform for one row at a time, as <c>PredictionEngine</c> uses it.</summary>
    /// <param name="inputSchema">The columns of the row.</param>
    public IRowToRowMapper GetRowToRowMapper(DataViewSchema inputSchema) => _computation.Mapper(inputSchema);

    /// <summary>Closes the codec, unless it was given from outside or another transformer of the same estimator still uses
    /// it.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _shared.Return();
    }

    void ICanSaveModel.Save(ModelSaveContext context) =>
        ModelContent.Save(Entry, context, Codec.Files, ModelContent.Names(Codec.Files), _options.WithoutModel());

    static CodecTransformer Create(IHostEnvironment env, object context)
    {
        var (options, files, _, _) = ModelContent.Load<CodecOptions>(Entry, context);
        return new(env, options, SharedModel.Of(AudioCodec.Load(files, new() { Threads = options.Threads }), owned: true));
    }
}
