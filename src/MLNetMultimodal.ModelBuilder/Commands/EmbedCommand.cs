using System.CommandLine;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>embed</c>: pictures and texts to vectors of one space.</summary>
static class EmbedCommand
{
    const string NumPy = "npy";
    const int ReportedItems = 64;

    sealed record Row(string Modality, string Input, float[] Embedding);

    public static Command Create()
    {
        Option<string> model = ToolOptions.Model(), format = ToolOptions.Format(ResultWriter.Json, NumPy);
        Option<string[]> images = ToolOptions.Images(), texts = ToolOptions.Texts();
        Option<string?> output = ToolOptions.Of<string?>("--output", "F", "The file to write, in place of standard output.");
        Option<string?> adapter = ToolOptions.Adapter(), dtype = ToolOptions.Dtype(Enum.GetValues<OnnxDtype>());
        var command = new Command("embed", "Turn pictures and texts into embeddings, the pictures' rows first.")
        {
            model, images, texts, adapter, dtype, format, output,
        };
        command.Validators.Add(result =>
        {
            if (result.GetResult(images) is null && result.GetResult(texts) is null)
                result.AddError("Give something to embed: --image, --text or both.");
        });
        command.SetAction((parsed, cancellation) =>
        {
            string[] pictures = PictureFiles.Expand(parsed.GetValue(images) ?? []), sentences = parsed.GetValue(texts) ?? [];
            using MultimodalModel loaded =
                ToolOptions.Load(parsed.GetRequiredValue(model), parsed.GetValue(adapter), parsed.GetValue(dtype));
            Row[] rows = ProgressDisplay.Run("embedding", report => Embed(loaded, pictures, sentences, report, cancellation));
            string? file = parsed.GetValue(output);
            if (parsed.GetValue(format) == NumPy)
                ResultWriter.Write(file, stream => Npy.Write(stream, [.. rows.Select(r => r.Embedding)]));
            else ResultWriter.WriteJson(rows, file);
            return Task.FromResult(ExitCode.Done);
        });
        return command;
    }

    static Row[] Embed(
        MultimodalModel model, string[] pictures, string[] texts, Action<double, string> report, CancellationToken cancellation)
    {
        int total = pictures.Length + texts.Length;
        var rows = new List<Row>();
        void Add(string modality, string[] inputs, Func<string[], float[][]> embed)
        {
            foreach (string[] part in inputs.Chunk(ReportedItems))
            {
                rows.AddRange(part.Zip(embed(part), (input, embedding) => new Row(modality, input, embedding)));
                report((double)rows.Count / total, $"{rows.Count} of {total} embedded");
            }
        }
        Add("image", pictures, part => model.EmbedImages(part, cancellation));
        Add("text", texts, part => model.EmbedTexts(part, cancellation));
        return [.. rows];
    }
}
