namespace MLNetMultimodal.Models.Ops;

/// <summary>A tensor of which only the shape is known.</summary>
public sealed class ShapeOnly
{
    internal ShapeOnly(params Dim[] shape) => Shape = shape;

    /// <summary>Its dimensions.</summary>
    public IReadOnlyList<Dim> Shape { get; }

    internal Dim[] Dims => (Dim[])Shape;

    internal long Count => Shape.Aggregate(1L, (n, d) => n * d.Size);
}

/// <summary>The engine that only counts: it collects the weights that a program asks for, checks shapes, and adds up
/// multiplications and activations.
/// One matrix product [n, k] x [k, m] counts 2nkm floating-point operations; element-wise work counts one per element.</summary>
public sealed class SummaryOps : ITensorOps<ShapeOnly>
{
    readonly Dictionary<string, ParameterSpec> _parameters = new(StringComparer.Ordinal);
    int _taken;

    /// <summary>The weights asked for so far, in the order of first use.</summary>
    public IReadOnlyList<ParameterSpec> Parameters => [.. _parameters.Values];

    /// <summary>Floating-point operations so far.</summary>
    public long Flops { get; private set; }

    /// <summary>Elements of all results so far: what training keeps for the backward pass.</summary>
    public long Activations { get; private set; }

    internal List<(string Layer, string Operation, string Shape, long Flops)> Layers { get; } = [];

    ShapeOnly Out(Dim[] shape, long flops = 0)
    {
        var result = new ShapeOnly(shape);
        Flops += flops;
        Activations += result.Count;
        return result;
    }

    ShapeOnly Out(string layer, string operation, Dim[] shape, long flops)
    {
        Layers.Add((layer, operation, Shapes.Text(shape), flops));
        return Out(shape, flops);
    }

    ShapeOnly Same(ShapeOnly x, int flopsPerElement = 1) => Out(x.Dims, flopsPerElement * x.Count);

    ShapeOnly Broadcast(ShapeOnly a, ShapeOnly b)
    {
        Dim[] shape = Shapes.Broadcast(a.Dims, b.Dims);
        return Out(shape, shape.Aggregate(1L, (n, d) => n * d.Size));
    }

    void Declare(Name name, Init init, bool decays, params ReadOnlySpan<int> shape)
    {
        var spec = new ParameterSpec(name.ToString(), shape.ToArray(), init, decays);
        if (!_parameters.TryAdd(spec.Name, spec) && !_parameters[spec.Name].Shape.SequenceEqual(spec.Shape))
            throw new ArgumentException($"the weight {spec.Name} is used as {_parameters[spec.Name]} and as {spec}.");
    }

    /// <inheritdoc/>
    public ShapeOnly Parameter(Name name, Init init, params ReadOnlySpan<int> shape)
    {
        bool isBias = shape.Length < 2 || name.ToString().Contains("position", StringComparison.Ordinal);
        Declare(name, init.Or(Init.Normal(0.02f)), !isBias, shape);
        return new([.. shape.ToArray().Select(d => (Dim)d)]);
    }

    /// <inheritdoc/>
    public ShapeOnly Linear(ShapeOnly x, Name name, int inWidth, int outWidth, bool bias = true, Init init = default)
    {
        Shapes.RequireWidth(x.Dims, inWidth, name);
        Declare(name / "weight", init.Or(Init.Normal(1 / MathF.Sqrt(inWidth))), true, outWidth, inWidth);
        if (bias) Declare(name / "bias", Init.Zeros, false, outWidth);
        return Out(name.ToString(), "Linear", [.. x.Dims[..^1], outWidth], 2 * x.Count * outWidth);
    }

    /// <inheritdoc/>
    public ShapeOnly Linear(ShapeOnly x, ShapeOnly weight, ShapeOnly? bias)
    {
        Shapes.RequireWidth(x.Dims, weight.Dims[1].Size, "linear");
        return Out([.. x.Dims[..^1], weight.Dims[0]], 2 * x.Count * weight.Dims[0].Size);
    }

    /// <inheritdoc/>
    public ShapeOnly Embedding(ShapeOnly ids, Name name, int count, int width, Init init = default)
    {
        Declare(name / "weight", init.Or(Init.Normal(0.02f)), true, count, width);
        return Out(name.ToString(), "Embedding", [.. ids.Dims, width], 0);
    }

    /// <inheritdoc/>
    public ShapeOnly Embedding(ShapeOnly ids, ShapeOnly table) => Out([.. ids.Dims, table.Dims[1]]);

    /// <inheritdoc/>
    public ShapeOnly LayerNorm(ShapeOnly x, Name name, float epsilon)
    {
        Declare(name / "weight", Init.Ones, false, x.Dims[^1].Size);
        Declare(name / "bias", Init.Zeros, false, x.Dims[^1].Size);
        return Same(x, 8);
    }

    /// <inheritdoc/>
    public ShapeOnly LayerNorm(ShapeOnly x, float epsilon) => Same(x, 6);

    /// <inheritdoc/>
    public ShapeOnly RmsNorm(ShapeOnly x, Name name, float epsilon)
    {
        Declare(name / "weight", Init.Ones, false, x.Dims[^1].Size);
        return Same(x, 4);
    }

    /// <inheritdoc/>
    public ShapeOnly GroupNorm(ShapeOnly x, Name name, int groups, float epsilon)
    {
        int channels = x.Dims[1].Size;
        if (channels % groups != 0) throw new ArgumentException($"{name}: {channels} channels cannot be split into {groups} groups.", nameof(groups));
        Declare(name / "weight", Init.Ones, false, channels);
        Declare(name / "bias", Init.Zeros, false, channels);
        return Same(x, 8);
    }

    /// <inheritdoc/>
    public ShapeOnly Conv2d(ShapeOnly x, Name name, Conv2dConfig c)
    {
        if (x.Dims.Length != 4 || x.Dims[1].Size != c.In)
            throw new ArgumentException($"{name} wants [B, {c.In}, H, W], but gets {Shapes.Text(x.Dims)}.");
        int fanIn = c.In / c.Groups * c.Kernel * c.Kernel;
        Declare(name / "weight", c.Init.Or(Init.Normal(1 / MathF.Sqrt(fanIn))), true, c.Out, c.In / c.Groups, c.Kernel, c.Kernel);
        if (c.Bias) Declare(name / "bias", Init.Zeros, false, c.Out);
        int h = c.OutSize(x.Dims[2].Size), w = c.OutSize(x.Dims[3].Size);
        return Out(name.ToString(), "Conv2d", [x.Dims[0], c.Out, h, w], 2L * x.Dims[0].Size * c.Out * h * w * fanIn);
    }

    /// <inheritdoc/>
    public ShapeOnly Conv1d(ShapeOnly x, ShapeOnly weight, ShapeOnly? bias, Conv1dConfig c)
    {
        if (weight.Dims is not [var o, var i, var k] || o != c.Out || i != c.In / c.Groups || k != c.Kernel)
            throw new ArgumentException($"the kernel must be [{c.Out}, {c.In / c.Groups}, {c.Kernel}], but is {Shapes.Text(weight.Dims)}.", nameof(weight));
        Dim[] shape = Shapes.Conv1d(x.Dims, c);
        return Out("conv1d", "Conv1d", shape, 2L * shape[0].Size * c.Out * shape[2].Size * (c.In / c.Groups * c.Kernel));
    }

    /// <inheritdoc/>
    public ShapeOnly ConvTranspose1d(ShapeOnly x, ShapeOnly weight, ShapeOnly? bias, int stride) => Out("convtranspose1d", "ConvTranspose1d",
        Shapes.ConvTranspose1d(x.Dims, weight.Dims, stride), 2 * x.Count * weight.Dims[1].Size * weight.Dims[2].Size);

    /// <inheritdoc/>
    public ShapeOnly Pad(ShapeOnly x, Padding1d padding) => Out(Shapes.Pad(x.Dims, padding));

    /// <inheritdoc/>
    public ShapeOnly Lstm(ShapeOnly x, Name name, int inWidth, int width, int layers)
    {
        Shapes.RequireWidth(x.Dims, inWidth, name);
        long steps = x.Count / inWidth, flops = 0;
        for (int l = 0; l < layers; l++)
        {
            int from = l == 0 ? inWidth : width;
            Init init = Init.Normal(1 / MathF.Sqrt(width));
            Declare(name / $"weight_ih_l{l}", init, true, 4 * width, from);
            Declare(name / $"weight_hh_l{l}", init, true, 4 * width, width);
            Declare(name / $"bias_ih_l{l}", Init.Zeros, false, 4 * width);
            Declare(name / $"bias_hh_l{l}", Init.Zeros, false, 4 * width);
            flops += 2 * steps * 4 * width * (from + width);
        }
        return Out(name.ToString(), "Lstm", [.. x.Dims[..^1], width], flops);
    }

    /// <inheritdoc/>
    public ShapeOnly Attention(ShapeOnly q, ShapeOnly k, ShapeOnly v, Mask<ShapeOnly> mask = default) => MatMul(AttentionWeights(q, k, mask), v);

    /// <inheritdoc/>
    public ShapeOnly AttentionWeights(ShapeOnly q, ShapeOnly k, Mask<ShapeOnly> mask = default) =>
        Softmax(MatMul(q, new([.. k.Dims[..^2], k.Dims[^1], k.Dims[^2]])), -1);

    /// <inheritdoc/>
    public ShapeOnly SplitHeads(ShapeOnly x, int heads) => Rearrange(x, "b l (n d) -> b n l d", ("n", heads));

    /// <inheritdoc/>
    public ShapeOnly MergeHeads(ShapeOnly x) => Rearrange(x, "b n l d -> b l (n d)");

    /// <inheritdoc/>
    public ShapeOnly Activate(ShapeOnly x, Activation kind) => Same(x);

    /// <inheritdoc/>
    public ShapeOnly Add(ShapeOnly a, ShapeOnly b) => Broadcast(a, b);

    /// <inheritdoc/>
    public ShapeOnly Add(ShapeOnly x, float c) => Same(x);

    /// <inheritdoc/>
    public ShapeOnly Subtract(ShapeOnly a, ShapeOnly b) => Broadcast(a, b);

    /// <inheritdoc/>
    public ShapeOnly Multiply(ShapeOnly a, ShapeOnly b) => Broadcast(a, b);

    /// <inheritdoc/>
    public ShapeOnly Multiply(ShapeOnly x, float c) => Same(x);

    /// <inheritdoc/>
    public ShapeOnly Divide(ShapeOnly a, ShapeOnly b) => Broadcast(a, b);

    /// <inheritdoc/>
    public ShapeOnly Exp(ShapeOnly x) => Same(x);

    /// <inheritdoc/>
    public ShapeOnly Equal(ShapeOnly x, long value) => Same(x);

    /// <inheritdoc/>
    public ShapeOnly Not(ShapeOnly x) => Same(x);

    /// <inheritdoc/>
    public ShapeOnly Where(ShapeOnly condition, ShapeOnly a, ShapeOnly b) => Broadcast(new(Shapes.Broadcast(a.Dims, b.Dims)), condition);

    /// <inheritdoc/>
    public ShapeOnly MatMul(ShapeOnly a, ShapeOnly b)
    {
        Dim[] shape = Shapes.MatMul(a.Dims, b.Dims);
        return Out(shape, 2 * shape.Aggregate(1L, (n, d) => n * d.Size) * a.Dims[^1].Size);
    }

    /// <inheritdoc/>
    public ShapeOnly Softmax(ShapeOnly x, int axis) => Same(x, 5);

    /// <inheritdoc/>
    public ShapeOnly L2Normalize(ShapeOnly x) => Same(x, 3);

    /// <inheritdoc/>
    public ShapeOnly Mean(ShapeOnly x, int axis, bool keepDims = false) => Out(Shapes.Reduce(x.Dims, axis, keepDims), x.Count);

    /// <inheritdoc/>
    public ShapeOnly Sum(ShapeOnly x, int axis, bool keepDims = false) => Out(Shapes.Reduce(x.Dims, axis, keepDims), x.Count);

    /// <inheritdoc/>
    public ShapeOnly Max(ShapeOnly x, int axis) => Out(Shapes.Reduce(x.Dims, axis, false), x.Count);

    /// <inheritdoc/>
    public ShapeOnly CumulativeSum(ShapeOnly x, int axis) => Same(x, 1);

    /// <inheritdoc/>
    public ShapeOnly ArgMax(ShapeOnly x, int axis) => Out(Shapes.Reduce(x.Dims, axis, false), x.Count);

    /// <inheritdoc/>
    public ShapeOnly Rearrange(ShapeOnly x, string pattern, params ReadOnlySpan<(string Axis, int Size)> sizes) =>
        Out(Rearrangement.Parse(pattern).Apply(x.Dims, sizes).Merged);

    /// <inheritdoc/>
    public ShapeOnly Concat(int axis, params ReadOnlySpan<ShapeOnly> parts) => Out(Shapes.Concat(axis, [.. parts.ToArray().Select(p => p.Dims)]));

    /// <inheritdoc/>
    public ShapeOnly Slice(ShapeOnly x, int axis, int start, int end) => Resize(x, axis, d => Shapes.Slice(d, start, end));

    /// <inheritdoc/>
    public ShapeOnly SliceLike(ShapeOnly x, int axis, ShapeOnly like, int likeAxis) =>
        Resize(x, axis, _ => like.Dims[Shapes.Axis(likeAxis, like.Dims.Length)]);

    ShapeOnly Resize(ShapeOnly x, int axis, Func<Dim, Dim> size)
    {
        Dim[] shape = [.. x.Dims];
        axis = Shapes.Axis(axis, shape.Length);
        shape[axis] = size(shape[axis]);
        return Out(shape);
    }

    /// <inheritdoc/>
    public ShapeOnly RepeatBatch(ShapeOnly x, ShapeOnly like) => Out([like.Dims[0], .. x.Dims]);

    /// <inheritdoc/>
    public ShapeOnly PickToken(ShapeOnly tokens, ShapeOnly index) => Out([tokens.Dims[0], tokens.Dims[2]]);

    /// <inheritdoc/>
    public ShapeOnly PickTokens(ShapeOnly tokens, ShapeOnly index) => Out([tokens.Dims[0], index.Dims[1], tokens.Dims[2]]);

    /// <inheritdoc/>
    public ShapeOnly Largest(ShapeOnly x, int count) => Same(x, count);

    /// <inheritdoc/>
    public ShapeOnly TakeTokens(ShapeOnly x, ShapeOnly keep, double share)
    {
        int typical = Math.Max(1, (int)Math.Round(share * keep.Count));
        return Out([Dim.Dynamic($"taken{_taken++}", typical), .. x.Dims[2..]]);
    }

    /// <inheritdoc/>
    public ShapeOnly PutTokens(ShapeOnly rows, ShapeOnly keep) => Out([.. keep.Dims, .. rows.Dims[1..]]);

    /// <inheritdoc/>
    public ShapeOnly PatchDropout(ShapeOnly tokens, int prefixTokens) => tokens;
}
