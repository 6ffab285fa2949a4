using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="ImageTextMatchCatalog.MatchImageText"/>. Exactly one of <see cref="Model"/> and <see
/// cref="LoadedModel"/> is set.</summary>
public sealed record ImageTextMatchOptions
{
    /// <summary>Column that is added: how well picture and text fit, Single, the higher the better, NaN where it is missing: the logarithm
    /// of the odds that they belong together, or for a model that compares embeddings their cosine similarity; default
    /// <c>Score</c>.</summary>
    public string Score { get; init => field = Checked.Name(value); } = "Score";

    /// <summary>Column that is added: the probability that picture and text belong together, Single, 0 to 1, NaN where it is missing and
    /// for a model that compares embeddings, which has none; default <c>MatchProbability</c>.</summary>
    public string MatchProbability { get; init => field = Checked.Name(value); } = "MatchProbability";

    /// <summary>Column that is added: the picture's embedding, Vector&lt;Single, E&gt; of length 1; default <c>ImageEmbedding</c>.</summary>
    public string ImageEmbedding { get; init => field = Checked.Name(value); } = "ImageEmbedding";

    /// <summary>Column that is added: the text's embedding, Vector&lt;Single, E&gt; of length 1; default <c>TextEmbedding</c>.</summary>
    public string TextEmbedding { get; init => field = Checked.Name(value); } = "TextEmbedding";

    /// <summary>Column that is added: where each token of the text looks, Vector&lt;Single, L * N&gt;, the patches of the first token row by
    /// row, then those of the second: the mean over heads and layers. Its annotation <c>Patches</c> is N. Null, the default, leaves it
    /// out.</summary>
    public string? Attention { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column that is added beside <see cref="Attention"/>: the tokens, Vector&lt;Text, L&gt;; default
    /// <c>AttentionTokens</c>.</summary>
    public string AttentionTokens { get; init => field = Checked.Name(value); } = "AttentionTokens";

    /// <summary>Column of pictures: MLImage, a path as text, or the bytes of a picture file as Vector&lt;Byte&gt;.</summary>
    public required string Image { get; init => field = Checked.Name(value); }

    /// <summary>Column of texts.</summary>
    public required string Text { get; init => field = Checked.Name(value); }

    /// <summary>The model: a folder in the Hugging Face layout, or one of the hub, <c>hub:owner/name</c> or
    /// <c>hub:owner/name@revision</c>, which is downloaded where the cache does not have it
    /// (<see cref="ModelFiles.FromFolder"/>).</summary>
    public string? Model { get; init; }

    /// <summary>A model that was loaded elsewhere, in place of a folder. The caller disposes it, after all transformers that use
    /// it.</summary>
    [JsonIgnore]
    public MultimodalModel? LoadedModel { get; init; }

    /// <summary>Folder that relative paths in <see cref="Image"/> start from; null for the working directory.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>B, rows that run through the model together, 1 to 1024; default 8.</summary>
    public int BatchSize { get; init => field = Checked.Batch(value); } = 8;

    /// <summary>What runs of the model are arranged for; default <see cref="InferenceMode.Throughput"/>. Without effect on <see
    /// cref="LoadedModel"/>.</summary>
    public InferenceMode Mode { get; init; } = InferenceMode.Throughput;

    /// <summary>What happens where a picture or a text cannot be read; default <see cref="MLNetMultimodal.OnError.Throw"/>.</summary>
    public OnError OnError { get; init; }

    internal InferenceOptions Inference => new() { Mode = Mode };

    /// <summary>The columns after the transform.</summary>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type.</exception>
    internal SchemaShape After(SchemaShape before)
    {
        Columns.CheckImages(before, Image);
        Columns.CheckTexts(before, Text);
        SchemaShape.Column[] matched =
        [
            Shape.Scalar(Score, NumberDataViewType.Single), Shape.Scalar(MatchProbability, NumberDataViewType.Single),
            Shape.Vector(ImageEmbedding, NumberDataViewType.Single), Shape.Vector(TextEmbedding, NumberDataViewType.Single),
        ];
        return Attention is null ? Shape.After(before, matched) : Shape.After(before,
        [
            .. matched,
            Shape.VariableVector(Attention, NumberDataViewType.Single,
                Shape.Scalar(ImageTextMatchComputation.PatchesAnnotation, NumberDataViewType.Int32)),
            Shape.VariableVector(AttentionTokens, TextDataViewType.Instance),
        ]);
    }

    internal void Validate() => Columns.CheckDistinct(Attention is null ? [Score, MatchProbability, ImageEmbedding, TextEmbedding]
        : [Score, MatchProbability, ImageEmbedding, TextEmbedding, Attention, AttentionTokens]);
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class ImageTextMatchCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Says whether picture and text belong together: by a model that looks at both at once (ALBEF: Li et al. 2021,
        /// arXiv:2107.07651; BLIP), or by the similarity of embeddings.</summary>
        /// <param name="options">Columns and model.</param>
        /// <returns>The estimator; its <c>Fit</c> loads the model and trains nothing. It throws <see cref="NotSupportedException"/> where
        /// attention is asked for, and the model has none between texts and pictures.</returns>
        /// <exception cref="ArgumentException">Not exactly one model is given, or output columns have the same name.</exception>
        public ImageTextMatchEstimator MatchImageText(ImageTextMatchOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            options.Validate();
            return new(MlNet.Environment(catalog), options, SharedModel.From(options.Model, options.LoadedModel, options.Inference));
        }
    }
}

/// <summary>Fits <see cref="ImageTextMatchTransformer"/>.</summary>
public sealed class ImageTextMatchEstimator : RowEstimator<ImageTextMatchTransformer>
{
    internal ImageTextMatchEstimator(IHostEnvironment env, ImageTextMatchOptions options, SharedModel<MultimodalModel> model)
        : base(options.After, _ => new(env, options, model))
    {
    }
}

/// <summary>Says whether pictures and texts belong together.</summary>
public sealed class ImageTextMatchTransformer : ModelTransformer<MultimodalModel>
{
    internal const string Loader = "MLNetMultimodalMatch";
    static readonly ModelEntry Entry = new("MMMATCH ", Loader);

    internal ImageTextMatchTransformer(IHostEnvironment env, ImageTextMatchOptions options, SharedModel<MultimodalModel> shared)
        : base(shared, model =>
        {
            options.Validate();
            return new ImageTextMatchComputation(env.Register(Loader), options, model);
        }) => Options = options;

    /// <summary>A transformer over a model that was just trained; disposing the transformer disposes the model.</summary>
    internal ImageTextMatchTransformer(IHostEnvironment env, ImageTextMatchOptions options, MultimodalModel model)
        : this(env, options, SharedModel.Of(model, owned: true))
    {
    }

    /// <summary>What it was made with.</summary>
    public ImageTextMatchOptions Options { get; }

    /// <summary>Writes the model as a folder in the Hugging Face layout, each file whole or not at all.</summary>
    /// <param name="folder">The folder; it is created where it does not exist.</param>
    public void SaveModelFolder(string folder) => ModelContent.SaveFolder(Model, folder);

    private protected override void Save(ModelSaveContext context) =>
        ModelContent.Save(Entry, context, Model, Options with { Model = null });

    static ImageTextMatchTransformer Create(IHostEnvironment env, object context)
    {
        var (model, options) = ModelContent.Load<ImageTextMatchOptions>(Entry, context, o => o.Inference);
        return new(env, options, model);
    }
}
