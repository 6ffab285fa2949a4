using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>Sizes of a pooling by attention.</summary>
/// <param name="Width">D, the width of the learned queries and of the result.</param>
/// <param name="ContextWidth">Dc, the width of the tokens.</param>
/// <param name="Heads">nh; divides <paramref name="Width"/>.</param>
/// <param name="Queries">Q, learned queries, each of which gives one row of the result.</param>
public sealed record AttentionPoolingConfig(int Width, int ContextWidth, int Heads, int Queries = 1);

/// <summary>Pooling by attention: learned queries take from the tokens what they look for, in place of their mean (pooling by
/// multihead attention: Lee et al. 2019, arXiv:1810.00825, section 3.2).</summary>
public static class AttentionPooling
{
    /// <summary>Many tokens to few.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer: <c>queries</c> [Q, D] and the attention's projections.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="tokens">[B, L, Dc].</param>
    /// <param name="mask">Which tokens count.</param>
    /// <returns>[B, Q, D].</returns>
    public static T Pool<T>(ITensorOps<T> ops, Name name, AttentionPoolingConfig c, T tokens, Mask<T> mask = default) where T : class
    {
        T queries = ops.RepeatBatch(ops.Parameter(name / "queries", Init.Normal(0.02f), c.Queries, c.Width), tokens); // -> [B, Q, D]
        return Attention.Cross(ops, name, new(c.Width, c.ContextWidth, c.Heads), queries, tokens, mask);
    }
}
