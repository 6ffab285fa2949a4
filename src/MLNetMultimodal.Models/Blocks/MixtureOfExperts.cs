using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>Sizes of a mixture of experts.</summary>
/// <param name="Width">D.</param>
/// <param name="MlpWidth">Width between the two layers of each expert.</param>
/// <param name="Experts">E, at least 2.</param>
/// <param name="Chosen">k, experts that each token goes through, 1 to E.</param>
/// <param name="Activation">Function between the two layers.</param>
public sealed record MixtureOfExpertsConfig(int Width, int MlpWidth, int Experts, int Chosen, Activation Activation = Activation.Gelu);

/// <summary>What a mixture of experts gives.</summary>
/// <param name="Result">[B, L, D].</param>
/// <param name="RouterLogits">[B, L, E]: what the router thinks of each expert for each token, for the loss that balances
/// them.</param>
public readonly record struct MixtureOfExpertsOutput<T>(T Result, T RouterLogits) where T : class;

/// <summary>A feed-forward part of E experts of which each token goes through k: as many weights as E dense parts, the work of k
/// (Shazeer et al. 2017, arXiv:1701.06538, section 2.1; one expert: Fedus et al. 2021, arXiv:2101.03961). No token is dropped and
/// no expert has a limit: an expert computes just the tokens that are sent to it.</summary>
public static class MixtureOfExperts
{
    /// <summary>Routes tokens through experts.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The layer: <c>router</c>, and <c>fc1 fc2</c> of each of <c>experts</c>.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, L, D].</param>
    public static MixtureOfExpertsOutput<T> FeedForward<T>(ITensorOps<T> ops, Name name, MixtureOfExpertsConfig c, T x) where T : class
    {
        T logits = ops.Linear(x, name / "router", c.Width, c.Experts, bias: false);                     // [B, L, D] -> [B, L, E]
        T chosen = ops.Largest(logits, c.Chosen), probabilities = ops.Softmax(logits, -1);
        T gates = ops.Where(chosen, probabilities, ops.Multiply(probabilities, 0));
        // The share of one expert among one chosen is always 1 and would teach the router nothing.
        if (c.Chosen > 1) gates = ops.Divide(gates, ops.Sum(gates, -1, keepDims: true));
        double share = (double)c.Chosen / c.Experts;
        T? sum = null;
        for (int e = 0; e < c.Experts; e++)
        {
            T keep = ops.Rearrange(ops.Slice(chosen, -1, e, e + 1), "b l e -> b (l e)");                // [B, L, E] -> [B, L]
            T rows = Expert(ops, name / "experts" / e, c, ops.TakeTokens(x, keep, share));              // -> [n, D]
            T gate = ops.TakeTokens(ops.Slice(gates, -1, e, e + 1), keep, share);                       // -> [n, 1]
            T part = ops.PutTokens(ops.Multiply(rows, gate), keep);                                     // -> [B, L, D]
            sum = sum is null ? part : ops.Add(sum, part);
        }
        return new(sum!, logits);
    }

    static T Expert<T>(ITensorOps<T> ops, Name name, MixtureOfExpertsConfig c, T x) where T : class =>
        ops.Linear(ops.Activate(ops.Linear(x, name / "fc1", c.Width, c.MlpWidth), c.Activation), name / "fc2", c.MlpWidth, c.Width);
}
