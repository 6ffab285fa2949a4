using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>What stands on top of a BEiT: which of Hugging Face's classes a checkpoint is of.</summary>
public enum BeitHead
{
    /// <summary>Nothing: <c>BeitModel</c> or <c>Data2VecVisionModel</c>.</summary>
    None,

    /// <summary>The visual token of each patch: <c>BeitForMaskedImageModeling</c>.</summary>
    VisualTokens,

    /// <summary>The class of the picture: <c>BeitForImageClassification</c> or <c>Data2VecVisionForImageClassification</c>.</summary>
    Classes,
}

/// <summary>Sizes of a BEiT, in the schemas of Hugging Face's <c>BeitConfig</c> and <c>Data2VecVisionConfig</c>.</summary>
public sealed record BeitConfig
{
    /// <summary><c>beit</c>, <c>data2vec-vision</c>.</summary>
    public static IReadOnlyList<string> ModelTypes { get; } = ["beit", "data2vec-vision"];

    /// <summary>One of <see cref="ModelTypes"/>.</summary>
    public string ModelType { get; init; } = "beit";

    /// <summary>Edge of the pictures in pixels; a multiple of <see cref="PatchSize"/>.</summary>
    public int ImageSize { get; init; } = 224;

    /// <summary>P, edge of a patch in pixels.</summary>
    public int PatchSize { get; init; } = 16;

    /// <summary>Channels of the picture.</summary>
    public int Channels { get; init; } = 3;

    /// <summary>V, number of visual tokens.</summary>
    public int VocabularySize { get; init; } = 8192;

    /// <summary>Sizes of the blocks; keys have no bias.</summary>
    public TransformerConfig Blocks { get; init; } = new(12, 768, 3072, 12, Activation.Gelu, 1e-12f) { Names = BlockNames.Vit, KeyBias = false };

    /// <summary>True: there is a token that stands for a hidden patch.</summary>
    public bool HasMaskToken { get; init; }

    /// <summary>True: each place has a learned embedding.</summary>
    public bool AbsolutePositions { get; init; }

    /// <summary>True: each block adds to its attention what it has learned of the way from one patch to the other.</summary>
    public bool RelativePositions { get; init; }

    /// <summary>True: all blocks add the same.</summary>
    public bool SharedRelativePositions { get; init; }

    /// <summary>Start of the scales <c>lambda_1</c> and <c>lambda_2</c> of each block's parts; 0 for blocks without.</summary>
    public float LayerScale { get; init; } = 0.1f;

    /// <summary>True: the embedding is made of the patches' mean; false: of the class token.</summary>
    public bool MeanPooling { get; init; } = true;

    /// <summary>What stands on top.</summary>
    public BeitHead Head { get; init; }

    /// <summary>Names of the classes, with <see cref="BeitHead.Classes"/>.</summary>
    public IReadOnlyList<string> Labels { get; init; } = [];

    /// <summary>Patches along an edge.</summary>
    public int Side => ImageSize / PatchSize;

    /// <summary>N, the number of patches.</summary>
    public int Patches => Side * Side;

    /// <summary>Blocks of 4 layers and width 128 that are to tell the visual tokens of small pictures, with shared relative positions as
    /// BEiT was pre-trained with.</summary>
    /// <param name="imageSize">Edge of the pictures in pixels.</param>
    /// <param name="patchSize">P, edge of a patch in pixels.</param>
    /// <param name="vocabularySize">V, number of visual tokens.</param>
    public static BeitConfig Small(int imageSize, int patchSize, int vocabularySize)
    {
        var otherwise = new BeitConfig();
        return otherwise with
        {
            ImageSize = imageSize,
            PatchSize = patchSize,
            VocabularySize = vocabularySize,
            Blocks = otherwise.Blocks with { Layers = 4, Width = 128, MlpWidth = 512, Heads = 4, NormEpsilon = 1e-6f },
            HasMaskToken = true,
            SharedRelativePositions = true,
            Head = BeitHead.VisualTokens,
        };
    }

    /// <summary>Reads a config.json; <c>architectures</c> says what stands on top.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static BeitConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        var otherwise = new BeitConfig();
        string architecture = root.Texts("architectures", 16).FirstOrDefault() ?? "";
        var config = new BeitConfig
        {
            ModelType = root.Text("model_type", otherwise.ModelType),
            ImageSize = root.Int("image_size", otherwise.ImageSize, max: 4096),
            PatchSize = root.Int("patch_size", otherwise.PatchSize, max: 4096),
            Channels = root.Int("num_channels", otherwise.Channels, max: 64),
            VocabularySize = root.Int("vocab_size", otherwise.VocabularySize, max: 1 << 24),
            Blocks = root.Blocks(otherwise.Blocks),
            HasMaskToken = root.Flag("use_mask_token", false),
            AbsolutePositions = root.Flag("use_absolute_position_embeddings", false),
            RelativePositions = root.Flag("use_relative_position_bias", false),
            SharedRelativePositions = root.Flag("use_shared_relative_position_bias", false),
            LayerScale = root.Single("layer_scale_init_value", otherwise.LayerScale),
            MeanPooling = root.Flag("use_mean_pooling", true),
            Head = architecture.EndsWith("ForMaskedImageModeling", StringComparison.Ordinal) ? BeitHead.VisualTokens
                : architecture.EndsWith("ForImageClassification", StringComparison.Ordinal) ? BeitHead.Classes : BeitHead.None,
        };
        if (config.Head == BeitHead.Classes)
        {
            IReadOnlyList<string> labels = root.Labels("id2label");
            config = config with { Labels = labels.Count > 0 ? labels : ["LABEL_0", "LABEL_1"] }; // where nothing is said there are two
        }
        if (config.ImageSize % config.PatchSize != 0)
            throw new InvalidDataException($"image_size {config.ImageSize} must be a multiple of patch_size {config.PatchSize}.");
        return config.HasMaskToken || config.Head != BeitHead.VisualTokens ? config
            : throw new InvalidDataException("use_mask_token must be true for a model of masked pictures.");
    }

    /// <summary>Writes a config.json that Hugging Face's classes read.</summary>
    public string ToJson()
    {
        string model = ModelType == "beit" ? "Beit" : "Data2VecVision";
        string head = Head switch { BeitHead.None => "Model", BeitHead.Classes => "ForImageClassification", _ => "ForMaskedImageModeling" };
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray(model + head),
            ["model_type"] = ModelType,
            ["vocab_size"] = VocabularySize,
            ["hidden_size"] = Blocks.Width,
            ["num_hidden_layers"] = Blocks.Layers,
            ["num_attention_heads"] = Blocks.Heads,
            ["intermediate_size"] = Blocks.MlpWidth,
            ["hidden_act"] = Blocks.Activation.ConfigName(),
            ["layer_norm_eps"] = Blocks.NormEpsilon,
            ["image_size"] = ImageSize,
            ["patch_size"] = PatchSize,
            ["num_channels"] = Channels,
            ["use_mask_token"] = HasMaskToken,
            ["use_absolute_position_embeddings"] = AbsolutePositions,
            ["use_relative_position_bias"] = RelativePositions,
            ["use_shared_relative_position_bias"] = SharedRelativePositions,
            ["layer_scale_init_value"] = LayerScale,
            ["use_mean_pooling"] = MeanPooling,
        };
        if (Head == BeitHead.Classes)
        {
            json["id2label"] = new JsonObject(Labels.Select((l, i) => KeyValuePair.Create(i.ToString(CultureInfo.InvariantCulture), (JsonNode?)l)));
            json["label2id"] = new JsonObject(Labels.Select((l, i) => (l, i)).DistinctBy(p => p.l).Select(p => KeyValuePair.Create(p.l, (JsonNode?)p.i)));
        }
        return json.ToJsonString(new() { WriteIndented = true }) + "\n";
    }
}

/// <summary>BEiT: a Vision Transformer that tells the visual tokens of hidden patches (Bao et al. 2022, arXiv:2106.08254); where a patch
/// stands is told by what attention adds for the way between two (Raffel et al. 2020, arXiv:1910.10683, section 2.1, in two
/// dimensions). Names of Hugging Face's <c>BeitModel</c>; <c>Data2VecVisionModel</c> (Baevski et al. 2022, arXiv:2202.03555) is the same.</summary>
public static class Beit
{
    const int ClassWays = 3; // class token to patch, patch to class token, class token to itself

    internal const string Bias = "relative_position_bias";

    internal static Name OwnBias(Name layer) => layer / "attention" / "attention" / Bias;

    /// <summary>Pictures to tokens.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The model; empty for a checkpoint without a head.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="pixels">[B, C, H, W], normalised.</param>
    /// <param name="masked">Bool [B, N]: true for a patch that the model is not to see; null shows all.</param>
    /// <returns>[B, 1 + N, D]: class token and patches, with the last norm where the class token is pooled, and without where the
    /// patches are.</returns>
    public static T Encode<T>(ITensorOps<T> ops, Name name, BeitConfig c, T pixels, T? masked = null) where T : class
    {
        Name encoder = name / "encoder";
        TransformerConfig blocks = c.Blocks with
        {
            ScaleInit = c.LayerScale,
            Names = c.LayerScale > 0 ? c.Blocks.Names with { Scales = ("lambda_1", "lambda_2") } : c.Blocks.Names,
        };
        T x = Embed(ops, name / "embeddings", c, pixels, masked);
        T? shared = c.SharedRelativePositions ? RelativeBias(ops, encoder / Bias, c) : null;
        for (int i = 0; i < blocks.Layers; i++)
        {
            Name layer = encoder / blocks.Names.Layers / i;
            T? own = c.RelativePositions ? RelativeBias(ops, OwnBias(layer), c) : null;
            x = Transformer.Block(ops, layer, blocks, x, new(Bias: own is null ? shared : shared is null ? own : ops.Add(own, shared)));
        }
        return c.MeanPooling ? x : ops.LayerNorm(x, name / "layernorm", blocks.NormEpsilon);
    }

    static T Embed<T>(ITensorOps<T> ops, Name name, BeitConfig c, T pixels, T? masked) where T : class
    {
        int width = c.Blocks.Width;
        T x = ops.Conv2d(pixels, name / "patch_embeddings" / "projection", new(c.Channels, width, c.PatchSize, c.PatchSize));
        x = ops.Rearrange(x, "b d h w -> b (h w) d");                                                   // [B, D, H/P, W/P] -> [B, N, D]
        if (masked is not null)
            x = ops.Where(ops.Rearrange(masked, "b (n o) -> b n o", ("o", 1)), ops.Parameter(name / "mask_token", default, 1, 1, width), x);
        x = ops.Concat(1, Vit.Token(ops, name / "cls_token", width, pixels), x);
        return c.AbsolutePositions ? ops.Add(x, ops.Parameter(name / "position_embeddings", Init.Grid(1), 1, 1 + c.Patches, width)) : x;
    }

    /// <summary>What attention adds for the way from a key to a query: a table of all ways, [(2S-1)(2S-1) + 3, nh], whose rows are the
    /// ways down, its columns the ways right, and last those from and to the class token.</summary>
    /// <returns>[1, nh, 1 + N, 1 + N].</returns>
    static T RelativeBias<T>(ITensorOps<T> ops, Name name, BeitConfig c) where T : class
    {
        int side = c.Side, ways = 2 * side - 1, heads = c.Blocks.Heads;
        T table = ops.Parameter(name / "relative_position_bias_table", Init.Zeros, ways * ways + ClassWays, heads);
        T grid = ops.Rearrange(ops.Slice(table, 0, 0, ways * ways), "(y x) n -> y x n", ("y", ways));
        grid = Pairs(ops, Pairs(ops, grid, 0, side), 1, side);                                          // -> [(ky qy), (kx qx), nh]
        T patches = ops.Rearrange(grid, "(k q) (l p) n -> (q p) (k l) n", ("k", side), ("l", side));    // -> [N, N, nh]
        T fromClass = ops.Rearrange(Repeated(0), "q k n -> k q n"), toClass = Repeated(1);              // [1, N, nh], [N, 1, nh]
        T classToItself = ops.Rearrange(Way(2), "(q k) n -> q k n", ("k", 1));
        T all = ops.Concat(0, ops.Concat(1, classToItself, fromClass), ops.Concat(1, toClass, patches));
        return ops.Rearrange(all, "q k (n b) -> b n q k", ("b", 1));

        T Way(int which) => ops.Slice(table, 0, ways * ways + which, ways * ways + which + 1);          // [1, nh]

        T Repeated(int which) => ops.RepeatBatch(Way(which), ops.Slice(table, 0, 0, c.Patches));        // [N, 1, nh]
    }

    /// <summary>Along an axis of ways, for each key and each query the way from the one to the other: 2S - 1 -> S S, keys first.</summary>
    static T Pairs<T>(ITensorOps<T> ops, T grid, int axis, int side) where T : class =>
        ops.Concat(axis, [.. Enumerable.Range(0, side).Select(key => ops.Slice(grid, axis, side - 1 - key, 2 * side - 1 - key))]);

    /// <summary>Tokens of <see cref="Encode"/> to what represents the picture, [B, D]: the class token, or the norm of the patches' mean;
    /// under a head of visual tokens the mean of what it sees.</summary>
    internal static T Pool<T>(ITensorOps<T> ops, Name name, BeitConfig c, T tokens) where T : class
    {
        if (!c.MeanPooling) return Bert.FirstToken(ops, tokens);
        if (c.Head == BeitHead.VisualTokens) return ops.Mean(HeadNorm(ops, c, ops.Slice(tokens, 1, 1, int.MaxValue)), 1);
        return ops.LayerNorm(ops.Mean(ops.Slice(tokens, 1, 1, int.MaxValue), 1), name / "pooler" / "layernorm", c.Blocks.NormEpsilon);
    }

    /// <summary>The norm before the head of visual tokens, which stands outside the encoder.</summary>
    internal static T HeadNorm<T>(ITensorOps<T> ops, BeitConfig c, T tokens) where T : class => ops.LayerNorm(tokens, "layernorm", c.Blocks.NormEpsilon);
}

/// <summary>BEiT as a model of this library, with the head that its config names. The embedding is what is pooled, with length 1.</summary>
/// <param name="config">Sizes.</param>
public sealed class BeitModel(BeitConfig config) : IModelDefinition
{
    readonly string _prefix = config.ModelType == "beit" ? "beit" : "data2vec_vision";

    Name Encoder => config.Head == BeitHead.None ? Name.Root : _prefix;

    /// <summary>Sizes.</summary>
    public BeitConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => config.ModelType;

    /// <inheritdoc/>
    public int EmbeddingWidth => config.Blocks.Width;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders => new Dictionary<Modality, IProgram> { [Modality.Image] = new EncoderProgram(config, Encoder) };

    /// <summary>Takes <c>pixel_values</c>; gives <c>last_hidden_state</c> [B, 1 + N, D], <c>pooler_output</c> [B, D] and
    /// <c>image_embeds</c> [B, D]; with <see cref="BeitHead.Classes"/> first <c>logits</c> [B, classes]. With
    /// <see cref="BeitHead.VisualTokens"/> it takes <c>bool_masked_pos</c> Bool [B, N] too, true for a hidden patch, and gives
    /// <c>logits</c> [B, N, V] and <c>last_hidden_state</c>.</summary>
    public IProgram Full => config.Head == BeitHead.VisualTokens ? new MaskedProgram(config, Encoder) : new FullProgram(config, Encoder);

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <summary>The token of hidden patches, where nothing is hidden, and tables that are computed here.</summary>
    public IReadOnlyList<string> IgnoredWeights
    {
        get
        {
            Name encoder = Encoder / "encoder";
            IEnumerable<Name> biases = Enumerable.Range(0, config.Blocks.Layers).Select(i => Beit.OwnBias(encoder / "layer" / i)).Append(encoder / Beit.Bias);
            return [(Encoder / "embeddings" / "mask_token").Path, .. biases.Select(bias => (bias / "relative_position_index").Path)];
        }
    }

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    /// <summary>For a model without a head: takes the encoder out of a checkpoint that has one.</summary>
    /// <param name="weights">The tensors of a checkpoint.</param>
    public IReadOnlyDictionary<string, TensorData> Rename(IReadOnlyDictionary<string, TensorData> weights)
    {
        string prefix = $"{_prefix}.";
        return config.Head != BeitHead.None || !weights.Keys.Any(k => k.StartsWith(prefix, StringComparison.Ordinal)) ? weights
            : weights.Where(w => w.Key.StartsWith(prefix, StringComparison.Ordinal)).ToDictionary(w => w.Key[prefix.Length..], w => w.Value, StringComparer.Ordinal);
    }

    static TensorSpec Pixels(BeitConfig c) => new("pixel_values", ElementType.Float32, Dim.Dynamic("batch"), c.Channels, c.ImageSize, c.ImageSize);

    sealed class EncoderProgram(BeitConfig c, Name name) : IProgram
    {
        public string Name => "vision_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("image_embeds", ops.L2Normalize(Beit.Pool(ops, name, c, Beit.Encode(ops, name, c, inputs["pixel_values"]))))];
    }

    sealed class FullProgram(BeitConfig c, Name name) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T tokens = Beit.Encode(ops, name, c, inputs["pixel_values"]), pooled = Beit.Pool(ops, name, c, tokens);
            (string, T)[] outputs = [("last_hidden_state", tokens), ("pooler_output", pooled), ("image_embeds", ops.L2Normalize(pooled))];
            return c.Head == BeitHead.None ? outputs : [("logits", ops.Linear(pooled, "classifier", c.Blocks.Width, c.Labels.Count)), .. outputs];
        }
    }

    sealed class MaskedProgram(BeitConfig c, Name name) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c), new("bool_masked_pos", ElementType.Bool, Dim.Dynamic("batch"), c.Patches)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T tokens = Beit.Encode(ops, name, c, inputs["pixel_values"], inputs["bool_masked_pos"]);
            T patches = Beit.HeadNorm(ops, c, ops.Slice(tokens, 1, 1, int.MaxValue));
            return [("logits", ops.Linear(patches, "lm_head", c.Blocks.Width, c.VocabularySize)), ("last_hidden_state", tokens)];
        }
    }
}
