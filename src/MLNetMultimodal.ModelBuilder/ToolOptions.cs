using System.CommandLine;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Options that several verbs have. Each verb gets its own.</summary>
static class ToolOptions
{
    public static Option<string> Model() =>
        new("--model") { Description = "The model folder, in the Hugging Face layout.", HelpName = "DIR", Required = true };

    /// <param name="formats">What there is; the first is the default.</param>
    public static Option<string> Format(params string[] formats)
    {
        var option = new Option<string>("--format") { Description = "How results are written.", DefaultValueFactory = _ => formats[0] };
        return option.AcceptOnlyFromAmong(formats);
    }

    public static Option<string[]> Images() => Several("--image", "Pictures, or folders of pictures.", "F");

    public static Option<string[]> Texts() => Several("--text", "Texts.", "T");

    static Option<string[]> Several(string name, string description, string helpName) =>
        new(name) { Description = description, HelpName = helpName, AllowMultipleArgumentsPerToken = true, Arity = ArgumentArity.OneOrMore };
}
