using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Tests;

public sealed class MappedWeightsTests : IDisposable
{
    /// <summary>One Gemm over all rows sums in another order than a batched MatMul; embeddings are of length 1.</summary>
    const float OtherOrder = 1e-6f;

    static readonly long[] Ids = [1, 7, 42, Tiny.Tokenizer.EndId, 3, 9, 27, Tiny.Tokenizer.EndId, 5, 25, 125, Tiny.Tokenizer.EndId];

    readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    static IProgram Text => Tiny.Clip.Encoders[Modality.Text];

    string Write(string name, IReadOnlyDictionary<string, TensorData> weights)
    {
        Safetensors.Write(_folder.File(name), weights);
        return _folder.File(name);
    }

    static float[] Embed(OnnxSession session, int batch = 3)
    {
        var embeds = new float[batch * Tiny.Clip.EmbeddingWidth];
        session.Run<long>(Ids.AsMemory(0, batch * 4), [batch, 4], embeds);
        return embeds;
    }

    static float[] Embed(IReadOnlyDictionary<string, TensorData> weights, InferenceOptions? options = null)
    {
        using OnnxSession session = OnnxSession.Open(Text, weights, options);
        return Embed(session);
    }

    static float[] Plain(IReadOnlyDictionary<string, TensorData> weights)
    {
        using var session = new OnnxSession(OnnxRecorder.Record(Text, weights), threads: 1);
        return Embed(session);
    }

    [Theory, InlineData(1), InlineData(3)]
    public void The_fast_graph_gives_what_the_plain_one_gives(int batch)
    {
        using var weights = Safetensors.Open(Write("model.safetensors", Tiny.Weights(Tiny.Clip)));
        using var plain = new OnnxSession(OnnxRecorder.Record(Text, weights), threads: 1);
        using OnnxSession fast = OnnxSession.Open(Text, weights);
        Difference.Small(Embed(plain, batch), Embed(fast, batch), OtherOrder);
    }

    [Fact]
    public void Large_weights_of_a_file_stand_in_the_graph_by_their_place_only()
    {
        string path = Write("model.safetensors", Tiny.Weights(Tiny.Clip));
        using var weights = Safetensors.Open(path);
        OnnxModel model = OnnxRecorder.RecordFastest(Text, weights, OnnxDtype.Fp32, maps: true);
        Assert.Equal([path], model.Mapped.Keys);
        byte[] file = File.ReadAllBytes(path);
        TensorProto[] mapped = [.. model.Proto.Graph.Initializer.Where(i => i.DataLocation == TensorProto.Types.DataLocation.External)];
        Assert.Contains(mapped, i => i.Name == "text_model.embeddings.token_embedding.weight");
        foreach (TensorProto tensor in mapped)
        {
            Dictionary<string, string> at = tensor.ExternalData.ToDictionary(e => e.Key, e => e.Value);
            Assert.Equal("model.safetensors", at["location"]);
            Assert.True(tensor.RawData.IsEmpty);
            byte[] there = file.AsSpan(int.Parse(at["offset"]), int.Parse(at["length"])).ToArray();
            Assert.Equal(weights[tensor.Name].Bytes.ToArray(), there);
        }
        Assert.Empty(OnnxRecorder.RecordFastest(Text, Tiny.Weights(Tiny.Clip), OnnxDtype.Fp32, maps: true).Mapped);
    }

    [Fact]
    public void A_session_outlives_the_map_that_it_was_recorded_from()
    {
        var stored = Safetensors.Open(Write("model.safetensors", Tiny.Weights(Tiny.Clip)));
        using OnnxSession session = OnnxSession.Open(Text, stored, new() { ShareWeights = true });
        float[] before = Embed(session);
        stored.Dispose();
        Assert.Equal(before, Embed(session));
    }

    [Fact]
    public void Weights_that_stay_shared_give_the_same()
    {
        using var weights = Safetensors.Open(Write("model.safetensors", Tiny.Weights(Tiny.Clip)));
        Difference.Small(Embed(weights), Embed(weights, new() { ShareWeights = true }), OtherOrder);
    }

    [Fact]
    public void A_file_that_is_replaced_after_it_was_opened_does_not_change_the_model()
    {
        float[] expected = Embed(Tiny.Weights(Tiny.Clip));
        string path = Write("model.safetensors", Tiny.Weights(Tiny.Clip));
        using var weights = Safetensors.Open(path);
        Assert.True(weights["text_projection.weight"].TryGetFile(out string? at, out _));
        Assert.Equal(path, at);
        Write("model.safetensors", Tiny.Weights(Tiny.Clip, seed: 2));
        File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddSeconds(5)); // file systems keep times more or less exactly
        Assert.False(weights["text_projection.weight"].TryGetFile(out _, out _));
        Difference.Small(expected, Embed(weights), OtherOrder);
    }

    [Fact]
    public void A_link_to_a_file_elsewhere_is_followed()
    {
        string blob = Write("blobs/0123", Tiny.Weights(Tiny.Clip));
        Directory.CreateDirectory(_folder.File("snapshot"));
        File.CreateSymbolicLink(_folder.File("snapshot/model.safetensors"), "../blobs/0123");
        using var weights = Safetensors.Open(_folder.File("snapshot/model.safetensors"));
        Assert.Equal([blob], OnnxRecorder.RecordFastest(Text, weights, OnnxDtype.Fp32, maps: true).Mapped.Keys);
        Difference.Small(Plain(weights), Embed(weights), OtherOrder);
    }

    [Fact]
    public void Shards_in_two_folders_and_weights_in_memory_go_together()
    {
        Dictionary<string, TensorData> all = Tiny.Weights(Tiny.Clip);
        KeyValuePair<string, TensorData>[] ordered = [.. all.OrderBy(w => w.Key, StringComparer.Ordinal)];
        using var first = Safetensors.Open(Write("a/model-1.safetensors", ordered.Where((_, i) => i % 3 == 0).ToDictionary()));
        using var second = Safetensors.Open(Write("b/model-2.safetensors", ordered.Where((_, i) => i % 3 == 1).ToDictionary()));
        Dictionary<string, TensorData> mixed = ordered.Where((_, i) => i % 3 == 2).Concat(first).Concat(second).ToDictionary();
        Difference.Small(Embed(all), Embed(mixed), OtherOrder);
    }

    [Theory, InlineData(DType.F16, 2e-3f), InlineData(DType.BF16, 2e-2f), InlineData(DType.F64, OtherOrder)]
    public void Every_float_type_is_mapped_as_it_is(DType type, float tolerance)
    {
        Dictionary<string, TensorData> all = Tiny.Weights(Tiny.Clip);
        using var weights = Safetensors.Open(Write("model.safetensors", all.ToDictionary(w => w.Key, w => Converted.To(type, w.Value))));
        Difference.Small(Embed(all), Embed(weights), tolerance);
        Difference.Small(Plain(weights), Embed(weights), OtherOrder);
        TensorProto table = OnnxRecorder.RecordFastest(Text, weights, OnnxDtype.Fp32, maps: true).Proto.Graph.Initializer
            .Single(i => i.Name == "text_model.embeddings.token_embedding.weight");
        Assert.Equal(TensorProto.Types.DataLocation.External, table.DataLocation);
    }

    [Fact]
    public void Signed_bytes_count_as_the_numbers_that_they_are()
    {
        Dictionary<string, TensorData> weights = Tiny.Weights(Tiny.Clip);
        TensorData projection = weights["text_projection.weight"];
        sbyte[] values = [.. Enumerable.Range(0, (int)projection.Count).Select(i => (sbyte)(i * 37 % 255 - 127))];
        weights["text_projection.weight"] = TensorData.From([.. values.Select(v => (float)v)], projection.Shape);
        float[] expected = Embed(weights);
        weights["text_projection.weight"] = new(DType.I8, projection.Shape, values.Select(v => (byte)v).ToArray());
        using MultimodalModel model = Tiny.Load(Tiny.Files(weights: weights));
        var embeds = new float[3 * model.EmbeddingWidth];
        model.EmbedIds(Ids, 3, 4, embeds);
        Difference.Small(expected, embeds, OtherOrder);
    }
}

static class Converted
{
    /// <summary>The tensor in another float type; BF16 is cut off.</summary>
    public static TensorData To(DType type, TensorData data) => new(type, data.Shape, data.ToSingles().SelectMany(v => type switch
    {
        DType.F16 => BitConverter.GetBytes((Half)v),
        DType.BF16 => BitConverter.GetBytes((ushort)(BitConverter.SingleToUInt32Bits(v) >> 16)),
        _ => BitConverter.GetBytes((double)v),
    }).ToArray());
}
