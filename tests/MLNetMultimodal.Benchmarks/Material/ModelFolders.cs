using System.Text.Json.Nodes;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Starter;
using MLNetMultimodal.Training;

namespace MLNetMultimodal.Benchmarks.Material;

/// <summary>Model folders with random weights and CLIP's own vocabulary.</summary>
static class ModelFolders
{
    const int Seed = 7;

    static readonly ClipConfig Small = new()
    {
        Vision = new() { ImageSize = 64, PatchSize = 16, Blocks = new(12, 192, 768, 3, Activation.QuickGelu) },
        Text = new() { Blocks = new(4, 256, 1024, 4, Activation.QuickGelu) },
        ProjectionWidth = 192,
    };

    static readonly ClipConfig Tiny = new()
    {
        Vision = new() { ImageSize = 32, PatchSize = 16, Blocks = new(2, 32, 64, 2, Activation.QuickGelu) },
        Text = new() { Blocks = new(2, 32, 64, 2, Activation.QuickGelu) },
        ProjectionWidth = 32,
    };

    /// <summary>CLIP ViT-B/32: 151 million weights, 605 MB. In a quick run a tiny one.</summary>
    public static string ViTB32(BenchmarkRun run) => run.Quick ? TinyClip(run) : Make(run, "clip-vit-b-32", ClipConfig.ViTB32);

    /// <summary>A CLIP so small that decoding takes longer than the model: pictures of 64x64 through 12 layers of width 192,
    /// texts through 4 layers of width 256. In a quick run a tiny one.</summary>
    public static string SmallClip(BenchmarkRun run) => run.Quick ? TinyClip(run) : Make(run, "clip-small", Small);

    /// <summary>The smallest, for what a row costs besides the model.</summary>
    public static string TinyClip(BenchmarkRun run) => Make(run, "clip-tiny", Tiny);

    /// <summary>The folder with its graphs in fp32 and int8 beside, as <c>mlnet-multimodal export</c> writes it.</summary>
    public static string Export(BenchmarkRun run, string folder)
    {
        // Another build of the library may write other graphs.
        string recipe = $"{Path.GetFileName(folder)} {typeof(OnnxExport).Module.ModuleVersionId}";
        return Generated.Folder(run, Path.GetFileName(folder) + "-onnx", recipe, temporary =>
        {
            using MultimodalModel model = MultimodalModel.Load(folder);
            OnnxExport.Write(model, temporary, OnnxDtype.Fp32, OnnxDtype.Int8);
        });
    }

    static string Make(BenchmarkRun run, string name, ClipConfig config)
    {
        var model = new ClipModel(config);
        return Generated.Folder(run, name, $"{model.ToConfigJson()} {Seed} 1", folder =>
        {
            using (TorchModel weights = TorchModel.Create(model.Full, Seed))
                Safetensors.Write(Path.Combine(folder, "model.safetensors"), weights.ToWeights());
            File.WriteAllText(Path.Combine(folder, "config.json"), model.ToConfigJson());
            string preprocessing = Pictures.Halves(config.Vision.ImageSize).ToJson();
            File.WriteAllText(Path.Combine(folder, "preprocessor_config.json"), preprocessing);
            WriteTokenizer(folder, config.Text.ContextLength);
        });
    }

    /// <summary>CLIP's vocabulary of 49,408, which the tests hold as vocab.json and merges.txt, in the one file that other
    /// programs read: the starter's, with other contents.</summary>
    static void WriteTokenizer(string folder, int contextLength)
    {
        string vocabulary = Path.Combine(Repository.Root, "tests", "MLNetMultimodal.Media.Tests", "Goldens", "clip-tokenizer");
        JsonObject tokenizer = Read(Path.Combine(StarterModel.Folder, "tokenizer.json"));
        JsonObject ids = Read(Path.Combine(vocabulary, "vocab.json"));
        int IdOf(JsonNode token) => ids[token.GetValue<string>()]!.GetValue<int>();
        foreach (JsonNode? token in tokenizer["added_tokens"]!.AsArray()) token!["id"] = IdOf(token["content"]!);
        foreach (string end in new[] { "sep", "cls" })
        {
            JsonArray pair = tokenizer["post_processor"]![end]!.AsArray();
            pair[1] = IdOf(pair[0]!);
        }
        string[] merges = File.ReadAllLines(Path.Combine(vocabulary, "merges.txt"));
        tokenizer["model"]!["merges"] = new JsonArray([.. merges.Skip(1).Select(merge => JsonValue.Create(merge))]);
        tokenizer["model"]!["vocab"] = ids;
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), tokenizer.ToJsonString());

        JsonObject config = Read(Path.Combine(StarterModel.Folder, "tokenizer_config.json"));
        config["model_max_length"] = contextLength;
        File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), config.ToJsonString());
    }

    static JsonObject Read(string path) => JsonNode.Parse(File.ReadAllText(path))!.AsObject();
}
