using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>A layer over the pooled vector: Linear and an activation; or, where <paramref name="Path"/> is null, division by the
/// vector's length.</summary>
/// <param name="Path">The module's folder, under whose name its weights stand.</param>
/// <param name="InWidth">Width of what it takes.</param>
/// <param name="OutWidth">Width of what it gives.</param>
/// <param name="HasBias">Whether the Linear has a bias.</param>
/// <param name="Activation">After the Linear; null for none.</param>
sealed record SentenceLayer(
    string? Path = null, int InWidth = 0, int OutWidth = 0, bool HasBias = false, Activation? Activation = null)
{
    public static readonly SentenceLayer Normalize = new();
}

/// <summary>What makes one vector of a text's tokens (Reimers and Gurevych 2019, arXiv:1908.10084, section 3): poolings, joined in
/// this order, and layers.</summary>
sealed record SentenceHead
{
    const float Never = -1e9f; // what sentence-transformers give a token that is left out of a maximum

    public required IReadOnlyList<BertPooling> Poolings { get; init; }

    public IReadOnlyList<SentenceLayer> Layers { get; init; } = [];

    /// <summary>What stands before every text; null for nothing.</summary>
    public string? Prompt { get; init; }

    /// <summary>False where the prompt is read but not pooled.</summary>
    public bool PoolsPrompt { get; init; } = true;

    /// <summary>Tokens at the beginning that are not pooled.</summary>
    public int SkippedTokens { get; init; }

    /// <summary>E for tokens of width D.</summary>
    public int Width(int tokenWidth) => Layers.LastOrDefault(l => l.Path is not null)?.OutWidth ?? Poolings.Count * tokenWidth;

    /// <summary>[B, L, D] -> [B, E]; <paramref name="keep"/> is bool [B, L], true for a token.</summary>
    public T Apply<T>(ITensorOps<T> ops, T tokens, T keep) where T : class
    {
        T x = ops.Concat(-1, [.. Poolings.Select(p => Pool(ops, p, tokens, keep))]);                      // [B, poolings x D]
        foreach (SentenceLayer layer in Layers)
        {
            x = layer.Path is null ? ops.L2Normalize(x)
                : ops.Linear(x, Name.Root / layer.Path / "linear", layer.InWidth, layer.OutWidth, layer.HasBias);
            if (layer.Activation is { } activation) x = ops.Activate(x, activation);
        }
        return x;
    }

    T Pool<T>(ITensorOps<T> ops, BertPooling pooling, T tokens, T keep) where T : class
    {
        if (pooling == BertPooling.FirstToken) return Bert.FirstToken(ops, tokens);
        T zero = ops.Multiply(ops.Slice(Bert.FirstToken(ops, tokens), 1, 0, 1), 0), one = ops.Add(zero, 1);   // [B, 1]
        T weights = ops.Where(keep, one, zero);                                                           // [B, L]
        if (SkippedTokens > 0)
            weights = ops.Concat(1,
                ops.Multiply(ops.Slice(weights, 1, 0, SkippedTokens), 0), ops.Slice(weights, 1, SkippedTokens, int.MaxValue));
        switch (pooling)
        {
            case BertPooling.Max:
                T left = ops.Multiply(ops.Add(ops.Multiply(weights, -1), 1), Never);
                return ops.Max(ops.Add(ops.Multiply(tokens, Column(weights)), Column(left)), 1);
            case BertPooling.LastToken: // kept, and the next is not
                T next = ops.Concat(1, ops.Slice(weights, 1, 1, int.MaxValue), zero);
                return WeightedSum(ops.Multiply(weights, ops.Add(ops.Multiply(next, -1), 1)));
            case BertPooling.WeightedMean:
                weights = ops.Multiply(weights, ops.CumulativeSum(ops.Where(keep, one, one), 1));
                break;
            case BertPooling.MeanSqrtLength:
                return WeightedSum(ops.L2Normalize(weights));
        }
        return ops.Divide(WeightedSum(weights), ops.Sum(weights, 1, keepDims: true));

        T Column(T w) => ops.Rearrange(w, "b (l one) -> b l one", ("one", 1));                            // [B, L] -> [B, L, 1]
        T WeightedSum(T w) => ops.Sum(ops.Multiply(tokens, Column(w)), 1);                                // [B, D]
    }
}
