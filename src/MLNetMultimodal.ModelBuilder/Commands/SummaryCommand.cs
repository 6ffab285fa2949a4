using System.CommandLine;
using System.Globalization;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>summary</c>: what a model consists of and what it costs. The folder needs no weights.</summary>
static class SummaryCommand
{
    sealed record Layer(string Name, string Operation, string Shape, long Parameters, long Flops);

    sealed record Summary(string ModelType, int EmbeddingWidth, string Program, long Parameters, long ParameterBytes, long Flops,
        long ActivationBytes, IReadOnlyList<Layer> Layers);

    public static Command Create()
    {
        Option<string> model = ToolOptions.Model(), format = ToolOptions.Format(ResultWriter.Table, ResultWriter.Json);
        var command = new Command("summary", "Show a model's layers, parameters, operations and memory.") { model, format };
        command.SetAction(parsed =>
        {
            ModelFiles files = ModelFiles.FromFolder(parsed.GetRequiredValue(model));
            IModelDefinition definition = ModelFamilies.Create(files);
            ModelSummary[] summaries =
                [.. definition.Encoders.OrderBy(e => e.Key).Select(e => e.Value).Append(definition.Full).Select(ModelSummary.Of)];
            if (parsed.GetValue(format) == ResultWriter.Json) ResultWriter.WriteJson(summaries.Select(s => ToRow(definition, s)));
            else
            {
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{definition.ModelType}, embeddings of {definition.EmbeddingWidth} values\n"));
                foreach (ModelSummary summary in summaries) Console.WriteLine(summary);
            }
            return ExitCode.Done;
        });
        return command;
    }

    static Summary ToRow(IModelDefinition definition, ModelSummary summary)
    {
        ILookup<string, ParameterSpec> parameters =
            summary.Parameters.ToLookup(p => p.Name[..Math.Max(0, p.Name.LastIndexOf('.'))]);
        IEnumerable<Layer> layers = summary.Layers.Select(l =>
            new Layer(l.Layer, l.Operation, l.Shape, parameters[l.Layer].Sum(p => p.Count), l.Flops));
        return new(definition.ModelType, definition.EmbeddingWidth, summary.Program, summary.ParameterCount,
            sizeof(float) * summary.ParameterCount, summary.Flops, sizeof(float) * summary.Activations, [.. layers]);
    }
}
