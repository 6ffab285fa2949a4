using System.Buffers;
using System.Numerics.Tensors;

namespace MLNetMultimodal.Training;

/// <summary>A rectangle of whole pixels.</summary>
readonly record struct Box(int Top, int Left, int Height, int Width);

/// <summary>Scales a part of a picture of bytes [H, W, 3] to floats [3, height, width] from 0 to 255, by kernels that widen where
/// it gets smaller.</summary>
/// <remarks>Two passes of one dimension each; every weight is computed once per row or column of the result.</remarks>
static class Resampler
{
    const double CubicA = -0.5; // Keys 1981, as Pillow has it

    /// <summary>Scales; both sides may shrink or grow.</summary>
    /// <param name="pixels">[H, W, 3].</param>
    /// <param name="stride">W.</param>
    /// <param name="box">The part to scale, inside of the picture.</param>
    /// <param name="mirror">True swaps left and right of the result.</param>
    /// <param name="cubic">Cubic kernels; otherwise linear ones.</param>
    /// <param name="height">Rows of the result.</param>
    /// <param name="width">Columns of the result.</param>
    /// <param name="result">[3, height, width].</param>
    public static void Scale(ReadOnlySpan<byte> pixels, int stride, Box box, bool mirror, bool cubic, int height, int width, Span<float> result)
    {
        int columnTaps = Taps(box.Width, width, cubic), rowTaps = Taps(box.Height, height, cubic);
        int narrow = 3 * box.Height * width;
        float[] buffer = ArrayPool<float>.Shared.Rent(narrow + width * columnTaps + height * rowTaps);
        int[] starts = ArrayPool<int>.Shared.Rent(width + height);
        Span<float> columns = buffer.AsSpan(0, narrow), columnWeights = buffer.AsSpan(narrow, width * columnTaps);
        Span<float> rowWeights = buffer.AsSpan(narrow + width * columnTaps, height * rowTaps);
        Fill(box.Width, width, cubic, columnTaps, starts.AsSpan(0, width), columnWeights);
        Fill(box.Height, height, cubic, rowTaps, starts.AsSpan(width, height), rowWeights);
        for (int y = 0; y < box.Height; y++)
        {
            ReadOnlySpan<byte> row = pixels.Slice(((box.Top + y) * stride + box.Left) * 3, box.Width * 3);
            Narrow(row, starts.AsSpan(0, width), columnWeights, columnTaps, mirror, columns[(y * width)..], plane: box.Height * width);
        }
        for (int channel = 0; channel < 3; channel++)                                          // [3, box.Height, width] -> [3, height, width]
        {
            for (int y = 0; y < height; y++)
            {
                Span<float> to = result.Slice((channel * height + y) * width, width);
                ReadOnlySpan<float> from = columns.Slice((channel * box.Height + starts[width + y]) * width);
                TensorPrimitives.Multiply(from[..width], rowWeights[y * rowTaps], to);
                for (int k = 1; k < rowTaps; k++)
                    if (rowWeights[y * rowTaps + k] is not 0 and float weight) TensorPrimitives.MultiplyAdd(from.Slice(k * width, width), weight, to, to);
            }
        }
        if (cubic) TensorPrimitives.Clamp(result[..(3 * height * width)], 0f, 255f, result);   // cubic kernels overshoot at edges
        ArrayPool<float>.Shared.Return(buffer);
        ArrayPool<int>.Shared.Return(starts);
    }

    static void Narrow(ReadOnlySpan<byte> row, ReadOnlySpan<int> starts, ReadOnlySpan<float> weights, int taps, bool mirror, Span<float> to, int plane)
    {
        for (int x = 0; x < starts.Length; x++)
        {
            float r = 0, g = 0, b = 0;
            ReadOnlySpan<byte> from = row.Slice(starts[x] * 3, taps * 3);
            ReadOnlySpan<float> w = weights.Slice(x * taps, taps);
            for (int k = 0; k < w.Length; k++)
            {
                r += w[k] * from[3 * k];
                g += w[k] * from[3 * k + 1];
                b += w[k] * from[3 * k + 2];
            }
            int at = mirror ? starts.Length - 1 - x : x;
            (to[at], to[at + plane], to[at + 2 * plane]) = (r, g, b);
        }
    }

    static double Support(int size, int wanted, bool cubic) => (cubic ? 2 : 1) * Math.Max(1, (double)size / wanted);

    /// <summary>Source pixels that one pixel of the result can need; the same for all of them.</summary>
    static int Taps(int size, int wanted, bool cubic) => size == wanted ? 1 : Math.Min(size, (int)Math.Ceiling(2 * Support(size, wanted, cubic)) + 1);

    static void Fill(int size, int wanted, bool cubic, int taps, Span<int> starts, Span<float> weights)
    {
        double scale = (double)size / wanted, widen = Math.Max(1, scale), support = Support(size, wanted, cubic);
        for (int i = 0; i < wanted; i++)
        {
            double center = (i + 0.5) * scale, sum = 0;
            int start = starts[i] = taps == 1 && size == wanted ? i : Math.Clamp((int)(center - support + 0.5), 0, size - taps);
            Span<float> w = weights.Slice(i * taps, taps);
            for (int k = 0; k < taps; k++) sum += w[k] = (float)Kernel(Math.Abs(start + k + 0.5 - center) / widen, cubic);
            for (int k = 0; k < taps; k++) w[k] = (float)(w[k] / sum);
        }
    }

    static double Kernel(double x, bool cubic) => (cubic, x) switch
    {
        (false, < 1) => 1 - x,
        (true, < 1) => ((CubicA + 2) * x - (CubicA + 3)) * x * x + 1,
        (true, < 2) => (((x - 5) * x + 8) * x - 4) * CubicA,
        _ => 0,
    };
}
