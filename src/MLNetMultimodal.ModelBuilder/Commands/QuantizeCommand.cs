using System.CommandLine;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>quantize</c>: what smaller weights cost and gain, on the user's own pictures and texts.</summary>
static class QuantizeCommand
{
    public static Command Create()
    {
        Option<string> model = ToolOptions.Model(), format = ToolOptions.Format(ResultWriter.Table, ResultWriter.Json);
        OnnxDtype[] smaller = [.. OnnxExport.Dtypes.Where(d => d != OnnxDtype.Fp32)];
        Option<string> dtype = ToolOptions.Defaulting("--dtype", "How weights are to be stored.", ToolOptions.Name(OnnxDtype.Int8))
            .AcceptOnlyFromAmong([.. smaller.Select(ToolOptions.Name)]);
        Option<string[]> images = ToolOptions.Images(), texts = ToolOptions.Texts();
        Option<bool> classes = ToolOptions.Flag(
            "--classes", "The folder that a picture lies in is its class: report zero-shot top-1, too.");
        Option<string> template = ToolOptions.Defaulting(
            "--template", "With --classes: the text that names a class.", "a photo of a {}.");
        var command = new Command("quantize", "Compare smaller weights with 32-bit floats: size, speed, similarity, top-1.")
        {
            model, dtype, images, texts, classes, template, format,
        };
        command.SetAction((parsed, cancellation) =>
        {
            string[] files = MediaFiles.Pictures(parsed.GetValue(images) ?? []);
            string[] folders = parsed.GetValue(classes)
                ? [.. files.Select(f => Path.GetFileName(Path.GetDirectoryName(Path.GetFullPath(f)))!)] : [];
            string[] labels = [.. folders.Distinct().Order(StringComparer.Ordinal)];
            QuantizationReport report = Quantizer.Quantize(parsed.GetRequiredValue(model), new()
            {
                Dtype = ToolOptions.Parse(parsed.GetRequiredValue(dtype)),
                Images = [.. files.Select(f => ImageDecoder.Decode(f))],
                Texts = parsed.GetValue(texts) ?? [],
                Classes = [.. folders.Select(f => Array.IndexOf(labels, f))],
                Labels = labels,
                Templates = [parsed.GetRequiredValue(template)],
            }, cancellation);
            if (parsed.GetValue(format) == ResultWriter.Json) ResultWriter.WriteJson([Row(report)]);
            else Console.Write(report);
            return Task.FromResult(ExitCode.Done);
        });
        return command;
    }

    /// <summary>Numbers that are not there are null: JSON has no NaN.</summary>
    static object Row(QuantizationReport report) => new
    {
        Dtype = ToolOptions.Name(report.Dtype),
        Encoders = report.Encoders.Select(e => new
        {
            Modality = e.Modality.ToString().ToLowerInvariant(),
            e.Items,
            e.ExactBytes,
            e.Bytes,
            MeanCosine = Finite(e.MeanCosine),
            MinCosine = Finite(e.MinCosine),
            SpeedRatio = Finite(e.SpeedRatio),
        }).ToArray(),
        report.ExactTop1,
        report.Top1,
    };

    static double? Finite(double value) => double.IsFinite(value) ? value : null;
}
