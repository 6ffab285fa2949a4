using System.CommandLine;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Options for classes and for the texts that name them.</summary>
sealed class PromptOptions
{
    public const string DefaultTemplate = "a photo of a {}.";

    readonly Option<string?> _labels = ToolOptions.Of<string?>("--labels", "a,b,c", "The classes, separated by commas.");
    readonly Option<string?> _labelsFile = ToolOptions.Of<string?>("--labels-file", "F", "A file with one class a line.");
    readonly TemplateOptions _templates = new();

    public void AddTo(Command command)
    {
        command.Add(_labels);
        command.Add(_labelsFile);
        _templates.AddTo(command);
        command.Validators.Add(result =>
        {
            if (result.GetResult(_labels) is not null && result.GetResult(_labelsFile) is not null)
                result.AddError("Give --labels or --labels-file, not both.");
        });
    }

    /// <summary>The classes in their order; null where none are given.</summary>
    public IReadOnlyList<string>? Labels(ParseResult parsed) => (parsed.GetValue(_labels), parsed.GetValue(_labelsFile)) switch
    {
        (null, null) => null,
        (null, { } file) => TemplateOptions.Lines(file),
        ({ } labels, _) => [.. labels.Split(',').Select(l => l.Trim())],
    };

    public IReadOnlyList<string> Templates(ParseResult parsed) => _templates.Read(parsed) ?? [DefaultTemplate];
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
