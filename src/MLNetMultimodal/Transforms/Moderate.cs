using System.Numerics.Tensors;
using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;
using VectorKind = Microsoft.ML.SchemaShape.Column.VectorKind;

namespace MLNetMultimodal;

/// <summary>What is not wanted, in words.</summary>
public sealed record ModerationPolicy
{
    /// <summary>What columns and reasons call it.</summary>
    public required string Name { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Name)); }

    /// <summary>Texts that describe what violates it, such as <c>a photo of a shoe</c>; their embeddings are averaged. At least
    /// one.</summary>
    public required IReadOnlyList<string> Texts { get; init => field = Some(value, nameof(Texts)); }

    /// <summary>Texts that describe what does not, such as <c>a photo of clothing</c>; what counts is how much more similar something is
    /// to <see cref="Texts"/>. At least one; default <c>a photo</c>.</summary>
    public IReadOnlyList<string> Neutral { get; init => field = Some(value, nameof(Neutral)); } = ["a photo"];

    /// <summary>Probability from which it is violated, 0 to 1. Default 0.5.</summary>
    public float Threshold
    {
        get;
        init => field = value is >= 0 and <= 1 ? value : throw new ArgumentOutOfRangeException(nameof(Threshold), value, "Threshold must be 0 to 1.");
    } = 0.5f;

    /// <summary>Column of labelled rows, Boolean, true for a violation, that the policy's probabilities are calibrated by in <c>Fit</c>;
    /// null, the default, leaves them as the model's similarities are, which are ranked well but are no probabilities.</summary>
    public string? Label { get; init => field = value is null ? null : MultimodalEmbedOptions.Name(value, nameof(Label)); }

    static IReadOnlyList<string> Some(IReadOnlyList<string> value, string option) => value.Count > 0 && value.All(t => !string.IsNullOrWhiteSpace(t)) ? value
        : throw new ArgumentException($"{option} must be at least one text, none of them empty.", option);
}

/// <summary>Options of <see cref="ModerateCatalog.Moderate"/>. At least one of <see cref="Image"/> and <see cref="Text"/> is set, and
/// exactly one of <see cref="Model"/> and <see cref="LoadedModel"/>.</summary>
public sealed record ModerateOptions
{
    /// <summary>Column of pictures: MLImage, a path as text, or the bytes of a picture file as Vector&lt;Byte&gt;; null for none.</summary>
    public string? Image { get; init => field = value is null ? null : MultimodalEmbedOptions.Name(value, nameof(Image)); }

    /// <summary>Column of texts; null for none. An empty text is no evidence.</summary>
    public string? Text { get; init => field = value is null ? null : MultimodalEmbedOptions.Name(value, nameof(Text)); }

    /// <summary>The policies, at least one; their names are distinct. Each adds the columns <c>Name.PredictedLabel</c> (Boolean),
    /// <c>Name.Score</c> (Single, a logit, NaN where nothing is there to judge) and <c>Name.Probability</c> (Single), so that
    /// <c>ml.BinaryClassification.Evaluate</c> gives the areas under its ROC and precision-recall curves.</summary>
    public required IReadOnlyList<ModerationPolicy> Policies { get; init; }

    /// <summary>The column that is added: whether any policy is violated, Boolean. Default <c>Flagged</c>.</summary>
    public string Flagged { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Flagged)); } = "Flagged";

    /// <summary>The column that is added: the policies that are violated, the surest first, with their probability and what picture and
    /// text alone say, such as <c>footwear 0.97 (picture 0.95, text 0.61)</c>; empty where none is. Default <c>Reason</c>.</summary>
    public string Reason { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Reason)); } = "Reason";

    /// <inheritdoc cref="MultimodalEmbedOptions.Model"/>
    public string? Model { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.LoadedModel"/>
    [JsonIgnore]
    public MultimodalModel? LoadedModel { get; init; }

    /// <summary>Folder that relative paths in <see cref="Image"/> start from; null for the working directory.</summary>
    public string? ImageFolder { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.BatchSize"/>
    public int BatchSize { get; init => field = MultimodalEmbedOptions.Batch(value); } = 8;

    /// <inheritdoc cref="MultimodalEmbedOptions.Mode"/>
    public InferenceMode Mode { get; init; } = InferenceMode.Throughput;

    /// <inheritdoc cref="MultimodalEmbedOptions.Threads"/>
    public int Threads
    {
        get;
        init => field = value >= 0 ? value
            : throw new ArgumentOutOfRangeException(nameof(Threads), value, "Threads must be at least 0.");
    }

    /// <inheritdoc cref="MultimodalEmbedOptions.Dtype"/>
    public OnnxDtype? Dtype { get; init; }

    /// <summary>What happens where a picture or a text cannot be read, or a picture is missing; default <see cref="OnError.Throw"/>. With
    /// <see cref="OnError.Missing"/> the row is judged by what is left.</summary>
    public OnError OnError { get; init; }

    internal InferenceOptions Inference => new() { Mode = Mode, Threads = Threads, Dtype = Dtype };

    internal void Validate()
    {
        if (Image is null && Text is null) throw new ArgumentException("set Image, Text or both: the columns to judge.");
        if (Policies.Count == 0) throw new ArgumentException("Policies must have at least one policy.", nameof(Policies));
        string[] names = [.. Policies.Select(p => p.Name)];
        if (names.Distinct().Count() < names.Length || Flagged == Reason)
            throw new ArgumentException($"policies and columns must have distinct names, but are {string.Join(", ", names.Append(Flagged).Append(Reason))}.");
    }
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class ModerateCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Judges pictures and texts by policies in words, with a dual encoder such as CLIP: each policy's evidence is how much more
        /// similar picture and text are to its texts than to neutral ones. <c>Fit</c> calibrates it, for pictures, for texts and for both,
        /// by the rows that are labelled (Platt scaling).</summary>
        /// <param name="options">Columns, policies and model.</param>
        /// <exception cref="ArgumentException">No column, no policy, names that are not distinct, or not exactly one model.</exception>
        public ModerateEstimator Moderate(ModerateOptions options) => new(MlNet.Environment(catalog), options);
    }
}

/// <summary>Fits <see cref="ModerationTransformer"/>. All transformers that one estimator fits share one loaded model.</summary>
public sealed class ModerateEstimator : IEstimator<ModerationTransformer>
{
    readonly IHostEnvironment _env;
    readonly ModerateOptions _options;
    readonly SharedModel<MultimodalModel> _model;

    internal ModerateEstimator(IHostEnvironment env, ModerateOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        (_env, _options) = (env, options);
        _model = SharedModel.From(options.Model, options.LoadedModel, options.Inference);
    }

    /// <summary>Loads the model, embeds the policies, and calibrates those that have a label column; without one no rows are
    /// read.</summary>
    /// <param name="input">The data.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    /// <exception cref="IOException">The model folder or one of its files is missing.</exception>
    /// <exception cref="InvalidDataException">A file of the model is not sound, a row cannot be read, or a policy's labelled rows do not
    /// have both answers.</exception>
    /// <exception cref="NotSupportedException">The model has no encoder for texts, or for a column.</exception>
    public ModerationTransformer Fit(IDataView input)
    {
        GetOutputSchema(MlNet.ShapeOf(input.Schema));
        MultimodalModel model = _model.Rent();
        try
        {
            FittedPolicy[] policies = [.. _options.Policies.Select(p => new FittedPolicy(p.Name, p.Threshold, Direction(model, p), null, null, null))];
            if (_options.Policies.Any(p => p.Label is not null)) policies = Calibrate(model, policies, input);
            return new(_env, _options, policies, _model);
        }
        finally
        {
            _model.Return();
        }
    }

    /// <summary>The mean of the policy's texts less the mean of the neutral ones, both of length 1.</summary>
    static float[] Direction(MultimodalModel model, ModerationPolicy policy)
    {
        float[] wanted = Mean(model.EmbedTexts(policy.Texts)), neutral = Mean(model.EmbedTexts(policy.Neutral));
        TensorPrimitives.Subtract(wanted, neutral, wanted);
        return wanted;

        static float[] Mean(float[][] embeddings)
        {
            var mean = new float[embeddings[0].Length];
            foreach (float[] e in embeddings) TensorPrimitives.Add(mean, e, mean);
            TensorPrimitives.Divide(mean, Math.Max(TensorPrimitives.Norm<float>(mean), float.Epsilon), mean);
            return mean;
        }
    }

    FittedPolicy[] Calibrate(MultimodalModel model, FittedPolicy[] policies, IDataView input)
    {
        var evidence = new ModerationComputation(_env.Register("Moderate"), _options, model, policies).AllEvidence(input);
        return [.. policies.Select((policy, i) =>
        {
            if (_options.Policies[i].Label is not { } column) return policy;
            bool[] labels = [.. input.GetColumn<bool>(column)];
            return policy with
            {
                Image = _options.Image is null ? null : Scaled("pictures", e => [e.Image]),
                Text = _options.Text is null ? null : Scaled("texts", e => [e.Text]),
                Joint = _options.Image is null || _options.Text is null ? null : Scaled("both", e => [e.Image, e.Text]),
            };

            PlattScaling? Scaled(string what, Func<(float Image, float Text), float[]> pick)
            {
                int[] rows = [.. Enumerable.Range(0, labels.Length).Where(r => !pick(evidence[r][i]).Any(float.IsNaN))];
                bool[] own = [.. rows.Select(r => labels[r])];
                if (!own.Contains(true) || !own.Contains(false))
                    throw new InvalidDataException($"policy '{policy.Name}' cannot be calibrated for {what}: of {own.Length} rows that have them "
                        + $"{own.Count(l => l)} are true in column '{column}'; both answers are wanted.");
                return PlattScaling.Fit([.. rows.Select(r => pick(evidence[r][i]))], own);
            }
        })];
    }

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        if (_options.Image is { } image && Columns.Find(inputSchema, image) is var i) Columns.CheckImages(image, i.ItemType, Columns.IsVector(i));
        if (_options.Text is { } text && Columns.Find(inputSchema, text) is var t) Columns.CheckTexts(text, t.ItemType, Columns.IsVector(t));
        foreach (string label in _options.Policies.Select(p => p.Label).OfType<string>())
            if (Columns.Find(inputSchema, label) is var l && (l.ItemType != BooleanDataViewType.Instance || Columns.IsVector(l)))
                throw new ArgumentException($"the label '{label}' must be Boolean, but is {Columns.Describe(l.ItemType, Columns.IsVector(l))}.");
        SchemaShape.Column Scalar(string name, DataViewType type) => MlNet.ShapeColumn(name, VectorKind.Scalar, type, false, null);
        SchemaShape.Column[] outputs =
        [
            .. _options.Policies.SelectMany(p => new[]
            {
                Scalar($"{p.Name}.PredictedLabel", BooleanDataViewType.Instance), Scalar($"{p.Name}.Score", NumberDataViewType.Single),
                Scalar($"{p.Name}.Probability", NumberDataViewType.Single),
            }),
            Scalar(_options.Flagged, BooleanDataViewType.Instance), Scalar(_options.Reason, TextDataViewType.Instance),
        ];
        return new(inputSchema.Where(c => outputs.All(o => o.Name != c.Name)).Concat(outputs));
    }
}

/// <summary>Judges pictures and texts by policies: the result of <see cref="ModerateEstimator"/>. Saved by <c>MLContext.Model.Save</c>
/// with the model's files and the calibration in the same zip. Thread-safe, but for <see cref="Dispose"/>.</summary>
public sealed class ModerationTransformer : ITransformer, IDisposable
{
    internal const string Loader = "MLNetMultimodalModerate";
    static readonly ModelEntry Entry = new("MMMODERA", Loader);

    readonly SharedModel<MultimodalModel> _shared;
    readonly IReadOnlyList<FittedPolicy> _policies;
    readonly ModerationComputation _computation;
    bool _disposed;

    internal ModerationTransformer(IHostEnvironment env, ModerateOptions options, IReadOnlyList<FittedPolicy> policies, SharedModel<MultimodalModel> model)
    {
        options.Validate();
        (Options, _policies, _shared, Model) = (options, policies, model, model.Rent());
        try
        {
            if (options.Image is not null && !Model.Modalities.Contains(Modality.Image))
                throw new NotSupportedException($"'{Model.Name}' has no encoder for pictures; it has {string.Join(", ", Model.Modalities)}.");
            _computation = new(env.Register(Loader), options, Model, policies);
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
    public ModerateOptions Options { get; }

    /// <summary>True: each row is computed from that row alone.</summary>
    public bool IsRowToRowMapper => true;

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public DataViewSchema GetOutputSchema(DataViewSchema inputSchema) => _computation.OutputSchema(inputSchema);

    /// <summary>A lazy view with the verdicts: nothing is computed before one is asked for.</summary>
    /// <param name="input">The data.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public IDataView Transform(IDataView input) => new BatchingDataView<ModerationBatch>(_computation, input);

    /// <summary>The transform for one row at a time, as <c>PredictionEngine</c> uses it.</summary>
    /// <param name="inputSchema">The columns of the row.</param>
    public IRowToRowMapper GetRowToRowMapper(DataViewSchema inputSchema) => new SingleRowMapper<ModerationBatch>(_computation, inputSchema);

    /// <summary>Closes the model, unless it was given from outside or another transformer of the same estimator still uses
    /// it.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _shared.Return();
    }

    void ICanSaveModel.Save(ModelSaveContext context) => ModelContent.Save(Entry, context, Model, new Saved(Options with { Model = null }, _policies));

    static ModerationTransformer Create(IHostEnvironment env, object context)
    {
        var (model, saved) = ModelContent.Load<Saved>(Entry, context, s => s.Options.Inference);
        return new(env, saved.Options, saved.Policies, SharedModel.Of(model, owned: true));
    }

    sealed record Saved(ModerateOptions Options, IReadOnlyList<FittedPolicy> Policies);
}
