using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;
using VectorKind = Microsoft.ML.SchemaShape.Column.VectorKind;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="CrossModalPredictCatalog.CrossModalPredict"/>. Exactly one of <see cref="Model"/> and
/// <see cref="LoadedModel"/> is set, and a column for each sense that the model has.</summary>
public sealed record CrossModalPredictOptions
{
    /// <summary>Column of pictures: MLImage, a path as text, or the bytes of a picture file as Vector&lt;Byte&gt;; null for none. A row
    /// whose image is null, or whose path or bytes are empty, has no picture.</summary>
    public string? Image { get; init => field = value is null ? null : MultimodalEmbedOptions.Name(value, nameof(Image)); }

    /// <summary>Column of texts; null for none. An empty text is a missing one; longer ones are cut to the model's context
    /// length.</summary>
    public string? Text { get; init => field = value is null ? null : MultimodalEmbedOptions.Name(value, nameof(Text)); }

    /// <summary>Column of sounds: a path as text, the bytes of a sound file as Vector&lt;Byte&gt;, or mono samples as
    /// Vector&lt;Single&gt; whose rate is <see cref="AudioSampleRateHz"/> or the column's annotation <c>SampleRateHz</c>; null for
    /// none. A row whose path, bytes or samples are empty, or whose samples are all NaN, has no sound.</summary>
    public string? Audio { get; init => field = value is null ? null : MultimodalEmbedOptions.Name(value, nameof(Audio)); }

    /// <summary>Column of numbers, Vector&lt;Single&gt; of one size or Single; null for none. NaN and infinity count as missing, each
    /// number by itself.</summary>
    public string? Features { get; init => field = value is null ? null : MultimodalEmbedOptions.Name(value, nameof(Features)); }

    /// <summary>Folder that relative paths in <see cref="Image"/> start from; null for the working directory.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>Folder that relative paths in <see cref="Audio"/> start from; null for the working directory.</summary>
    public string? AudioFolder { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.AudioSampleRateHz"/>
    public int? AudioSampleRateHz
    {
        get;
        init => field = value is null ? null : MultimodalEmbedOptions.Rate(value.Value, nameof(AudioSampleRateHz));
    }

    /// <summary>The model: a folder, or one of the hub (<see cref="ModelFiles.FromFolder"/>).</summary>
    public string? Model { get; init; }

    /// <summary>A model that was loaded elsewhere, in place of a folder. The caller disposes it, after all transformers that use
    /// it.</summary>
    [JsonIgnore]
    public FusionPredictor? LoadedModel { get; init; }

    /// <summary>The column that is added: of a multiclass model the probabilities of the classes, Vector&lt;Single&gt; with the classes'
    /// names as slot names; of a binary one the logit of yes, of a regression the number, Single. Default <c>Score</c>.</summary>
    public string Score { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Score)); } = "Score";

    /// <summary>The column that is added: the class, a key with the label's key values, or of a binary model Boolean; none of a
    /// regression. Default <c>PredictedLabel</c>.</summary>
    public string PredictedLabel { get; init => field = MultimodalEmbedOptions.Name(value, nameof(PredictedLabel)); } = "PredictedLabel";

    /// <summary>The column that a binary model adds: the probability of yes, Single. Default <c>Probability</c>.</summary>
    public string Probability { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Probability)); } = "Probability";

    /// <summary>One more column: what the model looked at, Vector&lt;Single&gt; of a share for each token, which sum to 1, with
    /// <see cref="FusionPredictor.TokenNames"/> as slot names; null, the default, for none. It costs a second attention where it is
    /// read, and nothing where it is not.</summary>
    public string? Attention { get; init => field = value is null ? null : MultimodalEmbedOptions.Name(value, nameof(Attention)); }

    /// <summary>B, rows that run through the model together, 1 to 1024; default 16.</summary>
    public int BatchSize { get; init => field = MultimodalEmbedOptions.Batch(value); } = 16;

    /// <inheritdoc cref="MultimodalEmbedOptions.Mode"/>
    public InferenceMode Mode { get; init; } = InferenceMode.Throughput;

    /// <summary>Threads that one run of the model uses; default 0, as <see cref="Mode"/> says. Without effect on
    /// <see cref="LoadedModel"/>.</summary>
    public int Threads
    {
        get;
        init => field = value >= 0 ? value
            : throw new ArgumentOutOfRangeException(nameof(Threads), value, "Threads must be at least 0.");
    }

    /// <summary>How weights are stored in what runs; default null, 32-bit floats. Without effect on <see cref="LoadedModel"/>.</summary>
    public OnnxDtype? Dtype { get; init; }

    /// <summary>What happens where a picture or a sound cannot be read; default <see cref="OnError.Throw"/>. With
    /// <see cref="OnError.Missing"/> the row is predicted without it. What is empty is missing, and no error.</summary>
    public OnError OnError { get; init; }

    /// <summary>The type of the label's key values.</summary>
    [JsonInclude]
    internal string? LabelType { get; init; } = "Text";

    internal InferenceOptions Inference => new() { Mode = Mode, Threads = Threads, Dtype = Dtype };

    internal FusionColumns Columns => new(Image, Text, Audio, Features)
    {
        ImageFolder = ImageFolder,
        AudioFolder = AudioFolder,
        AudioSampleRateHz = AudioSampleRateHz,
    };

    /// <summary>The columns after a model of this task.</summary>
    /// <param name="task">The task.</param>
    /// <param name="keyValues">The type of the label's key values; null for none.</param>
    /// <param name="input">The columns before it.</param>
    internal SchemaShape After(FusionTask task, DataViewType? keyValues, SchemaShape input)
    {
        SchemaShape.Column Text(string name) => MlNet.ShapeColumn(name, VectorKind.Scalar, TextDataViewType.Instance, false, null);
        SchemaShape.Column Vector(string name, DataViewType item) => MlNet.ShapeColumn(name, VectorKind.Vector, item, false, null);
        SchemaShape.Column[] common =
            [Text("ScoreColumnKind"), Text("ScoreValueKind"), MlNet.ShapeColumn("ScoreColumnSetId", VectorKind.Scalar, NumberDataViewType.UInt32, true, null)];
        SchemaShape.Column[] Values(string name) => keyValues is null ? [] : [Vector(name, keyValues)];
        var outputs = new List<SchemaShape.Column>();
        if (task == FusionTask.Multiclass)
        {
            outputs.Add(MlNet.ShapeColumn(PredictedLabel, VectorKind.Scalar, NumberDataViewType.UInt32, true, new([.. common, .. Values("KeyValues")])));
            outputs.Add(MlNet.ShapeColumn(Score, VectorKind.Vector, NumberDataViewType.Single, false,
                new([.. common, .. Values("TrainingLabelValues"), Vector("SlotNames", TextDataViewType.Instance)])));
        }
        else
        {
            if (task == FusionTask.Binary) outputs.Add(MlNet.ShapeColumn(PredictedLabel, VectorKind.Scalar, BooleanDataViewType.Instance, false, new(common)));
            outputs.Add(MlNet.ShapeColumn(Score, VectorKind.Scalar, NumberDataViewType.Single, false, new(common)));
            if (task == FusionTask.Binary)
                outputs.Add(MlNet.ShapeColumn(Probability, VectorKind.Scalar, NumberDataViewType.Single, false,
                    new([.. common, MlNet.ShapeColumn("IsNormalized", VectorKind.Scalar, BooleanDataViewType.Instance, false, null)])));
        }
        if (Attention is not null)
            outputs.Add(MlNet.ShapeColumn(Attention, VectorKind.Vector, NumberDataViewType.Single, false, new([Vector("SlotNames", TextDataViewType.Instance)])));
        return new(input.Where(c => outputs.All(o => o.Name != c.Name)).Concat(outputs));
    }
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class CrossModalPredictCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Predicts from pictures, texts, sounds and numbers, of which any may be missing, with a fusion model that was trained
        /// before (<c>CrossModalFusion</c> of the trainers of MLNetMultimodal.Training), whole batches at a time.</summary>
        /// <param name="options">Columns and model.</param>
        /// <returns>The estimator; its <c>Fit</c> loads the model and trains nothing.</returns>
        /// <exception cref="ArgumentException">No input column or not exactly one model is given.</exception>
        public CrossModalPredictEstimator CrossModalPredict(CrossModalPredictOptions options) => new(MlNet.Environment(catalog), options);
    }
}

/// <summary>Fits <see cref="FusionTransformer"/>. All transformers that one estimator fits share one loaded model.</summary>
public sealed class CrossModalPredictEstimator : IEstimator<FusionTransformer>
{
    readonly IHostEnvironment _env;
    readonly CrossModalPredictOptions _options;
    readonly SharedModel<FusionPredictor> _model;

    internal CrossModalPredictEstimator(IHostEnvironment env, CrossModalPredictOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_env, _options) = (env, options);
        _model = SharedModel.From(options.Model, options.LoadedModel, folder => FusionPredictor.Load(folder, options.Inference),
            nameof(CrossModalPredictOptions.LoadedModel));
    }

    /// <summary>Loads the model. No rows are read.</summary>
    /// <param name="input">The data; only its schema is looked at.</param>
    /// <exception cref="ArgumentException">A column is missing, of the wrong type, or of a sense that the model does not have; or one
    /// that the model has is not given.</exception>
    /// <exception cref="IOException">The model folder or one of its files is missing.</exception>
    /// <exception cref="InvalidDataException">A file of the model is not sound.</exception>
    /// <exception cref="NotSupportedException">The model is no fusion model.</exception>
    public FusionTransformer Fit(IDataView input)
    {
        _options.Columns.Check(MlNet.ShapeOf(input.Schema));
        var transformer = new FusionTransformer(_env, _options, _model);
        transformer.GetOutputSchema(input.Schema);
        return transformer;
    }

    /// <summary>The columns after the transform; loads the model, which knows what it predicts.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        _options.Columns.Check(inputSchema);
        FusionTask task = _model.Rent().Model.Config.Task;
        _model.Return();
        return _options.After(task, TextDataViewType.Instance, inputSchema);
    }
}

/// <summary>Predicts from pictures, texts, sounds and numbers with a fusion model: the result of <see
/// cref="CrossModalPredictEstimator"/> and of the trainers <c>CrossModalFusion</c>. Saved by <c>MLContext.Model.Save</c> with the
/// model's files in the same zip. Thread-safe, but for <see cref="Dispose"/>.</summary>
/// <remarks>It is a single-feature prediction transformer over its column of numbers, so that
/// <c>PermutationFeatureImportance(transformer, data, …)</c> of ML.NET's catalogs says how much each number counts; pictures, texts and
/// sounds are no features that ML.NET could permute.</remarks>
public sealed class FusionTransformer : ISingleFeaturePredictionTransformer<FusionPredictor>, IDisposable
{
    internal const string Loader = "MLNetMultimodalFusion";
    static readonly ModelEntry Entry = new("MMFUSION", Loader);

    readonly SharedModel<FusionPredictor> _shared;
    readonly FusionComputation _computation;
    bool _disposed;

    internal FusionTransformer(IHostEnvironment env, CrossModalPredictOptions options, SharedModel<FusionPredictor> model)
    {
        (Options, _shared, Model) = (options, model, model.Rent());
        try
        {
            CheckSenses(options, Model);
            _computation = new(env.Register(Loader), options, Model);
        }
        catch
        {
            model.Return();
            throw;
        }
    }

    /// <summary>A transformer over a model that was just trained; disposing the transformer disposes the model.</summary>
    internal FusionTransformer(IHostEnvironment env, CrossModalPredictOptions options, FusionPredictor model)
        : this(env, options, SharedModel.Of(model, owned: true))
    {
    }

    static void CheckSenses(CrossModalPredictOptions options, FusionPredictor model)
    {
        CrossModalFusionConfig c = model.Model.Config;
        Check(options.Image, c.Vision is not null, nameof(options.Image));
        Check(options.Text, c.Text is not null, nameof(options.Text));
        Check(options.Audio, c.Audio is not null, nameof(options.Audio));
        Check(options.Features, c.Features is not null, nameof(options.Features));

        void Check(string? column, bool has, string option)
        {
            if (column is not null != has)
                throw new ArgumentException($"'{model.Files.Name}' {(has ? "takes" : "does not take")} {option}, but the option {option} is "
                    + $"{(column is null ? "not set; rows without it are given as empty ones" : $"'{column}'")}.");
        }
    }

    /// <summary>The model; it lives as long as the transformer.</summary>
    public FusionPredictor Model { get; }

    /// <summary>What it was made with.</summary>
    public CrossModalPredictOptions Options { get; }

    /// <summary>The column of numbers.</summary>
    /// <exception cref="InvalidOperationException">The model takes none.</exception>
    public string FeatureColumnName => Options.Features
        ?? throw new InvalidOperationException("the model takes no column of numbers (Features); there is nothing that could be permuted.");

    /// <summary>Vector&lt;Single&gt; of the column of numbers.</summary>
    /// <exception cref="InvalidOperationException">The model takes none.</exception>
    public DataViewType FeatureColumnType => new VectorDataViewType(NumberDataViewType.Single,
        FeatureColumnName is not null ? Model.Model.Config.Features!.Names.Count : 0);

    /// <summary>True: each row is computed from that row alone.</summary>
    public bool IsRowToRowMapper => true;

    /// <summary>Writes the model as a folder: config, weights, tokenizer, preprocessing. Each file appears whole or not at
    /// all.</summary>
    /// <param name="path">The folder; it is created, and files of the same names are replaced.</param>
    public void SaveModelFolder(string path) => ModelContent.SaveFolder(Model.Files, ModelContent.Names(Model.Files), path);

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public DataViewSchema GetOutputSchema(DataViewSchema inputSchema) => _computation.OutputSchema(inputSchema);

    /// <summary>A lazy view with the predictions: nothing is computed before one is asked for.</summary>
    /// <param name="input">The data.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public IDataView Transform(IDataView input) => new BatchingDataView<FusionBatch>(_computation, input);

    /// <summary>The transform for one row at a time, as <c>PredictionEngine</c> uses it.</summary>
    /// <param name="inputSchema">The columns of the row.</param>
    public IRowToRowMapper GetRowToRowMapper(DataViewSchema inputSchema) => new SingleRowMapper<FusionBatch>(_computation, inputSchema);

    /// <summary>Closes the model, unless it was given from outside or another transformer of the same estimator still uses
    /// it.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _shared.Return();
    }

    void ICanSaveModel.Save(ModelSaveContext context) => ModelContent.Save(Entry, context, Model.Files, ModelContent.Names(Model.Files),
        Options with { Model = null }, Options.Dtype);

    static FusionTransformer Create(IHostEnvironment env, object context)
    {
        (CrossModalPredictOptions options, ModelFiles files, _, _) = ModelContent.Load<CrossModalPredictOptions>(Entry, context);
        return new(env, options, FusionPredictor.Load(files, options.Inference));
    }
}
