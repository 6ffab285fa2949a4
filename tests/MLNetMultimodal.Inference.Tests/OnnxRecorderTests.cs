using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Tests;

public sealed class OnnxRecorderTests
{
    /// <summary>Other batch sizes block sums differently; values are at most 1.</summary>
    const float Rounding = 1e-6f;

    readonly Dictionary<string, TensorData> _weights = Tiny.Weights(Tiny.Clip);

    IProgram Text => Tiny.Clip.Encoders[Modality.Text];

    IProgram Vision => Tiny.Clip.Encoders[Modality.Image];

    static TensorData Ids(int batch, int length)
    {
        var random = new Random(5);
        var ids = new long[batch * length];
        for (int i = 0; i < ids.Length; i++) ids[i] = i % length == length - 1 ? Tiny.Tokenizer.EndId : random.Next(500);
        return TensorData.From(ids, batch, length);
    }

    static float[] Run(OnnxSession session, string input, TensorData value) =>
        session.Run(new Dictionary<string, TensorData> { [input] = value }).Values.First().ToSingles();

    [Fact]
    public void A_row_does_not_depend_on_the_batch_it_is_in()
    {
        using var vision = new OnnxSession(OnnxRecorder.Record(Vision, _weights));
        int size = 3 * Tiny.ImageSize * Tiny.ImageSize, width = Tiny.Clip.EmbeddingWidth;
        float[] pixels = Tiny.Floats(new(2), 5 * size);
        float[] five = Run(vision, "pixel_values", TensorData.From(pixels, 5, 3, Tiny.ImageSize, Tiny.ImageSize));
        for (int i = 0; i < 5; i++)
        {
            float[] one = Run(vision, "pixel_values", TensorData.From(pixels.AsSpan(i * size, size), 1, 3, Tiny.ImageSize, Tiny.ImageSize));
            Difference.Small(five.AsSpan(i * width, width), one, Rounding);
        }
    }

    [Fact]
    public void Padding_after_the_end_token_does_not_change_the_result()
    {
        using var text = new OnnxSession(OnnxRecorder.Record(Text, _weights));
        long[] ids = [1, 2, Tiny.Tokenizer.EndId];
        float[] shortest = Run(text, "input_ids", TensorData.From(ids, 1, 3));
        for (int length = 4; length <= Tiny.ContextLength; length++)
        {
            long[] padded = [.. ids, .. new long[length - ids.Length]];
            Difference.Small(shortest, Run(text, "input_ids", TensorData.From(padded, 1, length)), Rounding);
        }
    }

    [Fact]
    public void Weights_and_constants_stand_in_the_graph_once_and_only_where_used()
    {
        GraphProto graph = OnnxRecorder.Record(Tiny.Clip.Full, _weights).Proto.Graph;
        string[] names = [.. graph.Initializer.Select(i => i.Name)];
        Assert.Equal(names.Length, names.Distinct().Count());
        string[] constants = [.. graph.Initializer.Where(i => i.Name.StartsWith("constant", StringComparison.Ordinal))
            .Select(i => $"{i.DataType} [{string.Join(',', i.Dims)}] {i.RawData.ToBase64()}")];
        Assert.Equal(constants.Length, constants.Distinct().Count());
        Assert.All(names, name => Assert.Contains(graph.Node, n => n.Input.Contains(name)));
        Assert.Equal(_weights.Count, names.Length - constants.Length);
    }

    [Fact]
    public void The_causal_mask_is_made_once()
    {
        GraphProto graph = OnnxRecorder.Record(Tiny.Clip.Full, _weights).Proto.Graph;
        Assert.True(Tiny.Clip.Config.Text.Blocks.Layers > 1);
        Assert.Single(graph.Node, n => n.OpType == "Range");
        Assert.Single(graph.Node, n => n.OpType == "Where");
    }

    [Fact]
    public void A_tower_makes_one_more_causal_mask_for_its_last_block()
    {
        GraphProto graph = OnnxRecorder.Record(Text, _weights).Proto.Graph;
        Assert.Single(graph.Node, n => n.OpType == "Range");
        Assert.Equal(2, graph.Node.Count(n => n.OpType == "Where"));
    }

    [Theory, InlineData(OnnxDtype.Fp32), InlineData(OnnxDtype.Int8), InlineData(OnnxDtype.Q4), InlineData(OnnxDtype.Q8Blocks)]
    public void Layers_take_the_factors_of_quick_gelu_along(OnnxDtype dtype)
    {
        GraphProto graph = OnnxRecorder.RecordFastest(Tiny.SharingText, _weights, dtype, maps: false).Proto.Graph;
        NodeProto[] activations = [.. graph.Node.Where(n => n.OpType == "QuickGelu")];
        Assert.Equal(Tiny.Clip.Config.Text.Blocks.Layers, activations.Length);
        Assert.All(activations, n => Assert.Equal(1, n.Attribute.Single(a => a.Name == "alpha").F));
        Assert.DoesNotContain(graph.Node, n => n.OpType == "Sigmoid");
        Assert.DoesNotContain(graph.Node, n => n.OpType == "Mul" && n.Input.Any(i => activations.Any(a => a.Output.Contains(i))));
    }

    [Fact]
    public void Patches_are_a_linear_layer_of_windows()
    {
        GraphProto graph = OnnxRecorder.RecordFastest(Tiny.Clip.Encoders[Modality.Image], _weights, OnnxDtype.Int8, maps: false).Proto.Graph;
        Assert.DoesNotContain(graph.Node, n => n.OpType == "Conv");
        Assert.Contains(graph.Initializer, i => i.Name == "vision_model.embeddings.patch_embedding.weight/int8");
    }

    [Theory, InlineData(Modality.Text, 1), InlineData(Modality.Image, 0)]
    public void Self_attention_is_one_node(Modality modality, long causal)
    {
        IProgram tower = Tiny.Clip.Encoders[modality];
        NodeProto[] nodes = [.. OnnxRecorder.RecordFastest(tower, _weights, OnnxDtype.Fp32, maps: false, fusesAttention: true).Proto.Graph.Node];
        NodeProto[] attention = [.. nodes.Where(n => n.OpType == "Attention")];
        Assert.NotEmpty(attention);
        Assert.Single(nodes, n => n.OpType == "Softmax"); // of the last block, in which one token asks
        Assert.All(attention, n => Assert.Equal(causal, n.Attribute.Single(a => a.Name == "unidirectional").I));
        Assert.All(attention, n => Assert.Equal("", n.Input[3])); // no mask
        Assert.DoesNotContain(OnnxRecorder.RecordFastest(tower, _weights, OnnxDtype.Fp32, maps: false).Proto.Graph.Node, n => n.OpType == "Attention");
    }

    [Fact]
    public void Only_standard_operators_are_used() =>
        Assert.All(OnnxRecorder.Record(Tiny.Clip.Full, _weights).Proto.Graph.Node, n => Assert.Equal("", n.Domain));

    [Theory, InlineData(DType.F16, 2e-3f), InlineData(DType.BF16, 2e-2f), InlineData(DType.F64, 0f)]
    public void Weights_of_every_float_type_are_read(DType type, float tolerance)
    {
        Dictionary<string, TensorData> converted = _weights.ToDictionary(w => w.Key, w => Converted.To(type, w.Value));
        TensorData ids = Ids(2, 5);
        using var wide = new OnnxSession(OnnxRecorder.Record(Text, _weights));
        using var narrow = new OnnxSession(OnnxRecorder.Record(Text, converted));
        Difference.Small(Run(wide, "input_ids", ids), Run(narrow, "input_ids", ids), tolerance);
    }

    [Fact]
    public void A_missing_or_mis_shaped_weight_is_named()
    {
        var weights = new Dictionary<string, TensorData>(_weights);
        weights.Remove("text_projection.weight");
        Assert.Contains("text_projection.weight [12, 16] is missing", Assert.Throws<InvalidDataException>(() => OnnxRecorder.Record(Text, weights)).Message);
        weights["text_projection.weight"] = TensorData.From(new float[6], 2, 3);
        Assert.Contains("text_projection.weight is [2, 3], wanted [12, 16]", Assert.Throws<InvalidDataException>(() => OnnxRecorder.Record(Text, weights)).Message);
    }

    [Theory, InlineData(0), InlineData(OnnxModel.MaxEmbeddedBytes)]
    public void A_saved_file_gives_the_same_with_weights_inside_or_beside_it(long maxEmbeddedBytes)
    {
        using var folder = new TemporaryFolder();
        OnnxModel model = OnnxRecorder.Record(Text, _weights);
        string path = folder.File("onnx/text_model.onnx");
        model.SaveTo(path, maxEmbeddedBytes);

        Assert.Equal(maxEmbeddedBytes == 0, File.Exists($"{path}_data"));
        Assert.True(maxEmbeddedBytes > 0 || new FileInfo(path).Length < model.WeightBytes / 2);
        Assert.DoesNotContain(Directory.EnumerateFiles(Path.GetDirectoryName(path)!), f => f.EndsWith(".tmp", StringComparison.Ordinal));
        TensorData ids = Ids(2, 5);
        using var here = new OnnxSession(model);
        using var saved = new Microsoft.ML.OnnxRuntime.InferenceSession(path);
        using var value = Microsoft.ML.OnnxRuntime.OrtValue.CreateTensorValueFromMemory(ids.ToInt64s(), [2, 5]);
        using var options = new Microsoft.ML.OnnxRuntime.RunOptions();
        using var result = saved.Run(options, ["input_ids"], [value], ["text_embeds"]);
        Assert.Equal(Run(here, "input_ids", ids), result[0].GetTensorDataAsSpan<float>().ToArray());
    }

    [Fact]
    public void A_session_by_way_of_external_data_gives_the_same_and_leaves_no_files()
    {
        OnnxModel model = OnnxRecorder.Record(Text, _weights);
        TensorData ids = Ids(2, 5);
        using var inMemory = new OnnxSession(model);
        int before = Directory.GetDirectories(Path.GetTempPath(), "mlnet-multimodal-session-*").Length;
        using (var onDisk = new OnnxSession(model, new(), maxEmbeddedBytes: 0)) Assert.Equal(Run(inMemory, "input_ids", ids), Run(onDisk, "input_ids", ids));
        Assert.Equal(before, Directory.GetDirectories(Path.GetTempPath(), "mlnet-multimodal-session-*").Length);
    }

    [Fact]
    public void Recording_twice_gives_the_same_bytes()
    {
        using var folder = new TemporaryFolder();
        foreach (string name in (string[])["a.onnx", "b.onnx"]) OnnxRecorder.Record(Tiny.Clip.Full, _weights).SaveTo(folder.File(name));
        Assert.Equal(File.ReadAllBytes(folder.File("a.onnx")), File.ReadAllBytes(folder.File("b.onnx")));
    }
}
