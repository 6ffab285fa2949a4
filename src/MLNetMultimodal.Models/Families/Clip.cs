using System.Numerics.Tensors;
using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of CLIP's text tower.</summary>
public sealed record ClipTextConfig
{
    /// <summary>V, size of the vocabulary.</summary>
    public int VocabularySize { get; init; } = 49408;

    /// <summary>The most tokens that a text can have, start and end included.</summary>
    public int ContextLength { get; init; } = 77;

    /// <summary>Id of the end token, whose position is pooled. 2 is what early configs say for "the highest id".</summary>
    public int EndTokenId { get; init; } = 49407;

    /// <summary>Sizes of the blocks.</summary>
    public TransformerConfig Blocks { get; init; } = new(12, 512, 2048, 8, Activation.QuickGelu);

    internal static ClipTextConfig FromJson(ConfigReader json) => new()
    {
        VocabularySize = json.Int("vocab_size", 49408, max: 1 << 24),
        ContextLength = json.Int("max_position_embeddings", 77),
        EndTokenId = json.Int("eos_token_id", 49407, min: 0, max: 1 << 24),
        Blocks = json.Blocks(new ClipTextConfig().Blocks),
    };

    internal JsonObject ToJson(int projectionWidth)
    {
        JsonObject json = ClipConfig.WriteBlocks(Blocks, "clip_text_model", projectionWidth);
        json["vocab_size"] = VocabularySize;
        json["max_position_embeddings"] = ContextLength;
        json["eos_token_id"] = EndTokenId;
        return json;
    }
}

/// <summary>Sizes of CLIP, in the schema of Hugging Face's <c>CLIPConfig</c>.</summary>
public sealed record ClipConfig
{
    /// <summary>The image tower.</summary>
    public VisionConfig Vision { get; init; } = new();

    /// <summary>The text tower.</summary>
    public ClipTextConfig Text { get; init; } = new();

    /// <summary>E, width of the shared space.</summary>
    public int ProjectionWidth { get; init; } = 512;

    /// <summary>Start of the logarithm of the logit scale; ln(1/0.07) in the paper.</summary>
    public float LogitScaleInit { get; init; } = 2.6592f;

    /// <summary>ViT-B/32 of the paper: 151 million parameters.</summary>
    public static ClipConfig ViTB32 => new();

    /// <summary>ViT-B/16 of the paper: 150 million parameters.</summary>
    public static ClipConfig ViTB16 => new() { Vision = new() { PatchSize = 16 } };

    /// <summary>ViT-L/14 of the paper: 428 million parameters.</summary>
    public static ClipConfig ViTL14 => new()
    {
        Vision = new() { PatchSize = 14, Blocks = new(24, 1024, 4096, 16, Activation.QuickGelu) },
        Text = new() { Blocks = new(12, 768, 3072, 12, Activation.QuickGelu) },
        ProjectionWidth = 768,
    };

    /// <summary>A small CLIP for pictures of 32x32 pixels, with a convolutional stem: 1.3 million parameters, trains on a
    /// laptop's processor in minutes.</summary>
    /// <param name="vocabularySize">V of the tokenizer it is trained with; its highest id is the end token.</param>
    /// <param name="contextLength">The most tokens of a text.</param>
    public static ClipConfig Small32(int vocabularySize, int contextLength = 24) => new()
    {
        Vision = new() { ImageSize = 32, PatchSize = 8, StemChannels = [32, 64, 128, 192], Blocks = new(2, 192, 384, 6, Activation.Gelu) },
        Text = new()
        {
            VocabularySize = vocabularySize,
            ContextLength = contextLength,
            EndTokenId = vocabularySize - 1,
            Blocks = new(2, 128, 256, 4, Activation.Gelu),
        },
        ProjectionWidth = 128,
    };

    /// <summary>The smallest that has every part, for tests.</summary>
    public static ClipConfig Tiny => new()
    {
        Vision = new() { ImageSize = 8, PatchSize = 4, Blocks = new(2, 16, 32, 2, Activation.QuickGelu) },
        Text = new() { VocabularySize = 50, ContextLength = 8, EndTokenId = 49, Blocks = new(2, 16, 32, 2, Activation.QuickGelu) },
        ProjectionWidth = 12,
    };

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static ClipConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        return new()
        {
            Vision = VisionConfig.FromJson(root.Section("vision_config")),
            Text = ClipTextConfig.FromJson(root.Section("text_config")),
            ProjectionWidth = root.Int("projection_dim", 512),
            LogitScaleInit = root.Single("logit_scale_init_value", 2.6592f),
        };
    }

    /// <summary>Writes a config.json that Hugging Face's <c>CLIPConfig</c> reads.</summary>
    public string ToJson()
    {
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray("CLIPModel"),
            ["model_type"] = "clip",
            ["projection_dim"] = ProjectionWidth,
            ["logit_scale_init_value"] = LogitScaleInit,
            ["text_config"] = Text.ToJson(ProjectionWidth),
            ["vision_config"] = Vision.ToJson(ProjectionWidth),
        };
        return json.ToJsonString(new() { WriteIndented = true }) + "\n";
    }

    internal static JsonObject WriteBlocks(TransformerConfig c, string modelType, int projectionWidth) => new()
    {
        ["model_type"] = modelType,
        ["hidden_size"] = c.Width,
        ["intermediate_size"] = c.MlpWidth,
        ["num_attention_heads"] = c.Heads,
        ["num_hidden_layers"] = c.Layers,
        ["hidden_act"] = c.Activation.ConfigName(),
        ["layer_norm_eps"] = c.NormEpsilon,
        ["projection_dim"] = projectionWidth,
    };
}

/// <summary>What one tower gives.</summary>
/// <param name="LastHidden">[B, L, D]: all tokens.</param>
/// <param name="Pooled">[B, D]: the token that stands for all.</param>
/// <param name="Features">[B, E]: projected into the shared space.</param>
/// <param name="Embeds">[B, E]: the same with length 1.</param>
public readonly record struct ClipTower<T>(T LastHidden, T Pooled, T Features, T Embeds) where T : class;

/// <summary>CLIP: an image tower and a text tower that meet in one space (Radford et al. 2021, arXiv:2103.00020).
/// Names of Hugging Face's <c>CLIPModel</c>.</summary>
public static class Clip
{
    /// <summary>Pictures into the shared space.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="pixels">[B, C, H, W], normalised.</param>
    /// <param name="embeddings">[B, 1 + N, D]: the tokens that enter the first block.</param>
    public static ClipTower<T> EncodeImage<T>(ITensorOps<T> ops, ClipConfig c, T pixels, out T embeddings) where T : class
    {
        VisionOutput<T> vision = VisionTransformer.Encode(ops, "vision_model", c.Vision, pixels);
        embeddings = vision.Embeddings;
        T features = ImageFeatures(ops, c, vision.Pooled);
        return new(vision.LastHidden, vision.Pooled, features, ops.L2Normalize(features));
    }

    /// <summary>The embeddings of <see cref="EncodeImage"/>, without what the last block would make of tokens that are not
    /// pooled.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="pixels">[B, C, H, W], normalised.</param>
    /// <returns>[B, E], of length 1.</returns>
    public static T EmbedImage<T>(ITensorOps<T> ops, ClipConfig c, T pixels) where T : class =>
        ops.L2Normalize(ImageFeatures(ops, c, VisionTransformer.EncodePooled(ops, "vision_model", c.Vision, pixels)));

    static T ImageFeatures<T>(ITensorOps<T> ops, ClipConfig c, T pooled) where T : class =>
        ops.Linear(pooled, "visual_projection", c.Vision.Blocks.Width, c.ProjectionWidth, bias: false);

    /// <summary>Texts to tokens, each of which has seen those before it.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The tower, <c>text_model</c>.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="ids">Int64 [B, L], L at most the context length.</param>
    /// <param name="keep">Bool [B, L], true for a token that may be attended to; null keeps all.</param>
    /// <returns>[B, L, D], after the last norm.</returns>
    public static T TextTokens<T>(ITensorOps<T> ops, Name name, ClipTextConfig c, T ids, T? keep = null) where T : class
    {
        T x = Transformer.Encoder(ops, name / "encoder", c.Blocks, TokenEmbeddings(ops, name, c, ids), new(Keep: keep, Causal: true));
        return ops.LayerNorm(x, name / "final_layer_norm", c.Blocks.NormEpsilon);
    }

    static T TokenEmbeddings<T>(ITensorOps<T> ops, Name name, ClipTextConfig c, T ids) where T : class
    {
        T x = ops.Embedding(ids, name / "embeddings" / "token_embedding", c.VocabularySize, c.Blocks.Width);
        T positions = ops.Parameter(name / "embeddings" / "position_embedding" / "weight", Init.Normal(0.01f), c.ContextLength, c.Blocks.Width);
        return ops.Add(x, ops.SliceLike(positions, 0, ids, 1));                                         // [B, L, D]
    }

    /// <summary>Texts into the shared space.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="ids">Int64 [B, L], L at most the context length; what follows the end token does not matter.</param>
    /// <param name="keep">Bool [B, L], true for a token that may be attended to; null keeps all.</param>
    public static ClipTower<T> EncodeText<T>(ITensorOps<T> ops, ClipConfig c, T ids, T? keep = null) where T : class
    {
        T last = TextTokens(ops, "text_model", c.Text, ids, keep);
        T pooled = ops.PickToken(last, End(ops, c.Text, ids));                                          // [B, L, D] -> [B, D]
        T features = Projected(ops, c, pooled);
        return new(last, pooled, features, ops.L2Normalize(features));
    }

    /// <summary>The embeddings of <see cref="EncodeText"/>, without what the last block would make of tokens that are not
    /// pooled.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="ids">Int64 [B, L], L at most the context length; what follows the end token does not matter.</param>
    /// <param name="shared">What the texts begin with alike, each up to its end token; null where every token stands for itself.</param>
    /// <returns>[B, E], of length 1.</returns>
    public static T EmbedText<T>(ITensorOps<T> ops, ClipConfig c, T ids, SharedPrefixes<T>? shared = null) where T : class
    {
        Name name = "text_model";
        T end = ops.Rearrange(End(ops, c.Text, ids), "(b l) -> b l", ("l", 1));                         // [B] -> [B, 1]
        T x = TokenEmbeddings(ops, name, c.Text, ids);
        if (shared is { } prefixes) x = prefixes.Once(ops, x);                                          // [B, L, D] -> [n, D]
        x = Transformer.EncodePicked(ops, name / "encoder", c.Text.Blocks, x, Ends, new(Causal: true, Places: end), shared); // -> [B, 1, D]
        x = ops.LayerNorm(ops.Rearrange(x, "b l d -> b (l d)"), name / "final_layer_norm", c.Text.Blocks.NormEpsilon);
        return ops.L2Normalize(Projected(ops, c, x));

        T Ends(T tokens) => ops.PickTokens(shared is { } prefixes ? prefixes.Everywhere(ops, tokens) : tokens, end);
    }

    /// <summary>The place of the end token: Int64 [B, L] -> [B].</summary>
    static T End<T>(ITensorOps<T> ops, ClipTextConfig c, T ids) where T : class =>
        ops.ArgMax(EndIsHighest(c) ? ids : ops.Equal(ids, c.EndTokenId), 1);

    /// <summary>The place of the end token of one text.</summary>
    internal static int End(ClipTextConfig c, ReadOnlySpan<long> ids) =>
        EndIsHighest(c) ? TensorPrimitives.IndexOfMax(ids) : Math.Max(0, ids.IndexOf(c.EndTokenId)); // 0 where there is none, as ArgMax says

    static bool EndIsHighest(ClipTextConfig c) => c.EndTokenId == 2 || c.EndTokenId == c.VocabularySize - 1;

    static T Projected<T>(ITensorOps<T> ops, ClipConfig c, T pooled) where T : class =>
        ops.Linear(pooled, "text_projection", c.Text.Blocks.Width, c.ProjectionWidth, bias: false);

    /// <summary>exp(logit_scale): what similarities are multiplied with.</summary>
    public static T LogitScale<T>(ITensorOps<T> ops, ClipConfig c) where T : class =>
        ops.Exp(ops.Parameter("logit_scale", Init.Constant(c.LogitScaleInit)));

    /// <summary>Similarity of every picture with every text.</summary>
    /// <returns>[Bi, Bt].</returns>
    public static T LogitsPerImage<T>(ITensorOps<T> ops, ClipConfig c, T imageEmbeds, T textEmbeds) where T : class =>
        ops.Multiply(ops.MatMul(imageEmbeds, ops.Rearrange(textEmbeds, "t e -> e t")), LogitScale(ops, c));
}

/// <summary>CLIP as a model of this library.</summary>
/// <param name="config">Sizes.</param>
public sealed class ClipModel(ClipConfig config) : IModelDefinition
{
    /// <summary>Sizes.</summary>
    public ClipConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => "clip";

    /// <inheritdoc/>
    public int EmbeddingWidth => config.ProjectionWidth;

    /// <inheritdoc/>
    public bool IgnoresPadding => true;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>
    {
        [Modality.Image] = new VisionProgram(config),
        [Modality.Text] = new TextProgram(config),
    };

    /// <inheritdoc/>
    public IProgram Full { get; } = new FullProgram(config, isMasked: false);

    /// <summary><see cref="Full"/> with an <c>attention_mask</c> of the texts, Int64 [B, L], 1 for a token. A graph of texts
    /// alone takes none, as the published ones: what follows the end token is not attended to anyway.</summary>
    public IProgram Exported { get; } = new FullProgram(config, isMasked: true);

    /// <summary>The graphs of published folders; the towers' embeddings are not of length 1 there.</summary>
    public IReadOnlyDictionary<string, IReadOnlyDictionary<string, string>> Graphs { get; } =
        new Dictionary<string, IReadOnlyDictionary<string, string>>
        {
            ["model"] = PublishedGraphs.Model,
            ["vision_model"] = new Dictionary<string, string>
            {
                ["image_embeds"] = "image_features",
                ["last_hidden_state"] = "vision_last_hidden_state",
            },
            ["text_model"] = new Dictionary<string, string>
            {
                ["text_embeds"] = "text_features",
                ["last_hidden_state"] = "text_last_hidden_state",
            },
        };

    /// <inheritdoc/>
    public string? LogitScale => "logit_scale";

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } =
        ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"];

    /// <summary>Checkpoints in OpenAI's and OpenCLIP's naming under Hugging Face's names.</summary>
    /// <param name="weights">The tensors of a checkpoint.</param>
    public IReadOnlyDictionary<string, TensorData> Rename(IReadOnlyDictionary<string, TensorData> weights) =>
        OpenAiClipNaming.Matches(weights) ? OpenAiClipNaming.ToPublished(config, weights) : weights;

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    internal static TensorSpec Pixels(ClipConfig c, string batch) =>
        new("pixel_values", ElementType.Float32, Dim.Dynamic(batch), c.Vision.Channels, c.Vision.ImageSize, c.Vision.ImageSize);

    internal static TensorSpec Ids(ClipConfig c, string batch, string name = "input_ids") =>
        new(name, ElementType.Int64, Dim.Dynamic(batch), Dim.Dynamic("sequence", c.Text.ContextLength));

    sealed class VisionProgram(ClipConfig c) : IProgram
    {
        public string Name => "vision_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c, "batch")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("image_embeds", Clip.EmbedImage(ops, c, inputs["pixel_values"]))];
    }

    sealed class TextProgram(ClipConfig c) : ICausalTextProgram
    {
        public string Name => "text_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Ids(c, "batch")];

        public IProgram SharingPrefixes { get; } = new SharingTextProgram(c);

        public int PooledToken(ReadOnlySpan<long> ids) => Clip.End(c.Text, ids);

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("text_embeds", Clip.EmbedText(ops, c, inputs["input_ids"]))];
    }

    sealed class SharingTextProgram(ClipConfig c) : IProgram
    {
        public string Name => "text_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
        [
            Ids(c, "batch"), new(ICausalTextProgram.FirstInput, ElementType.Int64, ICausalTextProgram.PrefixCount),
            Ids(c, "batch", ICausalTextProgram.OfInput),
        ];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            SharedPrefixes<T> shared = new(inputs[ICausalTextProgram.FirstInput], inputs[ICausalTextProgram.OfInput]);
            return [("text_embeds", Clip.EmbedText(ops, c, inputs["input_ids"], shared))];
        }
    }

    sealed class FullProgram(ClipConfig c, bool isMasked) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
        [
            Pixels(c, "image_batch"), Ids(c, "text_batch"),
            .. isMasked ? [Ids(c, "text_batch", "attention_mask")] : Array.Empty<TensorSpec>(),
        ];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            ClipTower<T> image = Clip.EncodeImage(ops, c, inputs["pixel_values"], out T embeddings);
            T? keep = isMasked ? ops.Equal(inputs["attention_mask"], 1) : null;
            ClipTower<T> text = Clip.EncodeText(ops, c, inputs["input_ids"], keep);
            T perImage = Clip.LogitsPerImage(ops, c, image.Embeds, text.Embeds);
            return
            [
                ("vision_embeddings", embeddings), ("vision_last_hidden_state", image.LastHidden), ("vision_pooler_output", image.Pooled),
                ("text_last_hidden_state", text.LastHidden), ("text_pooler_output", text.Pooled),
                ("image_features", image.Features), ("text_features", text.Features),
                ("image_embeds", image.Embeds), ("text_embeds", text.Embeds),
                ("logits_per_image", perImage), ("logits_per_text", ops.Rearrange(perImage, "i t -> t i")),
            ];
        }
    }
}
