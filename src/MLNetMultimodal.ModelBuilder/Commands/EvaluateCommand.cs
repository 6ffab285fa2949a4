using System.CommandLine;
using System.Text.Json.Nodes;
using Microsoft.ML;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>evaluate</c>: how well a model classifies pictures, or finds texts for pictures and pictures for texts.</summary>
static class EvaluateCommand
{
    public static Command Create()
    {
        Option<string> model = ToolOptions.Model(), format = ToolOptions.Format(ResultWriter.Table, ResultWriter.Json);
        Option<bool> retrieval =
            ToolOptions.Flag("--retrieval", "Search captions by pictures and pictures by captions, instead of classifying.");
        var data = new DataOptions();
        var prompts = new PromptOptions();
        var command = new Command("evaluate", "Measure a model on labelled pictures, zero-shot, or on captioned ones.")
        {
            model, retrieval, format,
        };
        data.AddTo(command);
        prompts.AddTo(command);
        command.SetAction(async (parsed, cancellation) =>
        {
            var ml = new MLContext(seed: 1);
            IReadOnlyList<string> templates = prompts.Templates(parsed);
            PictureData pictures = data.Load(ml, parsed, templates[0]);
            string folder = parsed.GetRequiredValue(model);
            // The pass itself takes no token: it is left behind where it is when the process ends.
            (string table, string json, IReadOnlyList<string> used) = await Task.Run(() => parsed.GetValue(retrieval)
                ? Retrieve(ml, folder, pictures, pictures.ClassText is null ? [] : [templates[0]])
                : Classify(ml, folder, pictures, prompts.Labels(parsed), templates), cancellation).WaitAsync(cancellation);
            if (parsed.GetValue(format) == ResultWriter.Json) ResultWriter.WriteJson([WithPrompts(json, used)]);
            else Console.Write(table);
            return ExitCode.Done;
        });
        return command;
    }

    static (string, string, IReadOnlyList<string>) Classify(
        MLContext ml, string folder, PictureData pictures, IReadOnlyList<string>? labels, IReadOnlyList<string> templates)
    {
        string label = pictures.Label ?? throw new WrongUsageException(
            "the manifest's pictures have no classes; name their field with --label-field, or use --retrieval.");
        ZeroShotClassifyEstimator estimator = ml.Transforms.ZeroShotClassify(new()
        {
            Model = folder,
            Image = pictures.Image,
            Labels = labels ?? pictures.Labels(),
            Templates = templates,
            TopK = 0,
        });
        using ZeroShotTransformer classifier = WrongUsageException.Check(() => estimator.Fit(pictures.View));
        ZeroShotMetrics metrics = ml.Multimodal.EvaluateZeroShot(classifier.Transform(pictures.View), new() { Label = label });
        return (metrics.ToString(), metrics.ToJson(), classifier.Classifier.Prompts);
    }

    static (string, string, IReadOnlyList<string>) Retrieve(
        MLContext ml, string folder, PictureData pictures, IReadOnlyList<string> templates)
    {
        var columns = new RetrievalOptions { Group = pictures.Label ?? pictures.Image };
        using MultimodalTransformer embedder = ml.Transforms.MultimodalEmbed(new()
        {
            Model = folder,
            Image = pictures.Image,
            Text = PictureData.Caption,
            ImageOutput = columns.ImageEmbedding,
            TextOutput = columns.TextEmbedding,
        }).Fit(pictures.View);
        RetrievalMetrics metrics = ml.Multimodal.EvaluateRetrieval(embedder.Transform(pictures.View), columns);
        string captions = templates.Count > 0 ? $"captions: {templates[0]}\n" : "";
        return (captions + metrics, metrics.ToJson(), templates);
    }

    static JsonObject WithPrompts(string json, IReadOnlyList<string> prompts)
    {
        JsonObject metrics = JsonNode.Parse(json)!.AsObject();
        metrics["prompts"] = new JsonArray([.. prompts.Select(p => JsonValue.Create(p))]);
        return metrics;
    }
}
