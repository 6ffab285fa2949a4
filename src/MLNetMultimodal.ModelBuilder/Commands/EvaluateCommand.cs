using System.CommandLine;
using System.Text.Json.Nodes;
using Microsoft.ML;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>evaluate</c>: how well a model classifies pictures, by words or by a linear probe, or finds texts for pictures and
/// pictures for texts.</summary>
static class EvaluateCommand
{
    public static Command Create()
    {
        Option<string> model = ToolOptions.Model(), format = ToolOptions.Format(ResultWriter.Table, ResultWriter.Json);
        Option<bool> retrieval =
            ToolOptions.Flag("--retrieval", "Search captions by pictures and pictures by captions, instead of classifying.");
        var data = new DataOptions();
        var prompts = new PromptOptions();
        var probe = new ProbeOptions();
        var command = new Command(
            "evaluate", "Measure a model on labelled pictures, zero-shot or by a linear probe, or on captioned ones.")
        {
            model, retrieval, format,
        };
        data.AddTo(command);
        prompts.AddTo(command);
        probe.AddTo(command, retrieval, data);
        command.SetAction(async (parsed, cancellation) =>
        {
            var ml = new MLContext(seed: 1);
            ZeroShotPrompts words = prompts.Read(parsed, data.Folder(parsed));
            PictureData pictures = data.Load(ml, parsed, words.Templates[0]);
            string folder = parsed.GetRequiredValue(model);
            // The pass itself takes no token: it is left behind where it is when the process ends.
            (string Table, JsonObject Json)[] results = await Task.Run(() => probe.IsGivenIn(parsed)
                ? Probe(ml, folder, probe.LoadTrain(ml, parsed, data), pictures, probe.Read(parsed))
                : [parsed.GetValue(retrieval)
                    ? Retrieve(ml, folder, pictures, pictures.ClassText is null ? [] : [words.Templates[0]])
                    : Classify(ml, folder, pictures, words)], cancellation).WaitAsync(cancellation);
            if (parsed.GetValue(format) == ResultWriter.Json) ResultWriter.WriteJson(results.Select(r => r.Json));
            else Console.Write(string.Join('\n', results.Select(r => r.Table)));
            return ExitCode.Done;
        });
        return command;
    }

    static (string, JsonObject) Classify(MLContext ml, string folder, PictureData pictures, ZeroShotPrompts words)
    {
        string label = LabelOf(pictures);
        ZeroShotClassifyEstimator estimator = ml.Transforms.ZeroShotClassify(new()
        {
            Model = folder,
            Image = pictures.Image,
            LoadedPrompts = words.Labels is null ? words.Choose(pictures.Labels()) : words,
            TopK = 0,
        });
        using ZeroShotTransformer classifier = WrongUsageException.Check(() => estimator.Fit(pictures.View));
        ZeroShotMetrics metrics = ml.Multimodal.EvaluateZeroShot(classifier.Transform(pictures.View), new() { Label = label });
        return (metrics.ToString(), WithPrompts(ResultWriter.ToJson(metrics), classifier.Classifier.Prompts));
    }

    static (string, JsonObject)[] Probe(
        MLContext ml, string folder, PictureData train, PictureData test, IReadOnlyList<LinearProbeOptions> probes)
    {
        string label = LabelOf(train);
        var columns = new MultimodalEmbedOptions { Model = folder, Image = train.Image, Output = probes[0].Features };
        using MultimodalTransformer embedder = ml.Transforms.MultimodalEmbed(columns).Fit(train.View);
        IDataView Embed(PictureData pictures) => ml.Data.Cache(embedder.Transform(pictures.View), label, columns.Output);
        IDataView learned = Embed(train), measured = Embed(test); // once, however many probes there are
        return [.. probes.Select(p => ml.Multimodal.EvaluateLinearProbe(learned, measured, p with { Label = label }))
            .Select(metrics => (metrics.ToString(), ResultWriter.ToJson(metrics)))];
    }

    static string LabelOf(PictureData pictures) => pictures.Label ?? throw new WrongUsageException(
        "the manifest's pictures have no classes; name their field with --label-field, or use --retrieval.");

    static (string, JsonObject) Retrieve(MLContext ml, string folder, PictureData pictures, IReadOnlyList<string> templates)
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
        return (captions + metrics, WithPrompts(ResultWriter.ToJson(metrics), templates));
    }

    static JsonObject WithPrompts(JsonObject metrics, IReadOnlyList<string> prompts)
    {
        metrics["prompts"] = new JsonArray([.. prompts.Select(p => JsonValue.Create(p))]);
        return metrics;
    }
}
