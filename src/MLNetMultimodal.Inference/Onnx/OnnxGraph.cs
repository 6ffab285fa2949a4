using System.Globalization;
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

    /// <summary>[out, ..] -> [out, in]: the kernel of a convolution as a matrix.</summary>
    Rows,
}

/// <summary>Writes nodes, constants and weights of one graph. Every constant, weight and run-time size stands in it once;
/// dimensions with the same symbol are taken to be equal.</summary>
sealed class OnnxGraph
{
    /// <summary>Operator set 17 (2022) has everything needed, and ONNX Runtime's fusions know its patterns.</summary>
    internal const int OpsetVersion = 17;

    /// <summary>The format version that belongs to <see cref="OpsetVersion"/>.</summary>
    internal const int IrVersion = 8;

    internal const int Uint8Type = 2, Int8Type = 3; // TensorProto.DataType
    const int Float16Type = 10;
    const string FusedDomain = "com.microsoft";
    const int MinMappedBytes = 1024; // smaller weights are copied into the graph

    readonly IReadOnlyDictionary<string, TensorData> _weights;
    readonly GraphProto _graph;
    readonly bool _halves, _maps;
    readonly List<NodeProto> _casts = [];
    readonly Dictionary<string, TensorData> _mapped = new(StringComparer.Ordinal);
    readonly Dictionary<string, OnnxValue> _stored = new(StringComparer.Ordinal);
    readonly Dictionary<string, OnnxValue> _constants = new(StringComparer.Ordinal);
    readonly Dictionary<string, OnnxValue> _sizes = new(StringComparer.Ordinal);
    readonly Dictionary<string, TensorProto> _initializers = new(StringComparer.Ordinal);

    /// <param name="name">Name of the graph.</param>
    /// <param name="weights">Weights by name.</param>
    /// <param name="target">Who is to run it.</param>
    /// <param name="halves">True stores weights as 16-bit floats.</param>
    /// <param name="maps">True leaves weights in the files in which they lie.</param>
    public OnnxGraph(string name, IReadOnlyDictionary<string, TensorData> weights, GraphTarget target, bool halves, bool maps) =>
        (_graph, _weights, Target, _halves, _maps) = (new() { Name = name }, weights, target, halves, maps);

    /// <summary>Who is to run it.</summary>
    public GraphTarget Target { get; }

    /// <summary>Weights that stand in the graph as a place in a file, by path; a tensor of each file.</summary>
    public IReadOnlyDictionary<string, TensorData> Mapped => _mapped;

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

    /// <summary>A node of an operator that ONNX Runtime has beyond the standard. Inputs that are left out are
    /// <see cref="Nothing"/>.</summary>
    public OnnxValue Fused(
        string op, ReadOnlySpan<OnnxValue> inputs, ElementType type, Dim[] shape, params ReadOnlySpan<AttributeProto> attributes)
    {
        OnnxValue value = Node(op, inputs, type, shape, attributes);
        _graph.Node[^1].Domain = FusedDomain;
        return value;
    }

    /// <summary>An input that is left out.</summary>
    public static OnnxValue Nothing { get; } = new("", ElementType.Float32, []);

    /// <summary>A node of several outputs; the first is named as the node, the others behind a slash.</summary>
    public OnnxValue Node(string op, OnnxValue input, ElementType type, params ReadOnlySpan<string> others)
    {
        OnnxValue value = Node(op, [input], type, input.Shape);
        foreach (string other in others) _graph.Node[^1].Output.Add($"{value.Name}/{other}");
        return value;
    }

    /// <summary>The last output of a node of several.</summary>
    public OnnxValue Last(string op, ReadOnlySpan<OnnxValue> inputs, ElementType type, Dim[] shape, int outputs,
        params ReadOnlySpan<AttributeProto> attributes)
    {
        OnnxValue value = Node(op, inputs, type, shape, attributes);
        for (int i = 1; i < outputs; i++) _graph.Node[^1].Output.Add($"{value.Name}/{i}");
        return value with { Name = $"{value.Name}/{outputs - 1}" };
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
            WeightLayout.Rows => [wanted[0], wanted[1..].Aggregate((a, b) => a * b)],
            _ => wanted,
        });
        return _stored[key] = Store(name, value, data, transposed: layout == WeightLayout.Transposed);
    }

    OnnxValue Store(string name, OnnxValue value, TensorData data, bool transposed)
    {
        if (_halves)
        {
            ReadOnlyMemory<byte> singles = transposed ? Transpose(data) : Singles(data);
            AddInitializer(value, UnsafeByteOperations.UnsafeWrap(Halves(name, singles.Span)), Float16Type);
            return CastWeight(value);
        }
        if (Target == GraphTarget.Portable)
        {
            AddInitializer(value, UnsafeByteOperations.UnsafeWrap(transposed ? Transpose(data) : Singles(data)));
            return value;
        }
        if (!TryMap(value, data)) AddInitializer(value, UnsafeByteOperations.UnsafeWrap(data.Bytes), OnnxType(data.Type));
        return data.Type == DType.F32 ? value : CastWeight(value); // cast once, when a session is opened
    }

    /// <summary>Says where the weight lies in its file, from which ONNX Runtime maps it. One session reads from one
    /// folder.</summary>
    bool TryMap(OnnxValue value, TensorData data)
    {
        if (!_maps || data.Bytes.Length < MinMappedBytes || !data.TryGetFile(out string? path, out long offset)) return false;
        if (_mapped.Count > 0 && Path.GetDirectoryName(_mapped.First().Key) != Path.GetDirectoryName(path)) return false;
        _mapped.TryAdd(path, data);
        AddInitializer(value, ByteString.Empty, OnnxType(data.Type));
        TensorProto tensor = _initializers[value.Name];
        tensor.DataLocation = TensorProto.Types.DataLocation.External;
        tensor.ExternalData.Add(ExternalData(Path.GetFileName(path), offset, data.Bytes.Length));
        return true;
    }

    /// <summary>The entries of a tensor whose elements lie in a file beside the graph.</summary>
    internal static IEnumerable<StringStringEntryProto> ExternalData(string location, long offset, long length) =>
    [
        new() { Key = "location", Value = location },
        new() { Key = "offset", Value = offset.ToString(CultureInfo.InvariantCulture) },
        new() { Key = "length", Value = length.ToString(CultureInfo.InvariantCulture) },
    ];

    OnnxValue CastWeight(OnnxValue value)
    {
        var cast = value with { Name = $"{value.Name}/Float32" };
        _casts.Add(new()
        {
            OpType = "Cast",
            Name = cast.Name,
            Input = { value.Name },
            Output = { cast.Name },
            Attribute = { Attribute("to", OnnxType(ElementType.Float32)) },
        });
        return cast;
    }

    /// <summary>A weight in another form than the checkpoint's, made once.</summary>
    /// <param name="name">Name in the graph.</param>
    /// <param name="shape">Its shape.</param>
    /// <param name="onnxType">Its element type.</param>
    /// <param name="make">Gives its bytes.</param>
    public OnnxValue Weight(string name, int[] shape, int onnxType, Func<byte[]> make)
    {
        if (_stored.TryGetValue(name, out OnnxValue? known)) return known;
        var value = new OnnxValue(name, ElementType.Float32, [.. shape.Select(d => (Dim)d)]);
        AddInitializer(value, UnsafeByteOperations.UnsafeWrap(make()), onnxType);
        return _stored[name] = value;
    }

    /// <summary>The values of a weight of the checkpoint.</summary>
    /// <exception cref="InvalidDataException">The checkpoint lacks it, or has it in another shape.</exception>
    public ReadOnlyMemory<byte> Values(string name, params ReadOnlySpan<int> shape) => Singles(Find(name, shape));

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

    static ReadOnlyMemory<byte> Singles(TensorData data)
    {
        if (data.Type == DType.F32) return data.Bytes;
        var bytes = new byte[data.Count * sizeof(float)];
        data.CopyTo(MemoryMarshal.Cast<byte, float>(bytes.AsSpan()));
        return bytes;
    }

    static byte[] Transpose(TensorData data)
    {
        var bytes = new byte[data.Count * sizeof(float)];
        ReadOnlySpan<float> from = MemoryMarshal.Cast<byte, float>(Singles(data).Span);
        Transpose(from, MemoryMarshal.Cast<byte, float>(bytes.AsSpan()), (int)data.Shape[0]);
        return bytes;
    }

    /// <summary>[rows, columns] -> [columns, rows].</summary>
    internal static void Transpose<T>(ReadOnlySpan<T> from, Span<T> to, int rows)
    {
        const int tile = 32; // both sides of a tile stay in the first-level cache
        int columns = rows == 0 ? 0 : from.Length / rows;
        for (int top = 0; top < rows; top += tile)
            for (int left = 0; left < columns; left += tile)
                for (int r = top; r < Math.Min(top + tile, rows); r++)
                    for (int c = left; c < Math.Min(left + tile, columns); c++) to[c * rows + r] = from[r * columns + c];
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
        for (int i = 0; i < _casts.Count; i++) _graph.Node.Insert(i, _casts[i]);
        HashSet<string> used = [.. _graph.Output.Select(o => o.Name)];
        for (int i = _graph.Node.Count - 1; i >= 0; i--) // nodes stand after those they take from
        {
            if (_graph.Node[i].Output.Any(used.Contains)) used.UnionWith(_graph.Node[i].Input);
            else _graph.Node.RemoveAt(i);
        }
        for (int i = _graph.Input.Count - 1; onlyUsedInputs && i >= 0; i--)
            if (!used.Contains(_graph.Input[i].Name)) _graph.Input.RemoveAt(i);
        _graph.Initializer.AddRange(_initializers.Values.Where(i => used.Contains(i.Name)));
        var model = new ModelProto
        {
            IrVersion = IrVersion,
            ProducerName = "MLNetMultimodal",
            ProducerVersion = typeof(OnnxGraph).Assembly.GetName().Version!.ToString(3),
            OpsetImport = { new OperatorSetIdProto { Version = OpsetVersion } },
            Graph = _graph,
        };
        if (_graph.Node.Any(n => n.Domain == FusedDomain))
            model.OpsetImport.Add(new OperatorSetIdProto { Domain = FusedDomain, Version = 1 });
        return model;
    }

    static ValueInfoProto ValueInfo(string name, ElementType type, Dim[] shape)
    {
        var dims = shape.Select(d =>
            d.IsKnown ? new TensorShapeProto.Types.Dimension { DimValue = d.Size } : new() { DimParam = d.Symbol });
        var tensor = new TypeProto.Types.Tensor { ElemType = OnnxType(type), Shape = new() { Dim = { dims } } };
        return new() { Name = name, Type = new() { TensorType = tensor } };
    }

    static int OnnxType(DType type) => type switch
    {
        DType.F32 => 1,
        DType.I8 => Int8Type,
        DType.F16 => Float16Type,
        DType.F64 => 11,
        DType.BF16 => 16,
        _ => throw new NotSupportedException($"a weight of {type} is not a float tensor."),
    };

    internal static int OnnxType(ElementType type) => type switch
    {
        ElementType.Float32 => 1,
        ElementType.Int64 => 7,
        ElementType.Bool => 9,
        _ => throw new NotSupportedException($"element type {type} is not known."),
    };
}
