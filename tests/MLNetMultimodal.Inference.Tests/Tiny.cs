using System.Text;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Tests;

/// <summary>A CLIP with random weights, small enough to be made anew for each test.</summary>
static class Tiny
{
    public const int ImageSize = 8, ContextLength = 8;

    public static readonly TextTokenizer Tokenizer = ByteLevelBpeTrainer.Train(
        ["a photo of a cat", "a photo of a dog", "a drawing of a bird"], new() { VocabularySize = BpeTrainingOptions.MinVocabularySize, ContextLength = ContextLength });

    public static readonly ClipModel Clip = new(ClipConfig.Tiny with
    {
        Text = ClipConfig.Tiny.Text with { VocabularySize = Tokenizer.VocabularySize, EndTokenId = Tokenizer.EndId },
    });

    /// <summary>What runs for texts.</summary>
    public static IProgram SharingText => ((ICausalTextProgram)Clip.Encoders[Modality.Text]).SharingPrefixes;

    public static Dictionary<string, TensorData> Weights(IModelDefinition model, int seed = 1)
    {
        var random = new Random(seed);
        return ModelSummary.Of(model.Full).Parameters.ToDictionary(p => p.Name,
            p => TensorData.From(Floats(random, (int)p.Count, p.Init.Kind == InitKind.Constant ? p.Init.Value : 0), [.. p.Shape.Select(d => (long)d)]));
    }

    public static float[] Floats(Random random, int count, float centre = 0) =>
        [.. Enumerable.Range(0, count).Select(_ => centre + (random.NextSingle() - 0.5f) * 0.5f)];

    public static Dictionary<string, ReadOnlyMemory<byte>> Files(IModelDefinition? model = null, IEnumerable<KeyValuePair<string, TensorData>>? weights = null)
    {
        model ??= Clip;
        using var stream = new MemoryStream();
        Safetensors.Write(stream, weights ?? Weights(model));
        var files = new Dictionary<string, ReadOnlyMemory<byte>>(Tokenizer.Files)
        {
            ["config.json"] = Encoding.UTF8.GetBytes(model.ToConfigJson()),
            ["model.safetensors"] = stream.ToArray(),
            ["preprocessor_config.json"] = Encoding.UTF8.GetBytes(ImagePreprocessing.Clip(ImageSize).ToJson()),
        };
        return files;
    }

    public static MultimodalModel Load(Dictionary<string, ReadOnlyMemory<byte>>? files = null, InferenceOptions? options = null) =>
        MultimodalModel.Load(ModelFiles.FromMemory("tiny", files ?? Files()), options);

    public static RgbImage Picture(int seed, int width = 20, int height = 13)
    {
        var pixels = new byte[width * height * 3];
        new Random(seed).NextBytes(pixels);
        return new(width, height, pixels);
    }
}

static class Difference
{
    public static float Max(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        Assert.Equal(a.Length, b.Length);
        float largest = 0;
        for (int i = 0; i < a.Length; i++) largest = MathF.Max(largest, MathF.Abs(a[i] - b[i]));
        return largest;
    }

    public static void Small(ReadOnlySpan<float> a, ReadOnlySpan<float> b, float tolerance)
    {
        float largest = Max(a, b);
        Assert.True(largest <= tolerance, $"max |a - b| = {largest:g3}, at most {tolerance:g3} is allowed");
    }
}

/// <summary>A folder that is gone after the test.</summary>
sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("mlnet-multimodal-test-").FullName;

    public string File(string name) => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
