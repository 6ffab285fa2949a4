using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>1-D convolutions over signals [B, C, T] as checkpoints store them.</summary>
public static class Convolution1d
{
    /// <summary>A convolution with <c>name.weight</c> [out, in/groups, kernel] and <c>name.bias</c> [out].</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, in, T].</param>
    /// <param name="bias">False for a layer without bias.</param>
    /// <returns>[B, out, T'].</returns>
    public static T Plain<T>(ITensorOps<T> ops, Name name, Conv1dConfig c, T x, bool bias = true) where T : class =>
        ops.Conv1d(x, ops.Parameter(name / "weight", Start(c.In / c.Groups * c.Kernel), c.Out, c.In / c.Groups, c.Kernel),
            bias ? Bias(ops, name, c.Out) : null, c);

    /// <summary>A convolution with weight normalisation, kernel g v / |v| (Salimans and Kingma 2016, arXiv:1602.07868):
    /// <c>name.weight_v</c> [out, in/groups, kernel], <c>name.weight_g</c> [out, 1, 1], the norm over all but the first axis.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, in, T].</param>
    /// <returns>[B, out, T'].</returns>
    public static T WeightNormalized<T>(ITensorOps<T> ops, Name name, Conv1dConfig c, T x) where T : class =>
        ops.Conv1d(x, NormalizedKernel(ops, name, c.Out, c.In / c.Groups, c.Kernel), Bias(ops, name, c.Out), c);

    /// <summary>g v / |v| from <c>name.weight_v</c> [first, second, kernel] and <c>name.weight_g</c> [first, 1, 1].</summary>
    public static T NormalizedKernel<T>(ITensorOps<T> ops, Name name, int first, int second, int kernel) where T : class
    {
        T v = ops.Parameter(name / "weight_v", Start(second * kernel), first, second, kernel);
        T unit = ops.Rearrange(ops.L2Normalize(ops.Rearrange(v, "o i k -> o (i k)")), "o (i k) -> o i k", ("k", kernel));
        return ops.Multiply(unit, ops.Parameter(name / "weight_g", Init.Ones, first, 1, 1));
    }

    /// <summary><c>name.bias</c>, starting at 0.</summary>
    public static T Bias<T>(ITensorOps<T> ops, Name name, int width) where T : class => ops.Parameter(name / "bias", Init.Zeros, width);

    static Init Start(int fanIn) => Init.Normal(1 / MathF.Sqrt(fanIn));
}
