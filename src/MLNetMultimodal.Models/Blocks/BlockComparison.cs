using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>The blocks that senses can be brought together with, at one width, so that what they cost can be seen side by
/// side.</summary>
public static class BlockComparison
{
    /// <summary>Counts each block for one item.</summary>
    /// <param name="width">D, a multiple of <paramref name="heads"/> and of 4.</param>
    /// <param name="heads">nh; divides a quarter of <paramref name="width"/> too.</param>
    /// <param name="queries">Lq, tokens that ask or are worked on.</param>
    /// <param name="keys">Lk, tokens of the other senses.</param>
    /// <returns>One summary for each block, whose name is its <see cref="ModelSummary.Program"/>.</returns>
    /// <exception cref="ArgumentException">The width is no such multiple.</exception>
    public static IReadOnlyList<ModelSummary> Of(int width = 256, int heads = 4, int queries = 16, int keys = 256)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(queries);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(keys);
        if (width < 1 || heads < 1 || width % (4 * heads) != 0)
            throw new ArgumentException($"the width {width} must be a multiple of 4 times the {heads} heads.", nameof(width));
        var c = new Sizes(width, heads, queries, keys);
        return [.. Enum.GetValues<Kind>().Select(kind => ModelSummary.Of(new Block(kind, c)))];
    }

    readonly record struct Sizes(int Width, int Heads, int Queries, int Keys);

    enum Kind
    {
        JointSelfAttention,
        CrossAttention,
        LowRankCrossAttention,
        AttentionPooling,
        LatentBottleneck,
        GatedAdapter,
        DenseFeedForward,
        OneExpertOfEight,
        TwoExpertsOfEight,
    }

    sealed class Block(Kind kind, Sizes c) : IProgram
    {
        public string Name => kind switch
        {
            Kind.JointSelfAttention => "self-attention over all tokens",
            Kind.CrossAttention => "cross-attention",
            Kind.LowRankCrossAttention => "low-rank cross-attention, r = D/4",
            Kind.AttentionPooling => "attention pooling, 1 query",
            Kind.LatentBottleneck => "latent bottleneck, 1 layer",
            Kind.GatedAdapter => "gated adapter, D/4",
            Kind.DenseFeedForward => "feed-forward, 4D",
            Kind.OneExpertOfEight => "8 experts of 4D, 1 chosen",
            _ => "8 experts of 4D, 2 chosen",
        };

        public IReadOnlyList<TensorSpec> Inputs { get; } =
        [
            new("x", ElementType.Float32, Dim.Dynamic("batch"), c.Queries, c.Width),
            new("context", ElementType.Float32, Dim.Dynamic("batch"), c.Keys, c.Width),
        ];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            (T x, T context, Name name, int width, int heads) = (inputs["x"], inputs["context"], "block", c.Width, c.Heads);
            var cross = new AttentionConfig(width, width, heads);
            return [("result", kind switch
            {
                Kind.JointSelfAttention => Attention.Self(ops, name, cross, ops.Concat(1, x, context)),
                Kind.CrossAttention => Attention.Cross(ops, name, cross, x, context),
                Kind.LowRankCrossAttention => Attention.Cross(ops, name, cross with { InnerWidth = width / 4 }, x, context),
                Kind.AttentionPooling => AttentionPooling.Pool(ops, name, new(width, width, heads), context),
                Kind.LatentBottleneck => LatentBottleneck.Encode(ops, name, new(1, c.Queries, width, width, 4 * width, heads), context).Latents,
                Kind.GatedAdapter => GatedAdapter.Apply(ops, name, new(width, width / 4), x),
                Kind.DenseFeedForward => ops.Linear(ops.Activate(ops.Linear(x, name / "fc1", width, 4 * width), Activation.Gelu), name / "fc2", 4 * width, width),
                _ => MixtureOfExperts.FeedForward(ops, name, new(width, 4 * width, 8, kind == Kind.OneExpertOfEight ? 1 : 2), x).Result,
            })];
        }
    }
}
