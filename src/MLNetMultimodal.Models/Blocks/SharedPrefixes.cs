using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>Texts that begin alike, for towers whose tokens see only those before them (a causal mask): there equal beginnings give equal
/// tokens, and what is done token by token is done once for each of the n distinct beginnings. A beginning is named by its last token.</summary>
/// <param name="First">Int64 [n]: a token of each beginning, as its place in the B texts one after the other, 0 to B L - 1.</param>
/// <param name="Of">Int64 [B, L]: the beginning that each token ends, 0 to n - 1; for a token that nobody asks for, such as padding, any of
/// them.</param>
public readonly record struct SharedPrefixes<T>(T First, T Of) where T : class
{
    /// <summary>Each beginning's token once: [B, L, D] -> [n, D].</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="tokens">[B, L, D].</param>
    public T Once(ITensorOps<T> ops, T tokens) => ops.Embedding(First, ops.Rearrange(tokens, "b l d -> (b l) d"));

    /// <summary>Every text's tokens: [n, D] -> [B, L, D].</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="rows">[n, D].</param>
    public T Everywhere(ITensorOps<T> ops, T rows) => ops.Embedding(Of, rows);
}
