using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>How the tokens of a text and those of a picture meet (METER compares the last two: Dou et al. 2022,
/// arXiv:2111.02387, section 3.2).</summary>
public enum AlbefFusion
{
    /// <summary>Words attend to patches in each block (ALBEF: Li et al. 2021, arXiv:2107.07651, section 3.1).</summary>
    CrossAttention,

    /// <summary>Words attend to patches and patches to words, each modality in blocks of its own (ViLBERT: Lu et al. 2019,
    /// arXiv:1908.02265, section 2.2).</summary>
    CoAttention,

    /// <summary>Words and patches stand in one sequence and attend to all of it (ViLT: Kim et al. 2021,
    /// arXiv:2102.03334).</summary>
    MergedAttention,

    /// <summary>Late fusion: what each tower pools, and the product of the two, goes through two layers. No word meets a
    /// patch.</summary>
    Late,

    /// <summary>None: a dual encoder, which compares embeddings.</summary>
    None,
}

/// <summary>Sizes of ALBEF.</summary>
public sealed record AlbefConfig
{
    /// <summary>The image tower.</summary>
    public VisionConfig Vision { get; init; } = new() { PatchSize = 16, Blocks = new(12, 768, 3072, 12, Activation.Gelu, 1e-6f) };

    /// <summary>The text tower: the embeddings and first blocks of BERT. Where the norms of its blocks stand
    /// (<see cref="TransformerConfig.PostNorm"/>) holds for the multimodal encoder too; before their parts, with one norm more at the end
    /// of each, small models learn from random weights faster (Xiong et al. 2020, arXiv:2002.04745).</summary>
    public BertConfig Text { get; init; } = new() { Blocks = new BertConfig().Blocks with { Layers = 6 } };

    /// <summary>How text and picture meet. Default <see cref="AlbefFusion.CrossAttention"/>.</summary>
    public AlbefFusion Fusion { get; init; }

    /// <summary>Blocks of the multimodal encoder, of the width of the text tower. Default 6.</summary>
    public int FusionLayers { get; init; } = 6;

    /// <summary>E, width of the shared space.</summary>
    public int ProjectionWidth { get; init; } = 256;

    /// <summary>The id that stands for a masked word; in BERT's vocabulary 103.</summary>
    public int MaskTokenId { get; init; } = 103;

    /// <summary>Start of the logarithm of the logit scale; ln(1/0.07) in the paper.</summary>
    public float LogitScaleInit { get; init; } = 2.6592f;

    /// <summary>True where words meet patches, so that masked words can be told with the picture's help.</summary>
    public bool FusesTokens => Fusion is AlbefFusion.CrossAttention or AlbefFusion.CoAttention or AlbefFusion.MergedAttention;

    /// <summary>The model of the paper, for pictures of 256x256 pixels: 210 million parameters.</summary>
    public static AlbefConfig Base => new() { Vision = new AlbefConfig().Vision with { ImageSize = 256 } };

    /// <summary>A small model for pictures of 48x48 pixels, with a convolutional stem: about a million parameters, trains on a
    /// laptop's processor in minutes.</summary>
    /// <param name="vocabularySize">V of the tokenizer it is trained with; its highest id ends and fills up texts. The id after it
    /// stands for masked words.</param>
    /// <param name="contextLength">The most tokens of a text.</param>
    /// <param name="fusion">How text and picture meet.</param>
    public static AlbefConfig Small48(int vocabularySize, int contextLength = 32, AlbefFusion fusion = AlbefFusion.CrossAttention)
    {
        var blocks = new TransformerConfig(2, 128, 256, 4, Activation.Gelu);
        return new()
        {
            Vision = new() { ImageSize = 48, PatchSize = 8, StemChannels = [24, 48, 96], GridPositions = true, Blocks = blocks },
            Text = new()
            {
                VocabularySize = vocabularySize + 1,
                MaxPositions = contextLength,
                PadId = vocabularySize - 1,
                Blocks = blocks with { Names = BlockNames.Bert },
            },
            Fusion = fusion,
            FusionLayers = 3,
            ProjectionWidth = 128,
            MaskTokenId = vocabularySize,
        };
    }

    /// <summary>The smallest that has every part, for tests.</summary>
    public static AlbefConfig Tiny => new()
    {
        Vision = new() { ImageSize = 8, PatchSize = 4, Blocks = new(1, 16, 32, 2, Activation.Gelu) },
        Text = new()
        {
            VocabularySize = 50,
            MaxPositions = 8,
            Blocks = new(1, 16, 32, 2, Activation.Gelu) { Names = BlockNames.Bert, PostNorm = true },
        },
        FusionLayers = 2,
        ProjectionWidth = 12,
        MaskTokenId = 49,
    };

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static AlbefConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        string fusion = root.Text("fusion", FusionNames[0].Name);
        var config = new AlbefConfig
        {
            Vision = VisionConfig.FromJson(root.Section("vision_config")),
            Text = WithNormFirst(BertConfig.FromJson(root.Section("text_config")), root.Flag("norm_first", false)),
            Fusion = Array.Find(FusionNames, f => f.Name == fusion) is { Name: not null } found ? found.Value : throw new InvalidDataException(
                $"fusion '{fusion}' is unknown; known: {string.Join(", ", FusionNames.Select(f => f.Name))}."),
            FusionLayers = root.Int("fusion_layers", 6, min: 0, max: 1024),
            ProjectionWidth = root.Int("projection_dim", 256),
            MaskTokenId = root.Int("mask_token_id", 103, min: 0, max: 1 << 24),
            LogitScaleInit = root.Single("logit_scale_init_value", 2.6592f),
        };
        config.Validate();
        return config;
    }

    /// <summary>Writes a config.json.</summary>
    public string ToJson() => new JsonObject
    {
        ["architectures"] = new JsonArray("AlbefModel"),
        ["model_type"] = "albef",
        ["fusion"] = Array.Find(FusionNames, f => f.Value == Fusion).Name,
        ["fusion_layers"] = FusionLayers,
        ["projection_dim"] = ProjectionWidth,
        ["mask_token_id"] = MaskTokenId,
        ["logit_scale_init_value"] = LogitScaleInit,
        ["norm_first"] = !Text.Blocks.PostNorm,
        ["vision_config"] = Vision.ToJson(ProjectionWidth),
        ["text_config"] = Text.ToJsonObject(),
    }.ToJsonString(new() { WriteIndented = true }) + "\n";

    static BertConfig WithNormFirst(BertConfig text, bool first) => text with { Blocks = text.Blocks with { PostNorm = !first } };

    internal void Validate()
    {
        int width = Text.Blocks.Width;
        if (Fusion is AlbefFusion.MergedAttention or AlbefFusion.Late && Vision.Blocks.Width != width)
            throw new InvalidDataException($"{Fusion} wants towers of one width, but vision_config.hidden_size is {Vision.Blocks.Width} and text_config.hidden_size {width}.");
        if (MaskTokenId >= Text.VocabularySize)
            throw new InvalidDataException($"mask_token_id {MaskTokenId} is not in the vocabulary of {Text.VocabularySize}.");
    }

    static readonly (string Name, AlbefFusion Value)[] FusionNames =
    [
        ("cross_attention", AlbefFusion.CrossAttention), ("co_attention", AlbefFusion.CoAttention),
        ("merged_attention", AlbefFusion.MergedAttention), ("late", AlbefFusion.Late), ("none", AlbefFusion.None),
    ];
}

/// <summary>What a tower gives.</summary>
/// <param name="Tokens">[B, L, D].</param>
/// <param name="Embeds">[B, E], of length 1.</param>
public readonly record struct AlbefTower<T>(T Tokens, T Embeds) where T : class;

/// <summary>ALBEF: align before fuse (Li et al. 2021, arXiv:2107.07651). Two towers, whose embeddings are aligned, and a multimodal
/// encoder in which the words of a text attend to the patches of a picture. The text side has the published names; the image tower
/// those of <see cref="VisionTransformer"/>.</summary>
public static class Albef
{
    static readonly Name TextEncoder = "text_encoder", Bert = TextEncoder / "bert";

    /// <summary>Pictures to patches and embeddings.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="pixels">[B, C, H, W], normalised.</param>
    /// <returns>Class token and patches after the last norm, [B, 1 + N, D], and embeddings.</returns>
    public static AlbefTower<T> Image<T>(ITensorOps<T> ops, AlbefConfig c, T pixels) where T : class
    {
        Name name = "visual_encoder";
        VisionOutput<T> vision = VisionTransformer.Encode(ops, name, c.Vision, pixels);
        T tokens = ops.LayerNorm(vision.LastHidden, name / "post_layernorm", c.Vision.Blocks.NormEpsilon);
        return new(tokens, ops.L2Normalize(ops.Linear(vision.Pooled, "vision_proj", c.Vision.Blocks.Width, c.ProjectionWidth)));
    }

    /// <summary>Texts to words and embeddings.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="ids">Int64 [B, L].</param>
    /// <param name="keep">Bool [B, L]: true for a token, false for padding.</param>
    public static AlbefTower<T> Text<T>(ITensorOps<T> ops, AlbefConfig c, T ids, T keep) where T : class
    {
        T tokens = Last(ops, c, "text_norm", Families.Bert.Encode(ops, Bert, c.Text, ids, keep));       // [B, L] -> [B, L, D]
        T first = Families.Bert.FirstToken(ops, tokens);
        return new(tokens, ops.L2Normalize(ops.Linear(first, "text_proj", c.Text.Blocks.Width, c.ProjectionWidth)));
    }

    // Blocks whose norms stand before their parts want one at the end.
    static T Last<T>(ITensorOps<T> ops, AlbefConfig c, string name, T tokens) where T : class =>
        c.Text.Blocks.PostNorm ? tokens : ops.LayerNorm(tokens, TextEncoder / name, c.Text.Blocks.NormEpsilon);

    /// <summary>True for tokens, false for padding.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="ids">Int64 [B, L].</param>
    /// <returns>Bool [B, L].</returns>
    public static T Keep<T>(ITensorOps<T> ops, AlbefConfig c, T ids) where T : class => ops.Not(ops.Equal(ids, c.Text.PadId));

    /// <summary>The multimodal encoder.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="text">Words, [B, L, D].</param>
    /// <param name="keep">Bool [B, L]: true for a token, false for padding.</param>
    /// <param name="image">Patches, [B, 1 + N, Dv].</param>
    /// <param name="maps">Takes what each word looks at in each block, [B, L, 1 + N], the mean over heads; null where nobody
    /// asks. Only with <see cref="AlbefFusion.CrossAttention"/> and <see cref="AlbefFusion.CoAttention"/>.</param>
    /// <returns>[B, L, D], the words as the picture changes them; [B, 1, D] for late fusion.</returns>
    /// <exception cref="NotSupportedException">The model does not fuse.</exception>
    public static T Fuse<T>(ITensorOps<T> ops, AlbefConfig c, T text, T keep, T image, ICollection<T>? maps = null) where T : class
    {
        TransformerConfig blocks = c.Text.Blocks;
        Name Layer(int i) => Bert / "encoder" / blocks.Names.Layers / (blocks.Layers + i);
        switch (c.Fusion)
        {
            case AlbefFusion.CrossAttention:
                for (int i = 0; i < c.FusionLayers; i++)
                    text = Transformer.CrossBlock(ops, Layer(i), blocks, c.Vision.Blocks.Width, text, image, new(Keep: keep), maps: maps);
                return Last(ops, c, "fusion_norm", text);
            case AlbefFusion.CoAttention:
                TransformerConfig patchBlocks = blocks with { Width = c.Vision.Blocks.Width };
                for (int i = 0; i < c.FusionLayers; i++)
                {
                    T words = Transformer.CrossBlock(ops, Layer(i), blocks, patchBlocks.Width, text, image, new(Keep: keep), maps: maps);
                    if (i + 1 < c.FusionLayers) // the last patches would go nowhere
                        image = Transformer.CrossBlock(
                            ops, new Name("image_fusion") / blocks.Names.Layers / i, patchBlocks, blocks.Width, image, text, contextMask: new(Keep: keep));
                    text = words;
                }
                return Last(ops, c, "fusion_norm", text);
            case AlbefFusion.MergedAttention:
                T patches = ops.Add(image, ops.Parameter("image_type_embedding", default, blocks.Width));
                T all = ops.Not(ops.Equal(ops.ArgMax(image, -1), -1));                                  // [B, 1 + N, D] -> [B, 1 + N], all true
                T merged = ops.Concat(1, text, patches), keepAll = ops.Concat(1, keep, all);            // -> [B, L + 1 + N, D]
                for (int i = 0; i < c.FusionLayers; i++) merged = Transformer.Block(ops, Layer(i), blocks, merged, new(Keep: keepAll));
                return Last(ops, c, "fusion_norm", ops.SliceLike(merged, 1, keep, 1));
            case AlbefFusion.Late:
                T word = ops.Slice(text, 1, 0, 1), patch = ops.Slice(image, 1, 0, 1);                   // -> [B, 1, D] each
                T both = ops.Concat(2, word, patch, ops.Multiply(word, patch));                         // -> [B, 1, 3 D]
                T hidden = ops.Activate(ops.Linear(both, "late_fusion.fc1", 3 * blocks.Width, blocks.MlpWidth), blocks.Activation);
                return ops.Activate(ops.Linear(hidden, "late_fusion.fc2", blocks.MlpWidth, blocks.Width), blocks.Activation);
            default:
                throw new NotSupportedException("a dual encoder compares embeddings and does not fuse.");
        }
    }

    /// <summary>Do text and picture belong together? Of the first fused token.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="fused">[B, L, D].</param>
    /// <returns>[B, 2]: no, yes.</returns>
    public static T MatchLogits<T>(ITensorOps<T> ops, AlbefConfig c, T fused) where T : class =>
        ops.Linear(Families.Bert.FirstToken(ops, fused), "itm_head", c.Text.Blocks.Width, 2);

    /// <summary>Which word was masked? BERT's head, whose matrix is the table of words (Devlin et al. 2019, arXiv:1810.04805).</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="fused">[.., D].</param>
    /// <returns>[.., V].</returns>
    public static T WordLogits<T>(ITensorOps<T> ops, AlbefConfig c, T fused) where T : class
    {
        Name head = TextEncoder / "cls" / "predictions", transform = head / "transform";
        int width = c.Text.Blocks.Width;
        T x = ops.Activate(ops.Linear(fused, transform / "dense", width, width), c.Text.Blocks.Activation);
        x = ops.LayerNorm(x, transform / "LayerNorm", c.Text.Blocks.NormEpsilon);
        T table = ops.Parameter(Bert / "embeddings" / "word_embeddings" / "weight", default, c.Text.VocabularySize, width);
        return ops.Linear(x, table, ops.Parameter(head / "bias", Init.Zeros, c.Text.VocabularySize));   // [.., D] -> [.., V]
    }
}

/// <summary>ALBEF as a model of this library.</summary>
/// <param name="config">Sizes.</param>
public sealed class AlbefModel(AlbefConfig config) : IPairDefinition
{
    /// <summary>Sizes.</summary>
    public AlbefConfig Config { get; } = Checked(config);

    static AlbefConfig Checked(AlbefConfig c)
    {
        c.Validate();
        return c;
    }

    /// <inheritdoc/>
    public string ModelType => "albef";

    /// <inheritdoc/>
    public int EmbeddingWidth => Config.ProjectionWidth;

    /// <inheritdoc/>
    public bool IgnoresPadding => true;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders => new Dictionary<Modality, IProgram>
    {
        [Modality.Image] = new VisionProgram(Config),
        [Modality.Text] = new TextProgram(Config),
    };

    /// <summary>Takes <c>pixel_values</c> and <c>input_ids</c> of B pairs; gives <c>image_embeds</c> and <c>text_embeds</c> [B, E],
    /// <c>itm_logits</c> [B, 2] (no, yes) where the model fuses, and <c>mlm_logits</c> [B, L, V] where it fuses tokens.</summary>
    public IProgram Full => new PairProgram(Config, "model", withWords: true, withMaps: false);

    /// <inheritdoc/>
    public IProgram? Pair => Config.Fusion == AlbefFusion.None ? null : new PairProgram(Config, "match_model", withWords: false, withMaps: false);

    /// <inheritdoc/>
    public IProgram? AttentionMaps => Config.Fusion is AlbefFusion.CrossAttention or AlbefFusion.CoAttention
        ? new PairProgram(Config, "attention_model", withWords: false, withMaps: true) : null;

    /// <inheritdoc/>
    public string? LogitScale => "logit_scale";

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } = ["text_encoder.bert.embeddings.position_ids"];

    /// <inheritdoc/>
    public string ToConfigJson() => Config.ToJson();

    static TensorSpec Pixels(AlbefConfig c) =>
        new("pixel_values", ElementType.Float32, Dim.Dynamic("batch"), c.Vision.Channels, c.Vision.ImageSize, c.Vision.ImageSize);

    static TensorSpec Ids(AlbefConfig c) => new("input_ids", ElementType.Int64, Dim.Dynamic("batch"), Dim.Dynamic("sequence", c.Text.ContextLength));

    sealed class VisionProgram(AlbefConfig c) : IProgram
    {
        public string Name => "vision_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("image_embeds", Albef.Image(ops, c, inputs["pixel_values"]).Embeds)];
    }

    sealed class TextProgram(AlbefConfig c) : IProgram
    {
        public string Name => "text_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Ids(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("text_embeds", Albef.Text(ops, c, inputs["input_ids"], Albef.Keep(ops, c, inputs["input_ids"])).Embeds)];
    }

    sealed class PairProgram(AlbefConfig c, string name, bool withWords, bool withMaps) : IProgram
    {
        public string Name => name;

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c), Ids(c)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T ids = inputs["input_ids"], keep = Albef.Keep(ops, c, ids);
            AlbefTower<T> image = Albef.Image(ops, c, inputs["pixel_values"]), text = Albef.Text(ops, c, ids, keep);
            List<(string, T)> outputs = [("image_embeds", image.Embeds), ("text_embeds", text.Embeds)];
            if (withWords) ops.Parameter("logit_scale", Init.Constant(c.LogitScaleInit)); // a weight of the model that no output needs
            if (c.Fusion == AlbefFusion.None) return outputs;
            List<T>? maps = withMaps ? [] : null;
            T fused = Albef.Fuse(ops, c, text.Tokens, keep, image.Tokens, maps);
            outputs.Add(("itm_logits", Albef.MatchLogits(ops, c, fused)));
            if (withWords && c.FusesTokens) outputs.Add(("mlm_logits", Albef.WordLogits(ops, c, fused)));
            if (maps is not null) outputs.Add(("cross_attentions", PairOutputs.Stack(ops, maps)));
            return outputs;
        }
    }
}
