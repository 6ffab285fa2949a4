using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="CrossModalPredictCatalog.CrossModalPredict"/>. Exactly one of <see cref="Model"/> and
/// <see cref="LoadedModel"/> is set, and a column for each sense that the model has.</summary>
public sealed record CrossModalPredictOptions
{
    /// <summary>Column of pictures: MLImage, a path as text, or the bytes of a picture file as Vector&lt;Byte&gt;; null for none. A row
    /// whose image is null, or whose path or bytes are empty, has no picture.</summary>
    public string? Image { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of texts; null for none. An empty text is a missing one; longer ones are cut to the model's context
    /// length.</summary>
    public string? Text { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of sounds: a path as text, the bytes of a sound file as Vector&lt;Byte&gt;, or mono samples as
    /// Vector&lt;Single&gt; whose rate is <see cref="AudioSampleRateHz"/> or the column's annotation <c>SampleRateHz</c>; null for
    /// none. A row whose path, bytes or samples are empty, or whose samples are all NaN, has no sound.</summary>
    public string? Audio { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of numbers, Vector&lt;Single&gt; of one size or Single; null for none. NaN and infinity count as missing, each
    /// number by itself.</summary>
    public string? Features { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Folder that relative paths in <see cref="Image"/> start from; null for the working directory.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>Folder that relative paths in <see cref="Audio"/> start from; null for the working directory.</summary>
    public string? AudioFolder { get; init; }

    /// <inheritdoc cref="MultimodalEmbedOptions.AudioSampleRateHz"/>
    public int? AudioSampleRateHz { get; init => field = Checked.RateOrNull(value); }

    /// <summary>The model: a folder, or one of the hub (<see cref="ModelFiles.FromFolder"/>).</summary>
    public string? Model { get; init; }

    /// <summary>A model that was loaded elsewhere, in place of a folder. The caller disposes it, after all transformers that use
    /// it.</summary>
    [JsonIgnore]
    public FusionPredictor? LoadedModel { get; init; }

    /// <summary>The column that is added: of a multiclass model the probabilities of the classes, Vector&lt;Single&gt; with the classes'
    /// names as slot names; of a binary one the logit of yes, of a regression the number, Single. Default <c>Score</c>.</summary>
    public string Score { get; init => field = Checked.Name(value); } = "Score";

    /// <summary>The column that is added: the class, a key with the label's key values, or of a binary model Boolean; none of a
    /// regression. Default <c>PredictedLabel</c>.</summary>
    public string PredictedLabel { get; init => field = Checked.Name(value); } = "PredictedLabel";

    /// <summary>The column that a binary model adds: the probability of yes, Single. Default <c>Probability</c>.</summary>
    public string Probability { get; init => field = Checked.Name(value); } = "Probability";

    /// <summary>One more column: what the model looked at, Vector&lt;Single&gt; of a share for each token, which sum to 1, with
    /// <see cref="FusionPredictor.TokenNames"/> as slot names; null, the default, for none. It costs a second attention where it is
    /// read, and nothing where it is not.</summary>
    public string? Attention { get; init => field = Checked.NameOrNull(value); }

    /// <summary>B, rows that run through the model together, 1 to 1024; default 16.</summary>
    public int BatchSize { get; init => field = Checked.Batch(value); } = 16;

    /// <inheritdoc cref="MultimodalEmbedOptions.Mode"/>
    public InferenceMode Mode { get; init; } = InferenceMode.Throughput;

    /// <summary>Threads that one run of the model uses; default 0, as <see cref="Mode"/> says. Without effect on
    /// <see cref="LoadedModel"/>.</summary>
    public int Threads { get; init => field = Checked.AtLeastZero(value); }

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
    /// <param name="before">The columns before it.</param>
    internal SchemaShape After(FusionTask task, DataViewType? keyValues, SchemaShape before)
    {
        SchemaShape.Column[] common =
        [
            Shape.Scalar("ScoreColumnKind", TextDataViewType.Instance), Shape.Scalar("ScoreValueKind", TextDataViewType.Instance),
            Shape.Key("ScoreColumnSetId"),
        ];
        SchemaShape.Column[] Values(string name) => keyValues is null ? [] : [Shape.Vector(name, keyValues)];
        SchemaShape.Column slotNames = Shape.Vector("SlotNames", TextDataViewType.Instance);
        SchemaShape.Column[] predicted = task switch
        {
            FusionTask.Multiclass =>
            [
                Shape.Key(PredictedLabel, [.. common, .. Values("KeyValues")]),
                Shape.Vector(Score, NumberDataViewType.Single, [.. common, .. Values("TrainingLabelValues"), slotNames]),
            ],
            FusionTask.Binary =>
            [
                Shape.Scalar(PredictedLabel, BooleanDataViewType.Instance, common),
                Shape.Scalar(Score, NumberDataViewType.Single, common),
                Shape.Scalar(Probability, NumberDataViewType.Single, [.. common, Shape.Scalar("IsNormalized", BooleanDataViewType.Instance)]),
            ],
            _ => [Shape.Scalar(Score, NumberDataViewType.Single, common)],
        };
        return Attention is null ? Shape.After(before, predicted)
            : Shape.After(before, [.. predicted, Shape.Vector(Attention, NumberDataViewType.Single, slotNames)]);
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
        /// <returns>The estimator; its <c>Fit</c> loads the model and trains nothing. It throws <see cref="ArgumentException"/> where a
        /// column is of a sense that the model does not have, or one that the model has is not given.</returns>
        /// <exception cref="ArgumentException">No input column or not exactly one model is given.</exception>
        public CrossModalPredictEstimator CrossModalPredict(CrossModalPredictOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            return new(MlNet.Environment(catalog), options, SharedModel.From(options.Model, options.LoadedModel,
                folder => FusionPredictor.Load(folder, options.Inference), nameof(CrossModalPredictOptions.LoadedModel)));
        }
    }
}

/// <summary>Fits <see cref="FusionTransformer"/>. Its <c>GetOutputSchema</c> loads the model, which knows what it predicts.</summary>
public sealed class CrossModalPredictEstimator : RowEstimator<FusionTransformer>
{
    internal CrossModalPredictEstimator(IHostEnvironment env, CrossModalPredictOptions options, SharedModel<FusionPredictor> shared)
        : base(before => After(options, shared, before), _ => new(env, options, shared))
    {
    }

    static SchemaShape After(CrossModalPredictOptions options, SharedModel<FusionPredictor> shared, SchemaShape before)
    {
        options.Columns.Check(before);
        return options.After(shared.Use(model => model.Model.Config.Task), TextDataViewType.Instance, before);
    }
}

/// <summary>Predicts from pictures, texts, sounds and numbers with a fusion model: the result of <see
/// cref="CrossModalPredictEstimator"/> and of the trainers <c>CrossModalFusion</c>.</summary>
/// <remarks>It is a single-feature prediction transformer over its column of numbers, so that
/// <c>PermutationFeatureImportance(transformer, data, …)</c> of ML.NET's catalogs says how much each number counts; pictures, texts and
/// sounds are no features that ML.NET could permute.</remarks>
public sealed class FusionTransformer : ModelTransformer<FusionPredictor>, ISingleFeaturePredictionTransformer<FusionPredictor>
{
    internal const string Loader = "MLNetMultimodalFusion";
    static readonly ModelEntry Entry = new("MMFUSION", Loader);

    internal FusionTransformer(IHostEnvironment env, CrossModalPredictOptions options, SharedModel<FusionPredictor> shared)
        : base(shared, model =>
        {
            CheckSenses(options, model);
            return new FusionComputation(env.Register(Loader), options, model);
        }) => Options = options;

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

    /// <summary>Writes the model as a folder: config, weights, tokenizer, preprocessing. Each file appears whole or not at
    /// all.</summary>
    /// <param name="path">The folder; it is created, and files of the same names are replaced.</param>
    public void SaveModelFolder(string path) => ModelContent.SaveFolder(Model.Files, ModelContent.Names(Model.Files), path);

    private protected override void Save(ModelSaveContext context) => ModelContent.Save(Entry, context, Model.Files,
        ModelContent.Names(Model.Files), Options with { Model = null }, Options.Dtype);

    static FusionTransformer Create(IHostEnvironment env, object context)
    {
        (CrossModalPredictOptions options, ModelFiles files, _, _) = ModelContent.Load<CrossModalPredictOptions>(Entry, context);
        return new(env, options, FusionPredictor.Load(files, options.Inference));
    }
}
