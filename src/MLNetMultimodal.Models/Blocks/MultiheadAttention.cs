using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>Sizes of PyTorch's <c>nn.MultiheadAttention</c>.</summary>
/// <param name="Width">E, the width of the queries and of the result.</param>
/// <param name="Heads">nh; divides <paramref name="Width"/>.</param>
public sealed record MultiheadAttentionConfig(int Width, int Heads)
{
    /// <summary>Width of the keys; default <see cref="Width"/>. Another width, here or in <see cref="ValueWidth"/>, asks for
    /// separate projections.</summary>
    public int KeyWidth { get; init; } = Width;

    /// <summary>Width of the values; default <see cref="Width"/>.</summary>
    public int ValueWidth { get; init; } = Width;

    /// <summary>True: one learned key and value, <c>bias_k</c> and <c>bias_v</c>, stand after those given. Default
    /// false.</summary>
    public bool BiasKeyValue { get; init; }

    /// <summary>True: one key and value of zeros stand at the end, so that a query can look at nothing. Default false.</summary>
    public bool ZeroKeyValue { get; init; }

    internal bool IsPacked => KeyWidth == Width && ValueWidth == Width;

    internal int AddedKeys => (BiasKeyValue ? 1 : 0) + (ZeroKeyValue ? 1 : 0);
}

/// <summary>Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2) under the names of PyTorch's
/// <c>nn.MultiheadAttention</c>: <c>in_proj_weight</c> [3E, E] or <c>q_proj_weight k_proj_weight v_proj_weight</c>,
/// <c>in_proj_bias</c> [3E], <c>bias_k bias_v</c>, <c>out_proj</c>.</summary>
public static class MultiheadAttention
{
    /// <summary>Queries attend to keys and take from values.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="query">[B, Lq, E].</param>
    /// <param name="key">[B, Lk, Ek].</param>
    /// <param name="value">[B, Lk, Ev].</param>
    /// <param name="mask">What may be attended to; where keys are added it can hold only a Keep of [B, Lk], and those added are
    /// always kept. Keep is the opposite of PyTorch's <c>key_padding_mask</c> and Boolean <c>attn_mask</c>, whose true means
    /// drop.</param>
    /// <returns>[B, Lq, E].</returns>
    /// <exception cref="NotSupportedException">Keys are added and the mask is causal or has a bias.</exception>
    public static T Attend<T>(
        ITensorOps<T> ops, Name name, MultiheadAttentionConfig c, T query, T key, T value, Mask<T> mask = default) where T : class
    {
        (T q, T k, mask) = Scored(ops, name, c, query, key, mask);
        T v = Heads(ops, c, Extend(ops, name / "bias_v", c, Project(ops, name, c, value, 2))); // [B, Lk, Ev] -> [B, nh, Lk', hd]
        T y = ops.MergeHeads(ops.Attention(q, k, v, mask));                                    // [B, nh, Lq, hd] -> [B, Lq, E]
        return ops.Linear(y, name / "out_proj", c.Width, c.Width);
    }

    /// <summary>Which key each query looks at, head by head; the mean over axis 1 is what PyTorch returns by default.</summary>
    /// <inheritdoc cref="Attend{T}" path="/param"/>
    /// <returns>[B, nh, Lq, Lk'], rows sum to 1; Lk' counts the learned key and the zero key, in this order, at the
    /// end.</returns>
    /// <inheritdoc cref="Attend{T}" path="/exception"/>
    public static T Weights<T>(ITensorOps<T> ops, Name name, MultiheadAttentionConfig c, T query, T key, Mask<T> mask = default)
        where T : class
    {
        (T q, T k, mask) = Scored(ops, name, c, query, key, mask);
        return ops.AttentionWeights(q, k, mask);
    }

    static (T Q, T K, Mask<T> Mask) Scored<T>(
        ITensorOps<T> ops, Name name, MultiheadAttentionConfig c, T query, T key, Mask<T> mask) where T : class
    {
        if (c.AddedKeys > 0 && (mask.Causal || mask.Bias is not null))
            throw new NotSupportedException($"{name}: with an added key or value the mask can only be Keep, [B, Lk].");
        T q = Heads(ops, c, Project(ops, name, c, query, 0));                                  // [B, Lq, E]  -> [B, nh, Lq, hd]
        T k = Heads(ops, c, Extend(ops, name / "bias_k", c, Project(ops, name, c, key, 1)));   // [B, Lk, Ek] -> [B, nh, Lk', hd]
        return (q, k, mask.Keep is null ? mask : mask with { Keep = Extend(ops, c, mask.Keep) });
    }

    static T Heads<T>(ITensorOps<T> ops, MultiheadAttentionConfig c, T x) where T : class => ops.SplitHeads(x, c.Heads);

    /// <summary>The projection number <paramref name="part"/>: 0 queries, 1 keys, 2 values.</summary>
    static T Project<T>(ITensorOps<T> ops, Name name, MultiheadAttentionConfig c, T x, int part) where T : class
    {
        int e = c.Width, start = part * e;
        Init init = Init.Normal(1 / MathF.Sqrt(e));
        T weight = part switch
        {
            _ when c.IsPacked => ops.Slice(ops.Parameter(name / "in_proj_weight", init, 3 * e, e), 0, start, start + e),
            0 => ops.Parameter(name / "q_proj_weight", init, e, e),
            1 => ops.Parameter(name / "k_proj_weight", Init.Normal(1 / MathF.Sqrt(c.KeyWidth)), e, c.KeyWidth),
            _ => ops.Parameter(name / "v_proj_weight", Init.Normal(1 / MathF.Sqrt(c.ValueWidth)), e, c.ValueWidth),
        };
        T bias = ops.Slice(ops.Parameter(name / "in_proj_bias", Init.Zeros, 3 * e), 0, start, start + e);
        return ops.Linear(x, weight, bias);
    }

    /// <summary>[B, Lk, E] -> [B, Lk', E]: the learned row, then the row of zeros.</summary>
    static T Extend<T>(ITensorOps<T> ops, Name learned, MultiheadAttentionConfig c, T x) where T : class
    {
        if (c.ZeroKeyValue)
        {
            T zeros = ops.Multiply(ops.Slice(x, 1, 0, 1), 0);                                           // [B, 1, E]
            return c.BiasKeyValue ? ops.Concat(1, x, Row(), zeros) : ops.Concat(1, x, zeros);
        }
        return c.BiasKeyValue ? ops.Concat(1, x, Row()) : x;

        T Row() // [1, 1, E] -> [B, 1, E]
        {
            T row = ops.Parameter(learned, Init.Normal(0.02f), 1, 1, c.Width);
            return ops.RepeatBatch(ops.Rearrange(row, "a b e -> (a b) e"), x);
        }
    }

    /// <summary>[B, Lk] -> [B, Lk']: keys that are added are kept.</summary>
    static T Extend<T>(ITensorOps<T> ops, MultiheadAttentionConfig c, T keep) where T : class
    {
        if (c.AddedKeys == 0) return keep;
        T one = ops.Rearrange(ops.Slice(keep, 1, 0, 1), "b (l one) -> b l one", ("one", 1)); // [B, Lk] -> [B, 1, 1]
        T kept = ops.Equal(ops.ArgMax(one, 2), 0);                                           // the only position is 0: true, [B, 1]
        return c.AddedKeys == 1 ? ops.Concat(1, keep, kept) : ops.Concat(1, keep, kept, kept);
    }
}
