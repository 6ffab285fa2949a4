using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>Sizes of a latent bottleneck.</summary>
/// <param name="Layers">Layers, in each of which the latents look at the context once.</param>
/// <param name="Latents">M, learned tokens.</param>
/// <param name="Width">D, their width.</param>
/// <param name="ContextWidth">Dc, the width of the tokens that they look at.</param>
/// <param name="MlpWidth">Width between the two layers of the feed-forward part, or of each expert of it.</param>
/// <param name="Heads">nh; divides <paramref name="Width"/> and <see cref="Rank"/>.</param>
/// <param name="Activation">Function of the feed-forward part.</param>
/// <param name="NormEpsilon">Added to the variance in layer norms.</param>
public sealed record LatentBottleneckConfig(
    int Layers, int Latents, int Width, int ContextWidth, int MlpWidth, int Heads, Activation Activation = Activation.Gelu,
    float NormEpsilon = 1e-5f)
{
    /// <summary>r of the cross-attention, <see cref="AttentionConfig.InnerWidth"/>; default <see cref="Width"/>, less is
    /// low-rank.</summary>
    public int Rank { get; init; } = Width;

    /// <summary>True: what the latents take from the context passes a <see cref="TanhGate"/>. Default false.</summary>
    public bool Gated { get; init; }

    /// <summary>E, experts of the feed-forward part; default 0, a dense one.</summary>
    public int Experts { get; init; }

    /// <summary>k, experts that each latent goes through; default 2.</summary>
    public int ChosenExperts { get; init; } = 2;

    internal AttentionConfig Cross => new(Width, ContextWidth, Heads) { InnerWidth = Rank };

    internal TransformerConfig Block => new(Layers, Width, MlpWidth, Heads, Activation, NormEpsilon);

    internal MixtureOfExpertsConfig Mixture => new(Width, MlpWidth, Experts, ChosenExperts, Activation);
}

/// <summary>What a latent bottleneck gives.</summary>
/// <param name="Latents">[B, M, D], after the last norm.</param>
/// <param name="Attention">[B, M, L]: what each latent looked at in the last layer, the mean over heads; null where it was not
/// asked for.</param>
/// <param name="RouterLogits">[B, Layers M, E]: of each layer's experts, one layer after the other; null without experts.</param>
public readonly record struct LatentBottleneckOutput<T>(T Latents, T? Attention, T? RouterLogits) where T : class;

/// <summary>A few learned latents look at any number of tokens, and at each other: the work grows with the number of tokens, not
/// with its square (Perceiver: Jaegle et al. 2021, arXiv:2103.03206, section 3). Layers are pre-norm and share no weights.</summary>
public static class LatentBottleneck
{
    /// <summary>Tokens to latents.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The block: <c>latents layers norm</c>.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="context">[B, L, Dc].</param>
    /// <param name="mask">Which of them may be looked at.</param>
    /// <param name="explains">True computes <see cref="LatentBottleneckOutput{T}.Attention"/> too.</param>
    public static LatentBottleneckOutput<T> Encode<T>(
        ITensorOps<T> ops, Name name, LatentBottleneckConfig c, T context, Mask<T> mask = default, bool explains = false) where T : class
    {
        T x = ops.RepeatBatch(ops.Parameter(name / "latents", Init.Normal(0.02f), c.Latents, c.Width), context); // -> [B, M, D]
        T? attention = null, router = null;
        for (int i = 0; i < c.Layers; i++)
        {
            Name layer = name / "layers" / i;
            T h = ops.LayerNorm(x, layer / "cross_norm", c.NormEpsilon), tokens = ops.LayerNorm(context, layer / "context_norm", c.NormEpsilon);
            if (explains && i == c.Layers - 1) attention = Attention.Weights(ops, layer / "cross_attn", c.Cross, h, tokens, mask);
            T taken = Attention.Cross(ops, layer / "cross_attn", c.Cross, h, tokens, mask);
            x = c.Gated ? TanhGate.Add(ops, layer / "cross_gate", x, taken) : ops.Add(x, taken);
            x = Refine(ops, layer, c, x, ref router);
        }
        return new(ops.LayerNorm(x, name / "norm", c.NormEpsilon), attention, router);
    }

    /// <summary>The latents among themselves: a Transformer block, whose feed-forward part may have experts.</summary>
    static T Refine<T>(ITensorOps<T> ops, Name layer, LatentBottleneckConfig c, T x, ref T? router) where T : class
    {
        if (c.Experts == 0) return Transformer.Block(ops, layer, c.Block, x);
        T h = ops.LayerNorm(x, layer / "layer_norm1", c.NormEpsilon);
        x = ops.Add(x, Attention.Self(ops, layer / "self_attn", new(c.Width, c.Width, c.Heads), h));
        h = ops.LayerNorm(x, layer / "layer_norm2", c.NormEpsilon);
        (T result, T logits) = MixtureOfExperts.FeedForward(ops, layer / "mlp", c.Mixture, h);
        router = router is null ? logits : ops.Concat(1, router, logits);
        return ops.Add(x, result);
    }
}
