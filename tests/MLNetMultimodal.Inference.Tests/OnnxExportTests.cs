using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Inference.Tests;

public sealed class OnnxExportTests
{
    const float SameGraph = 1e-5f; // the same operations in the same order, scaled to length 1 outside
    const double MinInt8Cosine = 0.98, MinHalfCosine = 0.9999, MinInt4Cosine = 0.95;

    static readonly string[] Texts = ["a photo of a cat", "a dog"];

    static readonly string[] Names = ["model", "text_model", "vision_model"];

    /// <summary>Inputs of two pictures and two texts, and what the model makes of them.</summary>
    sealed class Case : IDisposable
    {
        public Case()
        {
            Model = Tiny.Load();
            int length = Texts.Max(t => Model.Texts.Encode(t).Count);
            var ids = new long[2 * length];
            Model.Texts.EncodeBatch(Texts, length, ids, []);
            var pixels = new float[2 * 3 * Tiny.ImageSize * Tiny.ImageSize];
            for (int i = 0; i < 2; i++) Model.Images.Apply(Tiny.Picture(i), pixels.AsSpan(i * pixels.Length / 2, pixels.Length / 2));
            Inputs = new()
            {
                ["input_ids"] = TensorData.From(ids, 2, length),
                ["pixel_values"] = TensorData.From(pixels, 2, 3, Tiny.ImageSize, Tiny.ImageSize),
            };
            Expected = Model.Run(Inputs);
            Inputs["attention_mask"] = TensorData.From([.. ids.Select((_, i) => i % length < Model.Texts.Encode(Texts[i / length]).Count ? 1L : 0)], 2, length);
        }

        public MultimodalModel Model { get; }

        public Dictionary<string, TensorData> Inputs { get; }

        public IReadOnlyDictionary<string, TensorData> Expected { get; }

        public Dictionary<string, IReadOnlyDictionary<string, TensorData>> Run(OnnxDtype dtype) =>
            OnnxExport.Record(Model, dtype).ToDictionary(g => g.Name, g =>
            {
                using var session = new OnnxSession(g, threads: 1);
                return session.Run(Inputs);
            });

        public void Dispose() => Model.Dispose();
    }

    [Fact]
    public void Graphs_give_what_published_ones_give()
    {
        using var test = new Case();
        var graphs = test.Run(OnnxDtype.Fp32);
        Assert.Equal(Names, graphs.Keys.Order());
        Assert.Equal(["image_embeds", "logits_per_image", "logits_per_text", "text_embeds"], graphs["model"].Keys.Order());
        foreach (var (name, value) in graphs["model"])
            Difference.Small(test.Expected[name].ToSingles(), value.ToSingles(), SameGraph);
        // Projections of the towers are not of length 1.
        Difference.Small(
            test.Expected["image_features"].ToSingles(), graphs["vision_model"]["image_embeds"].ToSingles(), SameGraph);
        Difference.Small(test.Expected["text_features"].ToSingles(), graphs["text_model"]["text_embeds"].ToSingles(), SameGraph);
    }

    [Fact]
    public void A_towers_graph_takes_only_what_it_needs()
    {
        using var model = Tiny.Load();
        var inputs = OnnxExport.Record(model, OnnxDtype.Fp32).ToDictionary(g => g.Name, g => g.Inputs.Select(i => i.Name).Order());
        Assert.Equal(["attention_mask", "input_ids", "pixel_values"], inputs["model"]);
        Assert.Equal(["pixel_values"], inputs["vision_model"]);
        Assert.Equal(["input_ids"], inputs["text_model"]);
    }

    [Fact]
    public void Tokens_that_the_mask_leaves_out_are_not_attended_to()
    {
        using var test = new Case();
        using var session = new OnnxSession(OnnxExport.Record(test.Model, OnnxDtype.Fp32).Single(g => g.Name == "model"), threads: 1);
        int length = (int)test.Inputs["input_ids"].Shape[1];
        float[] Embed(int changed, long id, params int[] masked)
        {
            long[] ids = test.Inputs["input_ids"].ToInt64s(), mask = test.Inputs["attention_mask"].ToInt64s();
            ids[changed] = id;
            foreach (int i in masked) mask[i] = 0;
            var inputs = new Dictionary<string, TensorData>(test.Inputs)
            {
                ["input_ids"] = TensorData.From(ids, 2, length),
                ["attention_mask"] = TensorData.From(mask, 2, length),
            };
            return session.Run(inputs)["text_embeds"].ToSingles();
        }

        Assert.True(Difference.Max(Embed(2, 5), Embed(2, 6)) > 1e-4);
        Difference.Small(Embed(2, 5, masked: 2), Embed(2, 6, masked: 2), SameGraph);
        Assert.True(Difference.Max(Embed(2, 5, masked: 2), Embed(2, 5)) > 1e-4);
        Difference.Small(test.Expected["text_embeds"].ToSingles(), Embed(0, test.Inputs["input_ids"].ToInt64s()[0]), SameGraph); // padding
    }

    [Theory, InlineData(OnnxDtype.Q8, MinInt8Cosine), InlineData(OnnxDtype.Int8, MinInt8Cosine), InlineData(OnnxDtype.Fp16, MinHalfCosine), InlineData(OnnxDtype.Q4, MinInt4Cosine), InlineData(OnnxDtype.Q8Blocks, MinHalfCosine)]
    public void Smaller_weights_give_nearly_the_same_embeddings(OnnxDtype dtype, double atLeast)
    {
        using var test = new Case();
        var model = test.Run(dtype)["model"];
        foreach (string output in new[] { "image_embeds", "text_embeds" })
        {
            float[] expected = test.Expected[output].ToSingles(), found = model[output].ToSingles();
            double cosine = expected.Zip(found, (a, b) => (double)a * b).Sum() / 2; // two rows of length 1
            Assert.True(cosine >= atLeast, $"{output}: mean cosine {cosine:f5}, at least {atLeast} is wanted");
            Assert.NotEqual(expected, found);
        }
    }

    [Fact]
    public void The_folder_has_the_published_layout_and_is_replaced_by_the_next_export()
    {
        using var folder = new TemporaryFolder();
        using var model = Tiny.Load();
        string output = folder.File("exported");
        IReadOnlyList<string> files = OnnxExport.Write(model, output, OnnxDtype.Fp32, OnnxDtype.Q8);
        string[] small = ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"];
        string[] graphs = [.. Names.SelectMany(n => new[] { $"onnx/{n}.onnx", $"onnx/{n}_quantized.onnx" })];
        Assert.Equal(small.Concat(graphs).Order(StringComparer.Ordinal), files);

        string[] half = [.. OnnxExport.Write(model, output, OnnxDtype.Fp16).Where(f => f.StartsWith("onnx/", StringComparison.Ordinal))];
        Assert.Equal(Names.Select(n => $"onnx/{n}_fp16.onnx"), half);
        Assert.Equal(half.Length, Directory.GetFiles(Path.Combine(output, "onnx")).Length);
        Assert.Equal([output], Directory.GetFileSystemEntries(folder.Path));
    }

    [Theory, InlineData("notes.txt"), InlineData("model.safetensors"), InlineData("onnx/model.onnx")]
    public void A_folder_with_something_else_is_refused_and_left_alone(string file)
    {
        using var folder = new TemporaryFolder();
        using var model = Tiny.Load();
        Directory.CreateDirectory(folder.File("onnx"));
        File.WriteAllText(folder.File(file), "mine");
        if (!file.StartsWith("onnx", StringComparison.Ordinal)) Directory.Delete(folder.File("onnx"));
        IOException e = Assert.Throws<IOException>(() => OnnxExport.Write(model, folder.Path, OnnxDtype.Fp32));
        Assert.Contains("earlier export", e.Message);
        Assert.Equal("mine", File.ReadAllText(folder.File(file)));
    }

    [Fact]
    public void An_export_that_fails_leaves_nothing()
    {
        Dictionary<string, TensorData> weights = Tiny.Weights(Tiny.Clip);
        TensorData bias = weights["visual_projection.weight"];
        float[] values = bias.ToSingles();
        values[0] = 1e6f;
        weights["visual_projection.weight"] = TensorData.From(values, bias.Shape);
        using var folder = new TemporaryFolder();
        using var model = Tiny.Load(Tiny.Files(weights: weights));
        var e = Assert.Throws<InvalidDataException>(() => OnnxExport.Write(model, folder.File("exported"), OnnxDtype.Fp16));
        Assert.Contains("visual_projection.weight", e.Message);
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }
}
