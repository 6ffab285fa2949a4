using System.CommandLine;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Video;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>preprocess</c>: what a model would see. The folder needs no weights.</summary>
static class PreprocessCommand
{
    const string ConfigFile = "preprocessor_config.json";

    sealed record Row(string Name, string Input, IReadOnlyList<long> Shape);

    public static Command Create()
    {
        Option<string> model = ToolOptions.Model(), format = ToolOptions.Format(ResultWriter.Table, ResultWriter.Json);
        Option<string[]> images = ToolOptions.Images(), sounds = ToolOptions.Sounds(),
            videos = ToolOptions.Videos();
        Option<string> outputs = ToolOptions.Required<string>("--outputs", "F",
            "The safetensors file to write: out.<file name>, [3, H, W] of a picture; [T, F], [F, T] or [T] of a sound; [T, 3, H, W] of a video.");
        Option<int?> size =
            ToolOptions.Of<int?>("--size", "N", $"Preprocess as CLIP does for N x N pixels, whatever {ConfigFile} says.");
        var command = new Command("preprocess", "Write what a model would see of pictures or videos or hear of sounds.")
        {
            model, images, sounds, videos, outputs, size, format,
        };
        command.Validators.Add(result =>
        {
            if (new Option[] { images, sounds, videos }.Count(o => result.GetResult(o) is not null) != 1)
                result.AddError("Give either --image, --audio or --video.");
            if (result.GetResult(sounds) is not null && result.GetValue(size) is not null)
                result.AddError("--size is for pictures and videos.");
        });
        size.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int?>() is < 1) result.AddError("--size must be at least 1.");
        });
        command.SetAction(parsed =>
        {
            ModelFiles files = ModelFiles.FromFolder(parsed.GetRequiredValue(model));
            (string[] inputs, TensorData[] tensors) = parsed.GetValue(sounds) is { Length: > 0 } recordings
                ? Hear(files, MediaFiles.Sounds(recordings))
                : parsed.GetValue(videos) is { Length: > 0 } films
                ? Watch(files, parsed.GetValue(size), MediaFiles.Videos(films))
                : See(files, parsed.GetValue(size), MediaFiles.Pictures(parsed.GetValue(images)!));
            string[] names = Names(inputs);
            Safetensors.Write(parsed.GetRequiredValue(outputs), names.Zip(tensors, KeyValuePair.Create));
            Row[] rows = [.. names.Select((name, i) => new Row(name, inputs[i], tensors[i].Shape))];
            ResultWriter.Write(parsed.GetValue(format), rows, ["output", "input", "shape"],
                r => [r.Name, r.Input, ResultWriter.Shape(r.Shape)]);
            return ExitCode.Done;
        });
        return command;
    }

    static (string[] Inputs, TensorData[] Tensors) See(ModelFiles files, int? size, string[] pictures)
    {
        ImagePreprocessing preprocessing = Pictures(files, size);
        return (pictures, [.. pictures.Select(file => TensorData.From(Pixels(preprocessing, ImageDecoder.Decode(file)),
            3, preprocessing.Height, preprocessing.Width))]);
    }

    static (string[] Inputs, TensorData[] Tensors) Watch(ModelFiles files, int? size, string[] videos)
    {
        ImagePreprocessing preprocessing = Pictures(files, size);
        FrameSampling sampling = FrameSampling.TryLoad(files.TryRead) ?? FrameSampling.Clip4Clip;
        return (videos, [.. videos.Select(file =>
        {
            float[][] frames = [.. sampling.Frames(file).Select(frame => Pixels(preprocessing, frame))];
            return TensorData.From((float[])[.. frames.SelectMany(pixels => pixels)],
                frames.Length, 3, preprocessing.Height, preprocessing.Width);
        })]);
    }

    static ImagePreprocessing Pictures(ModelFiles files, int? size) => size is { } side ? ImagePreprocessing.Clip(side)
        : ImagePreprocessing.TryLoad(files.TryRead) ?? throw new FileNotFoundException(
            $"'{files.Name}' has no {ConfigFile}; give --size to preprocess as CLIP does.");

    static float[] Pixels(ImagePreprocessing preprocessing, RgbImage image)
    {
        var pixels = new float[3 * preprocessing.Height * preprocessing.Width];
        preprocessing.Apply(image, pixels);
        return pixels;
    }

    static (string[] Inputs, TensorData[] Tensors) Hear(ModelFiles files, string[] sounds)
    {
        AudioPreprocessing preprocessing = AudioPreprocessing.TryLoad(files.TryRead) ?? throw new FileNotFoundException(
            $"'{files.Name}' has no {ConfigFile}; it says what the model takes of a sound.");
        return (sounds, [.. sounds.Select(file =>
        {
            float[] values = preprocessing.ApplyToFile(file);
            return TensorData.From(values, [.. preprocessing.Shape(values.Length).Select(d => (long)d)]);
        })]);
    }

    /// <summary><c>out.cat.png</c>, and <c>out.cat.png#2</c> for the second file of that name.</summary>
    static string[] Names(string[] files)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        return [.. files.Select(file =>
        {
            string name = $"out.{Path.GetFileName(file)}", unique = name;
            for (int i = 2; !names.Add(unique); i++) unique = $"{name}#{i}";
            return unique;
        })];
    }
}
