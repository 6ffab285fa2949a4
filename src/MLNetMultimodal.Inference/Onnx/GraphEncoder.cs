using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>An output of a graph that embeddings are made of.</summary>
/// <param name="Spec">[B, E], or the tokens [B, L, E].</param>
/// <param name="Pooling">How tokens become one vector; null where they are one.</param>
sealed record GraphOutput(TensorSpec Spec, BertPooling? Pooling);

/// <summary>Embeddings of one sense from a graph that lies in the model's folder: pooled where it gives tokens, and of length
/// 1.</summary>
/// <param name="file">The graph.</param>
/// <param name="session">Its session.</param>
/// <param name="inputs">What it takes.</param>
/// <param name="modality">The sense.</param>
/// <param name="chosen">The output to embed with.</param>
/// <param name="isTower">True for a graph of one of two senses, whose other outputs get a prefix.</param>
sealed class GraphEncoder(
    OnnxFile file, Lazy<OnnxSession> session, GraphInputs inputs, Modality modality, GraphOutput chosen, bool isTower) : IEncoder
{
    const float MinLength = 1e-12f; // as L2Normalize has it

    readonly string _input = modality == Modality.Image ? GraphInputs.Pixels : GraphInputs.Ids;
    readonly string _embeds = modality == Modality.Image ? "image_embeds" : "text_embeds";

    /// <summary>E; where the graph does not say, it is run once.</summary>
    public Lazy<int> Width { get; } = new(() => chosen.Spec.Shape[^1] is { IsKnown: true } width ? width.Size
        : (int)session.Value.Run(inputs.Complete(new Dictionary<string, TensorData>()), [chosen.Spec])
            .Values.Single().Shape[^1]);

    /// <summary>What embeddings are made of.</summary>
    public TensorSpec Output => chosen.Spec;

    /// <summary>What a caller has to give.</summary>
    public TensorSpec Input => inputs.Required.Single(i => i.Name == _input);

    public void Run<T>(ReadOnlyMemory<T> input, ReadOnlySpan<long> shape, Span<float> output) where T : unmanaged
    {
        int rows = (int)shape[0];
        int batch = file.Inputs.Single(i => i.Name == _input).Shape[0] is { IsKnown: true } fixedBatch ? fixedBatch.Size : rows;
        if (batch != rows && batch != 1)
            throw new NotSupportedException(
                $"'{file.FullName}' takes {batch} rows at once and no other number; record it with an open batch.");
        long[] part = [batch, .. shape[1..]];
        int size = input.Length / Math.Max(rows, 1), width = Width.Value;
        if (output.Length != (long)rows * width)
            throw new ArgumentException(
                $"the output must have room for [{rows}, {width}], but has {output.Length} elements.", nameof(output));
        for (int row = 0; row < rows; row += batch)
        {
            byte[] bytes = MemoryMarshal.AsBytes(input.Span.Slice(row * size, batch * size)).ToArray();
            var given = new TensorData(typeof(T) == typeof(float) ? DType.F32 : DType.I64, part, bytes);
            Dictionary<string, TensorData> all = inputs.Complete(new Dictionary<string, TensorData> { [_input] = given });
            Embed(session.Value.Run(all, [chosen.Spec])[chosen.Spec.Name], all, output.Slice(row * width, batch * width));
        }
    }

    /// <summary>All outputs of the graph, and the embedding. The other outputs of a tower are named as those of the whole
    /// model.</summary>
    public IReadOnlyDictionary<string, TensorData> Run(IReadOnlyDictionary<string, TensorData> given)
    {
        Dictionary<string, TensorData> all = inputs.Complete(given);
        IReadOnlyDictionary<string, TensorData> raw = session.Value.Run(all);
        var (prefix, features) = modality == Modality.Image ? ("vision_", "image_features") : ("text_", "text_features");
        Dictionary<string, TensorData> result = raw.ToDictionary(
            r => !isTower ? r.Key : r.Key == _embeds ? features : prefix + r.Key, r => r.Value, StringComparer.Ordinal);
        TensorData source = raw[chosen.Spec.Name];
        var embeds = new float[source.Shape[0] * source.Shape[^1]];
        Embed(source, all, embeds);
        result[_embeds] = TensorData.From(embeds, source.Shape[0], source.Shape[^1]);
        return result;
    }

    /// <summary>[B, E] or [B, L, E] -> [B, E], rows of length 1.</summary>
    void Embed(TensorData source, Dictionary<string, TensorData> given, Span<float> embeds)
    {
        int rows = (int)source.Shape[0], width = (int)source.Shape[^1];
        if (source.Shape.Count != chosen.Spec.Shape.Length || embeds.Length != (long)rows * width)
            throw Wrong(source);
        ReadOnlySpan<float> values = MemoryMarshal.Cast<byte, float>(source.Bytes.Span);
        int stride = values.Length / Math.Max(rows, 1);
        ReadOnlySpan<long> mask = chosen.Pooling is BertPooling.Mean or BertPooling.MeanSqrtLength ? inputs.Mask(given) : default;
        if (!mask.IsEmpty && mask.Length != rows * (stride / width)) throw Wrong(source);
        for (int row = 0; row < rows; row++)
        {
            Span<float> embed = embeds.Slice(row * width, width);
            ReadOnlySpan<float> tokens = values.Slice(row * stride, stride);
            if (mask.IsEmpty) tokens[..width].CopyTo(embed);
            else Sum(tokens, mask.Slice(row * (stride / width), stride / width), embed);
            TensorPrimitives.Divide(embed, MathF.Max(TensorPrimitives.Norm<float>(embed), MinLength), embed);
        }
    }

    InvalidDataException Wrong(TensorData found) =>
        new($"'{file.FullName}' says that it gives {chosen.Spec}, but gives [{string.Join(", ", found.Shape)}].");

    /// <summary>The sum over the tokens that are no padding: a mean but for its length, which is brought to 1 anyway.</summary>
    static void Sum(ReadOnlySpan<float> tokens, ReadOnlySpan<long> mask, Span<float> sum)
    {
        sum.Clear();
        for (int t = 0; t < mask.Length; t++)
            if (mask[t] != 0) TensorPrimitives.Add(sum, tokens.Slice(t * sum.Length, sum.Length), sum);
    }
}
