using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Models.Families;

/// <summary>Position embeddings of a grid of patches, for a grid of another size.</summary>
static class PositionTable
{
    const double Sharpness = -0.75; // of PyTorch's bicubic kernel

    /// <summary>Bicubic interpolation as PyTorch's <c>interpolate</c> does it without <c>align_corners</c> and
    /// <c>antialias</c>: 4x4 neighbours, those beyond the edge repeat it.</summary>
    /// <param name="table">[1, prefix + from*from, width]; the prefix is kept as it is.</param>
    /// <param name="prefix">Rows before the grid.</param>
    /// <param name="from">Patches along an edge now.</param>
    /// <param name="to">Patches along an edge then.</param>
    /// <param name="width">D.</param>
    /// <returns>[1, prefix + to*to, width].</returns>
    public static TensorData Resize(TensorData table, int prefix, int from, int to, int width)
    {
        float[] source = table.ToSingles(), result = new float[(prefix + to * to) * width];
        source.AsSpan(0, prefix * width).CopyTo(result);
        (int[] at, double[] weight)[] taps = [.. Enumerable.Range(0, to).Select(i => Taps(i, from, to))];
        for (int y = 0; y < to; y++)
            for (int x = 0; x < to; x++)
                for (int d = 0; d < width; d++)
                {
                    double sum = 0;
                    for (int i = 0; i < 4; i++)
                        for (int j = 0; j < 4; j++)
                            sum += taps[y].weight[i] * taps[x].weight[j]
                                * source[(prefix + taps[y].at[i] * from + taps[x].at[j]) * width + d];
                    result[(prefix + y * to + x) * width + d] = (float)sum;
                }
        return TensorData.From(result, 1, prefix + to * to, width);
    }

    static (int[] At, double[] Weight) Taps(int index, int from, int to)
    {
        double center = (index + 0.5) * from / to - 0.5, whole = Math.Floor(center), t = center - whole;
        int[] at = [.. Enumerable.Range(-1, 4).Select(k => Math.Clamp((int)whole + k, 0, from - 1))];
        return (at, [Outer(1 + t), Inner(t), Inner(1 - t), Outer(2 - t)]);
    }

    // Keys 1981: the cubic convolution kernel within one step of the center, and between one and two steps.
    static double Inner(double x) => ((Sharpness + 2) * x - (Sharpness + 3)) * x * x + 1;

    static double Outer(double x) => ((Sharpness * x - 5 * Sharpness) * x + 8 * Sharpness) * x - 4 * Sharpness;
}
