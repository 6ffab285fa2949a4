using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Transforms;
using VectorKind = Microsoft.ML.SchemaShape.Column.VectorKind;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="FuseFramesAndSoundCatalog.FuseFramesAndSound"/>. Exactly one of <see cref="Model"/> and
/// <see cref="LoadedModel"/> is set.</summary>
public sealed record FuseFramesAndSoundOptions
{
    /// <summary>The column that is added: the mean of the frames with what they heard, Vector&lt;Single, D&gt; of length 1; default
    /// <c>Embedding</c>.</summary>
    public string Output { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Output)); } = "Embedding";

    /// <summary>One more column: how much each frame listened to each moment, Vector&lt;Single&gt; of the dimensions [T, S] whose
    /// rows sum to 1, with the annotations <c>FrameSeconds</c> and <c>MomentSeconds</c> (Single): frame t is of the time
    /// t * FrameSeconds, moment s begins at s * MomentSeconds. Default <c>AttentionMap</c>.</summary>
    public string AttentionMap { get; init => field = MultimodalEmbedOptions.Name(value, nameof(AttentionMap)); } = "AttentionMap";

    /// <summary>Column of videos with sound: a path as text, or the bytes of a video file as Vector&lt;Byte&gt;. Their beginning
    /// is seen and heard, as long as the model's spectrogram lasts.</summary>
    public required string Video { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Video)); }

    /// <summary>Folder that relative paths in <see cref="Video"/> start from; null for the working directory.</summary>
    public string? VideoFolder { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.Model"/>
    public string? Model { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.LoadedModel"/>
    [JsonIgnore]
    public MultimodalModel? LoadedModel { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.Threads"/>
    public int Threads
    {
        get;
        init => field = value >= 0 ? value
            : throw new ArgumentOutOfRangeException(nameof(Threads), value, "Threads must be at least 0.");
    }

    /// <summary>What happens where frames or sound cannot be read; default <see cref="OnError.Throw"/>. Missing values are all
    /// NaN.</summary>
    public OnError OnError { get; init; }

    internal InferenceOptions Inference => new() { Mode = InferenceMode.Throughput, Threads = Threads };

    internal VideoColumn Column => new(Video, VideoFolder, takesFrames: false);

    internal string[] OutputColumns => [Output, AttentionMap];

    internal void Validate()
    {
        if (Output == AttentionMap)
            throw new ArgumentException($"the output columns must have distinct names, but are {Output}, {AttentionMap}.");
    }
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class FuseFramesAndSoundCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Lets the frames of videos listen to their soundtracks with a model that was trained for it
        /// (<see cref="MLNetMultimodal.Models.Families.FrameSoundFusion"/>): an embedding of both, and which moment each frame
        /// listened to. Decodes ahead on worker threads.</summary>
        /// <param name="options">Columns and model.</param>
        /// <returns>The estimator; its <c>Fit</c> loads the model and trains nothing.</returns>
        /// <exception cref="ArgumentException">Not exactly one model is given, or output columns have the same name.</exception>
        public FuseFramesAndSoundEstimator FuseFramesAndSound(FuseFramesAndSoundOptions options) =>
            new(MlNet.Environment(catalog), options);
    }
}

/// <summary>Fits <see cref="FrameSoundTransformer"/>. All transformers that one estimator fits share one loaded model.</summary>
public sealed class FuseFramesAndSoundEstimator : IEstimator<FrameSoundTransformer>
{
    readonly IHostEnvironment _env;
    readonly FuseFramesAndSoundOptions _options;
    readonly SharedModel<MultimodalModel> _model;

    internal FuseFramesAndSoundEstimator(IHostEnvironment env, FuseFramesAndSoundOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        (_env, _options) = (env, options);
        _model = SharedModel.From(options.Model, options.LoadedModel, options.Inference);
    }

    /// <summary>Loads the model. No rows are read.</summary>
    /// <param name="input">The data; only its schema is looked at.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    /// <exception cref="IOException">The model folder or one of its files is missing.</exception>
    /// <exception cref="InvalidDataException">A file of the model is not sound.</exception>
    /// <exception cref="NotSupportedException">The model is of another family.</exception>
    public FrameSoundTransformer Fit(IDataView input)
    {
        GetOutputSchema(MlNet.ShapeOf(input.Schema));
        return new(_env, _options, _model);
    }

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema) => OutputSchema(_options, inputSchema);

    internal static SchemaShape OutputSchema(FuseFramesAndSoundOptions options, SchemaShape inputSchema)
    {
        SchemaShape.Column video = Columns.Find(inputSchema, options.Video);
        options.Column.Check(video.ItemType, Columns.IsVector(video));
        static SchemaShape.Column Added(string name, params IEnumerable<string> annotations) => MlNet.ShapeColumn(name, VectorKind.Vector,
            NumberDataViewType.Single, false, new(annotations.Select(kind => MlNet.ShapeColumn(kind, VectorKind.Scalar,
                kind == EmbedComputation.ModelAnnotation ? TextDataViewType.Instance : NumberDataViewType.Single, false, null))));
        return new(inputSchema.Where(c => !options.OutputColumns.Contains(c.Name)).Concat(
        [
            Added(options.Output, EmbedComputation.ModelAnnotation),
            Added(options.AttentionMap, FrameSoundComputation.FrameAnnotation, FrameSoundComputation.MomentAnnotation),
        ]));
    }
}

/// <summary>Fuses frames and soundtracks: the result of <see cref="FuseFramesAndSoundEstimator"/> and of the trainer. Saved by
/// <c>MLContext.Model.Save</c> with the model's files in the same zip. Thread-safe, but for <see cref="Dispose"/>.</summary>
public sealed class FrameSoundTransformer : ITransformer, IDisposable
{
    internal const string Loader = "MLNetMultimodalFrameSound";
    static readonly ModelEntry Entry = new("MMFRSND ", Loader);

    readonly SharedModel<MultimodalModel> _shared;
    readonly FrameSoundComputation _computation;
    bool _disposed;

    internal FrameSoundTransformer(IHostEnvironment env, FuseFramesAndSoundOptions options, SharedModel<MultimodalModel> model)
    {
        options.Validate();
        (Options, _shared, Model) = (options, model, model.Rent());
        try
        {
            _computation = new(env.Register(Loader), options, Model);
        }
        catch
        {
            model.Return();
            throw;
        }
    }

    /// <summary>The model; it lives as long as the transformer.</summary>
    public MultimodalModel Model { get; }

    /// <summary>What it was made with.</summary>
    public FuseFramesAndSoundOptions Options { get; }

    /// <summary>True: each row is computed from that row alone.</summary>
    public bool IsRowToRowMapper => true;

    /// <summary>Writes the model as a folder: config, weights, preprocessing. Each file appears whole or not at all.</summary>
    /// <param name="path">The folder; it is created, and files of the same names are replaced.</param>
    public void SaveModelFolder(string path) => ModelContent.SaveFolder(Model, path);

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public DataViewSchema GetOutputSchema(DataViewSchema inputSchema) => _computation.OutputSchema(inputSchema);

    /// <summary>A lazy view with the new columns: nothing is computed before one of their values is asked for.</summary>
    /// <param name="input">The data.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public IDataView Transform(IDataView input) => new BatchingDataView<FrameSoundBatch>(_computation, input);

    /// <summary>The transform for one row at a time, as <c>PredictionEngine</c> uses it.</summary>
    /// <param name="inputSchema">The columns of the row.</param>
    public IRowToRowMapper GetRowToRowMapper(DataViewSchema inputSchema) =>
        new SingleRowMapper<FrameSoundBatch>(_computation, inputSchema);

    /// <summary>Closes the model, unless it was given from outside or another transformer of the same estimator still uses
    /// it.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _shared.Return();
    }

    void ICanSaveModel.Save(ModelSaveContext context) => ModelContent.Save(Entry, context, Model, Options with { Model = null });

    static FrameSoundTransformer Create(IHostEnvironment env, object context)
    {
        var (model, options) = ModelContent.Load<FuseFramesAndSoundOptions>(Entry, context, o => o.Inference);
        return new(env, options, SharedModel.Of(model, owned: true));
    }
}
