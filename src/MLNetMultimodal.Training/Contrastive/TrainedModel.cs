using System.Globalization;
using System.Text;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Hub;

namespace MLNetMultimodal.Training;

/// <summary>A finished training as a model folder.</summary>
static class TrainedModel
{
    /// <summary>Where the adapters of a model trained with LoRA stand, in PEFT's layout, beside the weights that they are merged
    /// into.</summary>
    const string AdapterFolder = "adapter";

    public static ModelFiles ToFiles(ContrastiveOptions options, IModelDefinition definition, ImagePreprocessing images, TextTokenizer texts,
        int rows, ContrastiveResult result)
    {
        var weights = new MemoryStream();
        Safetensors.Write(weights, result.Weights, new Dictionary<string, string> { ["format"] = "pt" });
        var files = new Dictionary<string, ReadOnlyMemory<byte>>(texts.Files, StringComparer.Ordinal)
        {
            ["config.json"] = Encoding.UTF8.GetBytes(definition.ToConfigJson()),
            ["preprocessor_config.json"] = Encoding.UTF8.GetBytes(images.ToJson()),
            ["model.safetensors"] = weights.ToArray(),
            ["README.md"] = Encoding.UTF8.GetBytes(Card(options, definition, rows, result)),
        };
        foreach (var (name, content) in result.Adapter?.ToFiles() ?? new Dictionary<string, ReadOnlyMemory<byte>>()) files[$"{AdapterFolder}/{name}"] = content;
        return ModelFiles.FromMemory(options.Output ?? "trained model", files);
    }

    public static void Write(ModelFiles files, string folder)
    {
        foreach (string file in files.List())
        {
            ReadOnlyMemory<byte> content = files.Read(file);
            AtomicFile.Write(Path.Combine(folder, file), stream => stream.Write(content.Span));
        }
    }

    static string Start(string? model) =>
        model is null ? "from random weights" : $"from {(ModelHub.IsReference(model) ? model : Path.GetFileName(model))}";

    static string Card(ContrastiveOptions o, IModelDefinition definition, int rows, ContrastiveResult result) => string.Create(CultureInfo.InvariantCulture, $"""
        # {definition.ModelType} model

        Trained with MLNetMultimodal, contrastively ({o.Objective}), {Start(o.Initialize)}.

        | | |
        | --- | --- |
        | training rows | {rows:n0} |
        | steps of {o.BatchSize} rows | {result.Steps:n0} of {o.Epochs} epochs{(result.Completed ? "" : ", cancelled")} |
        | time of the last run | {result.Elapsed.TotalMinutes:f1} minutes |
        | mean loss of the last 100 steps | {(result.Loss is { } loss ? $"{loss:f4}" : "trained before")} |
        | validation, zero-shot top-1 | {(result.Validation is { } v ? $"{v:p2}" : "none")} |
        | learning rate, weight decay, EMA | {o.LearningRate}, {o.WeightDecay}, {o.EmaDecay} |
        | seed | {o.Seed} |

        Templates: {string.Join(" ", o.Templates.Select(t => $"`{t}`"))}

        """);
}
