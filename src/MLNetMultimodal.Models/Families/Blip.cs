using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of BLIP for retrieval, in the schema of Hugging Face's <c>BlipConfig</c>.</summary>
public sealed record BlipConfig
{
    /// <summary>Edge of the picture in pixels; a multiple of <see cref="PatchSize"/>.</summary>
    public int ImageSize { get; init; } = 384;

    /// <summary>P, edge of a patch in pixels.</summary>
    public int PatchSize { get; init; } = 16;

    /// <summary>Channels of the picture.</summary>
    public int Channels { get; init; } = 3;

    /// <summary>Blocks of the image tower.</summary>
    public TransformerConfig Vision { get; init; } = new(12, 768, 3072, 12, Activation.Gelu);

    /// <summary>V, size of the vocabulary.</summary>
    public int VocabularySize { get; init; } = 30524;

    /// <summary>The most tokens of a text.</summary>
    public int MaxPositions { get; init; } = 512;

    /// <summary>The id that fills up shorter texts.</summary>
    public int PadId { get; init; }

    /// <summary>Blocks of the text encoder, which attends to the picture in each of them where there is one.</summary>
    public TransformerConfig Text { get; init; } = new(12, 768, 3072, 12, Activation.Gelu, 1e-12f) { Names = BlockNames.Bert, PostNorm = true };

    /// <summary>E, width of the shared space.</summary>
    public int EmbeddingWidth { get; init; } = 256;

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static BlipConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        ConfigReader vision = root.Section("vision_config"), text = root.Section("text_config");
        var defaults = new BlipConfig();
        var config = new BlipConfig
        {
            ImageSize = vision.Int("image_size", defaults.ImageSize, max: 4096),
            PatchSize = vision.Int("patch_size", defaults.PatchSize, max: 4096),
            Channels = vision.Int("num_channels", defaults.Channels, max: 64),
            Vision = vision.Blocks(defaults.Vision),
            VocabularySize = text.Int("vocab_size", defaults.VocabularySize, max: 1 << 24),
            MaxPositions = text.Int("max_position_embeddings", defaults.MaxPositions),
            PadId = text.Int("pad_token_id", 0, min: 0, max: 1 << 24),
            Text = text.Blocks(defaults.Text with { Heads = 8 }), // the default of BlipTextConfig, though published models have 12
            EmbeddingWidth = root.Int("image_text_hidden_size", defaults.EmbeddingWidth),
        };
        return config.ImageSize % config.PatchSize == 0 ? config
            : throw new InvalidDataException($"image_size {config.ImageSize} must be a multiple of patch_size {config.PatchSize}.");
    }

    /// <summary>Writes a config.json that Hugging Face's <c>BlipConfig</c> reads.</summary>
    public string ToJson()
    {
        JsonObject Blocks(TransformerConfig c, string type) => new()
        {
            ["model_type"] = type,
            ["hidden_size"] = c.Width,
            ["intermediate_size"] = c.MlpWidth,
            ["num_attention_heads"] = c.Heads,
            ["num_hidden_layers"] = c.Layers,
            ["hidden_act"] = c.Activation.ConfigName(),
            ["layer_norm_eps"] = c.NormEpsilon,
        };
        JsonObject vision = Blocks(Vision, "blip_vision_model"), text = Blocks(Text, "blip_text_model");
        (vision["image_size"], vision["patch_size"], vision["num_channels"]) = (ImageSize, PatchSize, Channels);
        (text["vocab_size"], text["max_position_embeddings"], text["pad_token_id"]) = (VocabularySize, MaxPositions, PadId);
        text["encoder_hidden_size"] = Vision.Width;
        return new JsonObject
        {
            ["architectures"] = new JsonArray("BlipForImageTextRetrieval"),
            ["model_type"] = "blip",
            ["image_text_hidden_size"] = EmbeddingWidth,
            ["vision_config"] = vision,
            ["text_config"] = text,
        }.ToJsonString(new() { WriteIndented = true }) + "\n";
    }
}

/// <summary>BLIP (Li et al. 2022, arXiv:2201.12086), its encoders for retrieval and matching, under the names of Hugging Face's
/// <c>BlipForImageTextRetrieval</c>; captions need its decoder, which is another model. Embeddings have length 1; a text is encoded without
/// the picture for its embedding, and with it, by cross-attention in each block, for the match.</summary>
/// <param name="config">Sizes.</param>
public sealed class BlipModel(BlipConfig config) : IPairDefinition
{
    /// <summary>Sizes.</summary>
    public BlipConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => "blip";

    /// <inheritdoc/>
    public int EmbeddingWidth => config.EmbeddingWidth;

    /// <inheritdoc/>
    public bool IgnoresPadding => true;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>
    {
        [Modality.Image] = new VisionProgram(config),
        [Modality.Text] = new TextProgram(config),
    };

    /// <summary>Takes <c>pixel_values</c> and <c>input_ids</c> of B pairs; gives <c>image_embeds</c> and <c>text_embeds</c> [B, E] and
    /// <c>itm_logits</c> [B, 2] (no, yes).</summary>
    public IProgram Full { get; } = new PairProgram(config, "model", withMaps: false);

    /// <inheritdoc/>
    public IProgram? Pair { get; } = new PairProgram(config, "match_model", withMaps: false);

    /// <inheritdoc/>
    public IProgram? AttentionMaps { get; } = new PairProgram(config, "attention_model", withMaps: true);

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <summary>The decoder for captions and questions and the buffers, which retrieval has no use for.</summary>
    public IReadOnlyList<string> IgnoredWeights { get; } = ["text_encoder.embeddings.position_ids", "text_decoder.", "logit_scale"];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    static T Image<T>(ITensorOps<T> ops, BlipConfig c, T pixels) where T : class
    {
        Name name = "vision_model", embeddings = name / "embeddings";
        int width = c.Vision.Width, side = c.ImageSize / c.PatchSize;
        T x = ops.Conv2d(pixels, embeddings / "patch_embedding", new(c.Channels, width, c.PatchSize, c.PatchSize));
        x = ops.Rearrange(x, "b d h w -> b (h w) d");                                                   // [B, D, H/P, W/P] -> [B, N, D]
        T cls = ops.RepeatBatch(ops.Rearrange(ops.Parameter(embeddings / "class_embedding", default, 1, 1, width), "a l d -> (a l) d"), pixels);
        x = ops.Add(ops.Concat(1, cls, x), ops.Parameter(embeddings / "position_embedding", default, 1, 1 + side * side, width));
        for (int i = 0; i < c.Vision.Layers; i++)
        {
            Name layer = name / "encoder" / "layers" / i;
            x = ops.Add(x, PackedAttention(ops, layer / "self_attn", c.Vision, ops.LayerNorm(x, layer / "layer_norm1", c.Vision.NormEpsilon)));
            T h = ops.Linear(ops.LayerNorm(x, layer / "layer_norm2", c.Vision.NormEpsilon), layer / "mlp" / "fc1", width, c.Vision.MlpWidth);
            x = ops.Add(x, ops.Linear(ops.Activate(h, c.Vision.Activation), layer / "mlp" / "fc2", c.Vision.MlpWidth, width));
        }
        return ops.LayerNorm(x, name / "post_layernorm", c.Vision.NormEpsilon);
    }

    static T PackedAttention<T>(ITensorOps<T> ops, Name name, TransformerConfig c, T x) where T : class
    {
        T packed = ops.Linear(x, name / "qkv", c.Width, 3 * c.Width);                                   // [B, L, D] -> [B, L, 3 D]
        T Heads(int part) => ops.SplitHeads(ops.Slice(packed, -1, part * c.Width, (part + 1) * c.Width), c.Heads); // -> [B, nh, L, hd]
        return ops.Linear(ops.MergeHeads(ops.Attention(Heads(0), Heads(1), Heads(2))), name / "projection", c.Width, c.Width);
    }

    static T Words<T>(ITensorOps<T> ops, BlipConfig c, T ids, T? image = null, ICollection<T>? maps = null) where T : class
    {
        Name name = "text_encoder", embeddings = name / "embeddings";
        int width = c.Text.Width;
        Mask<T> mask = new(Keep: ops.Not(ops.Equal(ids, c.PadId)));
        T x = ops.Embedding(ids, embeddings / "word_embeddings", c.VocabularySize, width);              // [B, L] -> [B, L, D]
        x = ops.Add(x, ops.SliceLike(ops.Parameter(embeddings / "position_embeddings" / "weight", default, c.MaxPositions, width), 0, ids, 1));
        x = ops.LayerNorm(x, embeddings / "LayerNorm", c.Text.NormEpsilon);
        if (image is null) return Transformer.Encoder(ops, name / "encoder", c.Text, x, mask);
        for (int i = 0; i < c.Text.Layers; i++)
            x = Transformer.CrossBlock(ops, name / "encoder" / c.Text.Names.Layers / i, c.Text, c.Vision.Width, x, image, mask, maps: maps);
        return x;
    }

    static T ImageEmbeds<T>(ITensorOps<T> ops, BlipConfig c, T tokens) where T : class =>
        ops.L2Normalize(ops.Linear(Bert.FirstToken(ops, tokens), "vision_proj", c.Vision.Width, c.EmbeddingWidth));

    static T TextEmbeds<T>(ITensorOps<T> ops, BlipConfig c, T ids) where T : class =>
        ops.L2Normalize(ops.Linear(Bert.FirstToken(ops, Words(ops, c, ids)), "text_proj", c.Text.Width, c.EmbeddingWidth));

    static TensorSpec Pixels(BlipConfig c) => new("pixel_values", ElementType.Float32, Dim.Dynamic("batch"), c.Channels, c.ImageSize, c.ImageSize);

    static TensorSpec Ids(BlipConfig c) => new("input_ids", ElementType.Int64, Dim.Dynamic("batch"), Dim.Dynamic("sequence", c.MaxPositions));

    sealed class VisionProgram(BlipConfig c) : IProgram
    {
        public string Name => "vision_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("image_embeds", ImageEmbeds(ops, c, Image(ops, c, inputs["pixel_values"])))];
    }

    sealed class TextProgram(BlipConfig c) : IProgram
    {
        public string Name => "text_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Ids(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("text_embeds", TextEmbeds(ops, c, inputs["input_ids"]))];
    }

    sealed class PairProgram(BlipConfig c, string name, bool withMaps) : IProgram
    {
        public string Name => name;

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c), Ids(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T ids = inputs["input_ids"], image = Image(ops, c, inputs["pixel_values"]);
            List<T>? maps = withMaps ? [] : null;
            T fused = Words(ops, c, ids, image, maps);
            List<(string, T)> outputs =
            [
                ("image_embeds", ImageEmbeds(ops, c, image)), ("text_embeds", TextEmbeds(ops, c, ids)),
                ("itm_logits", ops.Linear(Bert.FirstToken(ops, fused), "itm_head", c.Text.Width, 2)),
            ];
            if (maps is not null) outputs.Add(("cross_attentions", PairOutputs.Stack(ops, maps)));
            return outputs;
        }
    }
}
