using System.Globalization;
using System.Text;
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

    /// <summary>How a share of right answers is written.</summary>
    public const string Percent = "p2";

    /// <summary>The folder's files: config, weights, card, and those given.</summary>
    /// <param name="name">Name of the folder, for messages; null where it has none.</param>
    /// <param name="definition">The model.</param>
    /// <param name="result">Its weights.</param>
    /// <param name="card">Text of README.md.</param>
    /// <param name="further">Tokenizer, preprocessing.</param>
    public static ModelFiles ToFiles(string? name, IModelDefinition definition, TrainingResult result, string card,
        IEnumerable<(string Name, ReadOnlyMemory<byte> Content)> further)
    {
        var weights = new MemoryStream();
        Safetensors.Write(weights, result.Weights.Values, new Dictionary<string, string> { ["format"] = "pt" });
        var files = further.ToDictionary(f => f.Name, f => f.Content, StringComparer.Ordinal);
        files["config.json"] = Encoding.UTF8.GetBytes(definition.ToConfigJson());
        files["model.safetensors"] = weights.ToArray();
        files["README.md"] = Encoding.UTF8.GetBytes(card);
        foreach (var (file, content) in result.Weights.Adapter?.ToFiles() ?? new Dictionary<string, ReadOnlyMemory<byte>>()) files[$"{AdapterFolder}/{file}"] = content;
        return ModelFiles.FromMemory(name ?? "trained model", files);
    }

    /// <summary>The folder's files, written where the options name a folder.</summary>
    /// <inheritdoc cref="ToFiles"/>
    public static ModelFiles Finish(TrainingOptions options, IModelDefinition definition, TrainingResult result, string card,
        IEnumerable<(string Name, ReadOnlyMemory<byte> Content)> further)
    {
        ModelFiles files = ToFiles(options.Output, definition, result, card, further);
        if (options.Output is { } folder) Write(files, folder);
        return files;
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

    /// <summary>The model card: how the model was trained and how good it was then.</summary>
    /// <param name="how">The objective, after "Trained with MLNetMultimodal, ".</param>
    /// <param name="o">The options.</param>
    /// <param name="definition">The model.</param>
    /// <param name="rows">Rows of the training data.</param>
    /// <param name="result">What came out.</param>
    /// <param name="metric">What the validation measured.</param>
    /// <param name="initialize">The folder that it started from; null for random weights.</param>
    /// <param name="format">How the validation's result is written.</param>
    public static string Card(string how, TrainingOptions o, IModelDefinition definition, int rows, TrainingResult result, string metric, string? initialize,
        string format = Percent) =>
        string.Create(CultureInfo.InvariantCulture, $"""
        # {definition.ModelType} model

        Trained with MLNetMultimodal, {how}, {Start(initialize)}.

        | | |
        | --- | --- |
        | training rows | {rows:n0} |
        | steps of {o.BatchSize} rows | {result.Steps:n0} of {o.Epochs} epochs{(result.Completed ? "" : ", cancelled")} |
        | time of the last run | {result.Elapsed.TotalMinutes:f1} minutes |
        | mean loss of the last 100 steps | {(result.Loss is { } loss ? $"{loss:f4}" : "trained before")} |
        | validation, {metric} | {(result.Validation is { } v ? v.ToString(format, CultureInfo.InvariantCulture) : "none")} |
        | learning rate, weight decay, EMA | {o.LearningRate}, {o.WeightDecay}, {o.EmaDecay} |
        | seed | {o.Seed} |


        """);
}
