using System.CommandLine;
using System.CommandLine.Parsing;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Options for classes and for the texts that name them.</summary>
sealed class PromptOptions
{
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

    /// <summary>The prompts: of <c>--prompts</c>, of the command line, or, where that has no templates, of the data's
    /// folder.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="dataFolder">A folder that may hold templates; null for none.</param>
    /// <exception cref="WrongUsageException">A label is none of the folder's classes.</exception>
    public ZeroShotPrompts Read(ParseResult parsed, string? dataFolder = null)
    {
        IReadOnlyList<string>? labels = (parsed.GetValue(_labels), parsed.GetValue(_labelsFile)) switch
        {
            (null, null) => null,
            (null, { } file) => TemplateOptions.Lines(file),
            ({ } given, _) => [.. given.Split(',').Select(l => l.Trim())],
        };
        IReadOnlyList<string>? templates = _templates.Read(parsed);
        bool isBesideData = dataFolder is not null && File.Exists(Path.Combine(dataFolder, ZeroShotPrompts.TemplatesFile));
        string? folder = parsed.GetValue(_prompts) ?? (templates is null && isBesideData ? dataFolder : null);
        if (folder is null) return ZeroShotPrompts.Of(labels, templates);
        ZeroShotPrompts prompts = ZeroShotPrompts.Load(folder);
        return labels is null ? prompts : WrongUsageException.Check(() => prompts.Choose(labels));
    }
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
