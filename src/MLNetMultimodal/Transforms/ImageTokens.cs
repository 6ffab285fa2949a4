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
    public string Output { get; init => field = Checked.Name(value); } = "Tokens";

    /// <summary>Column of the pictures: an image, the path of one, or the bytes of an encoded one.</summary>
    public required string Image { get; init => field = Checked.Name(value); }

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
    public int Threads { get; init => field = Checked.AtLeastZero(value); } = 1;

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

    internal SchemaShape After(SchemaShape before)
    {
        Column.Check(before);
        return Shape.After(before, Shape.Keys(Output, isKnownSize: true));
    }
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
public sealed class ImageTokensEstimator : RowEstimator<ImageTokensTransformer>
{
    internal ImageTokensEstimator(IHostEnvironment env, ImageTokensOptions options) : this(env, options, SharedModel.From(options.Model,
        options.LoadedTokenizer, folder => ImageTokenizer.Load(folder, new() { Threads = options.Threads }), nameof(ImageTokensOptions.LoadedTokenizer)))
    {
    }

    ImageTokensEstimator(IHostEnvironment env, ImageTokensOptions options, SharedModel<ImageTokenizer> tokenizer)
        : base(options.After, _ => new(env, options, tokenizer))
    {
    }
}

/// <summary>Turns pictures into codes.</summary>
public sealed class ImageTokensTransformer : ModelTransformer<ImageTokenizer>
{
    internal const string Loader = "MLNetMultimodalVqTokens";
    static readonly ModelEntry Entry = new("MMIMGTOK", Loader);

    readonly ImageTokensOptions _options;

    internal ImageTokensTransformer(IHostEnvironment env, ImageTokensOptions options, SharedModel<ImageTokenizer> shared)
        : base(shared, tokenizer => new VectorComputation<PicturePart, uint>(env.Register(Loader), options.Step(tokenizer))) => _options = options;

    private protected override void Save(ModelSaveContext context) =>
        ModelContent.Save(Entry, context, Model.Files, ModelContent.Names(Model.Files), _options with { Model = null });

    static ImageTokensTransformer Create(IHostEnvironment env, object context)
    {
        var (options, files, _, _) = ModelContent.Load<ImageTokensOptions>(Entry, context);
        return new(env, options, SharedModel.Of(ImageTokenizer.Load(files, new() { Threads = options.Threads }), owned: true));
    }
}
