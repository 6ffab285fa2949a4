namespace MLNetMultimodal.Inference;

/// <summary>The words of a zero-shot classification: those of two files beside the data, as LAION's CLIP_benchmark keeps them, or
/// of a program. Immutable and thread-safe.</summary>
public sealed class ZeroShotPrompts
{
    /// <summary>File with one class a line; it may be missing.</summary>
    public const string LabelsFile = "classnames.txt";

    /// <summary>File with one template a line, <c>{c}</c> or <c>{}</c> in place of the class.</summary>
    public const string TemplatesFile = "zeroshot_classification_templates.txt";

    /// <summary>The template where none is given.</summary>
    public const string DefaultTemplate = "a photo of a {}.";

    /// <summary><see cref="Source"/> of texts that come from no folder.</summary>
    public const string OptionsSource = "options";

    const int MaxFileBytes = 16 << 20, MaxNamed = 20;

    ZeroShotPrompts(IReadOnlyList<string>? labels, IReadOnlyList<string> templates, string source) =>
        (Labels, Templates, Source) = (labels, templates, source);

    /// <summary>The classes in their order, distinct; null where the folder does not say.</summary>
    public IReadOnlyList<string>? Labels { get; }

    /// <summary>Texts with <c>{}</c> in place of the class, at least one.</summary>
    public IReadOnlyList<string> Templates { get; }

    /// <summary>The folder they come from, as it was given, or <see cref="OptionsSource"/>.</summary>
    public string Source { get; }

    /// <summary>Prompts of texts that a program has. They are checked where they are used.</summary>
    /// <param name="labels">The classes; null where another place says them.</param>
    /// <param name="templates">Texts with <c>{}</c> in place of the class; null or none for
    /// <see cref="DefaultTemplate"/>.</param>
    public static ZeroShotPrompts Of(IReadOnlyList<string>? labels, IReadOnlyList<string>? templates = null) =>
        new(labels is null ? null : [.. labels], templates is { Count: > 0 } ? [.. templates] : [DefaultTemplate], OptionsSource);

    /// <summary>The same templates with other classes: some of those there are, in an order of their own, or any where none are
    /// there.</summary>
    /// <param name="labels">The classes.</param>
    /// <exception cref="ArgumentException">One is none of <see cref="Labels"/>.</exception>
    public ZeroShotPrompts Choose(IReadOnlyList<string> labels)
    {
        ArgumentNullException.ThrowIfNull(labels);
        if (Labels is { } known && labels.FirstOrDefault(l => !known.Contains(l, StringComparer.Ordinal)) is { } strange)
            throw new ArgumentException($"the label '{strange}' is none of the classes of the prompts of '{Source}': "
                + $"{string.Join(", ", known.Take(MaxNamed))}{(known.Count > MaxNamed ? ", …" : "")}. "
                + "Leave the labels out, choose among these, or give templates in place of the folder.", nameof(labels));
        return new([.. labels], Templates, Source);
    }

    /// <summary>Reads the two files. Lines are trimmed, empty ones are passed over.</summary>
    /// <param name="folder">The folder that holds them.</param>
    /// <exception cref="FileNotFoundException">The folder has no templates.</exception>
    /// <exception cref="InvalidDataException">A file is empty or too large, a template has no place for the class, or a class
    /// stands there twice; the message names the file and what is wrong.</exception>
    public static ZeroShotPrompts Load(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        string templatesFile = Path.Combine(folder, TemplatesFile);
        if (!File.Exists(templatesFile))
            throw new FileNotFoundException($"'{folder}' has no {TemplatesFile}; it holds one template a line, such as "
                + "\"a photo of a {c}.\".", templatesFile);
        string[] templates = [.. Lines(templatesFile).Select(t => t.Replace("{c}", "{}", StringComparison.Ordinal))];
        if (Array.Find(templates, t => !t.Contains("{}", StringComparison.Ordinal)) is { } wrong)
            throw new InvalidDataException($"'{templatesFile}': '{wrong}' has neither {{c}} nor {{}} in place of the class.");
        return new(LoadLabels(folder), templates, folder);
    }

    /// <summary>Reads the classes alone. Lines are trimmed, empty ones are passed over.</summary>
    /// <param name="folder">The folder that may hold <see cref="LabelsFile"/>.</param>
    /// <returns>The classes in their order, distinct; null where there is no such file.</returns>
    /// <exception cref="InvalidDataException">The file is empty or too large, or a class stands there twice.</exception>
    public static IReadOnlyList<string>? LoadLabels(string folder)
    {
        string labelsFile = Path.Combine(folder, LabelsFile);
        string[]? labels = File.Exists(labelsFile) ? Lines(labelsFile) : null;
        if (labels?.GroupBy(l => l, StringComparer.Ordinal).FirstOrDefault(g => g.Count() > 1) is { Key: var twice })
            throw new InvalidDataException($"'{labelsFile}' has the class '{twice}' more than once.");
        return labels;
    }

    static string[] Lines(string file)
    {
        if (new FileInfo(file).Length > MaxFileBytes)
            throw new InvalidDataException($"'{file}' is larger than {MaxFileBytes >> 20} MiB.");
        string[] lines = [.. File.ReadLines(file).Select(l => l.Trim()).Where(l => l.Length > 0)];
        return lines.Length > 0 ? lines : throw new InvalidDataException($"'{file}' is empty; it holds one entry a line.");
    }
}
