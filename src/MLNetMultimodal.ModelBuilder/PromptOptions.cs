using System.CommandLine;
using System.CommandLine.Parsing;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Options for classes and for the texts that name them.</summary>
sealed class PromptOptions
{
    public const string DefaultTemplate = "a photo of a {}.";

    readonly Option<string?> _labels = ToolOptions.Of<string?>("--labels", "a,b,c", "The classes, separated by commas.");
    readonly Option<string?> _labelsFile = ToolOptions.Of<string?>("--labels-file", "F", "A file with one class a line.");
    readonly Option<string?> _prompts = ToolOptions.Of<string?>("--prompts", "DIR",
        $"A folder with {ZeroShotPrompts.TemplatesFile} and, where it has the classes too, {ZeroShotPrompts.LabelsFile}.");
    readonly TemplateOptions _templates = new();

    public void AddTo(Command command)
    {
        command.Add(_labels);
        command.Add(_labelsFile);
        command.Add(_prompts);
        _templates.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.GetResult(_labels) is not null && result.GetResult(_labelsFile) is not null)
                result.AddError("Give --labels or --labels-file, not both.");
            if (result.GetResult(_prompts) is not null && _templates.AreGivenIn(result))
                result.AddError("Give --prompts or templates of your own, not both.");
        });
    }

    /// <summary>The classes in their order; null where none are given. Those of the command line win over the folder's.</summary>
    public IReadOnlyList<string>? Labels(ParseResult parsed) => (parsed.GetValue(_labels), parsed.GetValue(_labelsFile)) switch
    {
        (null, null) => parsed.GetValue(_prompts) is { } folder ? ZeroShotPrompts.Load(folder).Labels : null,
        (null, { } file) => TemplateOptions.Lines(file),
        ({ } labels, _) => [.. labels.Split(',').Select(l => l.Trim())],
    };

    public IReadOnlyList<string> Templates(ParseResult parsed) => parsed.GetValue(_prompts) is { } folder
        ? ZeroShotPrompts.Load(folder).Templates : _templates.Read(parsed) ?? [DefaultTemplate];
}

/// <summary>Options for the texts that classes or captions are put into.</summary>
sealed class TemplateOptions
{
    readonly Option<string[]> _templates =
        ToolOptions.Of<string[]>("--template", "T", "A text with {} in place of the class; may be repeated.");
    readonly Option<string?> _templatesFile =
        ToolOptions.Of<string?>("--templates-file", "F", "A file with one such text a line.");

    public void AddTo(Command command)
    {
        command.Add(_templates);
        command.Add(_templatesFile);
    }

    public bool AreGivenIn(CommandResult result) =>
        result.GetResult(_templates) is not null || result.GetResult(_templatesFile) is not null;

    /// <summary>The texts, those of the command line first; null where none are given.</summary>
    /// <exception cref="WrongUsageException">One has no place for the class.</exception>
    public IReadOnlyList<string>? Read(ParseResult parsed)
    {
        string[] templates =
            [.. parsed.GetValue(_templates) ?? [], .. parsed.GetValue(_templatesFile) is { } file ? Lines(file) : []];
        if (Array.Find(templates, t => !t.Contains("{}", StringComparison.Ordinal)) is { } wrong)
            throw new WrongUsageException($"a template must contain {{}} in place of the class, but '{wrong}' does not.");
        return templates.Length > 0 ? templates : null;
    }

    public static string[] Lines(string file) => [.. File.ReadAllLines(file).Select(l => l.Trim()).Where(l => l.Length > 0)];
}
