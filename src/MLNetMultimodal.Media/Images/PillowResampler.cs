using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

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

    // [H, W, channels] -> [lastRow - firstRow, Wout, 3], four rows at a time in the quarters of a vector.
    static PixelBuffer Across(PixelView image, Taps taps, int firstRow, int lastRow)
    {
        int outWidth = taps.Count, channels = image.Channels, count = taps.End - taps.First, pairs = (count + 1) / 2;
        var result = new PixelBuffer(outWidth, lastRow - firstRow, 3);
        using var weights = new PairedTaps(taps);
        byte[] memory = ArrayPool<byte>.Shared.Rent(pairs * Vector512<byte>.Count);
        Span<Vector512<short>> rows = MemoryMarshal.Cast<byte, Vector512<short>>(memory.AsSpan())[..pairs];
        for (int y = 0; y < result.Height; y += 4)
        {
            int last = Math.Min(y + 3, result.Height - 1); // stands for those below it too
            ReadOnlySpan<byte> Row(PixelView image, int y) =>
                image.Bytes.Slice(channels * ((firstRow + Math.Min(y, last)) * image.Width + taps.First), channels * count);
            Pair(Row(image, y), Row(image, y + 1), Row(image, y + 2), Row(image, y + 3), channels, rows);
            SumAcross(rows, weights, result.Bytes[(3 * y * outWidth)..(3 * (last + 1) * outWidth)]);
        }
        ArrayPool<byte>.Shared.Return(memory);
        return result;
    }

    // [W, channels] four times -> [W / 2, 4, 4, 2]: the values of two neighbours side by side, channel by channel.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // a picture takes less time than tiering up
    static void Pair(ReadOnlySpan<byte> row0, ReadOnlySpan<byte> row1, ReadOnlySpan<byte> row2, ReadOnlySpan<byte> row3,
        int channels, Span<Vector512<short>> rows)
    {
        const byte none = 255; // a value that is 0
        Vector128<byte> order = channels == 3
            ? Vector128.Create(0, none, 3, none, 1, none, 4, none, 2, none, 5, none, none, none, none, none)
            : Vector128.Create(0, none, 4, none, 1, none, 5, none, 2, none, 6, none, none, none, none, none);
        int i = 0;
        for (int at = 0; at + sizeof(ulong) <= row0.Length && i < rows.Length; at += 2 * channels, i++)
            rows[i] = Pair(Eight(row0, at), Eight(row1, at), Eight(row2, at), Eight(row3, at), order);
        for (; i < rows.Length; i++) // the last pair may lack a pixel
        {
            int at = 2 * channels * i;
            rows[i] = Pair(Rest(row0[at..]), Rest(row1[at..]), Rest(row2[at..]), Rest(row3[at..]), order);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<short> Pair(ulong pixels0, ulong pixels1, ulong pixels2, ulong pixels3, Vector128<byte> order) =>
        Vector512.Create(Vector256.Create(Pair(pixels0, order), Pair(pixels1, order)),
            Vector256.Create(Pair(pixels2, order), Pair(pixels3, order)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<short> Pair(ulong pixels, Vector128<byte> order) =>
        Vector128.ShuffleNative(Vector128.CreateScalarUnsafe(pixels).AsByte(), order).AsInt16();

    // All four rows have the length of the first.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong Eight(ReadOnlySpan<byte> row, int at) =>
        Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref MemoryMarshal.GetReference(row), at));

    static ulong Rest(ReadOnlySpan<byte> row)
    {
        Span<byte> eight = stackalloc byte[sizeof(ulong)];
        eight.Clear();
        row[..Math.Min(row.Length, eight.Length)].CopyTo(eight);
        return BitConverter.ToUInt64(eight);
    }

    // [Win / 2] of four rows -> [up to 4, W, 3]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // a picture takes less time than tiering up
    static void SumAcross(ReadOnlySpan<Vector512<short>> rows, PairedTaps taps, Span<byte> target)
    {
        int stride = 3 * taps.Count, end = target.Length == 4 * stride ? stride - 3 : 0;
        ref byte start = ref MemoryMarshal.GetReference(target);
        ReadOnlySpan<(int High, int Low)> all = taps.All;
        for (int at = 0; at < stride; at += 3)
        {
            (int first, int pairs) = all[0];
            ReadOnlySpan<(int High, int Low)> weights = all.Slice(1, pairs);
            ref Vector512<short> pixels = ref MemoryMarshal.GetReference(rows.Slice(first, pairs));
            Vector512<int> high = Vector512<int>.Zero, low = Vector512.Create(Half);
            for (int k = 0; k < weights.Length; k++)
            {
                Vector512<short> pair = Unsafe.Add(ref pixels, k);
                high += SumOfProducts(pair, Vector512.Create(weights[k].High).AsInt16());
                low += SumOfProducts(pair, Vector512.Create(weights[k].Low).AsInt16());
            }
            Vector512<int> sum = ((high << PairedTaps.LowBits) + low) >> Precision;
            Vector128<uint> bytes = ToBytes(sum.GetLower(), sum.GetUpper()).AsUInt32();
            if (at < end) // four bytes each, of which the next pixel overwrites the fourth
            {
                Unsafe.WriteUnaligned(ref Unsafe.Add(ref start, at), bytes[0]);
                Unsafe.WriteUnaligned(ref Unsafe.Add(ref start, at + stride), bytes[1]);
                Unsafe.WriteUnaligned(ref Unsafe.Add(ref start, at + 2 * stride), bytes[2]);
                Unsafe.WriteUnaligned(ref Unsafe.Add(ref start, at + 3 * stride), bytes[3]);
            }
            else
                for (int row = 0; row * stride < target.Length; row++)
                    MemoryMarshal.AsBytes([bytes[row]])[..3].CopyTo(target[(row * stride + at)..]);
            all = all[(1 + pairs)..];
        }
    }

    // Of neighbours: a0 b0 + a1 b1, a2 b2 + a3 b3 ...
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<int> SumOfProducts(Vector512<short> a, Vector512<short> b) => Avx512BW.IsSupported
        ? Avx512BW.MultiplyAddAdjacent(a, b)
        : Vector512.Create(SumOfProducts(a.GetLower(), b.GetLower()), SumOfProducts(a.GetUpper(), b.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<int> SumOfProducts(Vector256<short> a, Vector256<short> b) => Avx2.IsSupported
        ? Avx2.MultiplyAddAdjacent(a, b)
        : ((a.AsInt32() << 16) >> 16) * ((b.AsInt32() << 16) >> 16) + (a.AsInt32() >> 16) * (b.AsInt32() >> 16);

    // Clamped to 0 to 255.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<byte> ToBytes(Vector256<int> lower, Vector256<int> upper)
    {
        Vector256<short> words = Vector256.Narrow(Clamp(lower), Clamp(upper));
        return Vector128.Narrow(words.GetLower().AsUInt16(), words.GetUpper().AsUInt16());
    }

    // [H, W, 3] -> [Hout, W, 3]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // a picture takes less time than tiering up
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
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
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
        return ToBytes(low >> Precision, high >> Precision);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<ushort> Widen(Vector128<byte> bytes)
    {
        (Vector128<ushort> lower, Vector128<ushort> upper) = Vector128.Widen(bytes);
        return Vector256.Create(lower, upper);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
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

    // Taps for two inputs at a time; of each weight the high and the low bits, which fit 16-bit products. In rented memory.
    sealed class PairedTaps : IDisposable
    {
        public const int LowBits = Precision / 2;

        readonly (int High, int Low)[] _memory;
        readonly int _length;

        public PairedTaps(Taps taps)
        {
            Count = taps.Count;
            _memory = ArrayPool<(int, int)>.Shared.Rent(checked((taps.Most / 2 + 3) * Count));
            for (int i = 0; i < Count; i++)
            {
                ReadOnlySpan<int> weights = taps.Weights(i);
                int start = taps.Start(i) - taps.First, first = start / 2, pairs = (start + weights.Length + 1) / 2 - first;
                Span<(int High, int Low)> tap = _memory.AsSpan(_length, 1 + pairs);
                tap[0] = (first, pairs);
                tap[1..].Clear();
                for (int k = 0; k < weights.Length; k++)
                {
                    ref (int High, int Low) pair = ref tap[1 + (start + k) / 2 - first];
                    int shift = 16 * ((start + k) % 2);
                    pair.High |= ((weights[k] >> LowBits) & 0xFFFF) << shift;
                    pair.Low |= (weights[k] & ((1 << LowBits) - 1)) << shift;
                }
                _length += tap.Length;
            }
        }

        public int Count { get; }

        // For each output its first pair, counted from the first input that is read at all, the number of pairs, their weights.
        public ReadOnlySpan<(int High, int Low)> All => _memory.AsSpan(0, _length);

        public void Dispose() => ArrayPool<(int, int)>.Shared.Return(_memory);
    }

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

        // Inputs that an output reads at most.
        public int Most => _stride;

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
