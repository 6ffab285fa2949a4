using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Google.Protobuf;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>A value of a graph: what a node gives, an input, or a constant.</summary>
sealed record OnnxValue(string Name, ElementType Type, Dim[] Shape);

/// <summary>How a weight is laid out in the graph.</summary>
enum WeightLayout
{
    /// <summary>As in the checkpoint.</summary>
    AsIs,

    /// <summary>[out, in] -> [in, out], what MatMul takes.</summary>
    Transposed,

    /// <summary>[C] -> [C, 1, 1], what broadcasts over [B, C, H, W].</summary>
    Channels,
}

/// <summary>Writes nodes, constants and weights of one graph. Every constant, weight and run-time size stands in it once;
/// dimensions with the same symbol are taken to be equal.</summary>
sealed class OnnxGraph
{
    /// <summary>Operator set 17 (2022) has everything needed, and ONNX Runtime's fusions know its patterns.</summary>
    internal const int OpsetVersion = 17;

    /// <summary>The format version that belongs to <see cref="OpsetVersion"/>.</summary>
    internal const int IrVersion = 8;

    const int Int8Type = 3, Float16Type = 10; // TensorProto.DataType

    readonly IReadOnlyDictionary<string, TensorData> _weights;
    readonly GraphProto _graph;
    readonly OnnxDtype _dtype;
    readonly Dictionary<string, OnnxValue> _stored = new(StringComparer.Ordinal);
    readonly Dictionary<string, string> _quantized = new(StringComparer.Ordinal);
    readonly Dictionary<string, OnnxValue> _constants = new(StringComparer.Ordinal);
    readonly Dictionary<string, OnnxValue> _sizes = new(StringComparer.Ordinal);
    readonly Dictionary<string, TensorProto> _initializers = new(StringComparer.Ordinal);

    public OnnxGraph(string name, IReadOnlyDictionary<string, TensorData> weights, OnnxDtype dtype) =>
        (_graph, _weights, _dtype) = (new() { Name = name }, weights, dtype);

    /// <summary>True where linear layers run on 8-bit integers.</summary>
    public bool Quantizes => _dtype is OnnxDtype.Q8 or OnnxDtype.Int8;

    public OnnxValue Input(TensorSpec spec)
    {
        _graph.Input.Add(ValueInfo(spec.Name, spec.Type, spec.Shape));
        return new(spec.Name, spec.Type, spec.Shape);
    }

    /// <summary>Names a value as a result of the graph.</summary>
    public TensorSpec Output(string name, OnnxValue value)
    {
        _graph.Node.Add(new NodeProto { OpType = "Identity", Name = $"output/{name}", Input = { value.Name }, Output = { name } });
        _graph.Output.Add(ValueInfo(name, value.Type, value.Shape));
        return new(name, value.Type, value.Shape);
    }

    public OnnxValue Node(
        string op, ReadOnlySpan<OnnxValue> inputs, ElementType type, Dim[] shape, params ReadOnlySpan<AttributeProto> attributes)
    {
        var node = new NodeProto { OpType = op, Name = $"{op}_{_graph.Node.Count}" };
        foreach (OnnxValue input in inputs) node.Input.Add(input.Name);
        foreach (AttributeProto attribute in attributes) node.Attribute.Add(attribute);
        node.Output.Add(node.Name);
        _graph.Node.Add(node);
        return new(node.Name, type, shape);
    }

    public static AttributeProto Attribute(string name, long value) =>
        new() { Name = name, I = value, Type = AttributeProto.Types.AttributeType.Int };

    public static AttributeProto Attribute(string name, float value) =>
        new() { Name = name, F = value, Type = AttributeProto.Types.AttributeType.Float };

    public static AttributeProto Attribute(string name, string value) =>
        new() { Name = name, S = ByteString.CopyFromUtf8(value), Type = AttributeProto.Types.AttributeType.String };

    public static AttributeProto Attribute(string name, params IEnumerable<long> values) =>
        new() { Name = name, Ints = { values }, Type = AttributeProto.Types.AttributeType.Ints };

    public OnnxValue Scalar(float value) => Constant<float>(ElementType.Float32, [], [value]);

    public OnnxValue Scalar(long value) => Constant<long>(ElementType.Int64, [], [value]);

    public OnnxValue Vector(params ReadOnlySpan<long> values) => Constant(ElementType.Int64, [values.Length], values);

    public OnnxValue Vector(params ReadOnlySpan<float> values) => Constant(ElementType.Float32, [values.Length], values);

    OnnxValue Constant<T>(ElementType type, Dim[] shape, ReadOnlySpan<T> values) where T : unmanaged
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(values);
        string key = $"{type}{Shapes.Text(shape)}{Convert.ToHexString(bytes)}";
        if (_constants.TryGetValue(key, out OnnxValue? known)) return known;
        var value = new OnnxValue($"constant_{_constants.Count}", type, shape);
        AddInitializer(value, ByteString.CopyFrom(bytes));
        return _constants[key] = value;
    }

    /// <summary>A weight of the checkpoint as 32-bit floats.</summary>
    /// <exception cref="InvalidDataException">The checkpoint lacks it, or has it in another shape.</exception>
    public OnnxValue Weight(string name, WeightLayout layout, params ReadOnlySpan<int> shape)
    {
        string key = layout == WeightLayout.AsIs ? name : $"{name}/{layout}";
        if (_stored.TryGetValue(key, out OnnxValue? known)) return known;
        TensorData data = Find(name, shape);
        Dim[] wanted = [.. shape.ToArray().Select(d => (Dim)d)];
        var value = new OnnxValue(key, ElementType.Float32, layout switch
        {
            WeightLayout.Transposed => [wanted[1], wanted[0]],
            WeightLayout.Channels => [wanted[0], 1, 1],
            _ => wanted,
        });
        ReadOnlyMemory<byte> bytes = layout == WeightLayout.Transposed ? Transpose(data) : Singles(data);
        if (_dtype != OnnxDtype.Fp16) AddInitializer(value, UnsafeByteOperations.UnsafeWrap(bytes));
        else
        {
            AddInitializer(value, UnsafeByteOperations.UnsafeWrap(Halves(name, bytes.Span)), Float16Type);
            value = Node("Cast", [value], ElementType.Float32, value.Shape, Attribute("to", OnnxType(ElementType.Float32)));
        }
        return _stored[key] = value;
    }

    TensorData Find(string name, ReadOnlySpan<int> shape)
    {
        string wanted = Shapes.Text([.. shape.ToArray().Select(d => (Dim)d)]);
        if (!_weights.TryGetValue(name, out TensorData? data))
            throw new InvalidDataException($"the weight {name} {wanted} is missing.");
        return data.Shape.SequenceEqual(shape.ToArray().Select(d => (long)d)) ? data
            : throw new InvalidDataException($"the weight {name} is [{string.Join(", ", data.Shape)}], wanted {wanted}.");
    }

    static byte[] Halves(string name, ReadOnlySpan<byte> singles)
    {
        ReadOnlySpan<float> from = MemoryMarshal.Cast<byte, float>(singles);
        var bytes = new byte[from.Length * 2];
        Span<Half> to = MemoryMarshal.Cast<byte, Half>(bytes.AsSpan());
        for (int i = 0; i < from.Length; i++)
        {
            to[i] = (Half)from[i];
            if (Half.IsInfinity(to[i]) && float.IsFinite(from[i]))
                throw new InvalidDataException($"the weight {name} holds {from[i]:g4}, which is beyond a 16-bit float; export fp32 or q8.");
        }
        return bytes;
    }

    /// <summary>x W^T on 8-bit integers, as ONNX Runtime's dynamic quantisation lays it out.</summary>
    /// <param name="x">[.., in].</param>
    /// <param name="name">The weight, [out, in] in the checkpoint.</param>
    /// <param name="inWidth">in.</param>
    /// <param name="outWidth">out.</param>
    /// <returns>[.., out].</returns>
    public OnnxValue QuantizedMatMul(OnnxValue x, string name, int inWidth, int outWidth)
    {
        if (!_quantized.TryGetValue(x.Name, out string? q))
        {
            _quantized[x.Name] = q = $"DynamicQuantizeLinear_{_graph.Node.Count}";
            string[] outputs = [q, $"{q}/scale", $"{q}/zero"];
            _graph.Node.Add(new NodeProto { OpType = "DynamicQuantizeLinear", Name = q, Input = { x.Name }, Output = { outputs } });
        }
        var weight = new OnnxValue($"{name}/int8", ElementType.Float32, [inWidth, outWidth]);
        var scale = new OnnxValue($"{name}/scale", ElementType.Float32, [outWidth]);
        if (!_initializers.ContainsKey(weight.Name))
        {
            var (values, scales) = Quantize(Find(name, [outWidth, inWidth]));
            AddInitializer(weight, UnsafeByteOperations.UnsafeWrap(values), Int8Type);
            AddInitializer(scale, ByteString.CopyFrom(MemoryMarshal.AsBytes<float>(scales)));
        }
        Dim[] shape = [.. x.Shape[..^1], outWidth];
        var input = new OnnxValue(q, ElementType.Float32, x.Shape);
        OnnxValue sums = Node("MatMulInteger", [input, weight, input with { Name = $"{q}/zero" }], ElementType.Int64, shape);
        OnnxValue product = Node("Mul", [new($"{q}/scale", ElementType.Float32, []), scale], ElementType.Float32, scale.Shape);
        sums = Node("Cast", [sums], ElementType.Float32, shape, Attribute("to", OnnxType(ElementType.Float32)));
        return Node("Mul", [sums, product], ElementType.Float32, shape);
    }

    /// <summary>[out, in] -> signed bytes [in, out] and one scale per output, so that the largest weight of each is 127.</summary>
    static (byte[] Values, float[] Scales) Quantize(TensorData data)
    {
        int rows = (int)data.Shape[0], columns = (int)data.Shape[1];
        ReadOnlySpan<float> from = MemoryMarshal.Cast<byte, float>(Singles(data).Span);
        var values = new byte[data.Count];
        var scales = new float[rows];
        for (int r = 0; r < rows; r++)
        {
            ReadOnlySpan<float> row = from.Slice(r * columns, columns);
            float largest = TensorPrimitives.MaxMagnitude(row);
            scales[r] = largest == 0 ? 1 : MathF.Abs(largest) / sbyte.MaxValue;
            for (int c = 0; c < columns; c++)
                values[c * rows + r] = unchecked((byte)(sbyte)MathF.Round(Math.Clamp(row[c] / scales[r], -127, 127)));
        }
        return (values, scales);
    }

    static ReadOnlyMemory<byte> Singles(TensorData data)
    {
        if (data.Type == DType.F32) return data.Bytes;
        var bytes = new byte[data.Count * sizeof(float)];
        data.CopyTo(MemoryMarshal.Cast<byte, float>(bytes.AsSpan()));
        return bytes;
    }

    static byte[] Transpose(TensorData data)
    {
        const int tile = 32; // both sides of a tile stay in the first-level cache
        int rows = (int)data.Shape[0], columns = (int)data.Shape[1];
        var bytes = new byte[data.Count * sizeof(float)];
        ReadOnlySpan<float> from = MemoryMarshal.Cast<byte, float>(Singles(data).Span);
        Span<float> to = MemoryMarshal.Cast<byte, float>(bytes.AsSpan());
        for (int top = 0; top < rows; top += tile)
            for (int left = 0; left < columns; left += tile)
                for (int r = top; r < Math.Min(top + tile, rows); r++)
                    for (int c = left; c < Math.Min(left + tile, columns); c++) to[c * rows + r] = from[r * columns + c];
        return bytes;
    }

    void AddInitializer(OnnxValue value, ByteString content, int? onnxType = null) => _initializers.Add(value.Name, new()
    {
        Name = value.Name,
        DataType = onnxType ?? OnnxType(value.Type),
        Dims = { value.Shape.Select(d => (long)d.Size) },
        RawData = content,
    });

    /// <summary>The size of an axis as Int64 [1].</summary>
    public OnnxValue Size(OnnxValue x, int axis)
    {
        if (x.Shape[axis].IsKnown) return Vector(x.Shape[axis].Size);
        string symbol = x.Shape[axis].Symbol!;
        if (!_sizes.TryGetValue(symbol, out OnnxValue? size))
            _sizes[symbol] = size = Node("Shape", [x], ElementType.Int64, [1], Attribute("start", axis), Attribute("end", axis + 1L));
        return size;
    }

    /// <summary>The finished graph: only what its outputs need.</summary>
    /// <param name="onlyUsedInputs">True leaves out the inputs that no output needs.</param>
    public ModelProto Build(bool onlyUsedInputs = false)
    {
        HashSet<string> used = [.. _graph.Output.Select(o => o.Name)];
        for (int i = _graph.Node.Count - 1; i >= 0; i--) // nodes stand after those they take from
        {
            if (_graph.Node[i].Output.Any(used.Contains)) used.UnionWith(_graph.Node[i].Input);
            else _graph.Node.RemoveAt(i);
        }
        for (int i = _graph.Input.Count - 1; onlyUsedInputs && i >= 0; i--)
            if (!used.Contains(_graph.Input[i].Name)) _graph.Input.RemoveAt(i);
        _graph.Initializer.AddRange(_initializers.Values.Where(i => used.Contains(i.Name)));
        return new()
        {
            IrVersion = IrVersion,
            ProducerName = "MLNetMultimodal",
            ProducerVersion = typeof(OnnxGraph).Assembly.GetName().Version!.ToString(3),
            OpsetImport = { new OperatorSetIdProto { Version = OpsetVersion } },
            Graph = _graph,
        };
    }

    static ValueInfoProto ValueInfo(string name, ElementType type, Dim[] shape)
    {
        var dims = shape.Select(d =>
            d.IsKnown ? new TensorShapeProto.Types.Dimension { DimValue = d.Size } : new() { DimParam = d.Symbol });
        var tensor = new TypeProto.Types.Tensor { ElemType = OnnxType(type), Shape = new() { Dim = { dims } } };
        return new() { Name = name, Type = new() { TensorType = tensor } };
    }

    internal static int OnnxType(ElementType type) => type switch
    {
        ElementType.Float32 => 1,
        ElementType.Int64 => 7,
        ElementType.Bool => 9,
        _ => throw new NotSupportedException($"element type {type} is not known."),
    };
}
