using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using static MLNetMultimodal.Inference.Onnx.OnnxGraph;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>A matrix of the checkpoint.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Shape">[out, in], or the kernel of a convolution, [out, C, P, P], whose last axes are one.</param>
sealed record LinearWeight(string Name, params int[] Shape)
{
    public int Out => Shape[0];

    public int In => Shape[1..].Aggregate((a, b) => a * b);
}

/// <summary>A linear layer of a graph.</summary>
/// <param name="X">What it takes, [.., in].</param>
/// <param name="Weight">Its matrix.</param>
/// <param name="Bias">[out], or null.</param>
readonly record struct OnnxLayer(OnnxValue X, LinearWeight Weight, OnnxValue? Bias);

/// <summary>Linear layers of a graph: x W^T + b in the arithmetic of the dtype.</summary>
sealed class OnnxLinear(OnnxGraph graph, OnnxDtype dtype)
{
    const int BlockSize = 32;       // weights that share a scale, along the inputs
    const int IntegerAccuracy = 4;  // activations become 8-bit integers by blocks, too

    /// <summary>How many times a usual value the largest of a tensor may be before it takes too many of the 256 levels from the
    /// others: at 30, a level is a fourth of a usual value.</summary>
    const float MaxPeak = 30;

    const float QuickGeluSlope = 1.702f;

    /// <summary>What a layer is multiplied with: its input, and its result.</summary>
    readonly record struct Factors(float In, float Out);

    static readonly Factors Ones = new(1, 1);

    readonly Dictionary<string, OnnxLayer> _layers = new(StringComparer.Ordinal);
    readonly Dictionary<string, (OnnxValue X, float Factor)> _multiples = new(StringComparer.Ordinal);
    readonly Dictionary<string, (byte[] Values, float[] Scales)> _quantized = new(StringComparer.Ordinal);
    readonly HashSet<string> _outliers = new(StringComparer.Ordinal);
    readonly Dictionary<string, OnnxValue> _made = new(StringComparer.Ordinal);

    /// <summary>Looks whether gains and biases of a layer norm let some channels stand far above the rest; layers that take its
    /// result keep 32-bit floats where activations would be quantised as a whole.</summary>
    /// <param name="y">What the norm gives.</param>
    /// <param name="weight">Name of the gains, [D].</param>
    /// <param name="bias">Name of the biases, [D].</param>
    public void Normed(OnnxValue y, string weight, string bias)
    {
        if (dtype is not (OnnxDtype.Q8 or OnnxDtype.Int8)) return;
        int width = y.Shape[^1].Size;
        ReadOnlySpan<float> gains = MemoryMarshal.Cast<byte, float>(graph.Values(weight, width).Span);
        ReadOnlySpan<float> biases = MemoryMarshal.Cast<byte, float>(graph.Values(bias, width).Span);
        var usual = new float[width];
        TensorPrimitives.Hypot(gains, biases, usual);
        float peak = 0;
        for (int i = 0; i < width; i++) peak = MathF.Max(peak, 3 * MathF.Abs(gains[i]) + MathF.Abs(biases[i])); // 3 deviations
        Array.Sort(usual);
        if (peak > MaxPeak * usual[width / 2]) _outliers.Add(y.Name);
    }

    /// <summary>x W^T + b.</summary>
    /// <param name="x">[.., in].</param>
    /// <param name="weight">The matrix.</param>
    /// <param name="bias">[out], or null.</param>
    /// <returns>[.., out].</returns>
    public OnnxValue Apply(OnnxValue x, LinearWeight weight, OnnxValue? bias)
    {
        if (_multiples.TryGetValue(x.Name, out var multiple)) return Apply(multiple.X, weight, bias, new(multiple.Factor, 1));
        OnnxValue y = Apply(x, weight, bias, Ones);
        _layers.TryAdd(y.Name, new(x, weight, bias));
        return y;
    }

    /// <summary>The layer that gave a value; null where none did.</summary>
    public OnnxLayer? Find(OnnxValue y) => _layers.TryGetValue(y.Name, out OnnxLayer layer) ? layer : null;

    OnnxValue Apply(OnnxValue x, LinearWeight weight, OnnxValue? bias, Factors factors) => dtype switch
    {
        OnnxDtype.Q8 or OnnxDtype.Int8 or OnnxDtype.Q4 or OnnxDtype.Q8Blocks when IsVectorPerItem(x) => Whole(x, weight, bias, factors),
        OnnxDtype.Q8 or OnnxDtype.Int8 when !_outliers.Contains(x.Name) => Integers(x, weight, bias, factors),
        OnnxDtype.Q4 when weight.Shape.Length == 2 => Blocks(x, weight, bias, bits: 4, factors),
        OnnxDtype.Q8Blocks when weight.Shape.Length == 2 => Blocks(x, weight, bias, bits: 8, factors),
        _ => Whole(x, weight, bias, factors),
    };

    /// <summary>True before a projection or a head, which costs little and whose error goes straight into the embedding. Tokens that
    /// several texts begin with are a matrix too.</summary>
    static bool IsVectorPerItem(OnnxValue x) => x.Shape.Length == 2 && x.Shape[0] != ICausalTextProgram.PrefixCount;

    /// <summary>QuickGELU of a layer's result, x sigmoid(1.702 x), as SiLU(1.702 x) / 1.702: ONNX Runtime has vector code for SiLU only,
    /// which takes less than half the time, and the layers before and after take the factors along for nothing.</summary>
    /// <param name="x">The result of a layer.</param>
    /// <returns>Null where that does not go.</returns>
    public OnnxValue? TryQuickGelu(OnnxValue x)
    {
        if (graph.Target != GraphTarget.Fastest || Find(x) is not { } layer) return null;
        OnnxValue steep = Apply(layer.X, layer.Weight, layer.Bias, new(1, QuickGeluSlope));
        OnnxValue silu = graph.Fused("QuickGelu", [steep], x.Type, x.Shape, Attribute("alpha", 1f));
        OnnxValue y = graph.Node("Mul", [silu, graph.Scalar(1 / QuickGeluSlope)], x.Type, x.Shape); // left out where layers take it along
        _multiples[y.Name] = (silu, 1 / QuickGeluSlope);
        return y;
    }

    OnnxValue Whole(OnnxValue x, LinearWeight weight, OnnxValue? bias, Factors factors)
    {
        if (graph.Target == GraphTarget.Fastest)
        {
            WeightLayout layout = weight.Shape.Length == 2 ? WeightLayout.AsIs : WeightLayout.Rows;
            return Product(x, graph.Weight(weight.Name, layout, weight.Shape), bias, factors);
        }
        OnnxValue transposed = graph.Weight(weight.Name, WeightLayout.Transposed, weight.Shape);
        return Biased(graph.Node("MatMul", [x, transposed], x.Type, [.. x.Shape[..^1], weight.Out]), bias);
    }

    /// <summary>x W^T + b by one Gemm over all rows: it takes the weight as checkpoints have it, and adds the bias on the
    /// way. Where batch and length are open, as in texts, a product without Gemm's reshaping is the faster one.</summary>
    /// <param name="x">[.., in].</param>
    /// <param name="weight">[out, in].</param>
    /// <param name="bias">[out], or null.</param>
    /// <returns>[.., out].</returns>
    public OnnxValue Product(OnnxValue x, OnnxValue weight, OnnxValue? bias) => Product(x, weight, bias, Ones);

    OnnxValue Product(OnnxValue x, OnnxValue weight, OnnxValue? bias, Factors factors)
    {
        Dim inWidth = x.Shape[^1], outWidth = weight.Shape[0];
        Dim[] shape = [.. x.Shape[..^1], outWidth];
        AttributeProto transposed = Attribute("transB", 1), alpha = Attribute("alpha", factors.In * factors.Out);
        if (shape.Count(d => !d.IsKnown) > 1)
            return Biased(graph.Fused("FusedMatMul", [x, weight], x.Type, shape, transposed, alpha), bias, factors);
        OnnxValue flat = x.Shape.Length == 2 ? x : Once($"rows {x.Name}", () => graph.Node("Reshape",
            [x, graph.Vector(-1L, inWidth.Size)], x.Type, [x.Shape[..^1].Aggregate((a, b) => a * b), inWidth]));
        ReadOnlySpan<OnnxValue> inputs = bias is null ? [flat, weight] : [flat, weight, bias];
        OnnxValue y = graph.Node("Gemm", inputs, x.Type, [flat.Shape[0], outWidth], transposed, alpha, Attribute("beta", factors.Out));
        if (x.Shape.Length == 2) return y;
        return graph.Node("Reshape", [y, graph.Vector([.. shape.Select(d => d.IsKnown ? d.Size : -1L)])], x.Type, shape);
    }

    /// <summary>Dynamic quantisation: signed 8-bit weights with a scale per output, unsigned 8-bit activations with a scale per
    /// tensor.</summary>
    OnnxValue Integers(OnnxValue x, LinearWeight matrix, OnnxValue? bias, Factors factors)
    {
        int outWidth = matrix.Out;
        (byte[] Values, float[] Scales) Quantized() =>
            Once(_quantized, matrix.Name, () => Quantize(graph.Values(matrix.Name, matrix.Shape), outWidth, LargestWeight));
        OnnxValue weight = graph.Weight($"{matrix.Name}/int8", [matrix.In, outWidth], Int8Type, () => Quantized().Values);
        OnnxValue scale = Scales(matrix, () => Quantized().Scales, factors);

        OnnxValue q = Once($"int8 {x.Name}", () => graph.Node("DynamicQuantizeLinear", x, x.Type, "scale", "zero"));
        OnnxValue xScale = new($"{q.Name}/scale", ElementType.Float32, []), xZero = xScale with { Name = $"{q.Name}/zero" };
        Dim[] shape = [.. x.Shape[..^1], outWidth];
        OnnxValue sums = graph.Node("MatMulInteger", [q, weight, xZero], ElementType.Int64, shape);
        OnnxValue product = graph.Node("Mul", [xScale, scale], ElementType.Float32, scale.Shape);
        sums = graph.Node("Cast", [sums], ElementType.Float32, shape, Attribute("to", OnnxType(ElementType.Float32)));
        return Biased(graph.Node("Mul", [sums, product], ElementType.Float32, shape), bias, factors);
    }

    // Processors without VNNI add products with a byte two by two in 16 bits. Where the graph may run on one, weights are so small that
    // these sums fit: else ONNX Runtime lets them saturate or, where a session asks for precision, takes a third more time.
    sbyte LargestWeight => graph.Target == GraphTarget.Fastest && !OnnxSession.LacksVnni ? sbyte.MaxValue : (sbyte)63;

    OnnxValue Scales(LinearWeight matrix, Func<float[]> scales, Factors factors)
    {
        float factor = factors.In * factors.Out;
        if (factor == 1) return Vector($"{matrix.Name}/scale", scales);
        return Vector($"{matrix.Name}/scale times {factor}", () => [.. scales().Select(s => s * factor)]);
    }

    OnnxValue Vector(string name, Func<float[]> values)
    {
        float[] made = values();
        return graph.Weight(name, [made.Length], OnnxType(ElementType.Float32), () => Bytes(made));
    }

    /// <summary>Floats [out, in] -> signed bytes [in, out] and one scale per output, so that the largest weight of each is
    /// <paramref name="most"/>.</summary>
    static (byte[] Values, float[] Scales) Quantize(ReadOnlyMemory<byte> floats, int rows, sbyte most)
    {
        const int strip = 32; // rows that are transposed together: their bytes stay in the second-level cache
        int columns = floats.Length / sizeof(float) / rows;
        var values = new byte[rows * columns];
        var scales = new float[rows];
        Parallel.For(0, (rows + strip - 1) / strip, s =>
        {
            int first = s * strip, count = Math.Min(strip, rows - first);
            ReadOnlySpan<float> from = MemoryMarshal.Cast<byte, float>(floats.Span).Slice(first * columns, count * columns);
            var bytes = new byte[count * columns];
            for (int r = 0; r < count; r++)
                scales[first + r] = QuantizeRow(from.Slice(r * columns, columns), MemoryMarshal.Cast<byte, sbyte>(bytes.AsSpan(r * columns, columns)), most);
            for (int c = 0; c < columns; c++)
            {
                Span<byte> to = values.AsSpan(c * rows + first, count);
                for (int r = 0; r < to.Length; r++) to[r] = bytes[r * columns + c];
            }
        });
        return (values, scales);
    }

    static float QuantizeRow(ReadOnlySpan<float> row, Span<sbyte> to, sbyte most)
    {
        float largest = MathF.Abs(TensorPrimitives.MaxMagnitude(row)), scale = largest == 0 ? 1 : largest / most;
        var scaled = new float[row.Length];
        TensorPrimitives.Divide(row, scale, scaled);
        TensorPrimitives.Round(scaled, scaled);
        TensorPrimitives.ConvertSaturating<float, sbyte>(scaled, to);
        return scale;
    }

    /// <summary>Weights of few bits with a scale per block of inputs (MatMulNBits).</summary>
    OnnxValue Blocks(OnnxValue x, LinearWeight matrix, OnnxValue? bias, int bits, Factors factors)
    {
        int inWidth = matrix.In, outWidth = matrix.Out, blocks = (inWidth + BlockSize - 1) / BlockSize;
        (byte[] Values, float[] Scales) Quantized() =>
            Once(_quantized, matrix.Name, () => QuantizeBlocks(Floats(matrix), outWidth, bits));
        int[] shape = [outWidth, blocks, BlockSize * bits / 8];
        OnnxValue weight = graph.Weight($"{matrix.Name}/int{bits}", shape, Uint8Type, () => Quantized().Values);
        OnnxValue scale = Scales(matrix, () => Quantized().Scales, factors);
        OnnxValue y = graph.Fused("MatMulNBits", [x, weight, scale], x.Type, [.. x.Shape[..^1], outWidth],
            Attribute("K", inWidth), Attribute("N", outWidth), Attribute("bits", bits), Attribute("block_size", BlockSize),
            Attribute("accuracy_level", IntegerAccuracy));
        return Biased(y, bias, factors);
    }

    /// <summary>[out, in] -> unsigned integers around 2^(bits - 1), low bits first, and a scale per block; the largest weight of a
    /// block is exact.</summary>
    static (byte[] Values, float[] Scales) QuantizeBlocks(ReadOnlySpan<float> from, int rows, int bits)
    {
        int columns = from.Length / rows, blocks = (columns + BlockSize - 1) / BlockSize;
        int zero = 1 << (bits - 1), perByte = 8 / bits;
        var values = new byte[rows * blocks * BlockSize / perByte];
        var scales = new float[rows * blocks];
        for (int r = 0; r < rows; r++)
            for (int b = 0; b < blocks; b++)
            {
                ReadOnlySpan<float> block = from.Slice(r * columns + b * BlockSize, Math.Min(BlockSize, columns - b * BlockSize));
                float scale = TensorPrimitives.MaxMagnitude(block) / -zero;
                scales[r * blocks + b] = scale;
                Span<byte> to = values.AsSpan((r * blocks + b) * BlockSize / perByte, BlockSize / perByte);
                for (int i = 0; i < BlockSize; i++)
                {
                    float value = i < block.Length && scale != 0 ? block[i] / scale : 0;
                    int level = Math.Clamp((int)MathF.Round(value) + zero, 0, 2 * zero - 1);
                    to[i / perByte] |= (byte)(level << (i % perByte * bits));
                }
            }
        return (values, scales);
    }

    OnnxValue Biased(OnnxValue y, OnnxValue? bias) => bias is null ? y : graph.Node("Add", [y, bias], y.Type, y.Shape);

    OnnxValue Biased(OnnxValue y, OnnxValue? bias, Factors factors)
    {
        if (bias is null || factors.Out == 1) return Biased(y, bias);
        OnnxValue factor = graph.Scalar(factors.Out);
        return Biased(y, Once($"{bias.Name} times {factors.Out}", () => graph.Node("Mul", [bias, factor], bias.Type, bias.Shape)));
    }

    ReadOnlySpan<float> Floats(LinearWeight matrix) => MemoryMarshal.Cast<byte, float>(graph.Values(matrix.Name, matrix.Shape).Span);

    static byte[] Bytes(float[] values) => MemoryMarshal.AsBytes<float>(values).ToArray();

    OnnxValue Once(string key, Func<OnnxValue> make) => Once(_made, key, make);

    static T Once<T>(Dictionary<string, T> made, string key, Func<T> make) => made.TryGetValue(key, out T? known) ? known : made[key] = make();
}
