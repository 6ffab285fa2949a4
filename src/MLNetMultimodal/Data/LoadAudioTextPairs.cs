using System.Text.RegularExpressions;
using Microsoft.ML;
using MLNetMultimodal.Data;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="AudioTextPairsCatalog.LoadAudioTextPairs"/>.</summary>
public sealed record AudioTextPairsOptions
{
    /// <summary>Of a manifest, name of the field with the sound's path; default <c>audio</c>. Case counts.</summary>
    public string AudioField { get; init => field = Checked.Name(value); } = "audio";

    /// <summary>Of a manifest, name of the field with the caption; default <c>caption</c>. Case counts.</summary>
    public string CaptionField { get; init => field = Checked.Name(value); } = "caption";

    /// <summary>Of a manifest, more fields, each of which becomes a text column of its name; default none. A field that a line
    /// lacks is empty.</summary>
    public IReadOnlyList<string> OtherFields { get; init; } = [];

    /// <summary>Of a manifest, folder that relative paths start from; null for the manifest's own folder.</summary>
    public string? AudioFolder { get; init; }

    /// <summary>Of a folder, endings of sound files, with the dot, in any case; default those of WAV, AIFF, FLAC, MP3, Ogg, Opus
    /// and AAC.</summary>
    public IReadOnlyList<string> Extensions { get; init; } =
        [".wav", ".aif", ".aiff", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac"];

    /// <summary>Of a folder, how file names without ending are made, each part that varies as a name in braces, for example
    /// <c>{label}_{speaker}_{take}</c> for <c>7_jackson_32.wav</c>. A part holds as few characters as the rest of the pattern
    /// allows; <c>{label}</c> is the class, every other part becomes a text column of its name. Null: one folder per
    /// class.</summary>
    public string? Pattern { get; init; }

    /// <summary>Of a folder, what labels that stand in file or folder names are called, for example <c>7</c> seven; default none,
    /// as they are. A label that is not among them stays as it is.</summary>
    public IReadOnlyDictionary<string, string> LabelNames { get; init; } = new Dictionary<string, string>();

    /// <summary>Of a folder, caption of a row, with <c>{}</c> in place of its label; default <c>the sound of {}.</c></summary>
    public string CaptionTemplate { get; init; } = "the sound of {}.";
}

/// <summary>Adds the loader to <see cref="MLContext.Data"/>.</summary>
public static class AudioTextPairsCatalog
{
    const string Label = "label";

    static readonly string[] OwnColumns = ["AudioPath", "Label", "LabelText", "Caption"];

    extension(DataOperationsCatalog catalog)
    {
        /// <summary>Sounds with captions. Of a manifest, a file that ends in <c>.csv</c>, <c>.tsv</c>, <c>.jsonl</c> or
        /// <c>.ndjson</c>: columns <c>AudioPath</c> (text, relative paths resolved), <c>Caption</c> (text) and
        /// <see cref="AudioTextPairsOptions.OtherFields"/> (text). Of a folder, with one folder per class, or with labels in file
        /// names (<see cref="AudioTextPairsOptions.Pattern"/>): columns <c>AudioPath</c> (text, a full path), <c>Label</c> (a key
        /// whose values are the labels in ordinal order of their folders or names), <c>LabelText</c>, <c>Caption</c> and the
        /// other parts of the pattern (text), rows in ordinal order of paths. Folders inside it belong to it. No sound is opened.
        /// The view can be shuffled.</summary>
        /// <param name="path">The manifest, UTF-8, or the folder.</param>
        /// <param name="options">Fields or pattern; null for the defaults.</param>
        /// <exception cref="ArgumentException">The pattern has no part <c>{label}</c>, a part twice, or two parts with nothing
        /// between them; or two labels have one name.</exception>
        /// <exception cref="FileNotFoundException">There is neither a manifest nor a folder of that name.</exception>
        /// <exception cref="InvalidDataException">A line of the manifest is wrong, a file's name does not fit the pattern, or the
        /// folder has neither folders nor sounds; the message names it.</exception>
        /// <exception cref="NotSupportedException">The manifest has another ending.</exception>
        public IDataView LoadAudioTextPairs(string path, AudioTextPairsOptions? options = null)
        {
            ArgumentNullException.ThrowIfNull(catalog);
            options ??= new();
            return !Directory.Exists(path) ? OfManifest(path, options)
                : options.Pattern is { } pattern ? OfNames(path, pattern, options) : OfFolders(path, options);
        }
    }

    static RowsDataView OfManifest(string path, AudioTextPairsOptions options)
    {
        List<string[]> rows =
            Manifest.Read(path, options.AudioField, options.CaptionField, options.OtherFields, options.AudioFolder);
        return new(rows.Count,
        [
            RowsDataView.Text("AudioPath", row => rows[row][0]),
            RowsDataView.Text("Caption", row => rows[row][1]),
            .. options.OtherFields.Select((name, i) => RowsDataView.Text(name, row => rows[row][i + 2])),
        ]);
    }

    static RowsDataView OfFolders(string folder, AudioTextPairsOptions options)
    {
        (IReadOnlyList<string> labels, (string Path, int Label)[] files) = ClassFolders.Read(folder, options.Extensions, "sound");
        return Labelled(files, labels, [], options);
    }

    static RowsDataView OfNames(string folder, string pattern, AudioTextPairsOptions options)
    {
        (Regex names, string[] parts) = Parse(pattern);
        (string Path, Match Name)[] found = [.. ClassFolders.Within(Path.GetFullPath(folder), options.Extensions)
            .Select(file => (file, names.Match(Path.GetFileNameWithoutExtension(file))))];
        if (found.Length == 0)
            throw new InvalidDataException($"'{folder}' has no sounds; looked for {string.Join(", ", options.Extensions)}.");
        if (Array.Find(found, f => !f.Name.Success) is { Path: { } strange })
            throw new InvalidDataException($"the name of '{strange}' does not fit the pattern '{pattern}'.");
        string[] labels = [.. found.Select(f => f.Name.Groups[Label].Value).Distinct().Order(StringComparer.Ordinal)];
        (string, int)[] files = [.. found.Select(f => (f.Path, Array.IndexOf(labels, f.Name.Groups[Label].Value)))];
        return Labelled(files, labels, [.. parts.Where(p => p != Label)
            .Select(part => RowsDataView.Text(part, row => found[row].Name.Groups[part].Value))], options);
    }

    static RowsDataView Labelled((string Path, int Label)[] files, IReadOnlyList<string> labels, RowsColumn[] more,
        AudioTextPairsOptions options)
    {
        string[] names = [.. labels.Select(label => options.LabelNames.GetValueOrDefault(label, label))];
        if (names.Distinct().Count() < names.Length)
            throw new ArgumentException(
                $"LabelNames must give every label a name of its own, but makes {string.Join(", ", names)}.");
        string[] captions = [.. names.Select(name => options.CaptionTemplate.Replace("{}", name, StringComparison.Ordinal))];
        return new(files.Length,
        [
            RowsDataView.Text(OwnColumns[0], row => files[row].Path),
            RowsDataView.Key(OwnColumns[1], names, row => files[row].Label),
            RowsDataView.Text(OwnColumns[2], row => names[files[row].Label]),
            RowsDataView.Text(OwnColumns[3], row => captions[files[row].Label]),
            .. more,
        ]);
    }

    /// <summary>The expression of a pattern, and the names of its parts.</summary>
    static (Regex Names, string[] Parts) Parse(string pattern)
    {
        MatchCollection braces = Regex.Matches(pattern, "{([A-Za-z][A-Za-z0-9]*)}");
        string[] parts = [.. braces.Select(b => b.Groups[1].Value)];
        if (!parts.Contains(Label) || parts.Distinct().Count() < parts.Length || parts.Intersect(OwnColumns).Any()
            || pattern.Contains("}{", StringComparison.Ordinal))
            throw new ArgumentException($"the pattern '{pattern}' must have a part {{label}} and may have others of distinct "
                + $"names, with something between them and none called {string.Join(", ", OwnColumns)}, "
                + "for example {label}_{speaker}_{take}.");
        int at = 0;
        var expression = new System.Text.StringBuilder("^");
        foreach (Match brace in braces)
        {
            expression.Append(Regex.Escape(pattern[at..brace.Index])).Append($"(?<{brace.Groups[1].Value}>.+?)");
            at = brace.Index + brace.Length;
        }
        expression.Append(Regex.Escape(pattern[at..])).Append('$');
        const RegexOptions options = RegexOptions.CultureInvariant | RegexOptions.NonBacktracking | RegexOptions.Singleline;
        return (new(expression.ToString(), options), parts);
    }
}
