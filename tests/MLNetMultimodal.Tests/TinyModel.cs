using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Tests;

/// <summary>A model folder with random weights, and pictures with captions beside it.</summary>
public sealed class TinyModel : IDisposable
{
    public const int Pictures = 21; // no multiple of a batch

    public TinyModel()
    {
        Root = Directory.CreateTempSubdirectory("mlnet-multimodal-tests-").FullName;
        Folder = Path.Combine(Root, "tiny");
        Directory.CreateDirectory(Folder);
        TextTokenizer tokenizer = ByteLevelBpeTrainer.Train(["a red cat", "a blue dog", "a green bird"],
            new() { VocabularySize = 520, ContextLength = 8 });
        ClipConfig config = ClipConfig.Tiny;
        config = config with { Text = config.Text with { VocabularySize = tokenizer.VocabularySize, EndTokenId = tokenizer.VocabularySize - 1 } };
        var model = new ClipModel(config);
        var random = new Random(5);
        Safetensors.Write(Path.Combine(Folder, "model.safetensors"),
            ModelSummary.Of(model.Full).Parameters.Select(p => KeyValuePair.Create(p.Name, Draw(p, random))));
        File.WriteAllText(Path.Combine(Folder, "config.json"), model.ToConfigJson());
        File.WriteAllText(Path.Combine(Folder, "preprocessor_config.json"),
            ImagePreprocessing.Clip(config.Vision.ImageSize).ToJson());
        foreach (var (name, content) in tokenizer.Files) File.WriteAllBytes(Path.Combine(Folder, name), content.ToArray());
        Rows = [.. Enumerable.Range(0, Pictures).Select(i => new PairRow
        {
            ImagePath = WritePicture(i, random),
            Caption = $"a {Colors[i % 3]} {Animals[i / 3 % 3]} {i}",
            Label = Colors[i % 3],
            Number = i,
        })];
        Model = MultimodalModel.Load(Folder, new() { Threads = 1 });
    }

    public static string[] Colors { get; } = ["red", "green", "blue"];

    static string[] Animals { get; } = ["cat", "dog", "bird"];

    public string Root { get; }

    public string Folder { get; }

    public PairRow[] Rows { get; }

    public MultimodalModel Model { get; }

    public void Dispose()
    {
        Model.Dispose();
        Directory.Delete(Root, recursive: true);
    }

    internal static TensorData Draw(ParameterSpec p, Random random)
    {
        var values = new float[p.Count];
        for (int i = 0; i < values.Length; i++)
            values[i] = p.Init.Kind == InitKind.Constant ? p.Init.Value : p.Init.Value * 3 * (float)(2 * random.NextDouble() - 1);
        return TensorData.From(values, [.. p.Shape.Select(s => (long)s)]);
    }

    string WritePicture(int index, Random random)
    {
        int width = 9 + index % 4, height = 12;
        var pixels = new byte[3 * width * height];
        random.NextBytes(pixels);
        for (int i = index % 3; i < pixels.Length; i += 3) pixels[i] = 255;
        string path = Path.Combine(Root, $"picture{index:00}.png");
        ImageEncoder.SavePng(new(width, height, pixels), path);
        return path;
    }
}

public sealed class PairRow
{
    public string ImagePath { get; set; } = "";

    public string Caption { get; set; } = "";

    public string Label { get; set; } = "";

    public float Number { get; set; }
}

public sealed class EmbeddingRow
{
    public float Number { get; set; }

    public float[] Embedding { get; set; } = [];
}

/// <summary>Runs of one network in batches of different sizes round differently.</summary>
static class Tolerance
{
    public const float AcrossBatchSizes = 1e-5f;

    public static void Equal(IReadOnlyList<float[]> expected, IReadOnlyList<float[]> actual, float tolerance = AcrossBatchSizes)
    {
        Assert.Equal(expected.Count, actual.Count);
        float largest = 0;
        for (int i = 0; i < expected.Count; i++)
        {
            Assert.Equal(expected[i].Length, actual[i].Length);
            for (int j = 0; j < expected[i].Length; j++)
                largest = float.IsNaN(actual[i][j]) ? float.PositiveInfinity
                    : Math.Max(largest, Math.Abs(expected[i][j] - actual[i][j]));
        }
        Assert.True(largest <= tolerance, $"max |expected - actual| = {largest:g3}, at most {tolerance:g3} is wanted");
    }
}
