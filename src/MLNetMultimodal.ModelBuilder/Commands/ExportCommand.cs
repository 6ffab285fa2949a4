using System.CommandLine;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>export</c>: a folder that Transformers.js opens.</summary>
static class ExportCommand
{
    sealed record Row(string File, long Bytes);

    public static Command Create()
    {
        Option<string> model = ToolOptions.Model();
        Option<string> output = ToolOptions.Required<string>("--output", "DIR", "The folder to write; an earlier export is replaced.");
        Option<string[]> dtype = ToolOptions.Defaulting<string[]>("--dtype", "How weights are stored; several give files for each.",
            [ToolOptions.Name(OnnxDtype.Fp32)]).AcceptOnlyFromAmong([.. OnnxExport.Dtypes.Select(ToolOptions.Name)]);
        Option<string?> adapter = ToolOptions.Adapter();
        dtype.AllowMultipleArgumentsPerToken = true;
        Option<string> format = ToolOptions.Format(ResultWriter.Table, ResultWriter.Json);
        var command = new Command("export", "Write a model as ONNX graphs, in a folder that Transformers.js opens.")
        {
            model, output, dtype, adapter, format,
        };
        command.SetAction(parsed =>
        {
            using MultimodalModel loaded = ToolOptions.Load(parsed.GetRequiredValue(model), parsed.GetValue(adapter));
            string folder = parsed.GetRequiredValue(output);
            OnnxDtype[] dtypes = [.. parsed.GetRequiredValue(dtype).Select(ToolOptions.Parse)];
            Row[] rows = [.. OnnxExport.Write(loaded, folder, dtypes)
                .Select(file => new Row(file, new FileInfo(Path.Combine(folder, file)).Length))];
            ResultWriter.Write(parsed.GetValue(format), rows, ["file", "bytes"], r => [r.File, $"{r.Bytes:n0}"]);
            return ExitCode.Done;
        });
        return command;
    }
}
