using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of a VLMo. The schema is this library's own, in the words of Hugging Face's configs.</summary>
public sealed record VlmoConfig
{
    /// <summary>Edge of the pictures in pixels; a multiple of <see cref="PatchSize"/>.</summary>
    public int ImageSize { get; init; } = 224;

    /// <summary>P, edge of a patch in pixels.</summary>
    public int PatchSize { get; init; } = 16;

    /// <summary>Channels of the picture.</summary>
    public int Channels { get; init; } = 3;

    /// <summary>V, size of the vocabulary.</summary>
    public int VocabularySize { get; init; } = 30522;

    /// <summary>The most tokens of a text.</summary>
    public int ContextLength { get; init; } = 196;

    /// <summary>The id that fills up shorter texts; it is never attended to.</summary>
    public int PadId { get; init; }

    /// <summary>The id that stands for a hidden word; null where none does.</summary>
    public int? MaskId { get; init; }

    /// <summary>Number of visual tokens, which the head for hidden patches tells.</summary>
    public int VisualVocabularySize { get; init; } = 8192;

    /// <summary>Sizes of the blocks, which both senses share but for their experts.</summary>
    public TransformerConfig Blocks { get; init; } = new(12, 768, 3072, 12, Activation.Gelu, 1e-6f);

    /// <summary>The last blocks, in which a picture and a text that are looked at together share an expert of their own. 0 to the
    /// number of blocks.</summary>
    public int FusedLayers { get; init; } = 2;

    /// <summary>E, width of the shared embedding space.</summary>
    public int ProjectionWidth { get; init; } = 256;

    /// <summary>Logarithm of what similarities are multiplied with, at first.</summary>
    public float LogitScaleInit { get; init; } = 2.6592f;

    /// <summary>N, the number of patches.</summary>
    public int Patches => ImageSize / PatchSize * (ImageSize / PatchSize);

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static VlmoConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        var otherwise = new VlmoConfig();
        var config = new VlmoConfig
        {
            ImageSize = root.Int("image_size", otherwise.ImageSize, max: 4096),
            PatchSize = root.Int("patch_size", otherwise.PatchSize, max: 4096),
            Channels = root.Int("num_channels", otherwise.Channels, max: 64),
            VocabularySize = root.Int("vocab_size", otherwise.VocabularySize, max: 1 << 24),
            ContextLength = root.Int("max_position_embeddings", otherwise.ContextLength),
            PadId = root.Int("pad_token_id", 0, min: 0, max: 1 << 24),
            MaskId = root.Has("mask_token_id") ? root.Int("mask_token_id", 0, min: 0, max: 1 << 24) : null,
            VisualVocabularySize = root.Int("visual_vocab_size", otherwise.VisualVocabularySize, max: 1 << 24),
            Blocks = root.Blocks(otherwise.Blocks),
            FusedLayers = root.Int("num_fused_layers", otherwise.FusedLayers, min: 0, max: 1024),
            ProjectionWidth = root.Int("projection_dim", otherwise.ProjectionWidth),
            LogitScaleInit = root.Single("logit_scale_init_value", otherwise.LogitScaleInit),
        };
        if (config.MaskId >= config.VocabularySize)
            throw new InvalidDataException($"mask_token_id {config.MaskId} must be below vocab_size {config.VocabularySize}.");
        if (config.ImageSize % config.PatchSize != 0)
            throw new InvalidDataException($"image_size {config.ImageSize} must be a multiple of patch_size {config.PatchSize}.");
        return config.FusedLayers <= config.Blocks.Layers ? config : throw new InvalidDataException(
            $"num_fused_layers {config.FusedLayers} must be at most num_hidden_layers {config.Blocks.Layers}.");
    }

    /// <summary>Writes a config.json.</summary>
    public string ToJson()
    {
        JsonObject json = ClipConfig.WriteBlocks(Blocks, "vlmo", ProjectionWidth);
        json["image_size"] = ImageSize;
        json["patch_size"] = PatchSize;
        json["num_channels"] = Channels;
        json["vocab_size"] = VocabularySize;
        json["max_position_embeddings"] = ContextLength;
        json["pad_token_id"] = PadId;
        if (MaskId is { } mask) json["mask_token_id"] = mask;
        json["visual_vocab_size"] = VisualVocabularySize;
        json["num_fused_layers"] = FusedLayers;
        json["logit_scale_init_value"] = LogitScaleInit;
        return json.ToJsonString(new() { WriteIndented = true }) + "\n";
    }
}

/// <summary>VLMo: one Transformer that reads pictures, texts, or both, with shared attention and an expert for each sense (Bao et al.
/// 2022, arXiv:2111.02358). Alone each sense goes through its own experts, so that embeddings can be compared; together, the last
/// blocks have an expert for the pair.</summary>
public static class Vlmo
{
    /// <summary>Group of the feed-forward parts of pictures.</summary>
    public const string VisionExpert = "vision_expert";

    /// <summary>Group of the feed-forward parts of texts.</summary>
    public const string LanguageExpert = "language_expert";

    /// <summary>Group of the feed-forward parts of pairs.</summary>
    public const string FusionExpert = "fusion_expert";

    /// <summary>Names, with <c>*</c> for any part, of the weights that all senses share: attention and the last norm. They stay as the
    /// pictures taught them while language experts learn from texts alone (section 3.3).</summary>
    public static IReadOnlyList<string> SharedWeights { get; } = ["encoder.layers.*.self_attn.*", "encoder.layers.*.layer_norm1.*", "layer_norm.*"];

    /// <summary>Pictures to tokens that enter the first block.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="pixels">[B, C, H, W], normalised.</param>
    /// <param name="masked">Bool [B, N]: true for a patch that the model is not to see; null shows all.</param>
    /// <returns>[B, 1 + N, D].</returns>
    public static T EmbedImage<T>(ITensorOps<T> ops, VlmoConfig c, T pixels, T? masked = null) where T : class
    {
        Name name = "image_embeddings";
        int width = c.Blocks.Width;
        T x = ops.Conv2d(pixels, name / "patch_embedding", new(c.Channels, width, c.PatchSize, c.PatchSize));
        x = ops.Rearrange(x, "b d h w -> b (h w) d");                                                   // [B, D, H/P, W/P] -> [B, N, D]
        if (masked is not null)
            x = ops.Where(ops.Rearrange(masked, "b (n o) -> b n o", ("o", 1)), ops.Parameter(name / "mask_token", default, 1, 1, width), x);
        x = ops.Concat(1, Vit.Token(ops, name / "cls_token", width, pixels), x);
        x = ops.Add(x, ops.Parameter(name / "position_embeddings", Init.Grid(1), 1, 1 + c.Patches, width));
        return ops.Add(x, ops.Parameter(name / "type_embedding", default, width));
    }

    /// <summary>Texts to tokens that enter the first block.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="ids">Int64 [B, L], L at most the context length.</param>
    /// <returns>[B, L, D].</returns>
    public static T EmbedText<T>(ITensorOps<T> ops, VlmoConfig c, T ids) where T : class
    {
        Name name = "text_embeddings";
        int width = c.Blocks.Width;
        T x = ops.Embedding(ids, name / "word_embeddings", c.VocabularySize, width);                    // [B, L] -> [B, L, D]
        x = ops.Add(x, ops.SliceLike(ops.Parameter(name / "position_embeddings" / "weight", default, c.ContextLength, width), 0, ids, 1));
        x = ops.LayerNorm(x, name / "layer_norm", c.Blocks.NormEpsilon);
        return ops.Add(x, ops.Parameter(name / "type_embedding", default, width));
    }

    /// <summary>One sense through its own experts in all blocks.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, D].</param>
    /// <param name="expert">Of this sense.</param>
    /// <param name="mask">What may be attended to.</param>
    /// <returns>[B, L, D], after the last norm.</returns>
    public static T Encode<T>(ITensorOps<T> ops, VlmoConfig c, T x, string expert, Mask<T> mask = default) where T : class
    {
        for (int i = 0; i < c.Blocks.Layers; i++) x = ModalityExperts.Block(ops, Layer(c, i), c.Blocks, x, [new(expert)], mask);
        return ops.LayerNorm(x, "layer_norm", c.Blocks.NormEpsilon);
    }

    /// <summary>A picture and a text that look at each other.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="image">[B, 1 + N, D], as <see cref="EmbedImage"/> gives them.</param>
    /// <param name="text">[B, L, D], as <see cref="EmbedText"/> gives them.</param>
    /// <param name="ids">Int64 [B, L]: the text's tokens, for its padding.</param>
    /// <returns>[B, 1 + N + L, D], after the last norm.</returns>
    public static T Fuse<T>(ITensorOps<T> ops, VlmoConfig c, T image, T text, T ids) where T : class
    {
        T seen = ops.Not(ops.Equal(ops.Slice(ids, 1, 0, 1), -1));                                       // [B, 1], true: ids are not negative
        T[] flags = [.. Enumerable.Repeat(seen, 1 + c.Patches), ops.Not(ops.Equal(ids, c.PadId))];
        T keep = ops.Concat(1, flags);                                                                  // [B, 1 + N + L]
        T x = ops.Concat(1, image, text);
        ModalityExpert[] apart = [new(VisionExpert, 1 + c.Patches), new(LanguageExpert)], together = [new(FusionExpert)];
        for (int i = 0; i < c.Blocks.Layers; i++)
            x = ModalityExperts.Block(ops, Layer(c, i), c.Blocks, x, i < c.Blocks.Layers - c.FusedLayers ? apart : together, new(Keep: keep));
        return ops.LayerNorm(x, "layer_norm", c.Blocks.NormEpsilon);
    }

    /// <summary>The visual token of each patch: the head of masked pictures.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="tokens">[B, 1 + N, D], as <see cref="Encode"/> gives them.</param>
    /// <returns>[B, N, V'].</returns>
    public static T VisualTokens<T>(ITensorOps<T> ops, VlmoConfig c, T tokens) where T : class =>
        ops.Linear(ops.Slice(tokens, 1, 1, int.MaxValue), VisualHead, c.Blocks.Width, c.VisualVocabularySize);

    /// <summary>What stands in each place of a text: the head of masked words, whose last matrix is the word table.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="tokens">[B, L, D], the text's tokens alone or beside a picture.</param>
    /// <returns>[B, L, V].</returns>
    public static T Words<T>(ITensorOps<T> ops, VlmoConfig c, T tokens) where T : class
    {
        Name head = WordHead;
        T x = ops.Activate(ops.Linear(tokens, head / "dense", c.Blocks.Width, c.Blocks.Width), c.Blocks.Activation);
        x = ops.LayerNorm(x, head / "layer_norm", c.Blocks.NormEpsilon);
        T words = ops.Parameter("text_embeddings.word_embeddings.weight", default, c.VocabularySize, c.Blocks.Width);
        return ops.Linear(x, words, ops.Parameter(head / "bias", Init.Zeros, c.VocabularySize));
    }

    /// <summary>Whether a picture and a text belong together: the head of matching.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="fused">[B, 1 + N + L, D], as <see cref="Fuse"/> gives them.</param>
    /// <returns>[B, 2]: no and yes, before a softmax.</returns>
    public static T Match<T>(ITensorOps<T> ops, VlmoConfig c, T fused) where T : class =>
        ops.Linear(Bert.FirstToken(ops, fused), MatchHead, c.Blocks.Width, 2);

    internal const string VisualHead = "visual_head", WordHead = "word_head", MatchHead = "match_head";

    static Name Layer(VlmoConfig c, int i) => new Name("encoder") / c.Blocks.Names.Layers / i;

    internal static T Project<T>(ITensorOps<T> ops, VlmoConfig c, T tokens, string name) where T : class => ops.L2Normalize(
        ops.Linear(Bert.FirstToken(ops, tokens), name, c.Blocks.Width, c.ProjectionWidth, bias: false));
}

/// <summary>VLMo as a model of this library: pictures and texts into one space, and pairs of them together.</summary>
/// <param name="config">Sizes.</param>
public sealed class VlmoModel(VlmoConfig config) : IModelDefinition
{
    /// <summary>Sizes.</summary>
    public VlmoConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => "vlmo";

    /// <inheritdoc/>
    public int EmbeddingWidth => config.ProjectionWidth;

    /// <inheritdoc/>
    public bool IgnoresPadding => true;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>
    {
        [Modality.Image] = new SenseProgram(config, isImage: true),
        [Modality.Text] = new SenseProgram(config, isImage: false),
    };

    /// <summary>Takes <c>pixel_values</c> and <c>input_ids</c> of pairs; gives <c>logits_per_image</c> [B, B], <c>image_embeds</c>,
    /// <c>text_embeds</c> [B, E], and <c>last_hidden_state</c> [B, 1 + N + L, D] of each picture with its own text.</summary>
    public IProgram Full { get; } = new PairProgram(config);

    /// <summary>Pictures alone, of which patches are hidden: takes <c>pixel_values</c> and <c>bool_masked_pos</c> Bool [B, N]; gives
    /// <c>logits</c> [B, N, V'] of the visual tokens.</summary>
    public IProgram MaskedImages { get; } = new MaskedImagesProgram(config);

    /// <summary>Texts alone, of which words are hidden: takes <c>input_ids</c>; gives <c>logits</c> [B, L, V].</summary>
    public IProgram MaskedTexts { get; } = new MaskedTextsProgram(config);

    /// <summary>Pairs: takes <c>pixel_values</c>, <c>input_ids</c>, <c>masked_input_ids</c>, the same with hidden words, and
    /// <c>wrong_input_ids</c>, a text that does not belong to the picture; gives <c>logits</c> [B, L, V], what is told of hidden words
    /// with the picture's help, <c>logits_per_image</c> [B, B] of whole pictures and texts alone, <c>match_logits</c> and
    /// <c>mismatch_logits</c> [B, 2] of each picture with its own text and with the wrong one.</summary>
    public IProgram MaskedPairs { get; } = new MaskedPairsProgram(config);

    /// <inheritdoc/>
    public string? LogitScale => "logit_scale";

    /// <summary>What only a training without labels asks for: the token of hidden patches, and the heads.</summary>
    public IReadOnlyList<string> IgnoredWeights { get; } = ["image_embeddings.mask_token", $"{Vlmo.VisualHead}.", $"{Vlmo.WordHead}.", $"{Vlmo.MatchHead}."];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    static TensorSpec Pixels(VlmoConfig c) => new("pixel_values", ElementType.Float32, Dim.Dynamic("batch"), c.Channels, c.ImageSize, c.ImageSize);

    static TensorSpec Ids(VlmoConfig c) => new("input_ids", ElementType.Int64, Dim.Dynamic("batch"), Dim.Dynamic("sequence", c.ContextLength));

    static TensorSpec Ids(VlmoConfig c, string name) => Ids(c) with { Name = name };

    static T Keep<T>(ITensorOps<T> ops, VlmoConfig c, T ids) where T : class => ops.Not(ops.Equal(ids, c.PadId));

    static T Similarities<T>(ITensorOps<T> ops, VlmoConfig c, T images, T texts) where T : class =>
        ops.Multiply(ops.MatMul(images, ops.Rearrange(texts, "t e -> e t")), ops.Exp(ops.Parameter("logit_scale", Init.Constant(c.LogitScaleInit))));

    static T Image<T>(ITensorOps<T> ops, VlmoConfig c, T tokens) where T : class =>
        Vlmo.Project(ops, c, Vlmo.Encode(ops, c, tokens, Vlmo.VisionExpert), "visual_projection");

    static T Text<T>(ITensorOps<T> ops, VlmoConfig c, T tokens, T keep) where T : class =>
        Vlmo.Project(ops, c, Vlmo.Encode(ops, c, tokens, Vlmo.LanguageExpert, new(Keep: keep)), "text_projection");

    sealed class SenseProgram(VlmoConfig c, bool isImage) : IProgram
    {
        public string Name => isImage ? "vision_model" : "text_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [isImage ? Pixels(c) : Ids(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            if (isImage) return [("image_embeds", Image(ops, c, Vlmo.EmbedImage(ops, c, inputs["pixel_values"])))];
            T ids = inputs["input_ids"];
            return [("text_embeds", Text(ops, c, Vlmo.EmbedText(ops, c, ids), Keep(ops, c, ids)))];
        }
    }

    sealed class PairProgram(VlmoConfig c) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c), Ids(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T ids = inputs["input_ids"], keep = Keep(ops, c, ids);
            T image = Vlmo.EmbedImage(ops, c, inputs["pixel_values"]), text = Vlmo.EmbedText(ops, c, ids);
            T imageEmbeds = Image(ops, c, image), textEmbeds = Text(ops, c, text, keep), fused = Vlmo.Fuse(ops, c, image, text, ids);
            return [("logits_per_image", Similarities(ops, c, imageEmbeds, textEmbeds)), ("image_embeds", imageEmbeds), ("text_embeds", textEmbeds), ("last_hidden_state", fused)];
        }
    }
    sealed class MaskedImagesProgram(VlmoConfig c) : IProgram
    {
        public string Name => "masked_images";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c), new("bool_masked_pos", ElementType.Bool, Dim.Dynamic("batch"), c.Patches)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T tokens = Vlmo.EmbedImage(ops, c, inputs["pixel_values"], inputs["bool_masked_pos"]);
            return [("logits", Vlmo.VisualTokens(ops, c, Vlmo.Encode(ops, c, tokens, Vlmo.VisionExpert)))];
        }
    }

    sealed class MaskedTextsProgram(VlmoConfig c) : IProgram
    {
        public string Name => "masked_texts";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Ids(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T ids = inputs["input_ids"], tokens = Vlmo.EmbedText(ops, c, ids);
            return [("logits", Vlmo.Words(ops, c, Vlmo.Encode(ops, c, tokens, Vlmo.LanguageExpert, new(Keep: Keep(ops, c, ids)))))];
        }
    }

    sealed class MaskedPairsProgram(VlmoConfig c) : IProgram
    {
        public string Name => "masked_pairs";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c), Ids(c), Ids(c, "masked_input_ids"), Ids(c, "wrong_input_ids")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T ids = inputs["input_ids"], image = Vlmo.EmbedImage(ops, c, inputs["pixel_values"]), text = Vlmo.EmbedText(ops, c, ids);
            T words = Vlmo.Words(ops, c, ops.Slice(Fused("masked_input_ids"), 1, 1 + c.Patches, int.MaxValue)); // [B, 1 + N + L, D] -> [B, L, V]
            T similarities = Similarities(ops, c, Image(ops, c, image), Text(ops, c, text, Keep(ops, c, ids)));
            return
            [
                ("logits", words), ("logits_per_image", similarities),
                ("match_logits", Vlmo.Match(ops, c, Vlmo.Fuse(ops, c, image, text, ids))), ("mismatch_logits", Vlmo.Match(ops, c, Fused("wrong_input_ids"))),
            ];

            T Fused(string texts) => Vlmo.Fuse(ops, c, image, Vlmo.EmbedText(ops, c, inputs[texts]), inputs[texts]);
        }
    }
}
