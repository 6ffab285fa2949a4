using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>Sizes of PyTorch's <c>nn.TransformerEncoderLayer</c> and <c>nn.TransformerDecoderLayer</c>.</summary>
/// <param name="Width">E.</param>
/// <param name="Heads">nh; divides <paramref name="Width"/>.</param>
/// <param name="FeedForwardWidth">Width between <c>linear1</c> and <c>linear2</c>.</param>
/// <param name="Activation">Function of the feed-forward part; PyTorch's default is ReLU.</param>
/// <param name="NormFirst">True: norms before attention and feed-forward (pre-norm); false: after the residual sum (post-norm, as
/// in the paper).</param>
/// <param name="NormEpsilon">Added to the variance in layer norms.</param>
public sealed record TorchTransformerConfig(
    int Width, int Heads, int FeedForwardWidth, Activation Activation = Activation.Relu, bool NormFirst = false,
    float NormEpsilon = 1e-5f)
{
    internal MultiheadAttentionConfig Attention => new(Width, Heads);
}

/// <summary>Transformer layers (Vaswani et al. 2017, arXiv:1706.03762, section 3.1; pre-norm: Xiong et al. 2020,
/// arXiv:2002.04745) under PyTorch's names: <c>self_attn multihead_attn linear1 linear2 norm1 norm2 norm3</c>.</summary>
public static class TorchTransformer
{
    /// <summary>One encoder layer.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, E].</param>
    /// <param name="mask">What may be attended to.</param>
    /// <returns>[B, L, E].</returns>
    public static T EncoderLayer<T>(ITensorOps<T> ops, Name name, TorchTransformerConfig c, T x, Mask<T> mask = default) where T : class
    {
        x = Residual(ops, name / "norm1", c, x, h => MultiheadAttention.Attend(ops, name / "self_attn", c.Attention, h, h, h, mask));
        return Residual(ops, name / "norm2", c, x, h => FeedForward(ops, name, c, h));
    }

    /// <summary>One decoder layer: tokens attend to each other, then to the memory.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, E].</param>
    /// <param name="memory">What the encoder gave, [B, S, E].</param>
    /// <param name="mask">What the tokens may attend to among themselves.</param>
    /// <param name="memoryMask">What they may attend to in the memory.</param>
    /// <returns>[B, L, E].</returns>
    public static T DecoderLayer<T>(
        ITensorOps<T> ops, Name name, TorchTransformerConfig c, T x, T memory, Mask<T> mask = default, Mask<T> memoryMask = default)
        where T : class
    {
        x = Residual(ops, name / "norm1", c, x, h => MultiheadAttention.Attend(ops, name / "self_attn", c.Attention, h, h, h, mask));
        x = Residual(ops, name / "norm2", c, x,
            h => MultiheadAttention.Attend(ops, name / "multihead_attn", c.Attention, h, memory, memory, memoryMask));
        return Residual(ops, name / "norm3", c, x, h => FeedForward(ops, name, c, h));
    }

    static T Residual<T>(ITensorOps<T> ops, Name norm, TorchTransformerConfig c, T x, Func<T, T> layer) where T : class => c.NormFirst
        ? ops.Add(x, layer(ops.LayerNorm(x, norm, c.NormEpsilon)))
        : ops.LayerNorm(ops.Add(x, layer(x)), norm, c.NormEpsilon);

    static T FeedForward<T>(ITensorOps<T> ops, Name name, TorchTransformerConfig c, T x) where T : class
    {
        T h = ops.Activate(ops.Linear(x, name / "linear1", c.Width, c.FeedForwardWidth), c.Activation);
        return ops.Linear(h, name / "linear2", c.FeedForwardWidth, c.Width);
    }
}
