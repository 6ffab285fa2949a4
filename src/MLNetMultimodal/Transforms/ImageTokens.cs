using System.Text.Json.Serialization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="ImageTokensCatalog.ImageTokens"/>. Exactly one of <see cref="Model"/> and
/// <see cref="LoadedTokenizer"/> is set.</summary>
public sealed record ImageTokensOptions
{
    /// <summary>The column that is added: a vector of N keys (UInt32), 1 for code 0, one for each patch, row after row; default
    /// <c>Tokens</c>.</summary>
    public string Output { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Output)); } = "Tokens";

    /// <summary>Column of the pictures: an image, the path of one, or the bytes of an encoded one.</summary>
    public required string Image { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Image)); }

    /// <summary>Folder that relative picture paths start from; null for the working folder.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>The tokenizer: a folder of the family <c>vq-tokenizer</c>, as <c>Trainers.ImageTokenizer</c> writes it.</summary>
    public string? Model { get; init; }

    /// <summary>A tokenizer that was loaded elsewhere, in place of a folder. The caller disposes it, after all transformers that use
    /// it.</summary>
    [JsonIgnore]
    public ImageTokenizer? LoadedTokenizer { get; init; }

    /// <summary>Threads that one run of the tokenizer uses, 0 for one per core; default 1: rows are worked on side by side. Without
    /// effect on <see cref="LoadedTokenizer"/>.</summary>
    public int Threads
    {
        get;
        init => field = value >= 0 ? value
            : throw new ArgumentOutOfRangeException(nameof(Threads), value, "Threads must be at least 0.");
    } = 1;

    /// <summary>What happens where a picture cannot be read; default <see cref="OnError.Throw"/>. Missing tokens are missing
    /// keys.</summary>
    public OnError OnError { get; init; }

    PictureColumn Column => new(Image, ImageFolder);

    internal VectorStep<PicturePart, uint> Step(ImageTokenizer tokenizer)
    {
        PictureColumn column = Column;
        return new()
        {
            Output = Output,
            Input = column,
            Type = new(new KeyDataViewType(typeof(uint), tokenizer.Config.CodebookSize), tokenizer.Config.Tokens),
            Annotations = [],
            Compute = (part, slot) =>
            {
                var pixels = new float[3 * tokenizer.Images.Height * tokenizer.Images.Width];
                column.Fill(part, slot, tokenizer.Images, pixels);
                return Array.ConvertAll(tokenizer.Encode(pixels, 1), code => (uint)code + 1);
            },
            Missing = 0,
            OnError = OnError,
        };
    }

    internal SchemaShape After(SchemaShape before) => VectorShape.After(before, Column, Output, true, NumberDataViewType.UInt32, true);
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class ImageTokensCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Turns pictures into the codes of a tokenizer, one for each patch (VQ-VAE: van den Oord et al. 2017,
        /// arXiv:1711.00937), on worker threads.</summary>
        /// <param name="options">Columns and tokenizer.</param>
        /// <returns>The estimator; its <c>Fit</c> loads the tokenizer and trains nothing.</returns>
        /// <exception cref="ArgumentException">Not exactly one tokenizer is given.</exception>
        public ImageTokensEstimator ImageTokens(ImageTokensOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            return new(MlNet.Environment(catalog), options);
        }
    }
}

/// <summary>Fits <see cref="ImageTokensTransformer"/>. All transformers that one estimator fits share one loaded tokenizer.</summary>
public sealed class ImageTokensEstimator : IEstimator<ImageTokensTransformer>
{
    readonly IHostEnvironment _env;
    readonly ImageTokensOptions _options;
    readonly SharedModel<ImageTokenizer> _tokenizer;

    internal ImageTokensEstimator(IHostEnvironment env, ImageTokensOptions options)
    {
        (_env, _options) = (env, options);
        _tokenizer = SharedModel.From(options.Model, options.LoadedTokenizer,
            folder => ImageTokenizer.Load(folder, new() { Threads = options.Threads }), nameof(ImageTokensOptions.LoadedTokenizer));
    }

    /// <summary>Loads the tokenizer. No rows are read.</summary>
    /// <param name="input">The data; only its schema is looked at.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type.</exception>
    /// <exception cref="IOException">The folder or one of its files is missing.</exception>
    /// <exception cref="InvalidDataException">A file of the tokenizer is not sound.</exception>
    /// <exception cref="NotSupportedException">The model is no tokenizer of pictures.</exception>
    public ImageTokensTransformer Fit(IDataView input)
    {
        GetOutputSchema(MlNet.ShapeOf(input.Schema));
        return new(_env, _options, _tokenizer);
    }

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema) => _options.After(inputSchema);
}

/// <summary>Turns pictures into codes. Saved by <c>MLContext.Model.Save</c> with the tokenizer's files in the same zip. Thread-safe, but
/// for <see cref="Dispose"/>.</summary>
public sealed class ImageTokensTransformer : ITransformer, IDisposable
{
    internal const string Loader = "MLNetMultimodalVqTokens";
    static readonly ModelEntry Entry = new("MMIMGTOK", Loader);

    readonly ImageTokensOptions _options;
    readonly SharedModel<ImageTokenizer> _shared;
    readonly VectorComputation<PicturePart, uint> _computation;
    bool _disposed;

    internal ImageTokensTransformer(IHostEnvironment env, ImageTokensOptions options, SharedModel<ImageTokenizer> tokenizer)
    {
        (_options, _shared, Tokenizer) = (options, tokenizer, tokenizer.Rent());
        _computation = new(env.Register(Loader), options.Step(Tokenizer));
    }

    /// <summary>The tokenizer; it lives as long as the transformer.</summary>
    public ImageTokenizer Tokenizer { get; }

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

    /// <summary>Closes the tokenizer, unless it was given from outside or another transformer of the same estimator still uses
    /// it.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _shared.Return();
    }

    void ICanSaveModel.Save(ModelSaveContext context) =>
        ModelContent.Save(Entry, context, Tokenizer.Files, ModelContent.Names(Tokenizer.Files), _options with { Model = null });

    static ImageTokensTransformer Create(IHostEnvironment env, object context)
    {
        var (options, files, _, _) = ModelContent.Load<ImageTokensOptions>(Entry, context);
        return new(env, options, SharedModel.Of(ImageTokenizer.Load(files, new() { Threads = options.Threads }), owned: true));
    }
}
