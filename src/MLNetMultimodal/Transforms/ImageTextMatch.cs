using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Transforms;
using VectorKind = Microsoft.ML.SchemaShape.Column.VectorKind;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="ImageTextMatchCatalog.MatchImageText"/>. Exactly one of <see cref="Model"/> and <see
/// cref="LoadedModel"/> is set.</summary>
public sealed record ImageTextMatchOptions
{
    /// <summary>Column that is added: how well picture and text fit, Single, the higher the better, NaN where it is missing: the logarithm
    /// of the odds that they belong together, or for a model that compares embeddings their cosine similarity; default
    /// <c>Score</c>.</summary>
    public string Score { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Score)); } = "Score";

    /// <summary>Column that is added: the probability that picture and text belong together, Single, 0 to 1, NaN where it is missing and
    /// for a model that compares embeddings, which has none; default <c>MatchProbability</c>.</summary>
    public string MatchProbability { get; init => field = MultimodalEmbedOptions.Name(value, nameof(MatchProbability)); } = "MatchProbability";

    /// <summary>Column that is added: the picture's embedding, Vector&lt;Single, E&gt; of length 1; default <c>ImageEmbedding</c>.</summary>
    public string ImageEmbedding { get; init => field = MultimodalEmbedOptions.Name(value, nameof(ImageEmbedding)); } = "ImageEmbedding";

    /// <summary>Column that is added: the text's embedding, Vector&lt;Single, E&gt; of length 1; default <c>TextEmbedding</c>.</summary>
    public string TextEmbedding { get; init => field = MultimodalEmbedOptions.Name(value, nameof(TextEmbedding)); } = "TextEmbedding";

    /// <summary>Column that is added: where each token of the text looks, Vector&lt;Single, L * N&gt;, the patches of the first token row by
    /// row, then those of the second: the mean over heads and layers. Its annotation <c>Patches</c> is N. Null, the default, leaves it
    /// out.</summary>
    public string? Attention { get; init => field = value is null ? null : MultimodalEmbedOptions.Name(value, nameof(Attention)); }

    /// <summary>Column that is added beside <see cref="Attention"/>: the tokens, Vector&lt;Text, L&gt;; default
    /// <c>AttentionTokens</c>.</summary>
    public string AttentionTokens { get; init => field = MultimodalEmbedOptions.Name(value, nameof(AttentionTokens)); } = "AttentionTokens";

    /// <summary>Column of pictures: MLImage, a path as text, or the bytes of a picture file as Vector&lt;Byte&gt;.</summary>
    public required string Image { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Image)); }

    /// <summary>Column of texts.</summary>
    public required string Text { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Text)); }

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
    public int BatchSize { get; init => field = MultimodalEmbedOptions.Batch(value); } = 8;

    /// <summary>What runs of the model are arranged for; default <see cref="InferenceMode.Throughput"/>. Without effect on <see
    /// cref="LoadedModel"/>.</summary>
    public InferenceMode Mode { get; init; } = InferenceMode.Throughput;

    /// <summary>What happens where a picture or a text cannot be read; default <see cref="MLNetMultimodal.OnError.Throw"/>.</summary>
    public OnError OnError { get; init; }

    internal InferenceOptions Inference => new() { Mode = Mode };

    internal string[] OutputColumns => Attention is null ? [Score, MatchProbability, ImageEmbedding, TextEmbedding]
        : [Score, MatchProbability, ImageEmbedding, TextEmbedding, Attention, AttentionTokens];

    internal void Validate()
    {
        if (OutputColumns.Distinct().Count() < OutputColumns.Length)
            throw new ArgumentException($"the output columns must have distinct names, but are {string.Join(", ", OutputColumns)}.");
    }
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class ImageTextMatchCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Says whether picture and text belong together: by a model that looks at both at once (ALBEF: Li et al. 2021,
        /// arXiv:2107.07651; BLIP), or by the similarity of embeddings.</summary>
        /// <param name="options">Columns and model.</param>
        /// <returns>The estimator; its <c>Fit</c> loads the model and trains nothing.</returns>
        /// <exception cref="ArgumentException">Not exactly one model is given, or output columns have the same name.</exception>
        public ImageTextMatchEstimator MatchImageText(ImageTextMatchOptions options) => new(MlNet.Environment(catalog), options);
    }
}

/// <summary>Fits <see cref="ImageTextMatchTransformer"/>. All transformers that one estimator fits share one loaded model.</summary>
public sealed class ImageTextMatchEstimator : IEstimator<ImageTextMatchTransformer>
{
    readonly IHostEnvironment _env;
    readonly ImageTextMatchOptions _options;
    readonly SharedModel<MultimodalModel> _model;

    internal ImageTextMatchEstimator(IHostEnvironment env, ImageTextMatchOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        (_env, _options) = (env, options);
        _model = SharedModel.From(options.Model, options.LoadedModel, options.Inference);
    }

    /// <summary>Loads the model. No rows are read.</summary>
    /// <param name="input">The data; only its schema is looked at.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type.</exception>
    /// <exception cref="IOException">The model folder or one of its files is missing.</exception>
    /// <exception cref="InvalidDataException">A file of the model is not sound.</exception>
    /// <exception cref="NotSupportedException">Attention is asked for, and the model has none between texts and pictures.</exception>
    public ImageTextMatchTransformer Fit(IDataView input)
    {
        GetOutputSchema(MlNet.ShapeOf(input.Schema));
        return new(_env, _options, _model);
    }

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema) => OutputSchema(_options, inputSchema);

    internal static SchemaShape OutputSchema(ImageTextMatchOptions options, SchemaShape inputSchema)
    {
        SchemaShape.Column image = Columns.Find(inputSchema, options.Image), text = Columns.Find(inputSchema, options.Text);
        Columns.CheckImages(options.Image, image.ItemType, Columns.IsVector(image));
        Columns.CheckTexts(options.Text, text.ItemType, Columns.IsVector(text));
        List<SchemaShape.Column> outputs =
        [
            MlNet.ShapeColumn(options.Score, VectorKind.Scalar, NumberDataViewType.Single, false, null),
            MlNet.ShapeColumn(options.MatchProbability, VectorKind.Scalar, NumberDataViewType.Single, false, null),
            MlNet.ShapeColumn(options.ImageEmbedding, VectorKind.Vector, NumberDataViewType.Single, false, null),
            MlNet.ShapeColumn(options.TextEmbedding, VectorKind.Vector, NumberDataViewType.Single, false, null),
        ];
        if (options.Attention is { } attention)
        {
            outputs.Add(MlNet.ShapeColumn(attention, VectorKind.VariableVector, NumberDataViewType.Single, false,
                new([MlNet.ShapeColumn(ImageTextMatchComputation.PatchesAnnotation, VectorKind.Scalar, NumberDataViewType.Int32, false, null)])));
            outputs.Add(MlNet.ShapeColumn(options.AttentionTokens, VectorKind.VariableVector, TextDataViewType.Instance, false, null));
        }
        return new(inputSchema.Where(c => !options.OutputColumns.Contains(c.Name)).Concat(outputs));
    }
}

/// <summary>Says whether pictures and texts belong together. Saved by <c>MLContext.Model.Save</c> with the model's files in the same
/// zip. Thread-safe, but for <see cref="Dispose"/>.</summary>
public sealed class ImageTextMatchTransformer : ITransformer, IDisposable
{
    internal const string Loader = "MLNetMultimodalMatch";
    static readonly ModelEntry Entry = new("MMMATCH ", Loader);

    readonly SharedModel<MultimodalModel> _shared;
    readonly ImageTextMatchComputation _computation;
    bool _disposed;

    internal ImageTextMatchTransformer(IHostEnvironment env, ImageTextMatchOptions options, MultimodalModel model)
        : this(env, options, SharedModel.Of(model, owned: true))
    {
    }

    internal ImageTextMatchTransformer(IHostEnvironment env, ImageTextMatchOptions options, SharedModel<MultimodalModel> model)
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
    public ImageTextMatchOptions Options { get; }

    /// <summary>True: each row is computed from that row alone.</summary>
    public bool IsRowToRowMapper => true;

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public DataViewSchema GetOutputSchema(DataViewSchema inputSchema) => _computation.OutputSchema(inputSchema);

    /// <summary>A lazy view with the matches: nothing is computed before one is asked for.</summary>
    /// <param name="input">The data.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public IDataView Transform(IDataView input) => new BatchingDataView<ImageTextMatchBatch>(_computation, input);

    /// <summary>The transform for one row at a time, as <c>PredictionEngine</c> uses it.</summary>
    /// <param name="inputSchema">The columns of the row.</param>
    public IRowToRowMapper GetRowToRowMapper(DataViewSchema inputSchema) => new SingleRowMapper<ImageTextMatchBatch>(_computation, inputSchema);

    /// <summary>Writes the model as a folder in the Hugging Face layout, each file whole or not at all.</summary>
    /// <param name="folder">The folder; it is created where it does not exist.</param>
    public void SaveModelFolder(string folder) => ModelContent.SaveFolder(Model, folder);

    /// <summary>Closes the model, unless it was given from outside or another transformer of the same estimator still uses
    /// it.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _shared.Return();
    }

    void ICanSaveModel.Save(ModelSaveContext context) => ModelContent.Save(Entry, context, Model, Options with { Model = null });

    static ImageTextMatchTransformer Create(IHostEnvironment env, object context)
    {
        var (model, options) = ModelContent.Load<ImageTextMatchOptions>(Entry, context, o => o.Inference);
        return new(env, options, model);
    }
}
