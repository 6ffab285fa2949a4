using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of SigLIP, in the schema of Hugging Face's <c>SiglipConfig</c>; SigLIP 2 of a fixed resolution has the
/// same.</summary>
public sealed record SiglipConfig
{
    static readonly TransformerConfig BaseBlocks = new(12, 768, 3072, 12, Activation.GeluTanh, 1e-6f);

    /// <summary>Edge of the picture in pixels; what is left of it after the last whole patch is not seen.</summary>
    public int ImageSize { get; init; } = 224;

    /// <summary>P, edge of a patch in pixels.</summary>
    public int PatchSize { get; init; } = 16;

    /// <summary>Channels of the picture.</summary>
    public int Channels { get; init; } = 3;

    /// <summary>Sizes of the image tower's blocks.</summary>
    public TransformerConfig Vision { get; init; } = BaseBlocks;

    /// <summary>V, size of the vocabulary.</summary>
    public int VocabularySize { get; init; } = 32000;

    /// <summary>L, the length that every text is filled up to or cut to.</summary>
    public int ContextLength { get; init; } = 64;

    /// <summary>Sizes of the text tower's blocks.</summary>
    public TransformerConfig Text { get; init; } = BaseBlocks;

    /// <summary>N, the number of patches.</summary>
    public int Patches => ImageSize / PatchSize * (ImageSize / PatchSize);

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    /// <exception cref="NotSupportedException">The image tower has no attention-pooling head.</exception>
    public static SiglipConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        ConfigReader vision = root.Section("vision_config"), text = root.Section("text_config");
        if (!vision.Flag("vision_use_head", true))
            throw new NotSupportedException("vision_config.vision_use_head is false; only image towers with their pooling head are supported.");
        var config = new SiglipConfig
        {
            ImageSize = vision.Int("image_size", 224, max: 4096),
            PatchSize = vision.Int("patch_size", 16, max: 4096),
            Channels = vision.Int("num_channels", 3, max: 64),
            Vision = vision.Blocks(BaseBlocks),
            VocabularySize = text.Int("vocab_size", 32000, max: 1 << 24),
            ContextLength = text.Int("max_position_embeddings", 64),
            Text = text.Blocks(BaseBlocks),
        };
        if (config.Patches == 0)
            throw new InvalidDataException($"vision_config.image_size {config.ImageSize} is less than patch_size {config.PatchSize}.");
        int projection = text.Int("projection_size", config.Vision.Width);
        return projection == config.Vision.Width ? config : throw new InvalidDataException(
            $"text_config.projection_size {projection} must be vision_config.hidden_size {config.Vision.Width}.");
    }

    /// <summary>Writes a config.json that Hugging Face's <c>SiglipConfig</c> reads.</summary>
    public string ToJson()
    {
        JsonObject text = Blocks(Text, "siglip_text_model"), vision = Blocks(Vision, "siglip_vision_model");
        text["vocab_size"] = VocabularySize;
        text["max_position_embeddings"] = ContextLength;
        text["projection_size"] = Vision.Width;
        vision["image_size"] = ImageSize;
        vision["patch_size"] = PatchSize;
        vision["num_channels"] = Channels;
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray("SiglipModel"),
            ["model_type"] = "siglip",
            ["text_config"] = text,
            ["vision_config"] = vision,
        };
        return json.ToJsonString(new() { WriteIndented = true }) + "\n";

        static JsonObject Blocks(TransformerConfig c, string type) => new()
        {
            ["model_type"] = type,
            ["hidden_size"] = c.Width,
            ["intermediate_size"] = c.MlpWidth,
            ["num_attention_heads"] = c.Heads,
            ["num_hidden_layers"] = c.Layers,
            ["hidden_act"] = c.Activation.ConfigName(),
            ["layer_norm_eps"] = c.NormEpsilon,
        };
    }
}

/// <summary>SigLIP: a dual encoder whose pairs are judged one by one (Zhai et al. 2023, arXiv:2303.15343). Its image tower pools
/// by attention; its text tower looks both ways and takes the last of a fixed number of tokens, padding or not. Names of
/// Hugging Face's <c>SiglipModel</c>.</summary>
public static class Siglip
{
    /// <summary>Pictures into the shared space.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="pixels">[B, C, H, W], normalised.</param>
    /// <returns>All tokens after the last norm, [B, N, D]; and the pooled features, [B, D].</returns>
    public static (T LastHidden, T Pooled) EncodeImage<T>(ITensorOps<T> ops, SiglipConfig c, T pixels) where T : class
    {
        Name name = "vision_model", embeddings = name / "embeddings";
        int width = c.Vision.Width;
        T x = ops.Conv2d(pixels, embeddings / "patch_embedding", new(c.Channels, width, c.PatchSize, c.PatchSize));
        x = ops.Rearrange(x, "b d h w -> b (h w) d");                                                   // [B, D, H/P, W/P] -> [B, N, D]
        x = ops.Add(x, ops.Parameter(embeddings / "position_embedding" / "weight", Init.Normal(1 / MathF.Sqrt(width)), c.Patches, width));
        x = Transformer.Encoder(ops, name / "encoder", c.Vision, ops.PatchDropout(x, 0));
        T last = ops.LayerNorm(x, name / "post_layernorm", c.Vision.NormEpsilon);
        return (last, Pool(ops, name / "head", c.Vision, last));
    }

    /// <summary>A learned query attends to all tokens: [B, N, D] -> [B, D].</summary>
    static T Pool<T>(ITensorOps<T> ops, Name name, TransformerConfig c, T tokens) where T : class
    {
        T probe = ops.Parameter(name / "probe", Init.Normal(0.02f), 1, 1, c.Width);
        T query = ops.RepeatBatch(ops.Rearrange(probe, "a l d -> (a l) d"), tokens);                    // [1, 1, D] -> [B, 1, D]
        T x = MultiheadAttention.Attend(ops, name / "attention", new(c.Width, c.Heads), query, tokens, tokens);
        T h = ops.LayerNorm(x, name / "layernorm", c.NormEpsilon);
        h = ops.Activate(ops.Linear(h, name / "mlp" / "fc1", c.Width, c.MlpWidth), c.Activation);
        x = ops.Add(x, ops.Linear(h, name / "mlp" / "fc2", c.MlpWidth, c.Width));
        return ops.Rearrange(x, "b l d -> b (l d)");
    }

    /// <summary>Texts into the shared space.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="ids">Int64 [B, L], each filled up to the context length.</param>
    /// <returns>All tokens after the last norm, [B, L, D]; and the projected last one, [B, E].</returns>
    public static (T LastHidden, T Pooled) EncodeText<T>(ITensorOps<T> ops, SiglipConfig c, T ids) where T : class
    {
        Name name = "text_model", embeddings = name / "embeddings";
        int width = c.Text.Width;
        T x = ops.Embedding(ids, embeddings / "token_embedding", c.VocabularySize, width);              // [B, L] -> [B, L, D]
        x = ops.Add(x, ops.Parameter(embeddings / "position_embedding" / "weight", default, c.ContextLength, width));
        x = Transformer.Encoder(ops, name / "encoder", c.Text, x);
        T last = ops.LayerNorm(x, name / "final_layer_norm", c.Text.NormEpsilon);
        T end = ops.Rearrange(ops.Slice(last, 1, c.ContextLength - 1, c.ContextLength), "b l d -> b (l d)");
        return (last, ops.Linear(end, name / "head", width, c.Vision.Width));
    }
}

/// <summary>SigLIP as a model of this library. Scores are ranked by softmax like those of other dual encoders; the published
/// probability of one pair is the sigmoid of a logit of <see cref="Full"/>.</summary>
/// <param name="config">Sizes.</param>
public sealed class SiglipModel(SiglipConfig config) : IModelDefinition
{
    /// <summary>Sizes.</summary>
    public SiglipConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => "siglip";

    /// <inheritdoc/>
    public int EmbeddingWidth => config.Vision.Width;

    /// <inheritdoc/>
    public bool IgnoresPadding => true;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>
    {
        [Modality.Image] = new VisionProgram(config),
        [Modality.Text] = new TextProgram(config),
    };

    /// <inheritdoc/>
    public IProgram Full { get; } = new FullProgram(config);

    /// <summary>The graphs of published folders; the towers' embeddings are not of length 1 there.</summary>
    public IReadOnlyDictionary<string, IReadOnlyDictionary<string, string>> Graphs { get; } =
        new Dictionary<string, IReadOnlyDictionary<string, string>>
        {
            ["model"] = PublishedGraphs.Model,
            ["vision_model"] = new Dictionary<string, string>
            {
                ["pooler_output"] = "vision_pooler_output",
                ["last_hidden_state"] = "vision_last_hidden_state",
            },
            ["text_model"] = new Dictionary<string, string>
            {
                ["pooler_output"] = "text_pooler_output",
                ["last_hidden_state"] = "text_last_hidden_state",
            },
        };

    /// <inheritdoc/>
    public string? LogitScale => "logit_scale";

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } =
        ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    static TensorSpec Pixels(SiglipConfig c, string batch) =>
        new("pixel_values", ElementType.Float32, Dim.Dynamic(batch), c.Channels, c.ImageSize, c.ImageSize);

    static TensorSpec Ids(SiglipConfig c, string batch) => new("input_ids", ElementType.Int64, Dim.Dynamic(batch), c.ContextLength);

    sealed class VisionProgram(SiglipConfig c) : IProgram
    {
        public string Name => "vision_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c, "batch")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("image_embeds", ops.L2Normalize(Siglip.EncodeImage(ops, c, inputs["pixel_values"]).Pooled))];
    }

    sealed class TextProgram(SiglipConfig c) : IProgram
    {
        public string Name => "text_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Ids(c, "batch")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("text_embeds", ops.L2Normalize(Siglip.EncodeText(ops, c, inputs["input_ids"]).Pooled))];
    }

    sealed class FullProgram(SiglipConfig c) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c, "image_batch"), Ids(c, "text_batch")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            (T imageHidden, T imagePooled) = Siglip.EncodeImage(ops, c, inputs["pixel_values"]);
            (T textHidden, T textPooled) = Siglip.EncodeText(ops, c, inputs["input_ids"]);
            T image = ops.L2Normalize(imagePooled), text = ops.L2Normalize(textPooled);
            T scale = ops.Exp(ops.Parameter("logit_scale", Init.Constant(MathF.Log(10)), 1));
            T logits = ops.Multiply(ops.MatMul(image, ops.Rearrange(text, "t e -> e t")), scale);       // [Bi, Bt]
            logits = ops.Add(logits, ops.Parameter("logit_bias", Init.Constant(-10), 1));
            return
            [
                ("vision_last_hidden_state", imageHidden), ("vision_pooler_output", imagePooled),
                ("text_last_hidden_state", textHidden), ("text_pooler_output", textPooled),
                ("image_embeds", image), ("text_embeds", text),
                ("logits_per_image", logits), ("logits_per_text", ops.Rearrange(logits, "i t -> t i")),
            ];
        }
    }
}
