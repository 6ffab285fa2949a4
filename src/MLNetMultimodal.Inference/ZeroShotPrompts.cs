namespace MLNetMultimodal.Inference;

/// <summary>The words of a zero-shot classification, kept in files beside the data as LAION's CLIP_benchmark keeps them. Immutable
/// and thread-safe.</summary>
public sealed class ZeroShotPrompts
{
    /// <summary>File with one class a line; it may be missing.</summary>
    public const string LabelsFile = "classnames.txt";

    /// <summary>File with one template a line, <c>{c}</c> or <c>{}</c> in place of the class.</summary>
    public const string TemplatesFile = "zeroshot_classification_templates.txt";

    const int MaxFileBytes = 16 << 20;

    ZeroShotPrompts(IReadOnlyList<string>? labels, IReadOnlyList<string> templates, string source) =>
        (Labels, Templates, Source) = (labels, templates, source);

    /// <summary>The classes in their order, distinct; null where the folder does not say.</summary>
    public IReadOnlyList<string>? Labels { get; }

    /// <summary>Texts with <c>{}</c> in place of the class, at least one.</summary>
    public IReadOnlyList<string> Templates { get; }

    /// <summary>The folder they come from.</summary>
    public string Source { get; }

    /// <summary>Reads the two files. Lines are trimmed, empty ones are passed over.</summary>
    /// <param name="folder">The folder that holds them.</param>
    /// <exception cref="FileNotFoundException">The folder has no templates.</exception>
    /// <exception cref="InvalidDataException">A file is empty or too large, a template has no place for the class, or a class
    /// stands there twice; the message names the file and what is wrong.</exception>
    public static ZeroShotPrompts Load(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        string labelsFile = Path.Combine(folder, LabelsFile), templatesFile = Path.Combine(folder, TemplatesFile);
        if (!File.Exists(templatesFile))
            throw new FileNotFoundException($"'{folder}' has no {TemplatesFile}; it holds one template a line, such as "
                + "\"a photo of a {c}.\".", templatesFile);
        string[] templates = [.. Lines(templatesFile).Select(t => t.Replace("{c}", "{}", StringComparison.Ordinal))];
        if (Array.Find(templates, t => !t.Contains("{}", StringComparison.Ordinal)) is { } wrong)
            throw new InvalidDataException($"'{templatesFile}': '{wrong}' has neither {{c}} nor {{}} in place of the class.");
        string[]? labels = File.Exists(labelsFile) ? Lines(labelsFile) : null;
        if (labels?.GroupBy(l => l, StringComparer.Ordinal).FirstOrDefault(g => g.Count() > 1) is { Key: var twice })
            throw new InvalidDataException($"'{labelsFile}' has the class '{twice}' more than once.");
        return new(labels, templates, folder);
    }

    static string[] Lines(string file)
    {
        if (new FileInfo(file).Length > MaxFileBytes)
            throw new InvalidDataException($"'{file}' is larger than {MaxFileBytes >> 20} MiB.");
        string[] lines = [.. File.ReadLines(file).Select(l => l.Trim()).Where(l => l.Length > 0)];
        return lines.Length > 0 ? lines : throw new InvalidDataException($"'{file}' is empty; it holds one entry a line.");
    }
}
