using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace MLNetMultimodal.Media.Images;

/// <summary>
/// Resizes pictures with exactly Pillow's results (checked against version 9.4, all six filters): models are trained on pictures
/// that Pillow resized, and others' resizers
/// differ by up to half the range at edges. Weights are 22-bit fixed point; a horizontal and then a vertical pass each round to 8
/// bits.
/// Thread-safe; nothing but memory to use again is kept between calls.
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
        if (image.Width == width && image.Height == height && window.Width == width && window.Height == height)
            return image;
        using PixelBuffer resized = ResizeWindow(PixelView.Of(image), width, height, window, filter);
        return resized.View.ToImage();
    }

    internal static PixelBuffer ResizeWindow(PixelView image, long width, long height, Window window, ResampleFilter filter) =>
        ResizeWindow(image, (image.Width, image.Height), width, height, window, filter);

    /// <summary>[H, W, channels] -> [window.Height, window.Width, 3] in rented memory.</summary>
    /// <param name="image">The picture.</param>
    /// <param name="extent">Its size where the last column and row of <paramref name="image"/> are only partly covered.</param>
    /// <param name="width">The width of the whole result.</param>
    /// <param name="height">The height of the whole result.</param>
    /// <param name="window">The part of it that is computed.</param>
    /// <param name="filter">How pixels are averaged.</param>
    internal static PixelBuffer ResizeWindow(
        PixelView image, (double Width, double Height) extent, long width, long height, Window window, ResampleFilter filter)
    {
        bool wholeWidth = image.Width == width && window.Width == width;
        bool wholeHeight = image.Height == height && window.Height == height;
        if (wholeWidth && wholeHeight) return WholeRows(image, 0, image.Height);
        if (filter == ResampleFilter.Nearest || (image.Width == width && image.Height == height))
            return PickNearest(image, width, height, window);
        using Taps? across = wholeWidth ? null : new Taps(filter, image.Width, extent.Width, width, window.Left, window.Width);
        using Taps? down = wholeHeight ? null : new Taps(filter, image.Height, extent.Height, height, window.Top, window.Height);
        int firstRow = down?.First ?? 0, lastRow = down?.End ?? image.Height;
        PixelBuffer narrow = across is not null ? Across(image, across, firstRow, lastRow) : WholeRows(image, firstRow, lastRow);
        if (down is null) return narrow;
        down.Shift(-firstRow);
        using (narrow) return Down(narrow.View, down);
    }

    // [H, W, channels] -> [lastRow - firstRow, W, 3]
    static PixelBuffer WholeRows(PixelView image, int firstRow, int lastRow)
    {
        var result = new PixelBuffer(image.Width, lastRow - firstRow, 3);
        int stride = image.Channels * image.Width;
        ReadOnlySpan<byte> rows = image.Bytes[(firstRow * stride)..(lastRow * stride)];
        if (image.Channels == 4) ImageDecoder.DropAlpha(rows, result.Bytes);
        else rows.CopyTo(result.Bytes);
        return result;
    }

    // [H, W, channels] -> [lastRow - firstRow, Wout, 3], two rows at a time in the halves of a vector.
    static PixelBuffer Across(PixelView image, Taps taps, int firstRow, int lastRow)
    {
        int outWidth = taps.Count, rows = lastRow - firstRow, channels = image.Channels;
        int from = taps.First, count = taps.End - from;
        var result = new PixelBuffer(outWidth, rows, 3);
        byte[] memory = ArrayPool<byte>.Shared.Rent(count * Vector256<byte>.Count);
        Span<Vector256<int>> row = MemoryMarshal.Cast<byte, Vector256<int>>(memory.AsSpan())[..count];
        for (int y = 0; y < rows; y += 2)
        {
            bool two = y + 1 < rows;
            ReadOnlySpan<byte> upper = image.Bytes.Slice(channels * ((firstRow + y) * image.Width + from), channels * count);
            ReadOnlySpan<byte> lower = two
                ? image.Bytes.Slice(channels * ((firstRow + y + 1) * image.Width + from), channels * count) : upper;
            Widen(upper, lower, channels, row);
            Span<byte> target = result.Bytes.Slice(3 * y * outWidth, 3 * outWidth);
            SumAcross(row, taps, from, target, two ? result.Bytes.Slice(3 * (y + 1) * outWidth, 3 * outWidth) : target);
        }
        ArrayPool<byte>.Shared.Return(memory);
        return result;
    }

    // [W, channels] twice -> [W, 2, 4]
    static void Widen(ReadOnlySpan<byte> upper, ReadOnlySpan<byte> lower, int channels, Span<Vector256<int>> row)
    {
        int x = 0;
        for (; channels * x + 4 <= upper.Length; x++) // the fourth byte is alpha or the next pixel's, and does not count
            row[x] = Vector256.Create(Load(upper[(channels * x)..]), Load(lower[(channels * x)..]));
        if (x < row.Length)
            row[x] = Vector256.Create(
                upper[3 * x], upper[3 * x + 1], upper[3 * x + 2], 0, lower[3 * x], lower[3 * x + 1], lower[3 * x + 2], 0);
    }

    static Vector128<int> Load(ReadOnlySpan<byte> pixel) => Vector128.WidenLower(
        Vector128.WidenLower(Vector128.CreateScalarUnsafe(BinaryPrimitives.ReadUInt32LittleEndian(pixel)).AsByte())).AsInt32();

    static void SumAcross(ReadOnlySpan<Vector256<int>> row, Taps taps, int from, Span<byte> upper, Span<byte> lower)
    {
        for (int x = 0; x < taps.Count; x++)
        {
            ReadOnlySpan<int> weights = taps.Weights(x);
            ref readonly Vector256<int> pixel = ref MemoryMarshal.GetReference(row.Slice(taps.Start(x) - from, weights.Length));
            Vector256<int> sum = Vector256.Create(Half);
            for (int k = 0; k < weights.Length; k++)
                sum += Unsafe.Add(ref Unsafe.AsRef(in pixel), k) * weights[k];
            sum = Clamp(sum >> Precision);
            Store(sum.GetLower(), upper[(3 * x)..]);
            Store(sum.GetUpper(), lower[(3 * x)..]);
        }
    }

    // Four bytes where there is room: the next pixel overwrites the fourth.
    static void Store(Vector128<int> pixel, Span<byte> target)
    {
        var lowest = Vector128.Create((byte)0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        uint bytes = Vector128.Shuffle(pixel.AsByte(), lowest).AsUInt32()[0];
        if (target.Length >= 4) BinaryPrimitives.WriteUInt32LittleEndian(target, bytes);
        else (target[0], target[1], target[2]) = ((byte)bytes, (byte)(bytes >> 8), (byte)(bytes >> 16));
    }

    // [H, W, 3] -> [Hout, W, 3]
    static PixelBuffer Down(PixelView image, Taps taps)
    {
        int stride = 3 * image.Width;
        var result = new PixelBuffer(image.Width, taps.Count, 3);
        for (int y = 0; y < taps.Count; y++)
        {
            ReadOnlySpan<int> weights = taps.Weights(y);
            ReadOnlySpan<byte> rows = image.Bytes.Slice(stride * taps.Start(y), stride * weights.Length);
            Span<byte> target = result.Bytes.Slice(stride * y, stride);
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
        ref byte first = ref Unsafe.Add(ref MemoryMarshal.GetReference(rows), x); // of rows.Length = stride * weights.Length
        Vector256<int> low = Vector256.Create(Half), high = low;
        for (int k = 0; k < weights.Length; k++)
        {
            Vector256<ushort> bytes = Widen(Vector128.LoadUnsafe(ref first, (nuint)(k * stride)));
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

    // [H, W, channels] -> [window.Height, window.Width, 3]
    static PixelBuffer PickNearest(PixelView image, long width, long height, Window window)
    {
        int[] columns = NearestPositions(image.Width, width, window.Left, window.Width);
        int[] rows = NearestPositions(image.Height, height, window.Top, window.Height);
        var result = new PixelBuffer(window.Width, window.Height, 3);
        for (int y = 0; y < rows.Length; y++)
            for (int x = 0; x < columns.Length; x++)
                image.Bytes.Slice(image.Channels * (rows[y] * image.Width + columns[x]), 3)
                    .CopyTo(result.Bytes[(3 * (y * window.Width + x))..]);
        return result;
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

    // Which inputs each output reads, and with which weights. In rented memory.
    sealed class Taps : IDisposable
    {
        readonly int[] _memory;
        readonly int _stride;

        public Taps(ResampleFilter filter, int inSize, double inExtent, long outSize, long firstOutput, int count)
        {
            double scale = inExtent / outSize, stretch = Math.Max(scale, 1), support = Support(filter) * stretch;
            _stride = Math.Min((int)Math.Ceiling(support) * 2 + 1, inSize + 1);
            Count = count;
            _memory = ArrayPool<int>.Shared.Rent(checked((_stride + 2) * count));
            double[] weights = ArrayPool<double>.Shared.Rent(_stride);
            for (int i = 0; i < count; i++)
            {
                double center = (firstOutput + i + 0.5) * scale, inverse = 1.0 / stretch, total = 0;
                int start = Math.Max((int)(center - support + 0.5), 0), end = Math.Min((int)(center + support + 0.5), inSize);
                for (int k = 0; k < end - start; k++)
                    total += weights[k] = Weigh(filter, (k + start - center + 0.5) * inverse);
                Span<int> tap = Tap(i);
                (tap[0], tap[1]) = (start, end - start);
                for (int k = 0; k < end - start; k++)
                    tap[2 + k] = ToFixedPoint(total == 0 ? weights[k] : weights[k] / total);
            }
            ArrayPool<double>.Shared.Return(weights);
            First = Start(0);
            End = Start(count - 1) + Tap(count - 1)[1];
        }

        public int Count { get; }

        // The inputs read at all are [First, End).
        public int First { get; private set; }

        public int End { get; private set; }

        public int Start(int output) => _memory[output * (_stride + 2)];

        public ReadOnlySpan<int> Weights(int output) =>
            _memory.AsSpan(output * (_stride + 2) + 2, _memory[output * (_stride + 2) + 1]);

        // The first input, the number of inputs, their weights.
        Span<int> Tap(int output) => _memory.AsSpan(output * (_stride + 2), _stride + 2);

        public void Shift(int by)
        {
            for (int i = 0; i < Count; i++)
                Tap(i)[0] += by;
            First += by;
            End += by;
        }

        public void Dispose() => ArrayPool<int>.Shared.Return(_memory);

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
