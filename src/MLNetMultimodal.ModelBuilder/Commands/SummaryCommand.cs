using System.CommandLine;
using System.Globalization;
using MLNetMultimodal.Models.Blocks;
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
        model.Required = false; // --blocks needs none
        Option<bool> blocks = new("--blocks")
        {
            Description = "Show, in place of a model, the blocks that bring senses together, side by side: parameters and operations at one width.",
        };
        var command = new Command("summary", "Show a model's layers, parameters, operations and memory.") { model, format, blocks };
        command.Validators.Add(result =>
        {
            if (result.GetResult(model) is null == result.GetResult(blocks) is null)
                result.AddError($"Give either {ToolOptions.ModelName} or --blocks.");
        });
        command.SetAction(parsed =>
        {
            if (parsed.GetValue(blocks)) return ShowBlocks(parsed.GetValue(format) == ResultWriter.Json);
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

    sealed record BlockRow(string Block, int Width, int Heads, int Queries, int Keys, long Parameters, long Flops);

    /// <summary>At the sizes of the README of MLNetMultimodal.Models.</summary>
    static int ShowBlocks(bool json)
    {
        const int width = 256, heads = 4, queries = 16, keys = 256;
        BlockRow[] rows = [.. BlockComparison.Of(width, heads, queries, keys).Select(s => new BlockRow(s.Program, width, heads, queries, keys, s.ParameterCount, s.Flops))];
        if (json)
        {
            ResultWriter.WriteJson(rows);
            return ExitCode.Done;
        }
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"width {width}, {heads} heads, {queries} tokens that ask, {keys} tokens of other senses\n"));
        Console.WriteLine($"{"block",-36} {"parameters",12} {"MFLOP",10}");
        foreach (BlockRow row in rows)
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{row.Block,-36} {row.Parameters,12:n0} {row.Flops / 1e6,10:n2}"));
        return ExitCode.Done;
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
