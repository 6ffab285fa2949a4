namespace MLNetMultimodal.Models.Ops;

/// <summary>Shape rules of the operations, for engines that know shapes but no values. Errors name what was found and what was
/// wanted.</summary>
public static class Shapes
{
    /// <summary>The axis counted from the front.</summary>
    /// <exception cref="ArgumentException">There is no such axis.</exception>
    public static int Axis(int axis, int rank)
    {
        int result = axis < 0 ? axis + rank : axis;
        return result >= 0 && result < rank ? result : throw new ArgumentException($"axis {axis} does not exist in a tensor of {rank} dimensions.", nameof(axis));
    }

    /// <summary>NumPy's broadcasting of two shapes.</summary>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    public static Dim[] Broadcast(ReadOnlySpan<Dim> a, ReadOnlySpan<Dim> b)
    {
        var result = new Dim[Math.Max(a.Length, b.Length)];
        for (int i = 1; i <= result.Length; i++)
        {
            Dim left = i <= a.Length ? a[^i] : 1, right = i <= b.Length ? b[^i] : 1;
            result[^i] = (left, right) switch
            {
                _ when left == right => left,
                _ when left is { IsKnown: true, Size: 1 } => right,
                _ when right is { IsKnown: true, Size: 1 } => left,
                _ when !left.IsKnown => right,
                _ when !right.IsKnown => left,
                _ => throw new ArgumentException($"shapes {Text(a)} and {Text(b)} do not broadcast."),
            };
        }
        return result;
    }

    /// <summary>[.., n, k] x [.., k, m] -> [.., n, m].</summary>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    public static Dim[] MatMul(ReadOnlySpan<Dim> a, ReadOnlySpan<Dim> b)
    {
        if (a.Length < 2 || b.Length < 2 || (a[^1].IsKnown && b[^2].IsKnown && a[^1] != b[^2]))
            throw new ArgumentException($"matrices {Text(a)} and {Text(b)} cannot be multiplied.");
        return [.. Broadcast(a[..^2], b[..^2]), a[^2], b[^1]];
    }

    /// <summary>The shape after a reduction over one axis.</summary>
    public static Dim[] Reduce(ReadOnlySpan<Dim> x, int axis, bool keepDims)
    {
        axis = Axis(axis, x.Length);
        return keepDims ? [.. x[..axis], 1, .. x[(axis + 1)..]] : [.. x[..axis], .. x[(axis + 1)..]];
    }

    /// <summary>The shape of tensors joined along an axis.</summary>
    /// <exception cref="ArgumentException">Ranks or other dimensions differ.</exception>
    public static Dim[] Concat(int axis, IReadOnlyList<Dim[]> parts)
    {
        Dim[] result = [.. parts[0]];
        axis = Axis(axis, result.Length);
        foreach (Dim[] part in parts.Skip(1))
        {
            if (part.Length != result.Length) throw new ArgumentException($"tensors {Text(result)} and {Text(part)} cannot be joined.");
            for (int i = 0; i < part.Length; i++)
            {
                if (i == axis) result[i] += part[i];
                else if (result[i].IsKnown && part[i].IsKnown && result[i] != part[i])
                    throw new ArgumentException($"tensors {Text(result)} and {Text(part)} cannot be joined along axis {axis}.");
                else if (part[i].IsKnown) result[i] = part[i];
            }
        }
        return result;
    }

    /// <summary>Start and end of a slice along a dimension, counted from the front; <paramref name="end"/> as in
    /// <see cref="ITensorOps{T}.Slice"/>.</summary>
    /// <exception cref="ArgumentException">The slice is empty or leaves the dimension.</exception>
    public static Dim Slice(Dim size, int start, int end)
    {
        int stop = end == int.MaxValue ? size.Size : end < 0 ? size.Size + end : end;
        if (size.IsKnown && (start < 0 || stop > size.Size || start >= stop))
            throw new ArgumentException($"the slice {start}..{end} is not inside a dimension of {size}.");
        bool fixedLength = size.IsKnown || end is >= 0 and not int.MaxValue;
        return fixedLength ? stop - start : start == 0 && end == int.MaxValue ? size : Dim.Dynamic($"{size}[{start}:{(end == int.MaxValue ? "" : end)}]", Math.Max(1, stop - start));
    }

    /// <summary>The shape of a 1-D convolution's result.</summary>
    /// <exception cref="ArgumentException">The signal has other channels, or is shorter than the kernel.</exception>
    public static Dim[] Conv1d(ReadOnlySpan<Dim> x, Conv1dConfig c)
    {
        if (x.Length != 3 || x[1].Size != c.In || (x[2].IsKnown && x[2].Size + 2 * c.Padding < c.Reach))
            throw new ArgumentException($"a convolution wants [B, {c.In}, at least {c.Reach - 2 * c.Padding}], but gets {Text(x)}.");
        Dim length = x[2];
        bool same = c.Stride == 1 && 2 * c.Padding == c.Reach - 1;
        return [x[0], c.Out, same ? length : Sized(length, $"conv({length},{c.Reach},{c.Stride},{c.Padding})", Math.Max(1, c.OutSize(length.Size)))];
    }

    /// <summary>The shape of a 1-D transposed convolution's result.</summary>
    /// <param name="x">[B, in, T].</param>
    /// <param name="weight">[in, out, kernel].</param>
    /// <param name="stride">Steps between two kernels.</param>
    /// <exception cref="ArgumentException">The signal has other channels.</exception>
    public static Dim[] ConvTranspose1d(ReadOnlySpan<Dim> x, ReadOnlySpan<Dim> weight, int stride)
    {
        if (x.Length != 3 || x[1].Size != weight[0].Size)
            throw new ArgumentException($"a transposed convolution wants [B, {weight[0]}, T], but gets {Text(x)}.");
        int kernel = weight[2].Size;
        return [x[0], weight[1], Sized(x[2], $"spread({x[2]},{kernel},{stride})", (x[2].Size - 1) * stride + kernel)];
    }

    /// <summary>The shape after padding.</summary>
    public static Dim[] Pad(ReadOnlySpan<Dim> x, Padding1d padding) =>
        [.. x[..^1], Sized(x[^1], $"pad({x[^1]},{padding.Before},{padding.After},{padding.Multiple})", (int)(x[^1].Size + padding.Before + padding.AfterOf(x[^1].Size)))];

    static Dim Sized(Dim from, string symbol, int size) => from.IsKnown ? size : Dim.Dynamic(symbol, size);

    /// <summary>Checks that the last dimension is <paramref name="width"/>.</summary>
    /// <exception cref="ArgumentException">It is not.</exception>
    public static void RequireWidth(ReadOnlySpan<Dim> x, int width, Name name)
    {
        if (x.Length == 0 || (x[^1].IsKnown && x[^1].Size != width))
            throw new ArgumentException($"{name} wants [.., {width}], but gets {Text(x)}.");
    }

    /// <summary>For example <c>[batch, 3, 224, 224]</c>.</summary>
    public static string Text(ReadOnlySpan<Dim> shape) => $"[{string.Join(", ", shape.ToArray())}]";
}
