using System.Numerics.Tensors;
using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>What is not wanted, in words.</summary>
public sealed record ModerationPolicy
{
    /// <summary>What columns and reasons call it.</summary>
    public required string Name { get; init => field = Checked.Name(value); }

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
    public string? Label { get; init => field = Checked.NameOrNull(value); }

    static IReadOnlyList<string> Some(IReadOnlyList<string> value, string option) => value.Count > 0 && value.All(t => !string.IsNullOrWhiteSpace(t)) ? value
        : throw new ArgumentException($"{option} must be at least one text, none of them empty.", option);
}

/// <summary>Options of <see cref="ModerateCatalog.Moderate"/>. At least one of <see cref="Image"/> and <see cref="Text"/> is set, and
/// exactly one of <see cref="Model"/> and <see cref="LoadedModel"/>.</summary>
public sealed record ModerateOptions
{
    /// <summary>Column of pictures: MLImage, a path as text, or the bytes of a picture file as Vector&lt;Byte&gt;; null for none.</summary>
    public string? Image { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of texts; null for none. An empty text is no evidence.</summary>
    public string? Text { get; init => field = Checked.NameOrNull(value); }

    /// <summary>The policies, at least one; their names are distinct. Each adds the columns <c>Name.PredictedLabel</c> (Boolean),
    /// <c>Name.Score</c> (Single, a logit, NaN where nothing is there to judge) and <c>Name.Probability</c> (Single), so that
    /// <c>ml.BinaryClassification.Evaluate</c> gives the areas under its ROC and precision-recall curves.</summary>
    public required IReadOnlyList<ModerationPolicy> Policies { get; init; }

    /// <summary>The column that is added: whether any policy is violated, Boolean. Default <c>Flagged</c>.</summary>
    public string Flagged { get; init => field = Checked.Name(value); } = "Flagged";

    /// <summary>The column that is added: the policies that are violated, the surest first, with their probability and what picture and
    /// text alone say, such as <c>footwear 0.97 (picture 0.95, text 0.61)</c>; empty where none is. Default <c>Reason</c>.</summary>
    public string Reason { get; init => field = Checked.Name(value); } = "Reason";

    /// <inheritdoc cref="MultimodalEmbedOptions.Model"/>
    public string? Model { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.LoadedModel"/>
    [JsonIgnore]
    public MultimodalModel? LoadedModel { get; init; }

    /// <summary>Folder that relative paths in <see cref="Image"/> start from; null for the working directory.</summary>
    public string? ImageFolder { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.BatchSize"/>
    public int BatchSize { get; init => field = Checked.Batch(value); } = 8;

    /// <inheritdoc cref="MultimodalEmbedOptions.Mode"/>
    public InferenceMode Mode { get; init; } = InferenceMode.Throughput;

    /// <inheritdoc cref="MultimodalEmbedOptions.Threads"/>
    public int Threads { get; init => field = Checked.AtLeastZero(value); }

    /// <inheritdoc cref="MultimodalEmbedOptions.Dtype"/>
    public OnnxDtype? Dtype { get; init; }

    /// <summary>What happens where a picture or a text cannot be read, or a picture is missing; default <see cref="OnError.Throw"/>. With
    /// <see cref="OnError.Missing"/> the row is judged by what is left.</summary>
    public OnError OnError { get; init; }

    internal InferenceOptions Inference => new() { Mode = Mode, Threads = Threads, Dtype = Dtype };

    /// <summary>The columns after the transform.</summary>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type.</exception>
    internal SchemaShape After(SchemaShape before)
    {
        Columns.CheckImages(before, Image);
        Columns.CheckTexts(before, Text);
        foreach (string label in Policies.Select(p => p.Label).OfType<string>())
            if (Columns.Find(before, label) is var l && (l.ItemType != BooleanDataViewType.Instance || Columns.IsVector(l)))
                throw new ArgumentException($"the label '{label}' must be Boolean, but is {Columns.Describe(l.ItemType, Columns.IsVector(l))}.");
        return Shape.After(before,
        [
            .. Policies.SelectMany(p => new[]
            {
                Shape.Scalar($"{p.Name}.PredictedLabel", BooleanDataViewType.Instance), Shape.Scalar($"{p.Name}.Score", NumberDataViewType.Single),
                Shape.Scalar($"{p.Name}.Probability", NumberDataViewType.Single),
            }),
            Shape.Scalar(Flagged, BooleanDataViewType.Instance), Shape.Scalar(Reason, TextDataViewType.Instance),
        ]);
    }

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
        /// <returns>The estimator; its <c>Fit</c> throws <see cref="InvalidDataException"/> where a labelled row cannot be read, or a
        /// policy's rows do not have both answers.</returns>
        /// <exception cref="ArgumentException">No column, no policy, names that are not distinct, or not exactly one model.</exception>
        public ModerateEstimator Moderate(ModerateOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            options.Validate();
            return new(MlNet.Environment(catalog), options, SharedModel.From(options.Model, options.LoadedModel, options.Inference));
        }
    }
}

/// <summary>Fits <see cref="ModerationTransformer"/>: embeds the policies, and calibrates those that have a label column; without one
/// no rows are read.</summary>
public sealed class ModerateEstimator : RowEstimator<ModerationTransformer>
{
    internal ModerateEstimator(IHostEnvironment env, ModerateOptions options, SharedModel<MultimodalModel> shared)
        : base(options.After, input => shared.Use(model => new ModerationTransformer(env, options, Fitted(env, options, model, input), shared)))
    {
    }

    static FittedPolicy[] Fitted(IHostEnvironment env, ModerateOptions options, MultimodalModel model, IDataView input)
    {
        FittedPolicy[] policies = [.. options.Policies.Select(p => new FittedPolicy(p.Name, p.Threshold, Direction(model, p), null, null, null))];
        return options.Policies.Any(p => p.Label is not null) ? Calibrate(env, options, model, policies, input) : policies;
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

    static FittedPolicy[] Calibrate(IHostEnvironment env, ModerateOptions options, MultimodalModel model, FittedPolicy[] policies, IDataView input)
    {
        var evidence = new ModerationComputation(env.Register("Moderate"), options, model, policies).AllEvidence(input);
        return [.. policies.Select((policy, i) =>
        {
            if (options.Policies[i].Label is not { } column) return policy;
            bool[] labels = [.. input.GetColumn<bool>(column)];
            return policy with
            {
                Image = options.Image is null ? null : Scaled("pictures", e => [e.Image]),
                Text = options.Text is null ? null : Scaled("texts", e => [e.Text]),
                Joint = options.Image is null || options.Text is null ? null : Scaled("both", e => [e.Image, e.Text]),
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
}

/// <summary>Judges pictures and texts by policies: the result of <see cref="ModerateEstimator"/>. The calibration is saved with the model's
/// files.</summary>
public sealed class ModerationTransformer : ModelTransformer<MultimodalModel>
{
    internal const string Loader = "MLNetMultimodalModerate";
    static readonly ModelEntry Entry = new("MMMODERA", Loader);

    readonly IReadOnlyList<FittedPolicy> _policies;

    internal ModerationTransformer(IHostEnvironment env, ModerateOptions options, IReadOnlyList<FittedPolicy> policies, SharedModel<MultimodalModel> shared)
        : base(shared, model =>
        {
            options.Validate();
            if (options.Image is not null && !model.Modalities.Contains(Modality.Image))
                throw new NotSupportedException($"'{model.Name}' has no encoder for pictures; it has {string.Join(", ", model.Modalities)}.");
            return new ModerationComputation(env.Register(Loader), options, model, policies);
        }) => (Options, _policies) = (options, policies);

    /// <summary>What it was made with.</summary>
    public ModerateOptions Options { get; }

    private protected override void Save(ModelSaveContext context) =>
        ModelContent.Save(Entry, context, Model, new Saved(Options with { Model = null }, _policies));

    static ModerationTransformer Create(IHostEnvironment env, object context)
    {
        var (model, saved) = ModelContent.Load<Saved>(Entry, context, s => s.Options.Inference);
        return new(env, saved.Options, saved.Policies, SharedModel.Of(model, owned: true));
    }

    sealed record Saved(ModerateOptions Options, IReadOnlyList<FittedPolicy> Policies);
}
