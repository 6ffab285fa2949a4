using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using MLNetMultimodal.Models.Ops;
using static MLNetMultimodal.Inference.Onnx.OnnxGraph;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>Linear layers of a graph: x W^T + b in the arithmetic of the dtype.</summary>
sealed class OnnxLinear(OnnxGraph graph, OnnxDtype dtype)
{
    const int BlockSize = 32;       // weights that share a scale, along the inputs
    const int IntegerAccuracy = 4;  // activations become 8-bit integers by blocks, too

    /// <summary>How many times a usual value the largest of a tensor may be before it takes too many of the 256 levels from the
    /// others: at 30, a level is a fourth of a usual value.</summary>
    const float MaxPeak = 30;

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
    /// <param name="weight">Name of [out, in] in the checkpoint.</param>
    /// <param name="inWidth">in.</param>
    /// <param name="outWidth">out.</param>
    /// <param name="bias">[out], or null.</param>
    /// <returns>[.., out].</returns>
    public OnnxValue Apply(OnnxValue x, string weight, int inWidth, int outWidth, OnnxValue? bias) => dtype switch
    {
        // One vector per item: a projection or a head, which costs little and whose error goes straight into the embedding.
        OnnxDtype.Q8 or OnnxDtype.Int8 or OnnxDtype.Q4 when x.Shape.Length == 2 => Whole(x, weight, inWidth, outWidth, bias),
        OnnxDtype.Q8 or OnnxDtype.Int8 when !_outliers.Contains(x.Name) => Integers(x, weight, inWidth, outWidth, bias),
        OnnxDtype.Q4 => Blocks(x, weight, inWidth, outWidth, bias, bits: 4),
        _ => Whole(x, weight, inWidth, outWidth, bias),
    };

    OnnxValue Whole(OnnxValue x, string weight, int inWidth, int outWidth, OnnxValue? bias)
    {
        if (graph.Target == GraphTarget.Fastest)
            return Product(x, graph.Weight(weight, WeightLayout.AsIs, outWidth, inWidth), bias);
        OnnxValue transposed = graph.Weight(weight, WeightLayout.Transposed, outWidth, inWidth);
        return Biased(graph.Node("MatMul", [x, transposed], x.Type, [.. x.Shape[..^1], outWidth]), bias);
    }

    /// <summary>x W^T + b by one Gemm over all rows: it takes the weight as checkpoints have it, and adds the bias on the
    /// way.</summary>
    /// <param name="x">[.., in].</param>
    /// <param name="weight">[out, in].</param>
    /// <param name="bias">[out], or null.</param>
    /// <returns>[.., out].</returns>
    public OnnxValue Product(OnnxValue x, OnnxValue weight, OnnxValue? bias)
    {
        Dim inWidth = x.Shape[^1], outWidth = weight.Shape[0], rows = x.Shape[..^1].Aggregate((a, b) => a * b);
        OnnxValue flat = x.Shape.Length == 2 ? x
            : Once($"rows {x.Name}", () => graph.Node("Reshape", [x, graph.Vector(-1L, inWidth.Size)], x.Type, [rows, inWidth]));
        ReadOnlySpan<OnnxValue> inputs = bias is null ? [flat, weight] : [flat, weight, bias];
        OnnxValue y = graph.Node("Gemm", inputs, x.Type, [rows, outWidth], Attribute("transB", 1));
        Dim[] shape = [.. x.Shape[..^1], outWidth];
        return x.Shape.Length == 2 ? y : graph.Node("Reshape", [y, Sizes(x, shape)], x.Type, shape);
    }

    /// <summary>Sizes of a shape that differs from that of <paramref name="x"/> in the last axis.</summary>
    OnnxValue Sizes(OnnxValue x, Dim[] shape) => shape.Count(d => !d.IsKnown) <= 1
        ? graph.Vector([.. shape.Select(d => d.IsKnown ? d.Size : -1L)])
        : Once($"sizes {Shapes.Text(shape)}", () => graph.Node(
            "Concat", [.. shape.Select((d, a) => d.IsKnown ? graph.Vector((long)d.Size) : graph.Size(x, a))],
            ElementType.Int64, [shape.Length], Attribute("axis", 0)));

    /// <summary>Dynamic quantisation: signed 8-bit weights with a scale per output, unsigned 8-bit activations with a scale per
    /// tensor.</summary>
    OnnxValue Integers(OnnxValue x, string name, int inWidth, int outWidth, OnnxValue? bias)
    {
        (byte[] Values, float[] Scales)? quantized = null;
        (byte[] Values, float[] Scales) Quantized() => quantized ??= Quantize(Floats(name, inWidth, outWidth), outWidth);
        OnnxValue weight = graph.Weight($"{name}/int8", [inWidth, outWidth], Int8Type, () => Quantized().Values);
        OnnxValue scale = graph.Weight($"{name}/scale", [outWidth], OnnxType(ElementType.Float32), () => Bytes(Quantized().Scales));

        OnnxValue q = Once($"int8 {x.Name}", () => graph.Node("DynamicQuantizeLinear", x, x.Type, "scale", "zero"));
        OnnxValue xScale = new($"{q.Name}/scale", ElementType.Float32, []), xZero = xScale with { Name = $"{q.Name}/zero" };
        Dim[] shape = [.. x.Shape[..^1], outWidth];
        OnnxValue sums = graph.Node("MatMulInteger", [q, weight, xZero], ElementType.Int64, shape);
        OnnxValue product = graph.Node("Mul", [xScale, scale], ElementType.Float32, scale.Shape);
        sums = graph.Node("Cast", [sums], ElementType.Float32, shape, Attribute("to", OnnxType(ElementType.Float32)));
        return Biased(graph.Node("Mul", [sums, product], ElementType.Float32, shape), bias);
    }

    /// <summary>[out, in] -> signed bytes [in, out] and one scale per output, so that the largest weight of each is 127.</summary>
    static (byte[] Values, float[] Scales) Quantize(ReadOnlySpan<float> from, int rows)
    {
        int columns = from.Length / rows;
        var values = new byte[from.Length];
        var scales = new float[rows];
        var scaled = new float[columns];
        for (int r = 0; r < rows; r++)
        {
            ReadOnlySpan<float> row = from.Slice(r * columns, columns);
            float largest = MathF.Abs(TensorPrimitives.MaxMagnitude(row));
            scales[r] = largest == 0 ? 1 : largest / sbyte.MaxValue;
            TensorPrimitives.Divide(row, scales[r], scaled);
            TensorPrimitives.Round(scaled, scaled);
            Span<byte> to = values.AsSpan(r * columns, columns);
            TensorPrimitives.ConvertSaturating<float, sbyte>(scaled, MemoryMarshal.Cast<byte, sbyte>(to));
        }
        var transposed = new byte[values.Length];
        Transpose<byte>(values, transposed, rows);
        return (transposed, scales);
    }

    /// <summary>Weights of few bits with a scale per block of inputs (MatMulNBits).</summary>
    OnnxValue Blocks(OnnxValue x, string name, int inWidth, int outWidth, OnnxValue? bias, int bits)
    {
        int blocks = (inWidth + BlockSize - 1) / BlockSize;
        (byte[] Values, float[] Scales)? quantized = null;
        (byte[] Values, float[] Scales) Quantized() =>
            quantized ??= QuantizeBlocks(Floats(name, inWidth, outWidth), outWidth, bits);
        int[] shape = [outWidth, blocks, BlockSize * bits / 8];
        OnnxValue weight = graph.Weight($"{name}/int{bits}", shape, Uint8Type, () => Quantized().Values);
        OnnxValue scale = graph.Weight(
            $"{name}/scale", [outWidth * blocks], OnnxType(ElementType.Float32), () => Bytes(Quantized().Scales));
        OnnxValue y = graph.Fused("MatMulNBits", [x, weight, scale], x.Type, [.. x.Shape[..^1], outWidth],
            Attribute("K", inWidth), Attribute("N", outWidth), Attribute("bits", bits), Attribute("block_size", BlockSize),
            Attribute("accuracy_level", IntegerAccuracy));
        return Biased(y, bias);
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

    ReadOnlySpan<float> Floats(string name, int inWidth, int outWidth) =>
        MemoryMarshal.Cast<byte, float>(graph.Values(name, outWidth, inWidth).Span);

    static byte[] Bytes(float[] values) => MemoryMarshal.AsBytes<float>(values).ToArray();

    OnnxValue Once(string key, Func<OnnxValue> make) => _made.TryGetValue(key, out OnnxValue? known) ? known : _made[key] = make();
}
