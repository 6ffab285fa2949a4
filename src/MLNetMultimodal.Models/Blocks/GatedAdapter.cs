using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>A gate that is shut at first: what is added to a trained model through it changes nothing until it has learned to
/// open (Alayrac et al. 2022, arXiv:2204.14198, section 2.2).</summary>
public static class TanhGate
{
    /// <summary>x + tanh(g) h with the learned scalar g, <c>name</c>, which starts at 0.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The gate.</param>
    /// <param name="x">[.., D].</param>
    /// <param name="h">[.., D].</param>
    /// <returns>[.., D].</returns>
    public static T Add<T>(ITensorOps<T> ops, Name name, T x, T h) where T : class =>
        ops.Add(x, ops.Multiply(h, ops.Activate(ops.Parameter(name, Init.Zeros, 1), Activation.Tanh)));
}

/// <summary>Sizes of an adapter.</summary>
/// <param name="Width">D.</param>
/// <param name="InnerWidth">Width of its narrow middle.</param>
/// <param name="Activation">Function between its two layers.</param>
/// <param name="NormEpsilon">Added to the variance in the layer norm.</param>
public sealed record GatedAdapterConfig(int Width, int InnerWidth, Activation Activation = Activation.Gelu, float NormEpsilon = 1e-5f);

/// <summary>A small trainable part between the layers of a model that stays as it is: x + tanh(g) W_up f(W_down norm(x)) (adapters:
/// Houlsby et al. 2019, arXiv:1902.00751; the gate: <see cref="TanhGate"/>).</summary>
public static class GatedAdapter
{
    /// <summary>Adapts tokens.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The adapter: <c>norm down up gate</c>.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, D].</param>
    /// <returns>[B, L, D].</returns>
    public static T Apply<T>(ITensorOps<T> ops, Name name, GatedAdapterConfig c, T x) where T : class
    {
        T h = ops.Linear(ops.LayerNorm(x, name / "norm", c.NormEpsilon), name / "down", c.Width, c.InnerWidth);
        h = ops.Linear(ops.Activate(h, c.Activation), name / "up", c.InnerWidth, c.Width);
        return TanhGate.Add(ops, name / "gate", x, h);
    }
}
