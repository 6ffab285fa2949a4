using System.Runtime.Intrinsics;

namespace MLNetMultimodal.Media.Images;

/// <summary>
/// Resizes pictures with exactly Pillow's results (checked against version 9.4, all six filters): models are trained on pictures
/// that Pillow resized, and others' resizers
/// differ by up to half the range at edges. Weights are 22-bit fixed point; a horizontal and then a vertical pass each round to 8
/// bits.
/// Thread-safe; nothing is kept between calls.
/// </summary>
public static class PillowResampler
{
    const int Precision = 22;
    const int Half = 1 << (Precision - 1);

    /// <summary>Resizes a whole picture.</summary>
    /// <param name="image">The picture, [H, W, 3].</param>
    /// <param name="width">The new width, in pixels, at least 1.</param>
    /// <param name="height">The new height, in pixels, at least 1.</param>
    /// <param name="filter">How pixels are averaged.</param>
    /// <returns>[height, width, 3]; <paramref name="image"/> itself where it already has this size.</returns>
    public static RgbImage Resize(RgbImage image, int width, int height, ResampleFilter filter = ResampleFilter.Bicubic)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        if (!Enum.IsDefined(filter))
            throw new ArgumentOutOfRangeException(nameof(filter), filter, "filter must be one of Pillow's six, 0 to 5.");
        if (3L * width * height > Array.MaxLength)
            throw new ArgumentException($"{width} x {height} pixels do not fit an array; resize to less.", nameof(width));
        return ResizeWindow(image, width, height, new(0, 0, width, height), filter);
    }

    // The window of what Resize would give, without computing the rest. The size is a long because the longer side of an extreme
    // shape passes int.
    internal static RgbImage ResizeWindow(RgbImage image, long width, long height, Window window, ResampleFilter filter)
    {
        bool wholeWidth = image.Width == width && window.Width == width;
        bool wholeHeight = image.Height == height && window.Height == height;
        if (wholeWidth && wholeHeight)
            return image;
        if (filter == ResampleFilter.Nearest || (image.Width == width && image.Height == height))
            return PickNearest(image, width, height, window);
        Taps? across = wholeWidth ? null : new Taps(filter, image.Width, width, window.Left, window.Width);
        Taps? down = wholeHeight ? null : new Taps(filter, image.Height, height, window.Top, window.Height);
        if (across is not null)
        {
            int firstRow = down?.First ?? 0, lastRow = down?.End ?? image.Height;
            image = new(window.Width, lastRow - firstRow, Across(image, across, firstRow, lastRow));
            down?.Shift(-firstRow);
        }
        return down is null ? image : new(window.Width, window.Height, Down(image, down));
    }

    // [H, W, 3] -> [lastRow - firstRow, Wout, 3], two rows at a time in the halves of a vector.
    static byte[] Across(RgbImage image, Taps taps, int firstRow, int lastRow)
    {
        int width = image.Width, outWidth = taps.Count, rows = lastRow - firstRow;
        byte[] result = new byte[3 * outWidth * rows];
        int from = taps.First, count = taps.End - from;
        Span<Vector256<int>> row = new Vector256<int>[count];
        for (int y = 0; y < rows; y += 2)
        {
            bool two = y + 1 < rows;
            ReadOnlySpan<byte> upper = image.Pixels.AsSpan(3 * ((firstRow + y) * width + from), 3 * count);
            ReadOnlySpan<byte> lower = two ? image.Pixels.AsSpan(3 * ((firstRow + y + 1) * width + from), 3 * count) : upper;
            for (int x = 0; x < row.Length; x++)
                row[x] = Vector256.Create(Load(upper.Slice(3 * x, 3)), Load(lower.Slice(3 * x, 3)));
            for (int x = 0; x < outWidth; x++)
            {
                ReadOnlySpan<int> weights = taps.Weights(x);
                ReadOnlySpan<Vector256<int>> pixels = row.Slice(taps.Starts[x] - from, weights.Length);
                Vector256<int> sum = Vector256.Create(Half);
                for (int k = 0; k < weights.Length; k++)
                    sum += pixels[k] * weights[k];
                sum = Clamp(sum >> Precision);
                Store(sum.GetLower(), result.AsSpan(3 * (y * outWidth + x), 3));
                if (two)
                    Store(sum.GetUpper(), result.AsSpan(3 * ((y + 1) * outWidth + x), 3));
            }
        }
        return result;
    }

    // [H, W, 3] -> [Hout, W, 3]
    static byte[] Down(RgbImage image, Taps taps)
    {
        int stride = 3 * image.Width;
        byte[] result = new byte[stride * taps.Count];
        for (int y = 0; y < taps.Count; y++)
        {
            ReadOnlySpan<int> weights = taps.Weights(y);
            ReadOnlySpan<byte> rows = image.Pixels.AsSpan(stride * taps.Starts[y], stride * weights.Length);
            Span<byte> target = result.AsSpan(stride * y, stride);
            int x = 0;
            for (; x <= stride - Vector128<byte>.Count; x += Vector128<byte>.Count)
                SumDown(rows, stride, x, weights).CopyTo(target[x..]);
            for (; x < stride; x++)
            {
                int sum = Half;
                for (int k = 0; k < weights.Length; k++)
                    sum += rows[k * stride + x] * weights[k];
                target[x] = (byte)Math.Clamp(sum >> Precision, 0, 255);
            }
        }
        return result;
    }

    // Sixteen neighbouring bytes of one row of the result.
    static Vector128<byte> SumDown(ReadOnlySpan<byte> rows, int stride, int x, ReadOnlySpan<int> weights)
    {
        Vector256<int> low = Vector256.Create(Half), high = low;
        for (int k = 0; k < weights.Length; k++)
        {
            Vector256<ushort> bytes = Widen(Vector128.Create(rows.Slice(k * stride + x, Vector128<byte>.Count)));
            (Vector256<uint> lower, Vector256<uint> upper) = Vector256.Widen(bytes);
            low += lower.AsInt32() * weights[k];
            high += upper.AsInt32() * weights[k];
        }
        Vector256<short> words = Vector256.Narrow(Clamp(low >> Precision), Clamp(high >> Precision));
        return Vector128.Narrow(words.GetLower().AsUInt16(), words.GetUpper().AsUInt16());
    }

    static Vector256<ushort> Widen(Vector128<byte> bytes)
    {
        (Vector128<ushort> lower, Vector128<ushort> upper) = Vector128.Widen(bytes);
        return Vector256.Create(lower, upper);
    }

    static Vector256<int> Clamp(Vector256<int> values) =>
        Vector256.Min(Vector256.Max(values, Vector256<int>.Zero), Vector256.Create(255));

    static Vector128<int> Load(ReadOnlySpan<byte> pixel) => Vector128.Create(pixel[0], pixel[1], pixel[2], 0);

    static void Store(Vector128<int> pixel, Span<byte> target)
    {
        target[2] = (byte)pixel[2];
        target[1] = (byte)pixel[1];
        target[0] = (byte)pixel[0];
    }

    static RgbImage PickNearest(RgbImage image, long width, long height, Window window)
    {
        int[] columns = NearestPositions(image.Width, width, window.Left, window.Width);
        int[] rows = NearestPositions(image.Height, height, window.Top, window.Height);
        byte[] result = new byte[3 * window.Width * window.Height];
        for (int y = 0; y < rows.Length; y++)
            for (int x = 0; x < columns.Length; x++)
                image.Pixels.AsSpan(3 * (rows[y] * image.Width + columns[x]), 3)
                    .CopyTo(result.AsSpan(3 * (y * window.Width + x)));
        return new(window.Width, window.Height, result);
    }

    // Pillow adds the step up instead of multiplying it, and the rounding of that sum decides ties.
    static int[] NearestPositions(int inSize, long outSize, long first, int count)
    {
        double step = (double)inSize / outSize, position = step * 0.5;
        int[] positions = new int[count];
        for (long i = 0; i < first + count; i++, position += step)
            if (i >= first)
                positions[i - first] = Math.Min((int)position, inSize - 1);
        return positions;
    }

    internal readonly record struct Window(long Left, long Top, int Width, int Height);

    // Which inputs each output reads, and with which weights.
    sealed class Taps
    {
        readonly int[] _weights;
        readonly int[] _counts;
        readonly int _stride;

        public Taps(ResampleFilter filter, int inSize, long outSize, long firstOutput, int count)
        {
            double scale = (double)inSize / outSize, stretch = Math.Max(scale, 1), support = Support(filter) * stretch;
            _stride = Math.Min((int)Math.Ceiling(support) * 2 + 1, inSize + 1);
            _weights = new int[checked(_stride * count)];
            _counts = new int[count];
            Starts = new int[count];
            double[] weights = new double[_stride];
            for (int i = 0; i < count; i++)
            {
                double center = (firstOutput + i + 0.5) * scale, inverse = 1.0 / stretch, total = 0;
                int start = Math.Max((int)(center - support + 0.5), 0), end = Math.Min((int)(center + support + 0.5), inSize);
                for (int k = 0; k < end - start; k++)
                    total += weights[k] = Weigh(filter, (k + start - center + 0.5) * inverse);
                for (int k = 0; k < end - start; k++)
                    _weights[i * _stride + k] = ToFixedPoint(total == 0 ? weights[k] : weights[k] / total);
                Starts[i] = start;
                _counts[i] = end - start;
            }
            First = Starts[0];
            End = Starts[^1] + _counts[^1];
        }

        public int[] Starts { get; }

        public int Count => _counts.Length;

        // The inputs read at all are [First, End).
        public int First { get; private set; }

        public int End { get; private set; }

        public ReadOnlySpan<int> Weights(int output) => _weights.AsSpan(output * _stride, _counts[output]);

        public void Shift(int by)
        {
            for (int i = 0; i < Starts.Length; i++)
                Starts[i] += by;
            First += by;
            End += by;
        }

        static int ToFixedPoint(double weight) => (int)(weight * (1 << Precision) + (weight < 0 ? -0.5 : 0.5));

        static double Support(ResampleFilter filter) => filter switch
        {
            ResampleFilter.Box => 0.5,
            ResampleFilter.Bilinear or ResampleFilter.Hamming => 1,
            ResampleFilter.Bicubic => 2,
            _ => 3,
        };

        static double Weigh(ResampleFilter filter, double x) => filter switch
        {
            ResampleFilter.Box => x is > -0.5 and <= 0.5 ? 1 : 0,
            ResampleFilter.Bilinear => Math.Max(1 - Math.Abs(x), 0),
            ResampleFilter.Hamming => Hamming(Math.Abs(x)),
            ResampleFilter.Bicubic => Cubic(Math.Abs(x)),
            _ => x is >= -3 and < 3 ? Sinc(x) * Sinc(x / 3) : 0,
        };

        // Pillow's constants are single precision.
        static double Hamming(double x) => x == 0 ? 1 : x >= 1 ? 0 : Sinc(x) * (0.54f + 0.46f * Math.Cos(x * Math.PI));

        static double Cubic(double x) => x switch
        {
            < 1 => (1.5 * x - 2.5) * x * x + 1,
            < 2 => (((x - 5) * x + 8) * x - 4) * -0.5,
            _ => 0,
        };

        static double Sinc(double x) => x == 0 ? 1 : Math.Sin(x * Math.PI) / (x * Math.PI);
    }
}
