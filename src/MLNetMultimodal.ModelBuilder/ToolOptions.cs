using System.CommandLine;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Options that several verbs have. Each verb gets its own.</summary>
static class ToolOptions
{
    /// <summary>Names of the options that take a model: a folder, or one of the hub.</summary>
    public const string ModelName = "--model", InitializeName = "--initialize";

    public static Option<string> Model() => Required<string>(ModelName, "DIR",
        "The model folder, in the Hugging Face layout, or a model of the hub: hub:owner/name or hub:owner/name@revision.");

    public static Option<string?> Adapter() => Of<string?>("--adapter", "DIR",
        $"A folder of low-rank adapters ({LoraAdapter.ConfigFile}, {LoraAdapter.WeightsFile}) that are added to the weights.");

    /// <param name="dtypes">What there is.</param>
    public static Option<string?> Dtype(IEnumerable<OnnxDtype> dtypes)
    {
        Option<string?> option = Of<string?>("--dtype", "D",
            "How weights are stored in what runs; by default fp32, or the best that a folder of graphs has.");
        return option.AcceptOnlyFromAmong([.. dtypes.Select(Name)]);
    }

    /// <summary>As the command line has it.</summary>
    public static string Name(OnnxDtype dtype) => dtype.ToString().ToLowerInvariant();

    public static OnnxDtype Parse(string dtype) => Enum.Parse<OnnxDtype>(dtype, ignoreCase: true);

    /// <summary>The model that a verb is given; where graphs of its folder are run, standard error says which.</summary>
    public static MultimodalModel Load(string folder, string? adapter, string? dtype = null,
        InferenceMode mode = InferenceMode.Latency)
    {
        MultimodalModel model = MultimodalModel.Load(folder, new()
        {
            Adapter = adapter is null ? null : LoraAdapter.Load(adapter),
            Dtype = dtype is null ? null : Parse(dtype),
            Mode = mode,
        });
        if (model.GraphFiles.Count > 0) Console.Error.WriteLine($"graphs: {string.Join(", ", model.GraphFiles)}");
        return model;
    }

    /// <param name="formats">What there is; the first is the default.</param>
    public static Option<string> Format(params string[] formats) =>
        Defaulting("--format", "How results are written.", formats[0]).AcceptOnlyFromAmong(formats);

    public static Option<string[]> Images() => Several<string>("--image", "F", "Pictures, or folders of pictures.");

    public static Option<string[]> Sounds() => Several<string>("--audio", "F", "Sounds, or folders of sounds.");

    public static Option<string[]> Videos() => Several<string>("--video", "F", "Videos, or folders of videos.");

    public static Option<string[]> Texts() => Several<string>("--text", "T", "Texts.");

    public static Option<T> Of<T>(string name, string helpName, string description) =>
        new(name) { Description = description, HelpName = helpName };

    public static Option<T> Required<T>(string name, string helpName, string description)
    {
        Option<T> option = Of<T>(name, helpName, description);
        option.Required = true;
        return option;
    }

    public static Option<T> Defaulting<T>(string name, string description, T byDefault) =>
        new(name) { Description = description, DefaultValueFactory = _ => byDefault };

    public static Option<bool> Flag(string name, string description) => new(name) { Description = description };

    /// <summary>An option with one value or more after its name.</summary>
    public static Option<T[]> Several<T>(string name, string helpName, string description)
    {
        Option<T[]> option = Of<T[]>(name, helpName, description);
        option.AllowMultipleArgumentsPerToken = true; // --image a.png b.png
        option.Arity = ArgumentArity.OneOrMore;
        return option;
    }
}
