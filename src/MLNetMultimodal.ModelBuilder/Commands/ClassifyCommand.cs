using System.CommandLine;
using System.Globalization;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>classify</c>: pictures into classes that are named in words.</summary>
static class ClassifyCommand
{
    const int Batch = 16; // pictures that are decoded together

    sealed record Row(string Input, string Label, float Score, IReadOnlyDictionary<string, float> Scores);

    public static Command Create()
    {
        Option<string> model = ToolOptions.Model(), format = ToolOptions.Format(ResultWriter.Table, ResultWriter.Json);
        var prompts = new PromptOptions();
        var files = new Argument<string[]>("FILES")
        {
            Description = "Pictures, or folders of pictures.",
            Arity = ArgumentArity.OneOrMore,
        };
        Option<string?> adapter = ToolOptions.Adapter(), dtype = ToolOptions.Dtype(Enum.GetValues<OnnxDtype>());
        var command = new Command("classify", "Classify pictures into classes named in words, without training.")
        {
            model, adapter, dtype, format, files,
        };
        prompts.AddTo(command);
        command.SetAction((parsed, cancellation) =>
        {
            ZeroShotPrompts words = prompts.Read(parsed);
            IReadOnlyList<string> labels = words.Labels
                ?? throw new WrongUsageException("give the classes: --labels or --labels-file, or a folder with --prompts.");
            string[] pictures = PictureFiles.Expand(parsed.GetRequiredValue(files));
            using MultimodalModel loaded =
                ToolOptions.Load(parsed.GetRequiredValue(model), parsed.GetValue(adapter), parsed.GetValue(dtype));
            ZeroShotClassifier classifier =
                WrongUsageException.Check(() => ZeroShotClassifier.Create(loaded, labels, words.Templates, cancellation));
            var errors = new List<string>();
            Row[] rows = ProgressDisplay.Run("classifying",
                report => Classify(loaded, classifier, pictures, errors, report, cancellation));
            ResultWriter.Write(parsed.GetValue(format), rows, ["input", "label", "score"],
                r => [r.Input, r.Label, r.Score.ToString("p1", CultureInfo.InvariantCulture)]);
            if (rows.Length > 0) Console.Error.WriteLine($"prompts ({words.Source}): {string.Join(" | ", words.Templates)}");
            foreach (string error in errors) Console.Error.WriteLine($"error: {error}");
            return Task.FromResult(errors.Count == 0 ? ExitCode.Done : ExitCode.Failed);
        });
        return command;
    }

    static Row[] Classify(MultimodalModel model, ZeroShotClassifier classifier, string[] pictures, List<string> errors,
        Action<double, string> report, CancellationToken cancellation)
    {
        var rows = new List<Row>();
        int done = 0;
        foreach (string[] part in pictures.Chunk(Batch))
        {
            var decoded = new RgbImage?[part.Length];
            var reasons = new string?[part.Length];
            Parallel.For(0, part.Length, new() { CancellationToken = cancellation },
                i => (decoded[i], reasons[i]) = TryDecode(part[i]));
            errors.AddRange(reasons.OfType<string>());
            string[] readable = [.. part.Where((_, i) => decoded[i] is not null)];
            float[][] embeddings = model.EmbedImages([.. decoded.OfType<RgbImage>()], cancellation);
            rows.AddRange(readable.Zip(embeddings,
                (file, embedding) => ToRow(file, classifier.Labels, classifier.Probabilities(embedding))));
            done += part.Length;
            report((double)done / pictures.Length, $"{done} of {pictures.Length} classified");
        }
        return [.. rows];
    }

    static (RgbImage?, string?) TryDecode(string file)
    {
        try
        {
            return (ImageDecoder.Decode(file), null);
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            return (null, ErrorText.Of(e));
        }
    }

    static Row ToRow(string file, IReadOnlyList<string> labels, float[] scores)
    {
        int best = Array.IndexOf(scores, scores.Max());
        return new(file, labels[best], scores[best],
            labels.Zip(scores).ToDictionary(s => s.First, s => s.Second, StringComparer.Ordinal));
    }
}
