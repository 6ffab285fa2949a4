using System.Text;
using Google.Protobuf;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Inference.Tests;

/// <summary>Folders that hold graphs and no weights give what the folders gave that they were recorded from.</summary>
public sealed class GraphFolderTests
{
    const float SameNumbers = 1e-5f; // the same operations, but for the last normalisation
    const float SameScale = 1e-3f;   // a slope over measured logits

    static readonly string[] Texts = ["a cat", "a photo of a dog", "", "a cat and a dog and a bird"];

    static readonly float[][] Pixels = [.. Enumerable.Range(0, 3).Select(i => Tiny.Floats(new Random(i), 3 * Tiny.ImageSize * Tiny.ImageSize))];

    static Dictionary<string, ReadOnlyMemory<byte>> Files(string family) => family switch
    {
        "clip" => Tiny.Files(),
        "siglip" => PublishedFoldersTests.Siglip(),
        _ => new(PublishedFoldersTests.SentenceTransformer),
    };

    /// <summary>The folder with graphs in place of its weights.</summary>
    static Dictionary<string, ReadOnlyMemory<byte>> Recorded(
        Dictionary<string, ReadOnlyMemory<byte>> files, string place = "onnx/", params OnnxDtype[] dtypes)
    {
        using MultimodalModel model = Tiny.Load(files);
        var recorded = new Dictionary<string, ReadOnlyMemory<byte>>(files);
        recorded.Remove("model.safetensors");
        foreach (OnnxDtype dtype in dtypes.DefaultIfEmpty(OnnxDtype.Fp32))
            foreach (OnnxModel graph in OnnxExport.Record(model, dtype))
                recorded[$"{place}{graph.Name}{OnnxExport.Suffix(dtype)}.onnx"] = graph.Proto.ToByteArray();
        return recorded;
    }

    static void Same(MultimodalModel expected, MultimodalModel found)
    {
        Assert.Equal(expected.EmbeddingWidth, found.EmbeddingWidth);
        Assert.Equal(expected.Modalities, found.Modalities);
        float[][] texts = expected.EmbedTexts(Texts), same = found.EmbedTexts(Texts);
        for (int i = 0; i < Texts.Length; i++) Difference.Small(texts[i], same[i], SameNumbers);
        Assert.True(Difference.Max(same[0], same[1]) > 1e-3);
        if (!expected.Modalities.Contains(Modality.Image)) return;
        for (int i = 0; i < 3; i++)
            Difference.Small(expected.EmbedImages([Tiny.Picture(i)])[0], found.EmbedImages([Tiny.Picture(i)])[0], SameNumbers);
    }

    [Theory, InlineData("clip"), InlineData("siglip"), InlineData("sentence-transformers")]
    public void Embeddings_are_those_of_the_weights(string family)
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Files(family);
        foreach (string place in new[] { "onnx/", "" })
        {
            Dictionary<string, ReadOnlyMemory<byte>> recorded = Recorded(files, place);
            using MultimodalModel expected = Tiny.Load(files), found = Tiny.Load(recorded);
            Same(expected, found);
            Assert.Empty(expected.GraphFiles);
            Assert.Equal(recorded.Keys.Where(k => k.EndsWith(".onnx", StringComparison.Ordinal)).Order(StringComparer.Ordinal), found.GraphFiles);
        }
    }

    [Theory, InlineData("clip"), InlineData("siglip")]
    public void One_graph_of_both_senses_is_enough(string family)
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Files(family), recorded = Recorded(files);
        Assert.True(recorded.Remove("onnx/text_model.onnx") && recorded.Remove("onnx/vision_model.onnx"));
        using MultimodalModel expected = Tiny.Load(files), found = Tiny.Load(recorded);
        Same(expected, found);
    }

    [Theory, InlineData("clip"), InlineData("siglip")]
    public void Zero_shot_probabilities_are_those_of_the_weights(string family)
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Files(family), recorded = Recorded(files);
        using MultimodalModel expected = Tiny.Load(files), found = Tiny.Load(recorded);
        Assert.Equal(1, found.LogitScale / expected.LogitScale, SameScale);
        Assert.True(recorded.Remove("onnx/model.onnx"));
        using MultimodalModel towers = Tiny.Load(recorded);
        Assert.Equal(1, towers.LogitScale);
        float[] image = expected.EmbedImages([Tiny.Picture(1)])[0];
        float[] Classify(MultimodalModel model) => ZeroShotClassifier.Create(model, ["cat", "dog"], ["a photo of a {}"]).Probabilities(image);
        Difference.Small(Classify(expected), Classify(found), SameScale);
    }

    [Theory, InlineData("clip"), InlineData("sentence-transformers")]
    public void Padding_changes_nothing(string family)
    {
        using MultimodalModel model = Tiny.Load(Recorded(Files(family)));
        int width = model.EmbeddingWidth, length = 6;
        var ids = new long[2 * length];
        model.Texts.EncodeBatch(["a", "a cat"], length, ids, []);
        var embeds = new float[2 * width];
        model.EmbedIds(ids, 2, length, embeds);
        Difference.Small(model.EmbedTexts(["a"])[0], embeds.AsSpan(0, width), SameNumbers);
        Difference.Small(model.EmbedTexts(["a cat"])[0], embeds.AsSpan(width), SameNumbers);
    }

    [Fact]
    public void Raw_tensors_give_all_outputs_under_the_names_of_the_whole_model()
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Files("clip"), recorded = Recorded(files);
        using MultimodalModel expected = Tiny.Load(files), found = Tiny.Load(recorded);
        recorded = recorded.Where(f => f.Key != "onnx/model.onnx").ToDictionary();
        using MultimodalModel towers = Tiny.Load(recorded);
        var inputs = new Dictionary<string, TensorData>
        {
            ["pixel_values"] = TensorData.From([.. Pixels.SelectMany(p => p)], 3, 3, Tiny.ImageSize, Tiny.ImageSize),
            ["input_ids"] = TensorData.From([.. expected.Texts.Encode("a cat").Select(i => (long)i)], 1, expected.Texts.Encode("a cat").Count),
        };
        IReadOnlyDictionary<string, TensorData> all = expected.Run(inputs);
        foreach (var (run, least) in new[] { (found.Run(inputs), 4), (towers.Run(inputs), 6) })
        {
            Assert.Equal(least, run.Count);
            foreach (var (name, value) in run) Difference.Small(all[name].ToSingles(), value.ToSingles(), SameNumbers * 10);
        }
        Assert.Equal(["image_embeds", "image_features", "vision_last_hidden_state"],
            towers.Run(new Dictionary<string, TensorData> { ["pixel_values"] = inputs["pixel_values"] }).Keys.Order(StringComparer.Ordinal));
        Assert.Contains("input_ids", Assert.Throws<ArgumentException>(() => towers.Run(new Dictionary<string, TensorData>())).Message);
    }

    [Fact]
    public void Tokens_are_pooled_as_the_modules_say_and_by_the_mean_where_nothing_is_said()
    {
        foreach (string pooling in new[] { "mean_sqrt_len_tokens", "cls_token" })
        {
            Dictionary<string, ReadOnlyMemory<byte>> files = Files("bert");
            files["1_Pooling/config.json"] = Encoding.UTF8.GetBytes($$"""{"pooling_mode_mean_tokens":false,"pooling_mode_{{pooling}}":true}""");
            Dictionary<string, ReadOnlyMemory<byte>> recorded = Recorded(files);
            recorded["onnx/model.onnx"] = Without(recorded["onnx/model.onnx"], "text_embeds", "sentence_embedding");
            using MultimodalModel expected = Tiny.Load(files), found = Tiny.Load(recorded);
            Same(expected, found);
            recorded.Remove("modules.json");
            using MultimodalModel mean = Tiny.Load(recorded);
            Assert.Equal(pooling == "mean_sqrt_len_tokens", Difference.Max(mean.EmbedTexts(["a cat"])[0], expected.EmbedTexts(["a cat"])[0]) < 1e-3);
        }
    }

    static byte[] Without(ReadOnlyMemory<byte> graph, params string[] outputs)
    {
        ModelProto proto = ModelProto.Parser.ParseFrom(graph.Span);
        foreach (string name in outputs) proto.Graph.Output.Remove(proto.Graph.Output.Single(o => o.Name == name));
        return proto.ToByteArray();
    }

    [Fact]
    public void A_family_that_nobody_knows_runs_too_whatever_its_graph_leaves_open()
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Files("clip"), recorded = Recorded(files);
        recorded["config.json"] = """{"model_type":"eva02"}"""u8.ToArray();
        recorded["onnx/vision_model.onnx"] = Open(recorded["onnx/vision_model.onnx"]);
        recorded["onnx/text_model.onnx"] = Open(recorded["onnx/text_model.onnx"]);
        using MultimodalModel expected = Tiny.Load(files), found = Tiny.Load(recorded);
        Same(expected, found);
        Assert.Equal("eva02", found.Definition.ModelType);
    }

    /// <summary>The graph with no size but those of weights: what torch's exporter often leaves.</summary>
    static byte[] Open(ReadOnlyMemory<byte> graph)
    {
        ModelProto proto = ModelProto.Parser.ParseFrom(graph.Span);
        foreach (ValueInfoProto value in proto.Graph.Input.Concat(proto.Graph.Output))
            for (int i = 0; i < value.Type.TensorType.Shape.Dim.Count; i++) value.Type.TensorType.Shape.Dim[i] = new() { DimParam = $"{value.Name}_{i}" };
        return proto.ToByteArray();
    }

    [Fact]
    public void A_graph_of_one_row_runs_row_by_row()
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Files("bert"), recorded = Recorded(files);
        ModelProto proto = ModelProto.Parser.ParseFrom(recorded["onnx/model.onnx"].Span);
        foreach (ValueInfoProto value in proto.Graph.Input.Concat(proto.Graph.Output)) value.Type.TensorType.Shape.Dim[0] = new() { DimValue = 1 };
        recorded["onnx/model.onnx"] = proto.ToByteArray();
        using MultimodalModel expected = Tiny.Load(files), found = Tiny.Load(recorded);
        Same(expected, found);
    }

    [Fact]
    public void The_dtype_is_the_one_asked_for_or_the_best_there_is()
    {
        Dictionary<string, ReadOnlyMemory<byte>> recorded = Recorded(Files("clip"), "onnx/", OnnxDtype.Fp16, OnnxDtype.Q8);
        using (MultimodalModel best = Tiny.Load(recorded))
            Assert.All(best.GraphFiles, f => Assert.EndsWith("_fp16.onnx", f, StringComparison.Ordinal));
        using (MultimodalModel small = Tiny.Load(recorded, new() { Dtype = OnnxDtype.Q8 }))
            Assert.Equal(["onnx/model_quantized.onnx", "onnx/text_model_quantized.onnx", "onnx/vision_model_quantized.onnx"], small.GraphFiles);
        var e = Assert.Throws<FileNotFoundException>(() => Tiny.Load(recorded, new() { Dtype = OnnxDtype.Q4 }));
        foreach (string part in new[] { "Q4", "onnx/text_model_q4.onnx", "onnx/vision_model_fp16.onnx" }) Assert.Contains(part, e.Message);
        recorded.Remove("onnx/text_model_quantized.onnx");
        recorded.Remove("onnx/model_quantized.onnx");
        Assert.Throws<FileNotFoundException>(() => Tiny.Load(recorded, new() { Dtype = OnnxDtype.Q8 }));
    }

    [Fact]
    public void Weights_go_before_graphs_and_run_in_the_dtype_asked_for()
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Files("clip");
        files["onnx/model.onnx"] = "no graph"u8.ToArray();
        using MultimodalModel exact = Tiny.Load(files), small = Tiny.Load(files, new() { Dtype = OnnxDtype.Q8 });
        Assert.Empty(exact.GraphFiles);
        float[] text = exact.EmbedTexts(["a cat"])[0], rounded = small.EmbedTexts(["a cat"])[0];
        Assert.NotEqual(text, rounded);
        Assert.InRange(text.Zip(rounded, (a, b) => a * b).Sum(), 0.98f, 1.0001f);
        Assert.Contains("Bnb4", Assert.Throws<NotSupportedException>(() => Tiny.Load(files, new() { Dtype = OnnxDtype.Bnb4 })).Message);
    }

    [Fact]
    public void Weights_beside_a_graph_are_found_on_disk_and_in_memory()
    {
        using var folder = new TemporaryFolder();
        Dictionary<string, ReadOnlyMemory<byte>> files = Files("bert");
        using MultimodalModel expected = Tiny.Load(files);
        foreach (var (name, content) in files.Where(f => f.Key != "model.safetensors"))
            AtomicFile.Write(folder.File(name), s => s.Write(content.Span));
        OnnxExport.Record(expected, OnnxDtype.Fp32).Single().SaveTo(folder.File("onnx/model.onnx"), maxEmbeddedBytes: 0);
        using (MultimodalModel disk = MultimodalModel.Load(folder.Path))
        {
            Assert.Equal(["onnx/model.onnx", "onnx/model.onnx_data"], disk.GraphFiles);
            Same(expected, disk);
        }
        ModelFiles stored = ModelFiles.FromFolder(folder.Path);
        using MultimodalModel memory = Tiny.Load(stored.List().ToDictionary(f => f, stored.Read));
        Same(expected, memory);

        foreach (string name in new[] { "model.onnx", "model.onnx_data" }) // as the hub's cache has them
        {
            Directory.CreateDirectory(folder.File("blobs"));
            File.Move(folder.File($"onnx/{name}"), folder.File($"blobs/{name}-content"));
            File.CreateSymbolicLink(folder.File($"onnx/{name}"), $"../blobs/{name}-content");
        }
        using (MultimodalModel linked = MultimodalModel.Load(folder.Path)) Same(expected, linked);

        File.Delete(folder.File("onnx/model.onnx_data"));
        Assert.Contains("onnx/model.onnx_data", Assert.Throws<InvalidDataException>(() => MultimodalModel.Load(folder.Path)).Message);
        File.WriteAllText(folder.File("onnx/model.onnx_data"), "short");
        using MultimodalModel cut = MultimodalModel.Load(folder.Path);
        Assert.Contains("onnx/model.onnx", Assert.Throws<InvalidDataException>(() => cut.EmbedTexts(["a cat"])).Message);
    }

    [Theory, InlineData("../secret"), InlineData("/etc/passwd"), InlineData("a/../../b"), InlineData("C:\\x"), InlineData("."), InlineData("")]
    public void Weights_outside_of_the_folder_are_refused(string location)
    {
        Dictionary<string, ReadOnlyMemory<byte>> recorded = Recorded(Files("bert"));
        ModelProto proto = ModelProto.Parser.ParseFrom(recorded["onnx/model.onnx"].Span);
        TensorProto tensor = proto.Graph.Initializer[0];
        tensor.DataLocation = TensorProto.Types.DataLocation.External;
        tensor.ExternalData.Add(new StringStringEntryProto { Key = "location", Value = location });
        tensor.RawData = ByteString.Empty;
        recorded["onnx/model.onnx"] = proto.ToByteArray();
        var e = Assert.Throws<InvalidDataException>(() => Tiny.Load(recorded));
        Assert.Contains("tiny/onnx/model.onnx", e.Message);
        Assert.Contains("outside of its folder", e.Message);
    }

    [Fact]
    public void Damaged_and_strange_folders_are_told_apart()
    {
        Dictionary<string, ReadOnlyMemory<byte>> whole = Recorded(Files("clip"));
        string Message<T>(string file, ReadOnlyMemory<byte>? content) where T : Exception
        {
            var files = new Dictionary<string, ReadOnlyMemory<byte>>(whole);
            if (content is { } bytes) files[file] = bytes;
            else files.Remove(file);
            return Assert.Throws<T>(() =>
            {
                using MultimodalModel model = Tiny.Load(files);
                model.EmbedTexts(["a cat"]);
            }).Message;
        }

        ReadOnlyMemory<byte> text = whole["onnx/text_model.onnx"];
        Assert.Contains("config.json", Message<FileNotFoundException>("config.json", null));
        Assert.Contains("config.json", Message<InvalidDataException>("config.json", "[]"u8.ToArray()));
        Assert.Contains("tokenizer.json", Message<FileNotFoundException>("tokenizer.json", null));
        Assert.Contains("tiny/onnx/text_model.onnx", Message<InvalidDataException>("onnx/text_model.onnx", text[..(text.Length / 2)]));
        Assert.Contains("tiny/onnx/text_model.onnx", Message<InvalidDataException>("onnx/text_model.onnx", ReadOnlyMemory<byte>.Empty));
        Assert.Contains("tiny/onnx/text_model.onnx", Message<InvalidDataException>("onnx/text_model.onnx", "<html>not found</html>"u8.ToArray()));
        string gives = Message<InvalidDataException>("onnx/text_model.onnx", Without(text, "text_embeds", "last_hidden_state"));
        Assert.Contains("onnx/text_model.onnx", gives);
        ModelProto proto = ModelProto.Parser.ParseFrom(text.Span);
        proto.Graph.Node[0].OpType = "NoSuchOperator";
        Assert.Contains("NoSuchOperator", Message<InvalidDataException>("onnx/text_model.onnx", proto.ToByteArray()));
        proto = ModelProto.Parser.ParseFrom(text.Span);
        proto.Graph.Output.Single(o => o.Name == "text_embeds").Name = "logits";
        string unknown = Message<InvalidDataException>("onnx/text_model.onnx", Without(proto.ToByteArray(), "last_hidden_state"));
        foreach (string part in new[] { "logits", "text_embeds", "pooler_output" }) Assert.Contains(part, unknown);
        proto = ModelProto.Parser.ParseFrom(text.Span);
        proto.Graph.Input.Add(new ValueInfoProto(proto.Graph.Input[0]) { Name = "decoder_input_ids" });
        Assert.Contains("decoder_input_ids", Message<NotSupportedException>("onnx/text_model.onnx", proto.ToByteArray()));
        proto = ModelProto.Parser.ParseFrom(text.Span);
        proto.Graph.Input[0].Type.TensorType.Shape.Dim[1] = new() { DimValue = int.MaxValue };
        Assert.Contains($", {int.MaxValue}]", Message<InvalidDataException>("onnx/text_model.onnx", proto.ToByteArray()));
        var odd = new Dictionary<string, ReadOnlyMemory<byte>> { ["config.json"] = whole["config.json"], ["onnx/decoder_model.onnx"] = text };
        Assert.Contains("onnx/decoder_model.onnx", Assert.Throws<FileNotFoundException>(() => Tiny.Load(odd)).Message);
    }

    [Fact]
    public void What_needs_weights_says_so()
    {
        Dictionary<string, ReadOnlyMemory<byte>> recorded = Recorded(Files("clip"));
        using MultimodalModel model = Tiny.Load(recorded);
        using var folder = new TemporaryFolder();
        Assert.Contains("cannot be trained", Assert.Throws<NotSupportedException>(() => OnnxExport.Write(model, folder.File("out"), OnnxDtype.Fp32)).Message);
        Assert.Contains("cannot be trained", Assert.Throws<NotSupportedException>(() => model.Files.OpenWeights()).Message);
        var adapter = new LoraAdapter(new(), new Dictionary<string, (TensorData, TensorData)>());
        Assert.Contains("adapted", Assert.Throws<NotSupportedException>(() => Tiny.Load(recorded, new() { Adapter = adapter })).Message);
    }
}
