using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>Sizes of an attention layer.</summary>
/// <param name="Width">D, the width of the queries and of the result.</param>
/// <param name="ContextWidth">Dc, the width of the tokens attended to; equals <paramref name="Width"/> for
/// self-attention.</param>
/// <param name="Heads">nh; divides <paramref name="Width"/>.</param>
/// <param name="OutInit">Start of the output projection.</param>
public sealed record AttentionConfig(int Width, int ContextWidth, int Heads, Init OutInit = default);

/// <summary>Multi-head attention with separate projections, under the names of Hugging Face's CLIP: <c>q_proj k_proj v_proj
/// out_proj</c>.</summary>
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
        T q = ops.SplitHeads(ops.Linear(x, name / "q_proj", c.Width, c.Width), c.Heads);               // [B, Lq, D]  -> [B, nh, Lq, hd]
        T k = ops.SplitHeads(ops.Linear(context, name / "k_proj", c.ContextWidth, c.Width), c.Heads);  // [B, Lk, Dc] -> [B, nh, Lk, hd]
        T v = ops.SplitHeads(ops.Linear(context, name / "v_proj", c.ContextWidth, c.Width), c.Heads);  // [B, Lk, Dc] -> [B, nh, Lk, hd]
        T y = ops.MergeHeads(ops.Attention(q, k, v, mask));                                            // [B, nh, Lq, hd] -> [B, Lq, D]
        return ops.Linear(y, name / "out_proj", c.Width, c.Width, init: c.OutInit);
    }
}
