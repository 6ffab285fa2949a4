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
    /// <param name="x">[B, L, D].</param>
    /// <param name="mask">What may be attended to.</param>
    /// <returns>[B, L, D].</returns>
    public static T Self<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T x, Mask<T> mask = default) where T : class =>
        Cross(ops, name, c, x, x, mask);

    /// <summary>Modality A attends to modality B: softmax(Q_A K_B^T / sqrt(hd)) V_B (Vaswani et al. 2017, arXiv:1706.03762,
    /// section 3.2).</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">Tokens of A that ask, [B, Lq, D].</param>
    /// <param name="context">Tokens of B that answer, [B, Lk, Dc].</param>
    /// <param name="mask">What may be attended to; the default lets every token of A see every token of B.</param>
    /// <returns>[B, Lq, D].</returns>
    public static T Cross<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T x, T context, Mask<T> mask = default) where T : class
    {
        var (q, k) = QueriesAndKeys(ops, name, c, x, context);
        T v = ops.SplitHeads(ops.Linear(context, name / c.Names.Value, c.ContextWidth, c.Width, c.QkvBias), c.Heads);  // [B, Lk, Dc] -> [B, nh, Lk, hd]
        T y = ops.MergeHeads(ops.Attention(q, k, v, mask));                                            // [B, nh, Lq, hd] -> [B, Lq, D]
        return ops.Linear(y, name / c.Names.Out, c.Width, c.Width, init: c.OutInit);
    }

    /// <summary>What <see cref="Cross"/> with the same arguments looks at: the softmax itself.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">Tokens that ask, [B, Lq, D].</param>
    /// <param name="context">Tokens that answer, [B, Lk, Dc].</param>
    /// <param name="mask">What may be attended to.</param>
    /// <returns>[B, nh, Lq, Lk], rows sum to 1.</returns>
    public static T Weights<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T x, T context, Mask<T> mask = default) where T : class
    {
        var (q, k) = QueriesAndKeys(ops, name, c, x, context);
        return ops.AttentionWeights(q, k, mask);
    }

    static (T Queries, T Keys) QueriesAndKeys<T>(ITensorOps<T> ops, Name name, AttentionConfig c, T x, T context) where T : class =>
    (
        ops.SplitHeads(ops.Linear(x, name / c.Names.Query, c.Width, c.Width, c.QkvBias), c.Heads),                // [B, Lq, D]  -> [B, nh, Lq, hd]
        ops.SplitHeads(ops.Linear(context, name / c.Names.Key, c.ContextWidth, c.Width, c.QkvBias && c.KeyBias), c.Heads) // [B, Lk, Dc] -> [B, nh, Lk, hd]
    );
}
