using System.Numerics;
using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of a tokenizer of pictures. The schema is this library's own.</summary>
public sealed record VqTokenizerConfig
{
    /// <summary>Groups of channels that are normalised together.</summary>
    const int NormGroups = 8;

    /// <summary>Edge of the pictures in pixels; a multiple of <see cref="PatchSize"/>.</summary>
    public int ImageSize { get; init; } = 28;

    /// <summary>P, pixels along the edge of what one token stands for; a power of two, at least 2.</summary>
    public int PatchSize { get; init; } = 4;

    /// <summary>Channels of the picture.</summary>
    public int Channels { get; init; } = 3;

    /// <summary>Channels of the convolutions, a multiple of 8.</summary>
    public int Width { get; init; } = 64;

    /// <summary>Residual blocks at the tokens' resolution, in the encoder and in the decoder.</summary>
    public int ResidualBlocks { get; init; } = 2;

    /// <summary>D, width of a code's vector. A narrow one lets a picture use more of the codes (Yu et al. 2022, arXiv:2110.04627,
    /// section 3.2).</summary>
    public int LatentWidth { get; init; } = 16;

    /// <summary>V, number of codes.</summary>
    public int CodebookSize { get; init; } = 512;

    /// <summary>Tokens along an edge.</summary>
    public int Side => ImageSize / PatchSize;

    /// <summary>N, tokens of a picture.</summary>
    public int Tokens => Side * Side;

    /// <summary>How often the resolution is halved.</summary>
    internal int Halvings => BitOperations.Log2((uint)PatchSize);

    internal static int Groups => NormGroups;

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static VqTokenizerConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        var otherwise = new VqTokenizerConfig();
        var config = new VqTokenizerConfig
        {
            ImageSize = root.Int("image_size", otherwise.ImageSize, max: 4096),
            PatchSize = root.Int("patch_size", otherwise.PatchSize, max: 4096),
            Channels = root.Int("num_channels", otherwise.Channels, max: 64),
            Width = root.Int("hidden_size", otherwise.Width, max: 8192),
            ResidualBlocks = root.Int("num_res_blocks", otherwise.ResidualBlocks, min: 0, max: 1024),
            LatentWidth = root.Int("embed_dim", otherwise.LatentWidth, max: 8192),
            CodebookSize = root.Int("num_embeddings", otherwise.CodebookSize, min: 2, max: 1 << 20),
        };
        config.Validate();
        return config;
    }

    /// <exception cref="InvalidDataException">The sizes do not fit each other.</exception>
    internal void Validate()
    {
        if (PatchSize < 2 || !BitOperations.IsPow2(PatchSize))
            throw new InvalidDataException($"patch_size {PatchSize} must be a power of two, at least 2.");
        if (ImageSize % PatchSize != 0)
            throw new InvalidDataException($"image_size {ImageSize} must be a multiple of patch_size {PatchSize}.");
        if (Width % NormGroups != 0)
            throw new InvalidDataException($"hidden_size {Width} must be a multiple of {NormGroups}.");
    }

    /// <summary>Writes a config.json.</summary>
    public string ToJson() => new JsonObject
    {
        ["architectures"] = new JsonArray("VqTokenizerModel"),
        ["model_type"] = VqTokenizerModel.Type,
        ["image_size"] = ImageSize,
        ["patch_size"] = PatchSize,
        ["num_channels"] = Channels,
        ["hidden_size"] = Width,
        ["num_res_blocks"] = ResidualBlocks,
        ["embed_dim"] = LatentWidth,
        ["num_embeddings"] = CodebookSize,
    }.ToJsonString(new() { WriteIndented = true }) + "\n";
}

/// <summary>A tokenizer of pictures: convolutions make a vector of each patch and its surroundings, the code of the nearest vector in a
/// table is its token, and convolutions paint the picture from the codes' vectors (VQ-VAE: van den Oord et al. 2017,
/// arXiv:1711.00937).</summary>
public static class VqTokenizer
{
    const float NormEpsilon = 1e-6f;

    /// <summary>The table of vectors that codes stand for.</summary>
    public const string CodebookName = "quantizer.embed";

    /// <summary>Pictures to vectors.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="pixels">[B, C, H, W], normalised.</param>
    /// <returns>[B, N, D], rows of patches from the top, each from the left.</returns>
    public static T Encode<T>(ITensorOps<T> ops, VqTokenizerConfig c, T pixels) where T : class
    {
        Name name = "encoder";
        T x = ops.Conv2d(pixels, name / "conv_in", new(c.Channels, c.Width, 3, Padding: 1));
        for (int i = 0; i < c.Halvings; i++)
            x = ops.Conv2d(ops.Activate(x, Activation.Silu), name / "down" / i, new(c.Width, c.Width, 4, 2, 1)); // halves H and W
        x = Residuals(ops, name, c, x);
        x = ops.Conv2d(Normalized(ops, name / "norm_out", x), name / "conv_out", new(c.Width, c.LatentWidth, 1));
        return ops.Rearrange(x, "b d h w -> b (h w) d");                                                // [B, D, H/P, W/P] -> [B, N, D]
    }

    /// <summary>Vectors to codes.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="latent">[B, N, D].</param>
    /// <returns>Int64 [B, N], 0 to V - 1.</returns>
    public static T Quantize<T>(ITensorOps<T> ops, VqTokenizerConfig c, T latent) where T : class =>
        Codebook.Nearest(ops, Table(ops, c), latent);

    /// <summary>The vectors that codes stand for: Int64 [B, N] -> [B, N, D].</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="codes">Int64 [B, N].</param>
    public static T Dequantize<T>(ITensorOps<T> ops, VqTokenizerConfig c, T codes) where T : class => ops.Embedding(codes, Table(ops, c));

    /// <summary>Vectors to pictures.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="latent">[B, N, D].</param>
    /// <returns>[B, C, H, W], normalised as what was encoded.</returns>
    public static T Decode<T>(ITensorOps<T> ops, VqTokenizerConfig c, T latent) where T : class
    {
        Name name = "decoder";
        T x = ops.Rearrange(latent, "b (h w) d -> b d h w", ("h", c.Side));                             // [B, N, D] -> [B, D, H/P, W/P]
        x = ops.Conv2d(x, name / "conv_in", new(c.LatentWidth, c.Width, 3, Padding: 1));
        x = Residuals(ops, name, c, x);
        for (int i = 0; i < c.Halvings; i++)
        {
            x = ops.Conv2d(ops.Activate(x, Activation.Silu), name / "up" / i, new(c.Width, 4 * c.Width, 3, Padding: 1));
            x = ops.Rearrange(x, "b (c p q) h w -> b c (h p) (w q)", ("p", 2), ("q", 2));               // doubles H and W
        }
        return ops.Conv2d(Normalized(ops, name / "norm_out", x), name / "conv_out", new(c.Width, c.Channels, 3, Padding: 1));
    }

    static T Residuals<T>(ITensorOps<T> ops, Name name, VqTokenizerConfig c, T x) where T : class
    {
        for (int i = 0; i < c.ResidualBlocks; i++)
        {
            Name block = name / "blocks" / i;
            T h = ops.Conv2d(Normalized(ops, block / "norm1", x), block / "conv1", new(c.Width, c.Width, 3, Padding: 1));
            x = ops.Add(x, ops.Conv2d(Normalized(ops, block / "norm2", h), block / "conv2", new(c.Width, c.Width, 1)));
        }
        return x;
    }

    static T Normalized<T>(ITensorOps<T> ops, Name norm, T x) where T : class =>
        ops.Activate(ops.GroupNorm(x, norm, VqTokenizerConfig.Groups, NormEpsilon), Activation.Silu);

    static T Table<T>(ITensorOps<T> ops, VqTokenizerConfig c) where T : class =>
        ops.Parameter(CodebookName, Init.Normal(1 / MathF.Sqrt(c.LatentWidth)), c.CodebookSize, c.LatentWidth);
}

/// <summary>A tokenizer of pictures as a model of this library: <see cref="Full"/> goes from pixels to tokens and back;
/// <see cref="Encoder"/> and <see cref="Decoder"/> are its halves. It has no encoder into a shared space.</summary>
/// <param name="config">Sizes.</param>
/// <exception cref="InvalidDataException">The sizes do not fit each other.</exception>
public sealed class VqTokenizerModel(VqTokenizerConfig config) : IModelDefinition
{
    internal const string Type = "vq-tokenizer";

    /// <summary>Sizes.</summary>
    public VqTokenizerConfig Config { get; } = Checked(config);

    /// <inheritdoc/>
    public string ModelType => Type;

    /// <summary>D, width of a code's vector.</summary>
    public int EmbeddingWidth => Config.LatentWidth;

    /// <summary>None: tokens are no embedding.</summary>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>();

    /// <summary>Takes <c>pixel_values</c> [B, C, H, W]; gives <c>latent</c> [B, N, D], Int64 <c>codes</c> [B, N], and
    /// <c>reconstruction</c> [B, C, H, W], painted from the codes.</summary>
    public IProgram Full { get; } = new FullProgram(config);

    /// <summary>Takes <c>pixel_values</c> [B, C, H, W]; gives Int64 <c>codes</c> [B, N].</summary>
    public IProgram Encoder { get; } = new EncoderProgram(config);

    /// <summary>Takes Int64 <c>codes</c> [B, N]; gives <c>pixel_values</c> [B, C, H, W].</summary>
    public IProgram Decoder { get; } = new DecoderProgram(config);

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <summary>The state of the table's training, which only a training reads.</summary>
    public IReadOnlyList<string> IgnoredWeights { get; } = ["quantizer.cluster_size", "quantizer.embed_avg"];

    /// <inheritdoc/>
    public string ToConfigJson() => Config.ToJson();

    static VqTokenizerConfig Checked(VqTokenizerConfig config)
    {
        config.Validate();
        return config;
    }

    static TensorSpec Pixels(VqTokenizerConfig c) => new("pixel_values", ElementType.Float32, Dim.Dynamic("batch"), c.Channels, c.ImageSize, c.ImageSize);

    sealed class FullProgram(VqTokenizerConfig c) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T latent = VqTokenizer.Encode(ops, c, inputs["pixel_values"]), codes = VqTokenizer.Quantize(ops, c, latent);
            return [("latent", latent), ("codes", codes), ("reconstruction", VqTokenizer.Decode(ops, c, VqTokenizer.Dequantize(ops, c, codes)))];
        }
    }

    sealed class EncoderProgram(VqTokenizerConfig c) : IProgram
    {
        public string Name => "encoder_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("codes", VqTokenizer.Quantize(ops, c, VqTokenizer.Encode(ops, c, inputs["pixel_values"])))];
    }

    sealed class DecoderProgram(VqTokenizerConfig c) : IProgram
    {
        public string Name => "decoder_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [new("codes", ElementType.Int64, Dim.Dynamic("batch"), c.Tokens)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("pixel_values", VqTokenizer.Decode(ops, c, VqTokenizer.Dequantize(ops, c, inputs["codes"])))];
    }
}
