using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of a masked autoencoder, in the schema of Hugging Face's <c>ViTMAEConfig</c>.</summary>
public sealed record MaeConfig
{
    /// <summary><see cref="VitConfig.Small28"/> with a decoder of one layer of width 64 and normalised pixels.</summary>
    public static MaeConfig Small28 { get; } = new()
    {
        Encoder = VitConfig.Small28 with { MeanPooling = true },
        Decoder = VitConfig.Small28.Blocks with { Layers = 1, Width = 64, MlpWidth = 256, Heads = 2 },
        NormalizedPixels = true,
    };

    /// <summary>The encoder, a plain ViT; its embedding is the mean of the patches.</summary>
    public VitConfig Encoder { get; init; } = new() { MeanPooling = true };

    /// <summary>The decoder, which is thrown away after training.</summary>
    public TransformerConfig Decoder { get; init; } = new(8, 512, 2048, 16, Activation.Gelu, 1e-12f) { Names = BlockNames.Vit };

    /// <summary>Share of the patches that the encoder does not see, 0 to below 1; at least one patch is seen.</summary>
    public float MaskRatio { get; init; } = 0.75f;

    /// <summary>True: what is to be reconstructed are the pixels of each patch at mean 0 and variance 1.</summary>
    public bool NormalizedPixels { get; init; }

    /// <summary>N.</summary>
    public int Patches => Encoder.ImageSize / Encoder.PatchSize * (Encoder.ImageSize / Encoder.PatchSize);

    /// <summary>K, patches that the encoder sees.</summary>
    public int KeptPatches => (int)(Patches * (1 - MaskRatio));

    /// <summary>Numbers of one patch: its pixels in all channels.</summary>
    public int PatchNumbers => Encoder.PatchSize * Encoder.PatchSize * Encoder.Channels;

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static MaeConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        VitConfig encoder = VitConfig.FromJson(root) with { ModelType = "vit", MeanPooling = root.Flag("use_mean_pooling", true) };
        var otherwise = new MaeConfig();
        var config = new MaeConfig
        {
            Encoder = encoder,
            Decoder = encoder.Blocks with
            {
                Layers = root.Int("decoder_num_hidden_layers", otherwise.Decoder.Layers, max: 1024),
                Width = root.Int("decoder_hidden_size", otherwise.Decoder.Width),
                MlpWidth = root.Int("decoder_intermediate_size", otherwise.Decoder.MlpWidth),
                Heads = root.Int("decoder_num_attention_heads", otherwise.Decoder.Heads),
            },
            MaskRatio = root.Single("mask_ratio", otherwise.MaskRatio),
            NormalizedPixels = root.Flag("norm_pix_loss", false),
        };
        if (config.Decoder.Width % config.Decoder.Heads != 0)
            throw new InvalidDataException($"decoder_hidden_size {config.Decoder.Width} must be a multiple of decoder_num_attention_heads {config.Decoder.Heads}.");
        return config.MaskRatio is >= 0 and < 1 && config.KeptPatches > 0 ? config : throw new InvalidDataException(
            $"mask_ratio {config.MaskRatio} must be at least 0 and leave at least one of {config.Patches} patches to see.");
    }

    /// <summary>Writes a config.json that Hugging Face's <c>ViTMAEConfig</c> reads.</summary>
    public string ToJson()
    {
        JsonObject json = Encoder.ToJsonObject();
        json["architectures"] = new JsonArray("ViTMAEForPreTraining");
        json["model_type"] = "vit_mae";
        json["use_mean_pooling"] = Encoder.MeanPooling;
        json["decoder_num_hidden_layers"] = Decoder.Layers;
        json["decoder_hidden_size"] = Decoder.Width;
        json["decoder_intermediate_size"] = Decoder.MlpWidth;
        json["decoder_num_attention_heads"] = Decoder.Heads;
        json["mask_ratio"] = MaskRatio;
        json["norm_pix_loss"] = NormalizedPixels;
        return json.ToJsonString(new() { WriteIndented = true }) + "\n";
    }
}

/// <summary>The masked autoencoder: an encoder sees few of a picture's patches, and a small decoder paints the others (He et al. 2022,
/// arXiv:2111.06377). Names of Hugging Face's <c>ViTMAEForPreTraining</c>.</summary>
public static class Mae
{
    /// <summary>The patches that are seen, to tokens. Pixels of the others do not reach them.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="pixels">[B, C, H, W], normalised.</param>
    /// <param name="seen">Int64 [B, K]: which patches, in any order.</param>
    /// <returns>[B, 1 + K, D]: class token and patches in the order of <paramref name="seen"/>, after the last norm.</returns>
    public static T Encode<T>(ITensorOps<T> ops, MaeConfig c, T pixels, T seen) where T : class
    {
        Name vit = "vit", embeddings = vit / "embeddings";
        T positions = Vit.Positions(ops, embeddings, c.Encoder, c.Encoder.ImageSize);                   // [1, 1 + N, D]
        T x = ops.Add(Vit.Patches(ops, embeddings, c.Encoder, pixels), ops.Slice(positions, 1, 1, int.MaxValue));
        T cls = ops.Add(Vit.Token(ops, embeddings / "cls_token", c.Encoder.Blocks.Width, pixels), ops.Slice(positions, 1, 0, 1));
        x = ops.Concat(1, cls, ops.PickTokens(x, seen));                                                // [B, N, D] -> [B, 1 + K, D]
        x = Transformer.Encoder(ops, vit / "encoder", c.Encoder.Blocks, x);
        return ops.LayerNorm(x, vit / "layernorm", c.Encoder.Blocks.NormEpsilon);
    }

    /// <summary>Tokens of the patches that were seen, to the pixels of all patches.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="tokens">[B, 1 + K, D].</param>
    /// <param name="places">Int64 [B, N]: for each patch its place among those that were seen, or, from K on, among those that
    /// were not.</param>
    /// <returns>[B, N, P * P * C]: rows of each patch, its columns, channels last.</returns>
    public static T Decode<T>(ITensorOps<T> ops, MaeConfig c, T tokens, T places) where T : class => Decode(ops, c, tokens, places, c.PatchNumbers);

    /// <summary>The same for other numbers than pixels: [B, 1 + K, D] -> [B, N, <paramref name="numbers"/>].</summary>
    internal static T Decode<T>(ITensorOps<T> ops, MaeConfig c, T tokens, T places, int numbers) where T : class
    {
        Name name = "decoder";
        int width = c.Decoder.Width, hidden = c.Patches - c.KeptPatches;
        T x = ops.Linear(tokens, name / "decoder_embed", c.Encoder.Blocks.Width, width);
        T cls = ops.Slice(x, 1, 0, 1), seen = ops.Slice(x, 1, 1, int.MaxValue), maskToken = Vit.Token(ops, name / "mask_token", width, tokens);
        T[] all = [seen, .. Enumerable.Repeat(maskToken, hidden)];
        x = ops.Concat(1, cls, ops.PickTokens(ops.Concat(1, all), places));                             // [B, 1 + K, Dd] -> [B, 1 + N, Dd]
        x = ops.Add(x, ops.Parameter(name / "decoder_pos_embed", Init.Grid(1), 1, 1 + c.Patches, width));
        x = Transformer.Encoder(ops, name, c.Decoder with { Names = c.Decoder.Names with { Layers = "decoder_layers" } }, x);
        x = ops.LayerNorm(x, name / "decoder_norm", c.Decoder.NormEpsilon);
        return ops.Slice(ops.Linear(x, name / "decoder_pred", width, numbers), 1, 1, int.MaxValue);
    }
}

/// <summary>A masked autoencoder as a model of this library. It embeds whole pictures with its encoder alone, which
/// <see cref="Vision"/> is as a model of its own.</summary>
/// <param name="config">Sizes.</param>
public sealed class MaeModel(MaeConfig config) : IModelDefinition
{
    /// <summary>Sizes.</summary>
    public MaeConfig Config => config;

    /// <summary>The encoder as a plain ViT, which takes the weights of this model and leaves the decoder's aside.</summary>
    public VitModel Vision { get; } = new(config.Encoder);

    /// <inheritdoc/>
    public string ModelType => "vit_mae";

    /// <inheritdoc/>
    public int EmbeddingWidth => config.Encoder.Blocks.Width;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>
    {
        [Modality.Image] = new EncoderProgram(config),
    };

    /// <summary>Takes <c>pixel_values</c>, <c>ids_keep</c> Int64 [B, K], the patches to see, and <c>ids_restore</c> Int64 [B, N], for
    /// each patch its place in a list of first those that are seen, then the others; gives <c>logits</c> [B, N, P * P * C], the
    /// pixels of all patches, and <c>last_hidden_state</c> [B, 1 + K, D].</summary>
    public IProgram Full { get; } = new MaskedProgram(config);

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights => [];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    sealed class EncoderProgram(MaeConfig c) : IProgram
    {
        public string Name => "vision_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [PixelsOf(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("image_embeds", Vit.Pool(ops, c.Encoder, Vit.Encode(ops, "vit", c.Encoder, c.Encoder.ImageSize, inputs["pixel_values"])))];
    }

    sealed class MaskedProgram(MaeConfig c) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
        [
            PixelsOf(c), new("ids_keep", ElementType.Int64, Dim.Dynamic("batch"), c.KeptPatches), new("ids_restore", ElementType.Int64, Dim.Dynamic("batch"), c.Patches),
        ];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T tokens = Mae.Encode(ops, c, inputs["pixel_values"], inputs["ids_keep"]);
            return [("logits", Mae.Decode(ops, c, tokens, inputs["ids_restore"])), ("last_hidden_state", tokens)];
        }
    }

    static TensorSpec PixelsOf(MaeConfig c) =>
        new("pixel_values", ElementType.Float32, Dim.Dynamic("batch"), c.Encoder.Channels, c.Encoder.ImageSize, c.Encoder.ImageSize);
}
