using System.CommandLine;
using System.Text;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>embed</c>: pictures, texts, sounds and videos to vectors of one space.</summary>
static class EmbedCommand
{
    const string NumPy = "npy", Parquet = "parquet", StandardInput = "-";

    public static Command Create()
    {
        Option<string> model = ToolOptions.Model(), format = ToolOptions.Format(ResultWriter.Json, NumPy, Parquet);
        Option<string[]> images = ToolOptions.Images(), texts = ToolOptions.Texts(), sounds = ToolOptions.Sounds(),
            videos = ToolOptions.Videos();
        Option<string?> imagesFrom = List("--images-from", "pictures, or folders of pictures"),
            textsFrom = List("--texts-from", "texts"), soundsFrom = List("--audio-from", "sounds, or folders of sounds"),
            videosFrom = List("--video-from", "videos, or folders of videos");
        Option<string?> output = ToolOptions.Of<string?>("--output", "F", "The file to write, in place of standard output.");
        Option<string?> adapter = ToolOptions.Adapter(), dtype = ToolOptions.Dtype(Enum.GetValues<OnnxDtype>());
        Option<bool> reduced = ToolOptions.Flag("--reduced-scale-jpeg",
            "Decode large JPEGs at 1/2, 1/4 or 1/8: faster, with embeddings that differ a little.");
        var command = new Command("embed",
            "Turn pictures, texts, sounds and videos into embeddings: the pictures' rows, then the texts', the sounds', the videos'. "
            + "A video is the mean of its frames.")
        {
            model, images, imagesFrom, texts, textsFrom, sounds, soundsFrom, videos, videosFrom, adapter, dtype, format, output, reduced,
        };
        command.Validators.Add(result =>
        {
            Option<string[]>[] items = [images, texts, sounds, videos];
            Option<string?>[] lists = [imagesFrom, textsFrom, soundsFrom, videosFrom];
            if (items.Concat<Option>(lists).All(o => result.GetResult(o) is null))
                result.AddError($"Give something to embed: {string.Join(", ", items.Concat<Option>(lists).Select(o => o.Name))}.");
            if (lists.Count(o => result.GetValue(o) == StandardInput) > 1)
                result.AddError($"Standard input can be one list only: {string.Join(", ", lists.Select(o => o.Name))}.");
            if (result.GetValue(format) == Parquet && result.GetValue(output) is null)
                result.AddError("Parquet goes to a file: give --output.");
        });
        command.SetAction((parsed, cancellation) =>
        {
            string[] pictures = MediaFiles.Pictures([.. parsed.GetValue(images) ?? [], .. Lines(parsed.GetValue(imagesFrom))]);
            string[] sentences = [.. parsed.GetValue(texts) ?? [], .. Lines(parsed.GetValue(textsFrom))];
            string[] recordings = MediaFiles.Sounds([.. parsed.GetValue(sounds) ?? [], .. Lines(parsed.GetValue(soundsFrom))]);
            string[] films = MediaFiles.Videos([.. parsed.GetValue(videos) ?? [], .. Lines(parsed.GetValue(videosFrom))]);
            // One thread a run: batches run side by side.
            using MultimodalModel loaded =
                ToolOptions.Load(parsed.GetRequiredValue(model), parsed.GetValue(adapter), parsed.GetValue(dtype),
                    InferenceMode.Throughput);
            var rows = new EmbeddedRows(loaded, pictures, sentences, recordings, films, parsed.GetValue(reduced));
            return Task.FromResult(ProgressDisplay.Run("embedding", report =>
            {
                Write(parsed.GetValue(format), parsed.GetValue(output), rows, rows.All(report, cancellation));
                return ExitCode.Done;
            }));
        });
        return command;
    }

    static void Write(string? format, string? file, EmbeddedRows source, IEnumerable<EmbeddedRow> rows)
    {
        if (format == NumPy)
            ResultWriter.Write(file, stream => Npy.Write(stream, source.Count, source.Width, rows.Select(r => r.Embedding)));
        else if (format == Parquet)
            ResultWriter.Write(file, stream => ParquetEmbeddings.WriteAsync(stream, source.Width, rows).GetAwaiter().GetResult());
        else ResultWriter.WriteJson(rows, file);
    }

    static Option<string?> List(string name, string content) =>
        ToolOptions.Of<string?>(name, "F", $"A file of {content}, one a line; {StandardInput} for standard input.");

    /// <summary>The lines of a list that are not empty.</summary>
    static IEnumerable<string> Lines(string? file)
    {
        if (file is null) yield break;
        using var reader = new StreamReader(file == StandardInput ? Console.OpenStandardInput() : File.OpenRead(file), Encoding.UTF8);
        while (reader.ReadLine() is { } line)
            if (line.Length > 0) yield return line;
    }
}
