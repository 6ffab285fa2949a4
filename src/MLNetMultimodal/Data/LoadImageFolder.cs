using Microsoft.ML;
using MLNetMultimodal.Data;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="ImageFolderCatalog.LoadImageFolder"/>.</summary>
public sealed record ImageFolderOptions
{
    /// <summary>Endings of picture files, with the dot, in any case; default those of JPEG, PNG, WebP, GIF and BMP.</summary>
    public IReadOnlyList<string> Extensions { get; init; } = [".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"];

    /// <summary>Caption of a row, with <c>{}</c> in place of its label; default <c>a photo of a {}.</c></summary>
    public string CaptionTemplate { get; init; } = ZeroShotPrompts.DefaultTemplate;
}

/// <summary>Adds the loader to <see cref="MLContext.Data"/>.</summary>
public static class ImageFolderCatalog
{
    extension(DataOperationsCatalog catalog)
    {
        /// <summary>A folder with one folder of pictures per class, whose name is the label. Columns: <c>ImagePath</c> (text, a
        /// full path), <c>Label</c> (a key
        /// whose values are the folder names in ordinal order), <c>LabelText</c> (text), <c>Caption</c> (text). Folders inside a
        /// class's folder belong to it.
        /// Rows are in ordinal order of paths. No picture is opened. The view can be shuffled.
        /// Where <c>classnames.txt</c> lies in the folder, its lines are the key values in their order: either the class folders
        /// have these names (a class may have no folder), or none has and line n names the n-th folder in ordinal
        /// order.</summary>
        /// <param name="folder">The folder.</param>
        /// <param name="options">Endings and caption; null for the defaults.</param>
        /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
        /// <exception cref="InvalidDataException">It has no folders, or <c>classnames.txt</c> does not fit them.</exception>
        public IDataView LoadImageFolder(string folder, ImageFolderOptions? options = null)
        {
            ArgumentNullException.ThrowIfNull(catalog);
            options ??= new();
            if (!Directory.Exists(folder)) throw new DirectoryNotFoundException($"the picture folder '{folder}' does not exist.");
            string[] classFolders = [.. Directory.GetDirectories(Path.GetFullPath(folder)).Order(StringComparer.Ordinal)];
            if (classFolders.Length == 0)
                throw new InvalidDataException($"'{folder}' has no folders; one per class is wanted, with its pictures inside.");
            var extensions = new HashSet<string>(options.Extensions, StringComparer.OrdinalIgnoreCase);
            (IReadOnlyList<string> names, int[] keys) = Name(folder, [.. classFolders.Select(f => Path.GetFileName(f))]);
            (string Path, int Label)[] rows = [.. classFolders.SelectMany((path, label) =>
                Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories)
                    .Where(f => extensions.Contains(Path.GetExtension(f)))
                    .Order(StringComparer.Ordinal).Select(f => (f, keys[label])))];
            string[] captions = [.. names.Select(n => options.CaptionTemplate.Replace("{}", n, StringComparison.Ordinal))];
            return new RowsDataView(rows.Length,
            [
                RowsDataView.Text("ImagePath", row => rows[row].Path),
                RowsDataView.Key("Label", names, row => rows[row].Label),
                RowsDataView.Text("LabelText", row => names[rows[row].Label]),
                RowsDataView.Text("Caption", row => captions[rows[row].Label]),
            ]);
        }
    }

    /// <summary>The names of all classes, and the index of each folder's among them.</summary>
    static (IReadOnlyList<string> Names, int[] Keys) Name(string folder, string[] folders)
    {
        int[] inOrder = [.. Enumerable.Range(0, folders.Length)];
        if (ZeroShotPrompts.LoadLabels(folder) is not { } names) return (folders, inOrder);
        int[] found = [.. folders.Select(f => Array.IndexOf([.. names], f))];
        if (!found.Contains(-1)) return (names, found);
        if (found.All(i => i < 0) && names.Count == folders.Length) return (names, inOrder);
        string strange = folders[Array.IndexOf(found, -1)];
        throw new InvalidDataException($"'{Path.Combine(folder, ZeroShotPrompts.LabelsFile)}' has {names.Count} classes, but not "
            + $"that of the folder '{strange}'; it must name all {folders.Length} folders, or none and have as many lines.");
    }
}
