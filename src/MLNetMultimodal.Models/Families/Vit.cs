using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of the Vision Transformers that learn from pictures alone, in the schemas of Hugging Face's <c>ViTConfig</c>,
/// <c>DeiTConfig</c> and <c>Dinov2Config</c>.</summary>
public sealed record VitConfig
{
    /// <summary><c>vit</c>, <c>deit</c>, <c>dinov2</c>.</summary>
    public static IReadOnlyList<string> ModelTypes { get; } = ["vit", "deit", "dinov2"];

    /// <summary>One of <see cref="ModelTypes"/>.</summary>
    public string ModelType { get; init; } = "vit";

    /// <summary>Edge in pixels of the pictures that the position table was trained with; a multiple of
    /// <see cref="PatchSize"/>.</summary>
    public int ImageSize { get; init; } = 224;

    /// <summary>P, edge of a patch in pixels.</summary>
    public int PatchSize { get; init; } = 16;

    /// <summary>Channels of the picture.</summary>
    public int Channels { get; init; } = 3;

    /// <summary>Sizes of the blocks.</summary>
    public TransformerConfig Blocks { get; init; } = Defaults("vit");

    /// <summary>For pictures of 28 pixels, such as those of MNIST's kind, on a processor: patches of 4, 4 layers of width
    /// 128.</summary>
    public static VitConfig Small28 { get; } = new()
    {
        ImageSize = 28,
        PatchSize = 4,
        Blocks = Defaults("vit") with { Layers = 4, Width = 128, MlpWidth = 512, Heads = 4, NormEpsilon = 1e-6f },
    };

    /// <summary>True: the embedding is the mean of the patches, as a training without labels teaches them; false: the class
    /// token. <c>use_mean_pooling</c>, which Hugging Face's classes leave aside here. Default false.</summary>
    public bool MeanPooling { get; init; }

    /// <summary>Tokens before the patches: the class token, and DeiT's distillation token.</summary>
    public int PrefixTokens => ModelType == "deit" ? 2 : 1;

    static TransformerConfig Defaults(string type) => new(12, 768, 3072, 12, Activation.Gelu, type == "dinov2" ? 1e-6f : 1e-12f)
    {
        Names = type == "dinov2" ? BlockNames.Dinov2 : BlockNames.Vit,
    };

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static VitConfig FromJson(JsonElement json) => FromJson(new ConfigReader(json));

    internal static VitConfig FromJson(ConfigReader json)
    {
        string type = json.Text("model_type", "vit");
        TransformerConfig blocks = json.Blocks(Defaults(type)) with { QkvBias = json.Flag("qkv_bias", true) };
        if (type == "dinov2")
        {
            bool gated = json.Flag("use_swiglu_ffn", false);
            int wide = blocks.Width * json.Int("mlp_ratio", 4, max: 64);
            blocks = blocks with { MlpWidth = gated ? (wide * 2 / 3 + 7) / 8 * 8 : wide, GatedMlp = gated };
            if (gated)
                blocks = blocks with
                {
                    Activation = Activation.Silu,
                    Names = BlockNames.Dinov2 with { Up = "mlp.weights_in", Down = "mlp.weights_out" },
                };
        }
        var config = new VitConfig
        {
            ModelType = type,
            ImageSize = json.Int("image_size", 224, max: 4096),
            PatchSize = json.Int("patch_size", 16, max: 4096),
            Channels = json.Int("num_channels", 3, max: 64),
            MeanPooling = json.Flag("use_mean_pooling", false),
            Blocks = blocks,
        };
        return config.ImageSize % config.PatchSize == 0 ? config
            : throw new InvalidDataException($"image_size {config.ImageSize} must be a multiple of patch_size {config.PatchSize}.");
    }

    /// <summary>Writes a config.json that Hugging Face's classes read.</summary>
    public string ToJson() => ToJsonObject().ToJsonString(new() { WriteIndented = true }) + "\n";

    internal JsonObject ToJsonObject()
    {
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray(ModelType switch { "vit" => "ViTModel", "deit" => "DeiTModel", _ => "Dinov2Model" }),
            ["model_type"] = ModelType,
            ["image_size"] = ImageSize,
            ["patch_size"] = PatchSize,
            ["num_channels"] = Channels,
            ["hidden_size"] = Blocks.Width,
            ["num_attention_heads"] = Blocks.Heads,
            ["num_hidden_layers"] = Blocks.Layers,
            ["hidden_act"] = Blocks.GatedMlp ? "gelu" : Blocks.Activation.ConfigName(),
            ["layer_norm_eps"] = Blocks.NormEpsilon,
            ["qkv_bias"] = Blocks.QkvBias,
        };
        if (MeanPooling) json["use_mean_pooling"] = true;
        if (ModelType != "dinov2") json["intermediate_size"] = Blocks.MlpWidth;
        else
        {
            json["mlp_ratio"] = Math.Max(1, Blocks.GatedMlp ? (Blocks.MlpWidth * 3 / 2 + Blocks.Width - 1) / Blocks.Width : Blocks.MlpWidth / Blocks.Width);
            json["use_swiglu_ffn"] = Blocks.GatedMlp;
        }
        return json;
    }
}

/// <summary>The Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), DeiT (Touvron et al. 2021, arXiv:2012.12877) and
/// DINOv2 (Oquab et al. 2023, arXiv:2304.07193) under the names of Hugging Face's <c>ViTModel</c>, <c>DeiTModel</c> and
/// <c>Dinov2Model</c>.</summary>
public static class Vit
{
    /// <summary>Pictures to tokens.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The model; empty for a checkpoint of its own.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="imageSize">Edge of the picture in pixels; the position table is made for it.</param>
    /// <param name="pixels">[B, C, H, W], normalised.</param>
    /// <param name="masked">Bool [B, N]: true for a patch that the model is not to see; <c>embeddings.mask_token</c> stands in its
    /// place. Null shows all.</param>
    /// <param name="layers">Is given what each block's feed-forward part gives, see <see cref="Transformer.Encoder"/>.</param>
    /// <returns>[B, 1 or 2 + N, D]: class token, DeiT's distillation token, patches, all after the last norm.</returns>
    public static T Encode<T>(
        ITensorOps<T> ops, Name name, VitConfig c, int imageSize, T pixels, T? masked = null, ICollection<T>? layers = null) where T : class
    {
        Name embeddings = name / "embeddings";
        T x = Patches(ops, embeddings, c, pixels);                                                      // [B, C, H, W] -> [B, N, D]
        if (masked is not null)
            x = ops.Where(ops.Rearrange(masked, "b (n o) -> b n o", ("o", 1)), ops.Parameter(embeddings / "mask_token", default, 1, 1, c.Blocks.Width), x);
        T cls = Token(ops, embeddings / "cls_token", c.Blocks.Width, pixels);
        x = c.PrefixTokens == 1 ? ops.Concat(1, cls, x) : ops.Concat(1, cls, Token(ops, embeddings / "distillation_token", c.Blocks.Width, pixels), x);
        x = ops.PatchDropout(ops.Add(x, Positions(ops, embeddings, c, imageSize)), c.PrefixTokens);
        x = Transformer.Encoder(ops, name / "encoder", c.Blocks, x, layers: layers);
        return ops.LayerNorm(x, name / "layernorm", c.Blocks.NormEpsilon);
    }

    /// <summary>The patches without positions: [B, C, H, W] -> [B, N, D].</summary>
    internal static T Patches<T>(ITensorOps<T> ops, Name embeddings, VitConfig c, T pixels) where T : class => ops.Rearrange(
        ops.Conv2d(pixels, embeddings / "patch_embeddings" / "projection", new(c.Channels, c.Blocks.Width, c.PatchSize, c.PatchSize)),
        "b d h w -> b (h w) d");

    /// <summary>[1, prefix tokens + N, D].</summary>
    internal static T Positions<T>(ITensorOps<T> ops, Name embeddings, VitConfig c, int imageSize) where T : class => ops.Parameter(
        embeddings / "position_embeddings", Init.Grid(c.PrefixTokens), 1, c.PrefixTokens + imageSize / c.PatchSize * (imageSize / c.PatchSize), c.Blocks.Width);

    /// <summary>A learned token for each item of a batch: [1, 1, D] -> [B, 1, D].</summary>
    internal static T Token<T>(ITensorOps<T> ops, Name name, int width, T like) where T : class =>
        ops.RepeatBatch(ops.Rearrange(ops.Parameter(name, default, 1, 1, width), "a l d -> (a l) d"), like);

    /// <summary>Tokens to an embedding of length 1: the class token, or the mean of the patches.</summary>
    internal static T Pool<T>(ITensorOps<T> ops, VitConfig c, T tokens) where T : class => ops.L2Normalize(c.MeanPooling
        ? ops.Mean(ops.Slice(tokens, 1, c.PrefixTokens, int.MaxValue), 1)
        : ops.Rearrange(ops.Slice(tokens, 1, 0, 1), "b l d -> b (l d)"));
}

/// <summary>ViT, DeiT or DINOv2 as a model of this library. The embedding is the class token after the last norm, or the mean of the
/// patches (<see cref="VitConfig.MeanPooling"/>), with length 1; the heads of classifiers are left aside, and so are the decoder of
/// a masked autoencoder and the head of data2vec.</summary>
/// <param name="config">Sizes.</param>
/// <param name="imageSize">Edge of the pictures in pixels, a multiple of the patch size; null for that of the config.</param>
/// <exception cref="ArgumentException"><paramref name="imageSize"/> is no multiple of the patch size.</exception>
public sealed class VitModel(VitConfig config, int? imageSize = null) : IModelDefinition
{
    readonly int _imageSize = Checked(config, imageSize ?? config.ImageSize);

    /// <summary>Sizes.</summary>
    public VitConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => config.ModelType;

    /// <inheritdoc/>
    public int EmbeddingWidth => config.Blocks.Width;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders => new Dictionary<Modality, IProgram>
    {
        [Modality.Image] = new Program(config, _imageSize, isFull: false),
    };

    /// <summary>Takes <c>pixel_values</c>; gives <c>last_hidden_state</c> [B, L, D] and <c>image_embeds</c> [B, D].</summary>
    public IProgram Full => new Program(config, _imageSize, isFull: true);

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } =
        ["embeddings.mask_token", "pooler.", "classifier.", "cls_classifier.", "distillation_classifier.", "decoder.", "regression_head."];

    /// <inheritdoc/>
    public string ToConfigJson() => (config with { ImageSize = _imageSize }).ToJson();

    /// <inheritdoc/>
    public IModelDefinition WithImageSize(int size) => size == _imageSize ? this : new VitModel(config, size);

    /// <summary>Takes off the prefix of a model for a task, such as <c>vit.</c>, and interpolates the positions where pictures
    /// have another size than in training.</summary>
    /// <param name="weights">The tensors of a checkpoint.</param>
    public IReadOnlyDictionary<string, TensorData> Rename(IReadOnlyDictionary<string, TensorData> weights)
    {
        const string table = "embeddings.position_embeddings";
        var named = new Dictionary<string, TensorData>(BertNaming.ToPublished(weights, $"{ModelType}."), StringComparer.Ordinal);
        int trained = config.ImageSize / config.PatchSize, wanted = _imageSize / config.PatchSize, width = config.Blocks.Width;
        if (trained != wanted && named.TryGetValue(table, out TensorData? positions)
            && positions.Shape.SequenceEqual([1, config.PrefixTokens + trained * trained, width]))
            named[table] = PositionTable.Resize(positions, config.PrefixTokens, trained, wanted, width);
        return named;
    }

    static int Checked(VitConfig c, int size) => size > 0 && size % c.PatchSize == 0 ? size : throw new ArgumentException(
        $"the pictures' size must be a multiple of the patch size {c.PatchSize}, but is {size}.", nameof(size));

    sealed class Program(VitConfig c, int imageSize, bool isFull) : IProgram
    {
        public string Name => isFull ? "model" : "vision_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
            [new("pixel_values", ElementType.Float32, Dim.Dynamic("batch"), c.Channels, imageSize, imageSize)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T tokens = Vit.Encode(ops, Ops.Name.Root, c, imageSize, inputs["pixel_values"]);
            T embeds = Vit.Pool(ops, c, tokens);
            return isFull ? [("last_hidden_state", tokens), ("image_embeds", embeds)] : [("image_embeds", embeds)];
        }
    }
}
