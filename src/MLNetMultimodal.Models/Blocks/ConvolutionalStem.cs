using System.Numerics;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Blocks;

/// <summary>Sizes of a convolutional stem.</summary>
/// <param name="In">Channels that come in.</param>
/// <param name="Channels">Channels after each of its convolutions.</param>
/// <param name="PatchSize">P, a power of two: how much smaller each side gets.</param>
/// <param name="Width">D, width of the tokens.</param>
/// <param name="Activation">Function after each norm.</param>
/// <param name="NormEpsilon">Added to the variance in the norms.</param>
sealed record StemConfig(
    int In, IReadOnlyList<int> Channels, int PatchSize, int Width, Activation Activation, float NormEpsilon)
{
    const int Groups = 8;

    public int NormGroups => Groups;

    int Halvings => BitOperations.Log2((uint)PatchSize);

    /// <summary>The convolution of a place; the last log2(P) of them halve the resolution.</summary>
    public Conv2dConfig Convolution(int i)
    {
        int into = i == 0 ? In : Channels[i - 1];
        return new(into, Channels[i], 3, i < Channels.Count - Halvings ? 1 : 2, 1, Bias: false, Init: Init.Normal(MathF.Sqrt(2f / (9 * into))));
    }

    /// <summary>Tokens along a side of <paramref name="size"/>.</summary>
    public int Along(int size) => Enumerable.Range(0, Channels.Count).Aggregate(size, (s, i) => Convolution(i).OutSize(s));

    /// <exception cref="InvalidDataException">The sizes do not fit each other.</exception>
    public void Validate()
    {
        if (Channels.Count == 0) return;
        if (!BitOperations.IsPow2(PatchSize) || Channels.Count < Halvings)
            throw new InvalidDataException($"stem_channels has {Channels.Count} entries; patch_size {PatchSize} must be a power of two with at least log2 of it entries.");
        if (Channels.Any(c => c % Groups != 0))
            throw new InvalidDataException($"stem_channels must be multiples of {Groups}, but are {string.Join(", ", Channels)}.");
    }
}

/// <summary>Patches by small convolutions in place of one large one (Xiao et al. 2021, arXiv:2106.14881): each entry of the channels is a
/// 3x3 convolution with group norm, and the last log2(P) of them halve the resolution; a 1x1 convolution makes the tokens.</summary>
static class ConvolutionalStem
{
    /// <summary>[B, C, H, W] -> [B, D, H/P, W/P], sides rounded up.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The embeddings, with <c>stem</c> and <c>patch_embedding</c>.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="x">[B, C, H, W].</param>
    public static T Run<T>(ITensorOps<T> ops, Name name, StemConfig c, T x) where T : class
    {
        for (int i = 0; i < c.Channels.Count; i++)
        {
            Name layer = name / "stem" / i;
            x = ops.Conv2d(x, layer / "conv", c.Convolution(i));
            x = ops.Activate(ops.GroupNorm(x, layer / "norm", c.NormGroups, c.NormEpsilon), c.Activation);
        }
        return ops.Conv2d(x, name / "patch_embedding", new(c.Channels[^1], c.Width, 1, Bias: false));
    }
}
