using MLNetMultimodal.Models.Ops;
using static MLNetMultimodal.Inference.Onnx.OnnxGraph;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>The engine that records: each operation becomes a few nodes of a graph.</summary>
/// <param name="graph">What is written.</param>
/// <param name="linear">Its linear layers.</param>
/// <param name="selfAttention">Makes one node of self-attention; null for several.</param>
sealed class OnnxOps(OnnxGraph graph, OnnxLinear linear, SelfAttention? selfAttention) : ITensorOps<OnnxValue>
{
    readonly Dictionary<string, OnnxValue> _masks = new(StringComparer.Ordinal);
    readonly Dictionary<string, OnnxValue> _tokens = new(StringComparer.Ordinal); // [B, N, D] of a [B, D, H, W]

    OnnxValue Same(string op, OnnxValue x, params ReadOnlySpan<AttributeProto> attributes) =>
        graph.Node(op, [x], x.Type, x.Shape, attributes);

    OnnxValue Broadcast(string op, OnnxValue a, OnnxValue b) => graph.Node(op, [a, b], a.Type, Shapes.Broadcast(a.Shape, b.Shape));

    // ---- weights ----

    public OnnxValue Parameter(Name name, Init init, params ReadOnlySpan<int> shape) =>
        graph.Weight(name.ToString(), WeightLayout.AsIs, shape);

    public OnnxValue Linear(OnnxValue x, Name name, int inWidth, int outWidth, bool bias = true, Init init = default)
    {
        Shapes.RequireWidth(x.Shape, inWidth, name);
        OnnxValue? b = bias ? Parameter(name / "bias", default, outWidth) : null;
        return linear.Apply(x, new((name / "weight").ToString(), outWidth, inWidth), b);               // [.., in] -> [.., out]
    }

    public OnnxValue Linear(OnnxValue x, OnnxValue weight, OnnxValue? bias)
    {
        if (graph.Target == GraphTarget.Fastest) return linear.Product(x, weight, bias);
        OnnxValue y = MatMul(x, Permute(weight, [1, 0]));                                               // [.., in] -> [.., out]
        return bias is null ? y : Add(y, bias);
    }

    public OnnxValue Embedding(OnnxValue ids, Name name, int count, int width, Init init = default) =>
        graph.Node("Gather", [Parameter(name / "weight", default, count, width), ids], ElementType.Float32, [.. ids.Shape, width]);

    public OnnxValue Embedding(OnnxValue ids, OnnxValue table) =>
        graph.Node("Gather", [table, ids], table.Type, [.. ids.Shape, table.Shape[1]]);

    public OnnxValue LayerNorm(OnnxValue x, Name name, float epsilon)
    {
        int width = x.Shape[^1].Size;
        OnnxValue weight = Parameter(name / "weight", default, width), bias = Parameter(name / "bias", default, width);
        OnnxValue y = graph.Node("LayerNormalization", [x, weight, bias], x.Type, x.Shape,
            Attribute("axis", -1), Attribute("epsilon", epsilon));
        linear.Normed(y, (name / "weight").ToString(), (name / "bias").ToString());
        return y;
    }

    public OnnxValue LayerNorm(OnnxValue x, float epsilon)
    {
        float[] ones = new float[x.Shape[^1].Size];
        Array.Fill(ones, 1);
        return graph.Node("LayerNormalization", [x, graph.Vector(ones)], x.Type, x.Shape, Attribute("axis", -1), Attribute("epsilon", epsilon));
    }

    public OnnxValue RmsNorm(OnnxValue x, Name name, float epsilon)
    {
        OnnxValue rms = graph.Node("Sqrt", [Add(Mean(Broadcast("Pow", x, graph.Scalar(2f)), -1, keepDims: true), epsilon)],
            x.Type, Shapes.Reduce(x.Shape, -1, keepDims: true));
        return Multiply(Divide(x, rms), Parameter(name / "weight", default, x.Shape[^1].Size));
    }

    public OnnxValue GroupNorm(OnnxValue x, Name name, int groups, float epsilon)
    {
        int channels = x.Shape[1].Size;
        float[] ones = new float[groups], zeros = new float[groups];
        Array.Fill(ones, 1);
        // One group is one channel of an instance norm; the scale of the real channels follows.
        Dim size = x.Shape[2..].Aggregate((Dim)(channels / groups), (product, d) => product * d);
        OnnxValue grouped = Reshape(x, [x.Shape[0], groups, size], axis => graph.Size(x, axis)); // [B, C, H, W] -> [B, G, C/G H W]
        OnnxValue y = graph.Node("InstanceNormalization", [grouped, graph.Vector(ones), graph.Vector(zeros)], x.Type, grouped.Shape,
            Attribute("epsilon", epsilon));
        y = Reshape(y, x.Shape, axis => graph.Size(x, axis));                                           // -> [B, C, H, W]
        y = Multiply(y, graph.Weight((name / "weight").ToString(), WeightLayout.Channels, channels));
        return Add(y, graph.Weight((name / "bias").ToString(), WeightLayout.Channels, channels));
    }

    public OnnxValue Conv2d(OnnxValue x, Name name, Conv2dConfig c)
    {
        OnnxValue? bias = c.Bias ? Parameter(name / "bias", default, c.Out) : null;
        if (graph.Target == GraphTarget.Fastest && ArePatches(x, c)) return Patches(x, (name / "weight").ToString(), bias, c);
        OnnxValue weight = Parameter(name / "weight", default, c.Out, c.In / c.Groups, c.Kernel, c.Kernel);
        OnnxValue[] inputs = bias is null ? [x, weight] : [x, weight, bias];
        return graph.Node("Conv", inputs, x.Type, [x.Shape[0], c.Out, c.OutSize(x.Shape[2].Size), c.OutSize(x.Shape[3].Size)],
            Attribute("kernel_shape", c.Kernel, c.Kernel), Attribute("strides", c.Stride, c.Stride),
            Attribute("pads", c.Padding, c.Padding, c.Padding, c.Padding), Attribute("group", c.Groups));
    }

    static bool ArePatches(OnnxValue x, Conv2dConfig c) => c is { Kernel: > 1, Padding: 0, Groups: 1 } && c.Stride == c.Kernel
        && x.Shape[2].Size % c.Kernel == 0 && x.Shape[3].Size % c.Kernel == 0;

    /// <summary>A convolution whose windows do not overlap is a linear layer of each window: [B, C, H, W] -> [B, D, H/P, W/P].</summary>
    OnnxValue Patches(OnnxValue x, string weight, OnnxValue? bias, Conv2dConfig c)
    {
        OnnxValue windows = Rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", ("p", c.Kernel), ("q", c.Kernel));
        OnnxValue tokens = linear.Apply(windows, new(weight, c.Out, c.In, c.Kernel, c.Kernel), bias);  // -> [B, N, D]
        OnnxValue y = Rearrange(tokens, "b (h w) d -> b d h w", ("w", x.Shape[3].Size / c.Kernel));
        _tokens[y.Name] = tokens;
        return y;
    }

    public OnnxValue Conv1d(OnnxValue x, OnnxValue weight, OnnxValue? bias, Conv1dConfig c)
    {
        OnnxValue[] inputs = bias is null ? [x, weight] : [x, weight, bias];
        return graph.Node("Conv", inputs, x.Type, Shapes.Conv1d(x.Shape, c), Attribute("kernel_shape", [(long)c.Kernel]),
            Attribute("strides", [(long)c.Stride]), Attribute("dilations", [(long)c.Dilation]),
            Attribute("pads", c.Padding, c.Padding), Attribute("group", c.Groups));
    }

    public OnnxValue ConvTranspose1d(OnnxValue x, OnnxValue weight, OnnxValue? bias, int stride)
    {
        OnnxValue[] inputs = bias is null ? [x, weight] : [x, weight, bias];
        return graph.Node("ConvTranspose", inputs, x.Type, Shapes.ConvTranspose1d(x.Shape, weight.Shape, stride),
            Attribute("kernel_shape", [(long)weight.Shape[2].Size]), Attribute("strides", [(long)stride]));
    }

    public OnnxValue Pad(OnnxValue x, Padding1d padding)
    {
        if (padding is { Before: 0, After: 0, Multiple: 1 }) return x;
        Dim[] shape = Shapes.Pad(x.Shape, padding);
        OnnxValue length = graph.Size(x, x.Shape.Length - 1), before = graph.Vector((long)padding.Before);
        OnnxValue after = graph.Vector((long)padding.After);
        if (padding.Multiple > 1)
        {
            OnnxValue multiple = graph.Vector((long)padding.Multiple);
            after = Add(after, Broadcast("Mod", Subtract(multiple, Broadcast("Mod", length, multiple)), multiple));
        }
        if (!padding.Reflects) return Padded(x, before, after, "constant", shape);
        // A mirror sees no further than the signal is long: zeros follow where it must.
        OnnxValue lacking = Broadcast("Max", graph.Vector(0L), Add(Subtract(Broadcast("Max", before, after), length), graph.Vector(1L)));
        OnnxValue longer = Padded(x, graph.Vector(0L), lacking, "constant", [.. x.Shape[..^1], Dim.Dynamic($"{x.Shape[^1]}+zeros")]);
        OnnxValue mirrored = Padded(longer, before, after, "reflect", [.. x.Shape[..^1], Dim.Dynamic($"{shape[^1]}+zeros")]);
        return SliceTo(mirrored, x.Shape.Length - 1, shape[^1], 0, Add(length, Add(before, after)));
    }

    /// <summary>The last axis lengthened by Int64 [1] at each end.</summary>
    OnnxValue Padded(OnnxValue x, OnnxValue before, OnnxValue after, string mode, Dim[] shape)
    {
        OnnxValue none = graph.Vector(new long[x.Shape.Length - 1]);
        OnnxValue pads = graph.Node("Concat", [none, before, none, after], ElementType.Int64, [2 * x.Shape.Length], Attribute("axis", 0));
        return graph.Node("Pad", [x, pads], x.Type, shape, Attribute("mode", mode));
    }

    public OnnxValue Lstm(OnnxValue x, Name name, int inWidth, int width, int layers)
    {
        Shapes.RequireWidth(x.Shape, inWidth, name);
        x = Permute(x, [1, 0, 2]);                                                                      // [B, L, D] -> [L, B, D]
        for (int l = 0; l < layers; l++)
        {
            int from = l == 0 ? inWidth : width;
            OnnxValue bias = Concat(0, Gates(name / $"bias_ih_l{l}", width), Gates(name / $"bias_hh_l{l}", width));
            OnnxValue y = graph.Node("LSTM",
                [x, Leading(Gates(name / $"weight_ih_l{l}", width, from)), Leading(Gates(name / $"weight_hh_l{l}", width, width)), Leading(bias)],
                x.Type, [x.Shape[0], 1, x.Shape[1], width], Attribute("hidden_size", width));
            x = graph.Node("Squeeze", [y, graph.Vector(1L)], x.Type, [x.Shape[0], x.Shape[1], width]);
        }
        return Permute(x, [1, 0, 2]);
    }

    /// <summary>A weight of an LSTM with its gates in ONNX's order: input, output, forget, cell.</summary>
    OnnxValue Gates(Name name, int width, params ReadOnlySpan<int> from)
    {
        OnnxValue weight = Parameter(name, default, [4 * width, .. from]);
        OnnxValue Gate(int gate) => Slice(weight, 0, gate * width, (gate + 1) * width);
        return Concat(0, Gate(0), Gate(3), Gate(1), Gate(2));
    }

    /// <summary>[..] -> [1, ..].</summary>
    OnnxValue Leading(OnnxValue x) => graph.Node("Unsqueeze", [x, graph.Vector(0L)], x.Type, [1, .. x.Shape]);

    // ---- attention ----

    public OnnxValue Attention(OnnxValue q, OnnxValue k, OnnxValue v, Mask<OnnxValue> mask = default)
    {
        OnnxValue y = MatMul(AttentionWeights(q, k, mask), v);
        selfAttention?.Attended(y, q, k, v, mask);
        return y;
    }

    public OnnxValue AttentionWeights(OnnxValue q, OnnxValue k, Mask<OnnxValue> mask = default)
    {
        OnnxValue scores = MatMul(Multiply(q, 1 / MathF.Sqrt(q.Shape[^1].Size)), Permute(k, [0, 1, 3, 2])); // -> [B, nh, Lq, Lk]
        if (mask.Bias is not null) scores = Add(scores, mask.Bias);
        OnnxValue? keep = Keep(q, k, mask);
        // float.MinValue swallows a score that is added to it, but not a bias of its own size.
        if (keep is not null && mask.Bias is null) scores = Add(scores, Penalty(keep));
        else if (keep is not null) scores = Where(keep, scores, graph.Scalar(float.MinValue));
        return Softmax(scores, -1);
    }

    /// <summary>Both masks in one Bool that broadcasts to [B, nh, Lq, Lk]; null where nothing is masked.</summary>
    OnnxValue? Keep(OnnxValue q, OnnxValue k, Mask<OnnxValue> mask)
    {
        OnnxValue? keep = mask.Keep;
        if (keep is { Shape.Length: 2 })
            keep = Once($"tokens {keep.Name}", () => graph.Node(
                "Unsqueeze", [keep, graph.Vector(1L, 2)], ElementType.Bool, [keep.Shape[0], 1, 1, keep.Shape[1]]));
        if (!mask.Causal) return keep;
        OnnxValue causal = Once($"causal {q.Shape[2]} {k.Shape[2]} {mask.Places?.Name}", () => Causal(q, k, mask.Places));
        return keep is null ? causal : Once($"and {keep.Name} {causal.Name}", () => Broadcast("And", keep, causal));
    }

    OnnxValue Causal(OnnxValue q, OnnxValue k, OnnxValue? places)
    {
        OnnxValue columns = Positions(k);                                                               // [Lk]
        if (places is not null)
        {
            Dim[] each = [places.Shape[0], 1, places.Shape[1], 1];
            places = graph.Node("Unsqueeze", [places, graph.Vector(1L, 3)], ElementType.Int64, each);   // [B, Lq] -> [B, 1, Lq, 1]
            return Broadcast("GreaterOrEqual", places, columns) with { Type = ElementType.Bool };       // [B, 1, Lq, Lk]
        }
        OnnxValue rows = graph.Node("Unsqueeze", [Positions(q), graph.Vector(1L)], ElementType.Int64, [q.Shape[2], 1]);
        return graph.Node("GreaterOrEqual", [rows, columns], ElementType.Bool, [q.Shape[2], k.Shape[2]]);
    }

    OnnxValue Positions(OnnxValue x) => Once($"positions {x.Shape[2]}", () =>
    {
        OnnxValue length = graph.Node("Squeeze", [graph.Size(x, 2)], ElementType.Int64, []);
        return graph.Node("Range", [graph.Scalar(0L), length, graph.Scalar(1L)], ElementType.Int64, [x.Shape[2]]);
    });

    OnnxValue Penalty(OnnxValue keep) =>
        Once($"penalty {keep.Name}", () => Where(keep, graph.Scalar(0f), graph.Scalar(float.MinValue)));

    OnnxValue Once(string key, Func<OnnxValue> make) => _masks.TryGetValue(key, out OnnxValue? known) ? known : _masks[key] = make();

    public OnnxValue SplitHeads(OnnxValue x, int heads)
    {
        OnnxValue y = Rearrange(x, "b l (n d) -> b n l d", ("n", heads));
        selfAttention?.Split(y, x);
        return y;
    }

    public OnnxValue MergeHeads(OnnxValue x) => selfAttention?.TryMerge(x) ?? Rearrange(x, "b n l d -> b l (n d)");

    // ---- element by element ----

    public OnnxValue Activate(OnnxValue x, Activation kind) => kind switch
    {
        Activation.Gelu => Multiply(Multiply(x, Add(Same("Erf", Divide(x, graph.Scalar(MathF.Sqrt(2)))), 1)), 0.5f),
        Activation.GeluTanh => Multiply(Multiply(x, 0.5f), Add(Same("Tanh", Multiply(
            Add(x, Multiply(Broadcast("Pow", x, graph.Scalar(3f)), 0.044715f)), MathF.Sqrt(2 / MathF.PI))), 1)),
        Activation.QuickGelu => linear.TryQuickGelu(x) ?? Multiply(x, Same("Sigmoid", Multiply(x, 1.702f))),
        Activation.Relu => Same("Relu", x),
        Activation.Silu => Multiply(x, Same("Sigmoid", x)),
        Activation.Tanh => Same("Tanh", x),
        Activation.Sigmoid => Same("Sigmoid", x),
        Activation.Elu => Same("Elu", x),
        _ => throw new NotSupportedException($"activation {kind} is not known."),
    };

    public OnnxValue Add(OnnxValue a, OnnxValue b) => Broadcast("Add", a, b);

    public OnnxValue Add(OnnxValue x, float c) => Broadcast("Add", x, graph.Scalar(c));

    public OnnxValue Subtract(OnnxValue a, OnnxValue b) => Broadcast("Sub", a, b);

    public OnnxValue Multiply(OnnxValue a, OnnxValue b) => Broadcast("Mul", a, b);

    public OnnxValue Multiply(OnnxValue x, float c) => Broadcast("Mul", x, graph.Scalar(c));

    public OnnxValue Divide(OnnxValue a, OnnxValue b) => Broadcast("Div", a, b);

    public OnnxValue Exp(OnnxValue x) => Same("Exp", x);

    public OnnxValue Not(OnnxValue x) => Same("Not", x);

    public OnnxValue Equal(OnnxValue x, long value) => graph.Node("Equal", [x, graph.Scalar(value)], ElementType.Bool, x.Shape);

    public OnnxValue Where(OnnxValue condition, OnnxValue a, OnnxValue b) =>
        graph.Node("Where", [condition, a, b], a.Type, Shapes.Broadcast(condition.Shape, Shapes.Broadcast(a.Shape, b.Shape)));

    // ---- over axes ----

    public OnnxValue MatMul(OnnxValue a, OnnxValue b) => graph.Node("MatMul", [a, b], a.Type, Shapes.MatMul(a.Shape, b.Shape));

    public OnnxValue Softmax(OnnxValue x, int axis) => Same("Softmax", x, Attribute("axis", axis));

    public OnnxValue L2Normalize(OnnxValue x)
    {
        OnnxValue length = graph.Node("ReduceL2", [x], x.Type,
            Shapes.Reduce(x.Shape, -1, keepDims: true), Attribute("axes", [-1L]), Attribute("keepdims", 1));
        return Divide(x, Broadcast("Max", length, graph.Scalar(1e-12f)));
    }

    public OnnxValue Mean(OnnxValue x, int axis, bool keepDims = false) => graph.Node("ReduceMean", [x], x.Type,
        Shapes.Reduce(x.Shape, axis, keepDims), Attribute("axes", [(long)axis]), Attribute("keepdims", keepDims ? 1 : 0));

    public OnnxValue Sum(OnnxValue x, int axis, bool keepDims = false) =>
        graph.Node("ReduceSum", [x, graph.Vector((long)axis)], x.Type, Shapes.Reduce(x.Shape, axis, keepDims),
            Attribute("keepdims", keepDims ? 1 : 0));

    public OnnxValue Max(OnnxValue x, int axis) => graph.Node("ReduceMax", [x], x.Type,
        Shapes.Reduce(x.Shape, axis, keepDims: false), Attribute("axes", [(long)axis]), Attribute("keepdims", 0));

    public OnnxValue CumulativeSum(OnnxValue x, int axis) => graph.Node("CumSum", [x, graph.Scalar((long)axis)], x.Type, x.Shape);

    public OnnxValue ArgMax(OnnxValue x, int axis)
    {
        if (x.Type == ElementType.Bool)
            x = graph.Node("Cast", [x], ElementType.Int64, x.Shape, Attribute("to", OnnxType(ElementType.Int64)));
        return graph.Node("ArgMax", [x], ElementType.Int64,
            Shapes.Reduce(x.Shape, axis, keepDims: false), Attribute("axis", axis), Attribute("keepdims", 0));
    }

    // ---- shape ----

    public OnnxValue Rearrange(OnnxValue x, string pattern, params ReadOnlySpan<(string Axis, int Size)> sizes)
    {
        if (pattern == "b d h w -> b (h w) d" && _tokens.TryGetValue(x.Name, out OnnxValue? tokens)) return tokens;
        Rearrangement plan = Rearrangement.Parse(pattern);
        var (split, order, merged) = plan.Apply(x.Shape, sizes);
        OnnxValue y = Reshape(x, split, axis => SplitSize(x, split, plan.LeftGroups, axis));
        y = Permute(y, order);
        return Reshape(y, merged, axis => MergedSize(y, plan.RightGroups, axis));
    }

    /// <summary>Int64 [1]: what is left of a group of <paramref name="x"/> for the one axis of it that is not known.</summary>
    OnnxValue SplitSize(OnnxValue x, Dim[] split, IReadOnlyList<int> groups, int axis)
    {
        int group = 0, first = 0;
        while (first + groups[group] <= axis) first += groups[group++];
        int divisor = split[first..(first + groups[group])].Where(d => d.IsKnown).Aggregate(1, (p, d) => p * d.Size);
        OnnxValue size = graph.Size(x, group);
        return divisor == 1 ? size : Divide(size, graph.Vector((long)divisor));
    }

    /// <summary>Int64 [1]: the product of a group of axes of <paramref name="y"/>.</summary>
    OnnxValue MergedSize(OnnxValue y, IReadOnlyList<int> groups, int axis)
    {
        int first = groups.Take(axis).Sum();
        return Enumerable.Range(first, groups[axis]).Select(a => graph.Size(y, a)).Aggregate(Multiply);
    }

    /// <summary>One Reshape; its target is a constant where at most one dimension is neither known nor kept in place.</summary>
    OnnxValue Reshape(OnnxValue x, Dim[] shape, Func<int, OnnxValue> size)
    {
        if (x.Shape.SequenceEqual(shape)) return x;
        bool Kept(int axis) => axis < x.Shape.Length && x.Shape[axis] == shape[axis];
        bool constant = Enumerable.Range(0, shape.Length).Count(a => !shape[a].IsKnown && !Kept(a)) <= 1;
        OnnxValue target = constant
            ? graph.Vector([.. shape.Select((d, a) => d.IsKnown ? (long)d.Size : Kept(a) ? 0 : -1)])
            : graph.Node("Concat", [.. shape.Select((d, a) => d.IsKnown ? graph.Vector((long)d.Size) : size(a))],
                ElementType.Int64, [shape.Length], Attribute("axis", 0));
        return graph.Node("Reshape", [x, target], x.Type, shape);
    }

    OnnxValue Permute(OnnxValue x, int[] order) => order.SequenceEqual(Enumerable.Range(0, order.Length)) ? x
        : graph.Node("Transpose", [x], x.Type, [.. order.Select(a => x.Shape[a])], Attribute("perm", order.Select(a => (long)a)));

    public OnnxValue Concat(int axis, params ReadOnlySpan<OnnxValue> parts) =>
        graph.Node("Concat", parts, parts[0].Type,
            Shapes.Concat(axis, [.. parts.ToArray().Select(p => p.Shape)]), Attribute("axis", axis));

    public OnnxValue Slice(OnnxValue x, int axis, int start, int end)
    {
        axis = Shapes.Axis(axis, x.Shape.Length);
        OnnxValue stop = graph.Vector(end == int.MaxValue ? long.MaxValue : end);
        return SliceTo(x, axis, Shapes.Slice(x.Shape[axis], start, end), start, stop);
    }

    public OnnxValue SliceLike(OnnxValue x, int axis, OnnxValue like, int likeAxis)
    {
        axis = Shapes.Axis(axis, x.Shape.Length);
        likeAxis = Shapes.Axis(likeAxis, like.Shape.Length);
        return SliceTo(x, axis, like.Shape[likeAxis], 0, graph.Size(like, likeAxis));
    }

    OnnxValue SliceTo(OnnxValue x, int axis, Dim size, long start, OnnxValue end)
    {
        if (size == x.Shape[axis]) return x;
        Dim[] shape = [.. x.Shape];
        shape[axis] = size;
        return graph.Node("Slice", [x, graph.Vector(start), end, graph.Vector((long)axis)], x.Type, shape);
    }

    public OnnxValue RepeatBatch(OnnxValue x, OnnxValue like)
    {
        OnnxValue batch = graph.Size(like, 0);
        long[] ones = new long[x.Shape.Length]; // Expand leaves an axis alone where its target is 1
        Array.Fill(ones, 1);
        OnnxValue target = ones.Length == 0 ? batch
            : graph.Node("Concat", [batch, graph.Vector(ones)], ElementType.Int64, [1 + ones.Length], Attribute("axis", 0));
        return graph.Node("Expand", [x, target], x.Type, [like.Shape[0], .. x.Shape]);
    }

    public OnnxValue PickToken(OnnxValue tokens, OnnxValue index)
    {
        OnnxValue indices = graph.Node("Unsqueeze", [index, graph.Vector(1L)], ElementType.Int64, [index.Shape[0], 1]);
        return graph.Node("GatherND", [tokens, indices], tokens.Type,
            [tokens.Shape[0], .. tokens.Shape[2..]], Attribute("batch_dims", 1));
    }

    public OnnxValue PickTokens(OnnxValue tokens, OnnxValue index)
    {
        OnnxValue indices = graph.Node("Unsqueeze", [index, graph.Vector(2L)], ElementType.Int64, [.. index.Shape, 1]);
        return graph.Node("GatherND", [tokens, indices], tokens.Type, [.. index.Shape, tokens.Shape[2]], Attribute("batch_dims", 1));
    }

    // ---- routing ----

    public OnnxValue Largest(OnnxValue x, int count)
    {
        int width = x.Shape[^1].Size;
        OnnxValue indices = graph.Last("TopK", [x, graph.Vector((long)count)], ElementType.Int64, [.. x.Shape[..^1], count],
            outputs: 2, Attribute("axis", -1));
        OnnxValue hot = graph.Node("OneHot", [indices, graph.Scalar((long)width), graph.Vector(0L, 1L)], ElementType.Int64,
            [.. indices.Shape, width]);
        return Equal(Sum(hot, -2), 1);
    }

    public OnnxValue TakeTokens(OnnxValue x, OnnxValue keep, double share) => graph.Node("GatherND", [x, Places(keep)], x.Type,
        [Places(keep).Shape[0], .. x.Shape[2..]]);

    public OnnxValue PutTokens(OnnxValue rows, OnnxValue keep)
    {
        Dim[] shape = [.. keep.Shape, .. rows.Shape[1..]];
        OnnxValue sizes = graph.Node("Concat", [graph.Size(keep, 0), graph.Size(keep, 1), graph.Vector((long)shape[2].Size)],
            ElementType.Int64, [3], Attribute("axis", 0));
        OnnxValue zeros = graph.Node("Expand", [graph.Scalar(0f), sizes], rows.Type, shape);
        return graph.Node("ScatterND", [zeros, Places(keep), rows], rows.Type, shape);
    }

    /// <summary>Where a Bool [B, L] is true: Int64 [n, 2].</summary>
    OnnxValue Places(OnnxValue keep) => Once($"places {keep.Name}", () =>
    {
        var count = Dim.Dynamic($"kept of {keep.Name}");
        OnnxValue columns = graph.Node("NonZero", [keep], ElementType.Int64, [2, count]);
        return Permute(columns, [1, 0]);
    });

    // ---- training ----

    public OnnxValue PatchDropout(OnnxValue tokens, int prefixTokens) => tokens;
}
