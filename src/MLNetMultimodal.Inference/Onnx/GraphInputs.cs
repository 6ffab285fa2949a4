using System.Runtime.InteropServices;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>Gives a graph all its inputs: those of the caller, what follows from them, and for a graph of two senses something
/// for the one that nobody asks for.</summary>
/// <param name="file">The graph.</param>
/// <param name="pixels">What it takes of pictures; null for none.</param>
/// <param name="ids">What it takes of texts; null for none.</param>
/// <param name="texts">The tokenizer, which knows what padding is.</param>
sealed class GraphInputs(OnnxFile file, TensorSpec? pixels, TensorSpec? ids, Func<TextTokenizer> texts)
{
    public const string Pixels = "pixel_values", Ids = "input_ids";
    const string MaskName = "attention_mask", Types = "token_type_ids", Positions = "position_ids";

    static readonly Dictionary<string, ElementType> Known = new(StringComparer.Ordinal)
    {
        [Pixels] = ElementType.Float32,
        [Ids] = ElementType.Int64,
        [MaskName] = ElementType.Int64,
        [Types] = ElementType.Int64,
        [Positions] = ElementType.Int64,
    };

    /// <summary>What the graph cannot run without.</summary>
    public IReadOnlyList<TensorSpec> Required { get; } = [.. new[] { pixels, ids }.OfType<TensorSpec>()];

    /// <exception cref="NotSupportedException">The graph wants something else than pictures and texts.</exception>
    public static void Check(OnnxFile file)
    {
        foreach (TensorSpec spec in file.Inputs)
            if (!Known.TryGetValue(spec.Name, out ElementType type) || type != spec.Type)
                throw new NotSupportedException($"'{file.FullName}' wants the input {spec}; known are "
                    + $"{string.Join(", ", Known.Select(k => $"{k.Key} {k.Value}"))}.");
    }

    /// <summary>One tensor for each input of the graph.</summary>
    /// <param name="given">What the caller has.</param>
    public Dictionary<string, TensorData> Complete(IReadOnlyDictionary<string, TensorData> given)
    {
        var all = new Dictionary<string, TensorData>(StringComparer.Ordinal);
        if (pixels is not null)
            all[Pixels] = given.GetValueOrDefault(Pixels)
                ?? Zeros(DType.F32, [1, .. pixels.Shape[1..].Select(d => (long)d.Size)]);
        if (ids is not null)
            all[Ids] = given.GetValueOrDefault(Ids) ?? Zeros(DType.I64, [1, ids.Shape[1].IsKnown ? ids.Shape[1].Size : 2]);
        foreach (TensorSpec spec in file.Inputs.Where(i => !all.ContainsKey(i.Name)))
            all[spec.Name] = given.GetValueOrDefault(spec.Name) ?? Derive(spec, all[Ids], isGiven: given.ContainsKey(Ids));
        return all;
    }

    /// <summary>[B, L], 1 for a token and 0 for padding.</summary>
    /// <param name="all">What <see cref="Complete"/> gave.</param>
    public long[] Mask(IReadOnlyDictionary<string, TensorData> all) =>
        all.TryGetValue(MaskName, out TensorData? mask) ? mask.ToInt64s() : Keep(all[Ids]);

    TensorData Derive(TensorSpec spec, TensorData tokens, bool isGiven)
    {
        if (tokens is not { Type: DType.I64, Shape: [_, var length] })
            throw new ArgumentException($"'{file.FullName}' takes {Ids} Int64 [batch, sequence], "
                + $"but given is {tokens.Type} [{string.Join(", ", tokens.Shape)}].");
        long[] values = spec.Name == MaskName && isGiven ? Keep(tokens) : new long[tokens.Count];
        if (spec.Name == Positions)
            for (int i = 0; i < values.Length; i++) values[i] = i % length;
        else if (spec.Name == MaskName && !isGiven) Array.Fill(values, 1);
        return TensorData.From(values, tokens.Shape);
    }

    /// <summary>1 up to the last token of each row. Where texts are filled up with their end token, the first of these is a
    /// token.</summary>
    long[] Keep(TensorData tokens)
    {
        TextTokenizer tokenizer = texts();
        ReadOnlySpan<long> values = MemoryMarshal.Cast<byte, long>(tokens.Bytes.Span);
        var mask = new long[values.Length];
        int length = (int)tokens.Shape[1];
        for (int start = 0; start < mask.Length; start += length)
        {
            int used = values.Slice(start, length).LastIndexOfAnyExcept(tokenizer.PadId) + 1;
            if (used == 0 || (used < length && tokenizer.PadId == tokenizer.EndId)) used++;
            mask.AsSpan(start, used).Fill(1);
        }
        return mask;
    }

    static TensorData Zeros(DType type, IReadOnlyList<long> shape) =>
        new(type, shape, new byte[shape.Aggregate(1L, (n, d) => n * d) * TensorData.SizeOf(type)]);
}
