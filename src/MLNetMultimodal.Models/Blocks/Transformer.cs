using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>What a checkpoint calls the parts of a Transformer block; the mathematics is the same.</summary>
/// <param name="Layers">The list of blocks.</param>
/// <param name="Norm1">The norm of the attention.</param>
/// <param name="Attention">The group of the attention.</param>
/// <param name="Projections">The four projections inside it.</param>
/// <param name="Norm2">The norm of the feed-forward part.</param>
/// <param name="Up">Its first layer.</param>
/// <param name="Down">Its second layer.</param>
public sealed record BlockNames(
    string Layers, string Norm1, string Attention, AttentionNames Projections, string Norm2, string Up, string Down)
{
    /// <summary>Learned scales of the two parts (LayerScale: Touvron et al. 2021, arXiv:2103.17239); null for none.</summary>
    public (string Attention, string FeedForward)? Scales { get; init; }

    /// <summary>The norm and the group of the attention to other tokens, in blocks that have one (<see cref="Transformer.CrossBlock"/>);
    /// null for none.</summary>
    public (string Norm, string Attention)? Cross { get; init; }

    /// <summary>Hugging Face's CLIP and SigLIP.</summary>
    public static BlockNames Clip { get; } =
        new("layers", "layer_norm1", "self_attn", AttentionNames.Clip, "layer_norm2", "mlp.fc1", "mlp.fc2");

    /// <summary>Hugging Face's ViT and DeiT.</summary>
    public static BlockNames Vit { get; } = new(
        "layer", "layernorm_before", "attention", AttentionNames.Vit, "layernorm_after", "intermediate.dense", "output.dense");

    /// <summary>Hugging Face's DINOv2.</summary>
    public static BlockNames Dinov2 { get; } = new("layer", "norm1", "attention", AttentionNames.Vit, "norm2", "mlp.fc1", "mlp.fc2")
    {
        Scales = ("layer_scale1.lambda1", "layer_scale2.lambda1"),
    };

    /// <summary>Hugging Face's Whisper.</summary>
    public static BlockNames Whisper { get; } =
        new("layers", "self_attn_layer_norm", "self_attn", AttentionNames.Clip, "final_layer_norm", "fc1", "fc2");

    /// <summary>Hugging Face's wav2vec 2.0 and data2vec for sound.</summary>
    public static BlockNames Wav2Vec2 { get; } = new("layers", "layer_norm", "attention", AttentionNames.Clip, "final_layer_norm",
        "feed_forward.intermediate_dense", "feed_forward.output_dense");

    /// <summary>Hugging Face's BERT and RoBERTa.</summary>
    public static BlockNames Bert { get; } = new("layer", "attention.output.LayerNorm", "attention", AttentionNames.Bert,
        "output.LayerNorm", "intermediate.dense", "output.dense")
    {
        Cross = ("crossattention.output.LayerNorm", "crossattention"),
    };
}

/// <summary>Sizes of a stack of Transformer blocks.</summary>
/// <param name="Layers">Number of blocks.</param>
/// <param name="Width">D.</param>
/// <param name="MlpWidth">Width between the two layers of the feed-forward part.</param>
/// <param name="Heads">nh; divides <paramref name="Width"/>.</param>
/// <param name="Activation">Function of the feed-forward part.</param>
/// <param name="NormEpsilon">Added to the variance in layer norms.</param>
public sealed record TransformerConfig(int Layers, int Width, int MlpWidth, int Heads, Activation Activation, float NormEpsilon = 1e-5f)
{
    /// <summary>Names of the parts; default <see cref="BlockNames.Clip"/>.</summary>
    public BlockNames Names { get; init; } = BlockNames.Clip;

    /// <summary>True: each norm stands after its part is added, as in the original (Vaswani et al. 2017); false: before the
    /// part. Default false.</summary>
    public bool PostNorm { get; init; }

    /// <summary>True: the first layer of the feed-forward part is twice as wide, and its first half, through
    /// <see cref="Activation"/>, gates the second (SwiGLU: Shazeer 2020, arXiv:2002.05202). Default false.</summary>
    public bool GatedMlp { get; init; }

    /// <summary>False for queries, keys and values without bias. Default true.</summary>
    public bool QkvBias { get; init; } = true;

    /// <summary>False for keys without bias. Default true.</summary>
    public bool KeyBias { get; init; } = true;

    /// <summary>Start of the learned scales of the two parts, where <see cref="BlockNames.Scales"/> names them. Default 1.</summary>
    public float ScaleInit { get; init; } = 1;

    /// <summary>Start of the layers that write into the residual stream, so that its variance does not grow with depth (Radford
    /// et al. 2021, CLIP).</summary>
    internal Init ResidualInit => Init.Normal(1 / MathF.Sqrt(Width * 2f * Layers));

    internal AttentionConfig Attention => new(Width, Width, Heads, ResidualInit) { Names = Names.Projections, QkvBias = QkvBias, KeyBias = KeyBias };
}

/// <summary>The Transformer encoder (Vaswani et al. 2017, arXiv:1706.03762), with the norms before or after its parts.</summary>
public static class Transformer
{
    /// <summary>All blocks in turn.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The group that holds the list of blocks.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, D], or [n, D] with <paramref name="shared"/>.</param>
    /// <param name="mask">What may be attended to, in every block.</param>
    /// <param name="layers">Is given, for each block, what its feed-forward part gives before it is added, [B, L, D]: the targets
    /// of data2vec (Baevski et al. 2022, arXiv:2202.03555, section 3.3); null for nothing.</param>
    /// <param name="shared">What the texts begin with alike, under a causal mask; null where every token stands for itself.</param>
    /// <returns>As <paramref name="x"/>.</returns>
    public static T Encoder<T>(ITensorOps<T> ops, Name name, TransformerConfig c, T x, Mask<T> mask = default, ICollection<T>? layers = null,
        SharedPrefixes<T>? shared = null) where T : class
    {
        for (int i = 0; i < c.Layers; i++) x = Block(ops, name / c.Names.Layers / i, c, x, mask, layers, shared);
        return x;
    }

    /// <summary>All blocks in turn for a tower that pools few of its tokens: the last block computes only those, and they attend to
    /// all. The result is that of <see cref="Encoder"/> at these places, for less work: of 12 blocks that saves a fourteenth.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The group that holds the list of blocks.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, D], or [n, D] with <paramref name="shared"/>.</param>
    /// <param name="pick">Takes the tokens: such as <paramref name="x"/> -> [B, Lq, D].</param>
    /// <param name="mask">What may be attended to, in every block: the same for every query, or causal with
    /// <see cref="Mask{T}.Places"/>, which count for the last block.</param>
    /// <param name="shared">What the texts begin with alike, under a causal mask; null where every token stands for itself.</param>
    /// <returns>[B, Lq, D].</returns>
    public static T EncodePicked<T>(ITensorOps<T> ops, Name name, TransformerConfig c, T x, Func<T, T> pick, Mask<T> mask = default,
        SharedPrefixes<T>? shared = null) where T : class
    {
        if (c.Layers == 0) return pick(x);
        x = Encoder(ops, name, c with { Layers = c.Layers - 1 }, x, mask with { Places = null }, shared: shared);
        Name block = name / c.Names.Layers / (c.Layers - 1);
        x = Part(ops, block, c, x, c.Names.Norm1, c.Names.Scales?.Attention,
            h => Attention.Cross(ops, block / c.Names.Attention, c.Attention, pick(h), h, mask, shared), pick: pick);
        return Part(ops, block, c, x, c.Names.Norm2, c.Names.Scales?.FeedForward, h => FeedForward(ops, block, c, h));
    }

    /// <summary>One Transformer block (Vaswani et al. 2017; pre-norm as in Dosovitskiy et al. 2021, arXiv:2010.11929, section
    /// 3.1).</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The block.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, D], or [n, D] with <paramref name="shared"/>.</param>
    /// <param name="mask">What may be attended to.</param>
    /// <param name="layers">Is given what the feed-forward part gives before it is added, [B, L, D]; null for nothing.</param>
    /// <param name="shared">What the texts begin with alike, under a causal mask; null where every token stands for itself.</param>
    /// <returns>As <paramref name="x"/>.</returns>
    public static T Block<T>(ITensorOps<T> ops, Name name, TransformerConfig c, T x, Mask<T> mask = default, ICollection<T>? layers = null,
        SharedPrefixes<T>? shared = null) where T : class
    {
        x = Part(ops, name, c, x, c.Names.Norm1, c.Names.Scales?.Attention,
            h => Attention.Self(ops, name / c.Names.Attention, c.Attention, h, mask, shared));
        return Part(ops, name, c, x, c.Names.Norm2, c.Names.Scales?.FeedForward, h => FeedForward(ops, name, c, h), layers);
    }

    /// <summary>A block whose tokens attend to each other and then to tokens of another modality, as in the Transformer's decoder,
    /// but without its causal mask (Vaswani et al. 2017, section 3.1; Li et al. 2021, ALBEF, arXiv:2107.07651, section 3.1).</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The block.</param>
    /// <param name="c">Sizes; its names have <see cref="BlockNames.Cross"/>.</param>
    /// <param name="contextWidth">Dc.</param>
    /// <param name="x">[B, L, D].</param>
    /// <param name="context">The other tokens, [B, Lk, Dc].</param>
    /// <param name="mask">Which of its own tokens may be attended to.</param>
    /// <param name="contextMask">Which of the other tokens may be attended to.</param>
    /// <param name="maps">Takes which of the other tokens each token looks at, [B, L, Lk], the mean over heads; null where nobody
    /// asks.</param>
    /// <returns>[B, L, D].</returns>
    public static T CrossBlock<T>(ITensorOps<T> ops, Name name, TransformerConfig c, int contextWidth, T x, T context,
        Mask<T> mask = default, Mask<T> contextMask = default, ICollection<T>? maps = null) where T : class
    {
        var (norm, group) = c.Names.Cross ?? throw new ArgumentException("the names have no group for attention to other tokens.", nameof(c));
        x = Part(ops, name, c, x, c.Names.Norm1, null, h => Attention.Self(ops, name / c.Names.Attention, c.Attention, h, mask));
        AttentionConfig cross = c.Attention with { ContextWidth = contextWidth };
        x = Part(ops, name, c, x, norm, null, h =>
        {
            maps?.Add(Attention.Weights(ops, name / group, cross, h, context, contextMask));
            return Attention.Cross(ops, name / group, cross, h, context, contextMask);
        });
        return Part(ops, name, c, x, c.Names.Norm2, null, h => FeedForward(ops, name, c, h));
    }

    static T Part<T>(ITensorOps<T> ops, Name name, TransformerConfig c, T x, string norm, string? scale, Func<T, T> part,
        ICollection<T>? results = null, Func<T, T>? pick = null) where T : class
    {
        T h = part(c.PostNorm ? x : ops.LayerNorm(x, name / norm, c.NormEpsilon));
        results?.Add(h);
        if (scale is not null) h = ops.Multiply(h, ops.Parameter(name / scale, Init.Constant(c.ScaleInit), c.Width));
        h = ops.Add(pick is null ? x : pick(x), h);
        return c.PostNorm ? ops.LayerNorm(h, name / norm, c.NormEpsilon) : h;
    }

    internal static T FeedForward<T>(ITensorOps<T> ops, Name name, TransformerConfig c, T x) where T : class
    {
        int up = c.GatedMlp ? 2 * c.MlpWidth : c.MlpWidth;
        T h = ops.Linear(x, name / c.Names.Up, c.Width, up, init: Init.Normal(1 / MathF.Sqrt(2f * c.Width)));
        h = c.GatedMlp
            ? ops.Multiply(ops.Activate(ops.Slice(h, -1, 0, c.MlpWidth), c.Activation), ops.Slice(h, -1, c.MlpWidth, up))
            : ops.Activate(h, c.Activation);
        return ops.Linear(h, name / c.Names.Down, c.MlpWidth, c.Width, init: c.ResidualInit);
    }
}
