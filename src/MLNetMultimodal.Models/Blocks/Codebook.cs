using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>Vector quantisation (van den Oord et al. 2017, arXiv:1711.00937): a table of vectors, and the code of the nearest.</summary>
static class Codebook
{
    /// <summary>The code whose vector is nearest: |x - e|^2 is smallest where 2 x e - |e|^2 is largest.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="table">[V, D].</param>
    /// <param name="x">[.., L, D].</param>
    /// <returns>Int64 [.., L].</returns>
    public static T Nearest<T>(ITensorOps<T> ops, T table, T x) where T : class
    {
        T products = ops.MatMul(x, ops.Rearrange(table, "v d -> d v"));
        return ops.ArgMax(ops.Subtract(ops.Multiply(products, 2), ops.Sum(ops.Multiply(table, table), -1)), -1);
    }
}
