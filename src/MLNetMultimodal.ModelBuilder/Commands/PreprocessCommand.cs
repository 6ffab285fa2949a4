using System.CommandLine;
using MLNetMultimodal.Media.Images;
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
        Option<string[]> images = ToolOptions.Images();
        images.Required = true;
        Option<string> outputs =
            ToolOptions.Required<string>("--outputs", "F", "The safetensors file to write: out.<file name>, [3, H, W].");
        Option<int?> size =
            ToolOptions.Of<int?>("--size", "N", $"Preprocess as CLIP does for N x N pixels, whatever {ConfigFile} says.");
        var command = new Command("preprocess", "Write what a model would see of pictures.")
        {
            model, images, outputs, size, format,
        };
        size.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int?>() is < 1) result.AddError("--size must be at least 1.");
        });
        command.SetAction(parsed =>
        {
            ModelFiles files = ModelFiles.FromFolder(parsed.GetRequiredValue(model));
            ImagePreprocessing preprocessing = parsed.GetValue(size) is { } side ? ImagePreprocessing.Clip(side) : Read(files);
            string[] pictures = PictureFiles.Expand(parsed.GetRequiredValue(images)), names = Names(pictures);
            TensorData[] tensors = [.. pictures.Select(file => Apply(preprocessing, file))];
            Safetensors.Write(parsed.GetRequiredValue(outputs), names.Zip(tensors, KeyValuePair.Create));
            Row[] rows = [.. names.Select((name, i) => new Row(name, pictures[i], tensors[i].Shape))];
            ResultWriter.Write(parsed.GetValue(format), rows, ["output", "input", "shape"],
                r => [r.Name, r.Input, ResultWriter.Shape(r.Shape)]);
            return ExitCode.Done;
        });
        return command;
    }

    static ImagePreprocessing Read(ModelFiles files) => ImagePreprocessing.TryLoad(files.TryRead)
        ?? throw new FileNotFoundException($"'{files.Name}' has no {ConfigFile}; give --size to preprocess as CLIP does.");

    static TensorData Apply(ImagePreprocessing preprocessing, string file)
    {
        var pixels = new float[3 * preprocessing.Height * preprocessing.Width];
        preprocessing.Apply(ImageDecoder.Decode(file), pixels);
        return TensorData.From(pixels, 3, preprocessing.Height, preprocessing.Width);
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
