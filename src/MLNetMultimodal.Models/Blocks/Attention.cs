using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>What a checkpoint calls the four projections of an attention layer.</summary>
/// <param name="Query">Of the queries.</param>
/// <param name="Key">Of the keys.</param>
/// <param name="Value">Of the values.</param>
/// <param name="Out">Of the result.</param>
public sealed record AttentionNames(string Query, string Key, string Value, string Out)
{
    /// <summary>Hugging Face's CLIP and SigLIP.</summary>
    public static AttentionNames Clip { get; } = new("q_proj", "k_proj", "v_proj", "out_proj");

    /// <summary>Hugging Face's ViT, DeiT and DINOv2.</summary>
    public static AttentionNames Vit { get; } = new("attention.query", "attention.key", "attention.value", "output.dense");

    /// <summary>Hugging Face's BERT and RoBERTa.</summary>
    public static AttentionNames Bert { get; } = new("self.query", "self.key", "self.value", "output.dense");
}

/// <summary>Sizes of an attention layer.</summary>
/// <param name="Width">D, the width of the queries and of the result.</param>
/// <param name="ContextWidth">Dc, the width of the tokens attended to; equals <paramref name="Width"/> for
/// self-attention.</param>
/// <param name="Heads">nh; divides <paramref name="Width"/>.</param>
/// <param name="OutInit">Start of the output projection.</param>
public sealed record AttentionConfig(int Width, int ContextWidth, int Heads, Init OutInit = default)
{
    /// <summary>r, the width of queries, keys and values, which the heads divide; default <see cref="Width"/>. Less makes the layer
    /// low-rank: the scores of a head are x W_q W_k^T c^T, whose matrix has the rank r / nh (Bhojanapalli et al. 2020,
    /// arXiv:2002.07028), and the layer has 2 r (D + Dc) weights.</summary>
    public int InnerWidth { get; init; } = Width;

    /// <summary>Names of the projections; default <see cref="AttentionNames.Clip"/>.</summary>
    public AttentionNames Names { get; init; } = AttentionNames.Clip;

    /// <summary>False for queries, keys and values without bias. Default true.</summary>
    public bool QkvBias { get; init; } = true;

    /// <summary>False for keys without bias, which would change nothing: a softmax does not see what all its scores share. Default
    /// true.</summary>
    public bool KeyBias { get; init; } = true;
}

/// <summary>Multi-head attention with separate projections.</summary>
public static class Attention
{
    /// <summary>Tokens attend to each other.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, D], or [n, D] with <paramref name="shared"/>.</param>
    /// <param name="mask">What may be attended to.</param>
    /// <param name="shared">What the texts begin with alike, under a causal mask; null where every token stands for itself.</param>
    /// <returns>As <paramref name="x"/>.</returns>
    public static T Self<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T x, Mask<T> mask = default, SharedPrefixes<T>? shared = null)
        where T : class
    {
        T y = Attended(ops, name, c, x, shared, x, shared, mask);
        return Out(ops, name, c, shared is { } prefixes ? prefixes.Once(ops, y) : y);
    }

    /// <summary>Modality A attends to modality B: softmax(Q_A K_B^T / sqrt(hd)) V_B (Vaswani et al. 2017, arXiv:1706.03762,
    /// section 3.2).</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">Tokens of A that ask, [B, Lq, D].</param>
    /// <param name="context">Tokens of B that answer, [B, Lk, Dc], or [n, Dc] with <paramref name="shared"/>.</param>
    /// <param name="mask">What may be attended to; the default lets every token of A see every token of B.</param>
    /// <param name="shared">What the texts of B begin with alike; null where every token stands for itself.</param>
    /// <returns>[B, Lq, D].</returns>
    public static T Cross<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T x, T context, Mask<T> mask = default,
        SharedPrefixes<T>? shared = null) where T : class => Out(ops, name, c, Attended(ops, name, c, x, null, context, shared, mask));

    /// <summary>What each token of A looks at in B, the mean over heads: the softmax inside <see cref="Cross{T}"/>.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">Tokens of A that ask, [B, Lq, D].</param>
    /// <param name="context">Tokens of B that answer, [B, Lk, Dc].</param>
    /// <param name="mask">What may be attended to; the default lets every token of A see every token of B.</param>
    /// <returns>[B, Lq, Lk], rows sum to 1.</returns>
    public static T Weights<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T x, T context, Mask<T> mask = default) where T : class =>
        ops.Mean(ops.AttentionWeights(Query(ops, name, c, x), Key(ops, name, c, context), mask), 1);   // [B, nh, Lq, Lk] -> [B, Lq, Lk]

    static T Attended<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T x, SharedPrefixes<T>? sharedX, T context,
        SharedPrefixes<T>? sharedContext, Mask<T> mask) where T : class
    {
        T q = Query(ops, name, c, x, sharedX), k = Key(ops, name, c, context, sharedContext);
        T v = Heads(ops, c, ops.Linear(context, name / c.Names.Value, c.ContextWidth, c.InnerWidth, c.QkvBias), sharedContext);
        return ops.MergeHeads(ops.Attention(q, k, v, mask));                                           // [B, nh, Lq, hd] -> [B, Lq, r]
    }

    static T Query<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T x, SharedPrefixes<T>? shared = null) where T : class =>
        Heads(ops, c, ops.Linear(x, name / c.Names.Query, c.Width, c.InnerWidth, c.QkvBias), shared);

    static T Key<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T context, SharedPrefixes<T>? shared = null) where T : class =>
        Heads(ops, c, ops.Linear(context, name / c.Names.Key, c.ContextWidth, c.InnerWidth, c.QkvBias && c.KeyBias), shared);

    /// <summary>[B, L, r], or [n, r] with shared beginnings -> [B, nh, L, hd].</summary>
    static T Heads<T>(ITensorOps<T> ops, AttentionConfig c, T projected, SharedPrefixes<T>? shared) where T : class =>
        ops.SplitHeads(shared is { } prefixes ? prefixes.Everywhere(ops, projected) : projected, c.Heads);

    static T Out<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T y) where T : class =>
        ops.Linear(y, name / c.Names.Out, c.InnerWidth, c.Width, init: c.OutInit);                     // [.., r] -> [.., D]
}
