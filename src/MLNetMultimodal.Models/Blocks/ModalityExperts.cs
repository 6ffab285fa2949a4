using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>The feed-forward part that some neighbouring tokens go through.</summary>
/// <param name="Name">Its group inside the block, for example <c>vision_expert</c>.</param>
/// <param name="Tokens">How many tokens, counted on from those of the experts before; <see cref="int.MaxValue"/>, the default, for
/// all that are left.</param>
public readonly record struct ModalityExpert(string Name, int Tokens = int.MaxValue);

/// <summary>The mixture of modality experts (VLMo: Bao et al. 2022, arXiv:2111.02358, section 3.1): tokens of all senses attend to each
/// other with one set of weights, and each sense has a feed-forward part of its own. Which one a token takes is known, not
/// learned.</summary>
public static class ModalityExperts
{
    /// <summary>One pre-norm block: shared attention, then each token's expert, with a norm of the expert's own.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The block; the experts stand in groups beside the attention.</param>
    /// <param name="c">Sizes and names; norms stand before their parts.</param>
    /// <param name="x">[B, L, D].</param>
    /// <param name="experts">Which tokens go where, from the first token on; together they take all.</param>
    /// <param name="mask">What may be attended to.</param>
    /// <returns>[B, L, D].</returns>
    public static T Block<T>(
        ITensorOps<T> ops, Name name, TransformerConfig c, T x, IReadOnlyList<ModalityExpert> experts, Mask<T> mask = default) where T : class
    {
        T h = ops.LayerNorm(x, name / c.Names.Norm1, c.NormEpsilon);
        x = ops.Add(x, Attention.Self(ops, name / c.Names.Attention, c.Attention, h, mask));
        var parts = new T[experts.Count];
        for (int i = 0, start = 0; i < parts.Length; start += experts[i++].Tokens)
        {
            Name expert = name / experts[i].Name;
            int end = experts[i].Tokens == int.MaxValue ? int.MaxValue : start + experts[i].Tokens;
            T own = parts.Length == 1 ? x : ops.Slice(x, 1, start, end);                                // [B, L, D] -> [B, Li, D]
            h = ops.LayerNorm(own, expert / c.Names.Norm2, c.NormEpsilon);
            parts[i] = ops.Add(own, Transformer.FeedForward(ops, expert, c, h));
        }
        return parts.Length == 1 ? parts[0] : ops.Concat(1, parts);
    }
}
