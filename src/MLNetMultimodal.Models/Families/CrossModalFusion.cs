using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>What a fusion model gives.</summary>
/// <param name="Logits">[B, C]: of classes, of yes, or the standardised number.</param>
/// <param name="Scores">[B, C]: probabilities of the classes, the logit of yes, or the number.</param>
/// <param name="RouterLogits">[B, tokens, E]: what the router thinks of each expert; null without experts.</param>
/// <param name="LatentAttention">[B, M, L]: what each latent looked at, L in the order of
/// <see cref="CrossModalFusionModel.Tokens"/>; null where it was not asked for.</param>
/// <param name="TokenAttention">[B, L, L]: what each token looked at in the last joint layer; null where it was not asked for or
/// there is none.</param>
public readonly record struct FusionOutput<T>(T Logits, T Scores, T? RouterLogits, T? LatentAttention, T? TokenAttention) where T : class;

/// <summary>
/// Late fusion by cross-modal attention. A tower makes tokens of each sense: patches of the picture, tokens of the text, patches of
/// the spectrogram, one token of each number (FT-Transformer: Gorishniy et al. 2021, arXiv:2106.11959, section 3.3). All are brought
/// to one width and say whose they are; they look at each other, and a few learned latents collect from all that are there what the
/// prediction needs (Perceiver: Jaegle et al. 2021, arXiv:2103.03206). What is missing is masked; one learned token is always there,
/// so that a row without anything gets a prediction too.
/// </summary>
public static class CrossModalFusion
{
    /// <summary>Rows to predictions.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="inputs">By name, as <see cref="CrossModalFusionModel.Full"/> lists them.</param>
    /// <param name="explains">True: attention maps too.</param>
    public static FusionOutput<T> Predict<T>(ITensorOps<T> ops, CrossModalFusionConfig c, IReadOnlyDictionary<string, T> inputs, bool explains)
        where T : class
    {
        (T tokens, T keep) = Tokens(ops, c, inputs);                                                    // [B, L, D], [B, L]
        tokens = Joint(ops, c, tokens, new(keep), explains, out T? tokenAttention);
        LatentBottleneckOutput<T> latents = LatentBottleneck.Encode(ops, "bottleneck", c.Bottleneck, tokens, new(keep), explains);
        T pooled = c.Pooling == FusionPooling.Mean ? ops.Mean(latents.Latents, 1) : ops.Rearrange(               // [B, M, D] -> [B, D]
            AttentionPooling.Pool(ops, "pooling", new(c.Width, c.Width, c.Bottleneck.Heads), latents.Latents), "b l d -> b (l d)");
        T logits = ops.Linear(pooled, "head", c.Width, c.Outputs, init: Init.Normal(0.02f));            // -> [B, C]
        T scores = c.Task switch
        {
            FusionTask.Multiclass => ops.Softmax(logits, -1),
            FusionTask.Regression => ops.Add(ops.Multiply(logits, ops.Parameter("label.scale", Init.Ones, 1)), ops.Parameter("label.mean", Init.Zeros, 1)),
            _ => logits,
        };
        return new(logits, scores, latents.RouterLogits, latents.Attention, tokenAttention);
    }

    static (T Tokens, T Keep) Tokens<T>(ITensorOps<T> ops, CrossModalFusionConfig c, IReadOnlyDictionary<string, T> inputs) where T : class
    {
        var tokens = new List<T>();
        var keep = new List<T>();
        if (c.Vision is { } vision)
        {
            VisionOutput<T> tower = VisionTransformer.Encode(ops, "vision_model", vision, inputs["pixel_values"]);
            Add("image", ops.LayerNorm(tower.LastHidden, "vision_model.post_layernorm", vision.Blocks.NormEpsilon), vision.Blocks.Width, "pixel_mask");
        }
        if (c.Text is { } text)
        {
            T mask = ops.Equal(inputs["attention_mask"], 1);
            Add("text", Clip.TextTokens(ops, "text_model", text, inputs["input_ids"], mask), text.Blocks.Width, "attention_mask");
        }
        if (c.Audio is { } audio) Add("audio", Ast.Encode(ops, "audio_model", audio, inputs["input_values"]), audio.Blocks.Width, "audio_mask");
        if (c.Features is { } features)
        {
            T mask = ops.Equal(inputs["features_mask"], 1);
            Add("features", FeatureTokens(ops, "features", features, inputs["features"], mask), features.Blocks.Width, "features_mask");
        }
        T always = ops.Not(ops.Equal(ops.Slice(inputs[First(c)], 1, 0, 1), -1));                        // no mask holds -1: true, [B, 1]
        T empty = ops.RepeatBatch(ops.Parameter("empty_token", Init.Normal(0.02f), 1, c.Width), always); // -> [B, 1, D]
        return (ops.Concat(1, [empty, .. tokens]), ops.Concat(1, [always, .. keep]));

        void Add(string sense, T x, int width, string mask)
        {
            Name name = (Name)"projections" / sense;
            if (c.AdapterWidth > 0) x = GatedAdapter.Apply(ops, name / "adapter", new(width, c.AdapterWidth), x);
            x = ops.LayerNorm(ops.Linear(x, name / "proj", width, c.Width), name / "norm", c.Joint.NormEpsilon); // [B, N, D'] -> [B, N, D]
            tokens.Add(ops.Add(x, ops.Parameter(name / "type_embedding", Init.Normal(0.02f), c.Width)));
            keep.Add(ops.Equal(ops.SliceLike(inputs[mask], 1, x, 1), 1));                               // Int64 [B, N] -> Bool [B, N]
        }
    }

    static string First(CrossModalFusionConfig c) =>
        c.Vision is not null ? "pixel_mask" : c.Text is not null ? "attention_mask" : c.Audio is not null ? "audio_mask" : "features_mask";

    /// <summary>A token of each number, b + x W, of the standardised number; then a Transformer (Gorishniy et al. 2021, section
    /// 3.3).</summary>
    static T FeatureTokens<T>(ITensorOps<T> ops, Name name, FeatureConfig c, T x, T keep) where T : class
    {
        int columns = c.Names.Count, width = c.Blocks.Width;
        Init init = Init.Normal(1 / MathF.Sqrt(width));
        x = ops.Divide(ops.Subtract(x, ops.Parameter(name / "mean", Init.Zeros, columns)), ops.Parameter(name / "scale", Init.Ones, columns));
        x = ops.Rearrange(x, "b (n d) -> b n d", ("d", 1));                                             // [B, n] -> [B, n, 1]
        x = ops.Multiply(x, ops.Parameter(name / "weight", init, columns, width));                      // -> [B, n, D']
        x = ops.Add(x, ops.Parameter(name / "bias", init, columns, width));
        return c.Blocks.Layers == 0 ? x : Transformer.Encoder(ops, name / "encoder", c.Blocks, x, new(keep));
    }

    static T Joint<T>(ITensorOps<T> ops, CrossModalFusionConfig c, T x, Mask<T> mask, bool explains, out T? attention) where T : class
    {
        attention = null;
        for (int i = 0; i < c.Joint.Layers; i++)
        {
            Name layer = (Name)"joint" / "layers" / i;
            if (explains && i == c.Joint.Layers - 1)
            {
                T h = ops.LayerNorm(x, layer / c.Joint.Names.Norm1, c.Joint.NormEpsilon);
                attention = Attention.Weights(ops, layer / c.Joint.Names.Attention, c.Joint.Attention, h, h, mask);
            }
            x = Transformer.Block(ops, layer, c.Joint, x, mask);
        }
        return x;
    }
}

/// <summary>The tokens of one sense among those that a fusion model attends to.</summary>
/// <param name="Modality">The sense; null for the numeric columns.</param>
/// <param name="First">Place of the first one; the token that is always there has the place 0.</param>
/// <param name="Prefix">Tokens at the beginning that stand for all of it: the class token of a picture, class and distillation token
/// of a sound, none of texts and numbers.</param>
/// <param name="Rows">Rows of the grid of patches; 1 for texts and numbers.</param>
/// <param name="Columns">Columns of the grid; for texts the context length.</param>
public sealed record FusionTokens(Modality? Modality, int First, int Prefix, int Rows, int Columns)
{
    /// <summary>Number of tokens.</summary>
    public int Count => Prefix + Rows * Columns;
}

/// <summary>Cross-modal fusion as a model of this library: it embeds nothing, but predicts.</summary>
public sealed class CrossModalFusionModel : IModelDefinition
{
    internal const string Type = "cross-modal-fusion";

    /// <summary>The model of a config.</summary>
    /// <param name="config">Sizes.</param>
    /// <exception cref="InvalidDataException">Sizes that do not fit together.</exception>
    public CrossModalFusionModel(CrossModalFusionConfig config)
    {
        config.Validate();
        Config = config;
        Full = new Program(config, Part.All);
        Predictor = new Program(config, Part.Scores);
        Explainer = new Program(config, Part.Explained);
        Learner = new Program(config, Part.Logits);
        Tokens = Places(config);
    }

    /// <summary>Sizes.</summary>
    public CrossModalFusionConfig Config { get; }

    /// <inheritdoc/>
    public string ModelType => Type;

    /// <summary>D of the fused tokens.</summary>
    public int EmbeddingWidth => Config.Width;

    /// <summary>None: its towers do not meet in one space.</summary>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>();

    /// <summary>Of the senses that there are, takes <c>pixel_values</c> [B, 3, H, W] and <c>pixel_mask</c> Int64 [B, 1 + N],
    /// <c>input_ids</c> and <c>attention_mask</c> Int64 [B, L], <c>input_values</c> [B, T, F] and <c>audio_mask</c> Int64 [B, 2 + N],
    /// <c>features</c> [B, n] and <c>features_mask</c> Int64 [B, n]; a mask is 1 for a token that is there and 0 for one that is
    /// missing. Gives <c>scores</c> and <c>logits</c> [B, C], <c>latent_attention</c> [B, M, tokens], with joint layers
    /// <c>token_attention</c> [B, tokens, tokens], with experts <c>router_logits</c>.</summary>
    public IProgram Full { get; }

    /// <summary>The same, of which only <c>scores</c> are computed.</summary>
    public IProgram Predictor { get; }

    /// <summary>The same, with <c>scores</c> and the attention.</summary>
    public IProgram Explainer { get; }

    /// <summary>What a training needs: <c>logits</c>, with experts <c>router_logits</c>.</summary>
    public IProgram Learner { get; }

    /// <summary>The tokens that are attended to, after the one that is always there, with texts filled up to the context
    /// length.</summary>
    public IReadOnlyList<FusionTokens> Tokens { get; }

    /// <summary>Number of tokens, with the one that is always there.</summary>
    public int TokenCount => 1 + Tokens.Sum(t => t.Count);

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } = [];

    /// <inheritdoc/>
    public string ToConfigJson() => Config.ToJson();

    static List<FusionTokens> Places(CrossModalFusionConfig c)
    {
        var places = new List<FusionTokens>();
        int first = 1;
        if (c.Vision is { } v) Add(Modality.Image, 1, v.ImageSize / v.PatchSize, v.ImageSize / v.PatchSize);
        if (c.Text is { } t) Add(Modality.Text, 0, 1, t.ContextLength);
        if (c.Audio is { } a) Add(Modality.Audio, 2, Along(a.MelBins), Along(a.Frames));
        if (c.Features is { } f) Add(null, 0, 1, f.Names.Count);
        return places;

        int Along(int size) => (size - c.Audio.PatchSize) / c.Audio.Stride + 1;

        void Add(Modality? modality, int prefix, int rows, int columns)
        {
            places.Add(new(modality, first, prefix, rows, columns));
            first += places[^1].Count;
        }
    }

    enum Part
    {
        All,
        Scores,
        Explained,
        Logits,
    }

    sealed class Program(CrossModalFusionConfig c, Part part) : IProgram
    {
        public string Name => part switch
        {
            Part.All => "model",
            Part.Scores => "predictor_model",
            Part.Explained => "explainer_model",
            _ => "learner_model",
        };

        public IReadOnlyList<TensorSpec> Inputs { get; } = [.. Specs(c)];

        static IEnumerable<TensorSpec> Specs(CrossModalFusionConfig c)
        {
            var batch = Dim.Dynamic("batch");
            if (c.Vision is { } v)
            {
                yield return new("pixel_values", ElementType.Float32, batch, v.Channels, v.ImageSize, v.ImageSize);
                yield return new("pixel_mask", ElementType.Int64, batch, 1 + v.Patches);
            }
            if (c.Text is { } t)
            {
                yield return new("input_ids", ElementType.Int64, batch, Dim.Dynamic("sequence", t.ContextLength));
                yield return new("attention_mask", ElementType.Int64, batch, Dim.Dynamic("sequence", t.ContextLength));
            }
            if (c.Audio is { } a)
            {
                yield return new("input_values", ElementType.Float32, batch, a.Frames, a.MelBins);
                yield return new("audio_mask", ElementType.Int64, batch, 2 + a.Patches);
            }
            if (c.Features is not { } f) yield break;
            yield return new("features", ElementType.Float32, batch, f.Names.Count);
            yield return new("features_mask", ElementType.Int64, batch, f.Names.Count);
        }

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            FusionOutput<T> o = CrossModalFusion.Predict(ops, c, inputs, part is Part.All or Part.Explained);
            var outputs = new List<(string, T)>();
            if (part != Part.Logits) outputs.Add(("scores", o.Scores));
            if (part is Part.All or Part.Logits) outputs.Add(("logits", o.Logits));
            if (o.LatentAttention is { } latents) outputs.Add(("latent_attention", latents));
            if (o.TokenAttention is { } tokens) outputs.Add(("token_attention", tokens));
            if (o.RouterLogits is { } router && part is Part.All or Part.Logits) outputs.Add(("router_logits", router!));
            return outputs;
        }
    }
}
