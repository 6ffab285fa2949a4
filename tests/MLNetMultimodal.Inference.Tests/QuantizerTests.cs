using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Tests;

public sealed class QuantizerTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public QuantizerTests()
    {
        foreach (var (name, content) in Tiny.Files()) AtomicFile.Write(_folder.File(name), stream => stream.Write(content.Span));
    }

    public void Dispose() => _folder.Dispose();

    static RgbImage[] Pictures => [.. Enumerable.Range(0, 11).Select(seed => Tiny.Picture(seed))];

    [Theory, InlineData(OnnxDtype.Int8, 0.99, 0.98), InlineData(OnnxDtype.Q4, 0.95, 0.9), InlineData(OnnxDtype.Q8Blocks, 0.9999, 0.9999)]
    public void The_report_has_sizes_and_similarities_of_both_encoders(OnnxDtype dtype, double mean, double min)
    {
        QuantizationReport report = Quantizer.Quantize(_folder.Path,
            new() { Dtype = dtype, Images = Pictures, Texts = ["a cat", "a photo of a dog"], Rounds = 1 });
        Assert.Equal([(Modality.Image, 11), (Modality.Text, 2)], report.Encoders.Select(e => (e.Modality, e.Items)));
        foreach (EncoderQuantization e in report.Encoders)
        {
            Assert.True(e.Bytes < e.ExactBytes, $"{e}");
            Assert.True(e.MeanCosine >= mean && e.MinCosine >= min && e.MinCosine < 1, $"{e}");
            Assert.True(e.SpeedRatio > 0, $"{e}");
        }
        Assert.Null(report.Top1);
        Assert.Contains($"Image encoder as {dtype}", report.ToString());
    }

    [Fact]
    public void Top1_counts_what_each_side_classifies_rightly()
    {
        string[] labels = ["cat", "dog", "bird"];
        using MultimodalModel exact = MultimodalModel.Load(_folder.Path);
        using MultimodalModel small = MultimodalModel.Load(_folder.Path, new() { Dtype = OnnxDtype.Q4 });
        int[] exactly = Classify(exact), nearly = Classify(small);
        int[] classes = [exactly[0], (exactly[1] + 1) % 3, .. exactly[2..]]; // all but one are right by the exact model
        QuantizationReport report = Quantizer.Quantize(_folder.Path,
            new() { Dtype = OnnxDtype.Q4, Images = Pictures, Classes = classes, Labels = labels, Rounds = 1 });
        Assert.Equal(10 / 11.0, report.ExactTop1);
        Assert.Equal(nearly.Zip(classes).Count(p => p.First == p.Second) / 11.0, report.Top1);
        Assert.Contains("top-1", report.ToString());

        int[] Classify(MultimodalModel model)
        {
            ZeroShotClassifier classifier = ZeroShotClassifier.Create(model, labels, ["a photo of a {}."]);
            return [.. model.EmbedImages(Pictures).Select(e =>
                Enumerable.Range(0, 3).MaxBy(c => e.Zip(classifier.ClassEmbeddings[c].ToArray(), (a, b) => a * b).Sum()))];
        }
    }

    [Fact]
    public void Classes_that_do_not_fit_are_refused()
    {
        Assert.Throws<ArgumentException>(
            () => Quantizer.Quantize(_folder.Path, new() { Images = Pictures, Classes = [0], Labels = ["cat"] }));
        int[] beyond = [.. Enumerable.Repeat(1, 11)];
        Assert.Contains("the class 1", Assert.Throws<ArgumentException>(
            () => Quantizer.Quantize(_folder.Path, new() { Images = Pictures, Classes = beyond, Labels = ["cat"] })).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => new QuantizationOptions { Rounds = 0 });
    }

    [Fact]
    public void Layers_behind_a_norm_with_outliers_stay_as_they_are()
    {
        // A channel 1,000 times as large, and weights that undo it: the same model.
        const string block = "text_model.encoder.layers.0", gains = $"{block}.layer_norm2.weight", up = $"{block}.mlp.fc1.weight";
        Dictionary<string, TensorData> weights = Tiny.Weights(Tiny.Clip);
        float[] gain = weights[gains].ToSingles(), matrix = weights[up].ToSingles();
        gain[1] *= 1000;
        for (int i = 1; i < matrix.Length; i += gain.Length) matrix[i] /= 1000;
        weights[gains] = TensorData.From(gain, weights[gains].Shape);
        weights[up] = TensorData.From(matrix, weights[up].Shape);
        string[] names = [.. OnnxRecorder.RecordFastest(Tiny.SharingText, weights, OnnxDtype.Int8, maps: false)
            .Proto.Graph.Initializer.Select(i => i.Name)];
        Assert.Contains(up, names);
        Assert.Contains($"{block}.mlp.fc2.weight/int8", names);
        Assert.Contains("text_model.encoder.layers.1.mlp.fc1.weight/int8", names);
    }

    [Fact]
    public void Projections_of_one_vector_per_item_stay_as_they_are()
    {
        Dictionary<string, TensorData> weights = Tiny.Weights(Tiny.Clip);
        string[] names = [.. OnnxRecorder.RecordFastest(Tiny.SharingText, weights, OnnxDtype.Int8, maps: false)
            .Proto.Graph.Initializer.Select(i => i.Name)];
        Assert.Contains("text_projection.weight", names);
        Assert.Contains("text_model.encoder.layers.0.mlp.fc1.weight/int8", names);
        Assert.DoesNotContain("text_model.encoder.layers.0.mlp.fc1.weight", names);
    }

    [Fact]
    public void Graphs_for_export_have_weights_of_7_bits_and_those_for_a_processor_with_VNNI_of_8()
    {
        // Products with a byte are added in 16 bits by processors without VNNI.
        IProgram encoder = Tiny.Clip.Encoders[Modality.Text];
        Dictionary<string, TensorData> weights = Tiny.Weights(Tiny.Clip);
        Assert.Equal(63, Largest(OnnxRecorder.Record(encoder.Name, encoder, null, weights, OnnxDtype.Int8)));
        Assert.Equal(OnnxSession.LacksVnni ? 63 : 127, Largest(OnnxRecorder.RecordFastest(encoder, weights, OnnxDtype.Int8, maps: false)));

        static int Largest(OnnxModel graph) => graph.Proto.Graph.Initializer.Where(i => i.Name.EndsWith("/int8", StringComparison.Ordinal))
            .SelectMany(i => i.RawData.Select(b => Math.Abs((sbyte)b))).Max(v => (int)v);
    }
}
