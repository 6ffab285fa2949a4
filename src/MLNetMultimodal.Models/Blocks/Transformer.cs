using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>Sizes of a stack of pre-norm Transformer blocks.</summary>
/// <param name="Layers">Number of blocks.</param>
/// <param name="Width">D.</param>
/// <param name="MlpWidth">Width between the two layers of the feed-forward part.</param>
/// <param name="Heads">nh; divides <paramref name="Width"/>.</param>
/// <param name="Activation">Function of the feed-forward part.</param>
/// <param name="NormEpsilon">Added to the variance in layer norms.</param>
public sealed record TransformerConfig(int Layers, int Width, int MlpWidth, int Heads, Activation Activation, float NormEpsilon = 1e-5f)
{
    /// <summary>Start of the layers that write into the residual stream, so that its variance does not grow with depth (Radford
    /// et al. 2021, CLIP).</summary>
    internal Init ResidualInit => Init.Normal(1 / MathF.Sqrt(Width * 2f * Layers));

    internal AttentionConfig Attention => new(Width, Width, Heads, ResidualInit);
}

/// <summary>The pre-norm Transformer encoder, under the names of Hugging Face's CLIP: <c>layers.0.layer_norm1</c>,
/// <c>.self_attn</c>, <c>.mlp.fc1</c>.</summary>
public static class Transformer
{
    /// <summary>All blocks in turn.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The group that holds <c>layers</c>.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, D].</param>
    /// <param name="mask">What may be attended to, in every block.</param>
    /// <returns>[B, L, D].</returns>
    public static T Encoder<T>(ITensorOps<T> ops, Name name, TransformerConfig c, T x, Mask<T> mask = default) where T : class
    {
        for (int i = 0; i < c.Layers; i++) x = Block(ops, name / "layers" / i, c, x, mask);
        return x;
    }

    /// <summary>One pre-norm Transformer block (Vaswani et al. 2017; Dosovitskiy et al. 2021, arXiv:2010.11929, section
    /// 3.1).</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The block.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, D].</param>
    /// <param name="mask">What may be attended to.</param>
    /// <returns>[B, L, D].</returns>
    public static T Block<T>(ITensorOps<T> ops, Name name, TransformerConfig c, T x, Mask<T> mask = default) where T : class
    {
        T h = ops.LayerNorm(x, name / "layer_norm1", c.NormEpsilon);
        x = ops.Add(x, Attention.Self(ops, name / "self_attn", c.Attention, h, mask));
        h = ops.LayerNorm(x, name / "layer_norm2", c.NormEpsilon);
        return ops.Add(x, FeedForward(ops, name / "mlp", c, h));
    }

    static T FeedForward<T>(ITensorOps<T> ops, Name name, TransformerConfig c, T x) where T : class
    {
        T h = ops.Linear(x, name / "fc1", c.Width, c.MlpWidth, init: Init.Normal(1 / MathF.Sqrt(2f * c.Width)));
        return ops.Linear(ops.Activate(h, c.Activation), name / "fc2", c.MlpWidth, c.Width, init: c.ResidualInit);
    }
}
