using System.CommandLine;
using System.Globalization;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>classify</c>: pictures, sounds and videos into classes that are named in words.</summary>
static class ClassifyCommand
{
    const int Batch = 16; // files that are decoded together

    sealed record Row(string Input, string Label, float Score, IReadOnlyDictionary<string, float> Scores);

    public static Command Create()
    {
        Option<string> model = ToolOptions.Model(), format = ToolOptions.Format(ResultWriter.Table, ResultWriter.Json);
        var prompts = new PromptOptions();
        var files = new Argument<string[]>("FILES")
        {
            Description = "Pictures, sounds or videos, which are known by their endings, or folders of pictures or sounds.",
            Arity = ArgumentArity.OneOrMore,
        };
        Option<string?> adapter = ToolOptions.Adapter(), dtype = ToolOptions.Dtype(Enum.GetValues<OnnxDtype>());
        var command = new Command("classify", "Classify pictures, sounds and videos into classes named in words, without training.")
        {
            model, adapter, dtype, format, files,
        };
        prompts.AddTo(command);
        command.SetAction((parsed, cancellation) =>
        {
            ZeroShotPrompts words = prompts.Read(parsed);
            IReadOnlyList<string> labels = words.Labels
                ?? throw new WrongUsageException("give the classes: --labels or --labels-file, or a folder with --prompts.");
            string[] items = MediaFiles.PicturesAndSounds(parsed.GetRequiredValue(files));
            using MultimodalModel loaded =
                ToolOptions.Load(parsed.GetRequiredValue(model), parsed.GetValue(adapter), parsed.GetValue(dtype));
            ZeroShotClassifier classifier =
                WrongUsageException.Check(() => ZeroShotClassifier.Create(loaded, labels, words.Templates, cancellation));
            var errors = new List<string>();
            Row[] rows = ProgressDisplay.Run("classifying",
                report => Classify(loaded, classifier, items, errors, report, cancellation));
            ResultWriter.Write(parsed.GetValue(format), rows, ["input", "label", "score"],
                r => [r.Input, r.Label, r.Score.ToString("p1", CultureInfo.InvariantCulture)]);
            if (rows.Length > 0) Console.Error.WriteLine($"prompts ({words.Source}): {string.Join(" | ", words.Templates)}");
            foreach (string error in errors) Console.Error.WriteLine($"error: {error}");
            return Task.FromResult(errors.Count == 0 ? ExitCode.Done : ExitCode.Failed);
        });
        return command;
    }

    static Row[] Classify(MultimodalModel model, ZeroShotClassifier classifier, string[] files, List<string> errors,
        Action<double, string> report, CancellationToken cancellation)
    {
        var rows = new List<Row>();
        int done = 0;
        if (files.Any(MediaFiles.IsSound)) _ = model.Sounds; // a model that hears nothing says so once, not for each file
        foreach (string[] part in files.Chunk(Batch))
        {
            var decoded = new RgbImage?[part.Length];
            var embedded = new float[]?[part.Length];
            var reasons = new string?[part.Length];
            Parallel.For(0, part.Length, new() { CancellationToken = cancellation }, i =>
            {
                if (MediaFiles.IsSound(part[i]))
                    (embedded[i], reasons[i]) = Try(() => model.EmbedAudio([part[i]], cancellation)[0]);
                else if (MediaFiles.IsVideo(part[i]))
                    (embedded[i], reasons[i]) = Try(() => model.EmbedVideos([part[i]], cancellation)[0]);
                else (decoded[i], reasons[i]) = Try(() => ImageDecoder.Decode(part[i]));
            });
            errors.AddRange(reasons.OfType<string>());
            int[] pictures = [.. Enumerable.Range(0, part.Length).Where(i => decoded[i] is not null)];
            float[][] seen = pictures.Length == 0 ? [] : model.EmbedImages([.. pictures.Select(i => decoded[i]!)], cancellation);
            for (int i = 0; i < pictures.Length; i++) embedded[pictures[i]] = seen[i];
            rows.AddRange(part.Zip(embedded).Where(file => file.Second is not null)
                .Select(file => ToRow(file.First, classifier.Labels, classifier.Probabilities(file.Second!))));
            done += part.Length;
            report((double)done / files.Length, $"{done} of {files.Length} classified");
        }
        return [.. rows];
    }

    static (T?, string?) Try<T>(Func<T> read) where T : class
    {
        try
        {
            return (read(), null);
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
