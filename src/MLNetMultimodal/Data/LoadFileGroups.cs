using Microsoft.ML;
using MLNetMultimodal.Data;

namespace MLNetMultimodal;

/// <summary>A column of <see cref="FileGroupsCatalog.LoadFileGroups"/>.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Patterns">File names with <c>{}</c> in place of the item's name, such as <c>{}_desc_fr.ogg</c>; the first of which
/// there is a file counts.</param>
public sealed record FileColumn(string Name, params IReadOnlyList<string> Patterns)
{
    const string Item = "{}";

    /// <inheritdoc cref="FileColumn(string, IReadOnlyList{string})" path="/param[@name='Name']"/>
    public string Name { get; } = Checked.Name(Name, nameof(Name));

    /// <inheritdoc cref="FileColumn(string, IReadOnlyList{string})" path="/param[@name='Patterns']"/>
    public IReadOnlyList<string> Patterns { get; } =
        Patterns.Count > 0 && Patterns.All(p => p.Split(Item).Length == 2 && p.Length > Item.Length && !p.Contains('/')) ? Patterns
            : throw new ArgumentException($"a column of files needs patterns that hold {Item} once, such as {Item}.png.", nameof(Patterns));

    /// <summary>The item that a file belongs to by one of the patterns; null for none.</summary>
    internal string? ItemOf(string file) => Patterns.Select(p => p.Split(Item))
        .Where(p => file.Length > p[0].Length + p[1].Length && file.StartsWith(p[0], StringComparison.Ordinal) && file.EndsWith(p[1], StringComparison.Ordinal))
        .Select(p => file[p[0].Length..^p[1].Length]).FirstOrDefault();

    internal IEnumerable<string> FilesOf(string item) => Patterns.Select(p => p.Replace(Item, item, StringComparison.Ordinal));
}

/// <summary>Options of <see cref="FileGroupsCatalog.LoadFileGroups"/>.</summary>
public sealed record FileGroupsOptions
{
    /// <summary>The columns of files, at least one; files of the first one make the items.</summary>
    public required IReadOnlyList<FileColumn> Columns
    {
        get;
        init => field = value.Count > 0 && value.Select(c => c.Name).Append(ItemName).Distinct().Count() == value.Count + 1 ? value
            : throw new ArgumentException($"Columns must be at least one, of distinct names, none of them {ItemName}.", nameof(Columns));
    }

    /// <summary>Whether an item's name, without folder, makes a row; default all do.</summary>
    public Func<string, bool> Keeps { get; init; } = _ => true;

    internal const string ItemName = "Item";
}

/// <summary>Adds the loader to <see cref="MLContext.Data"/>.</summary>
public static class FileGroupsCatalog
{
    extension(DataOperationsCatalog catalog)
    {
        /// <summary>Files that lie beside each other and share a name, as one row: a picture <c>cat.png</c> with its text
        /// <c>cat.txt</c> and its sound <c>cat.ogg</c>. Columns: <c>Item</c> (text, the path of the name in the folder, with
        /// <c>/</c>), and for each of <see cref="FileGroupsOptions.Columns"/> the full path of its file (text), empty where there is
        /// none: a missing value to the transforms (<see cref="OnError.Missing"/>). Rows are in ordinal order of items; folders inside
        /// the folder belong to it. No file is opened. The view can be shuffled.</summary>
        /// <param name="folder">The folder.</param>
        /// <param name="options">Columns and their patterns.</param>
        /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
        /// <exception cref="InvalidDataException">The folder has no items; the message says what was looked for.</exception>
        public IDataView LoadFileGroups(string folder, FileGroupsOptions options)
        {
            ArgumentNullException.ThrowIfNull(catalog);
            ArgumentNullException.ThrowIfNull(options);
            string root = Path.GetFullPath(folder);
            if (!Directory.Exists(root)) throw new DirectoryNotFoundException($"the folder '{folder}' does not exist.");
            HashSet<string> files = [.. Directory.EnumerateFiles(root, "*", SearchOption.AllDirectories)];
            (string Folder, string Name)[] items = [.. files
                .Select(file => (Folder: Path.GetDirectoryName(file)!, Name: options.Columns[0].ItemOf(Path.GetFileName(file))))
                .Where(item => item.Name is not null && options.Keeps(item.Name)).Select(item => (item.Folder, item.Name!)).Distinct()
                .OrderBy(item => Path.Combine(item.Folder, item.Item2), StringComparer.Ordinal)];
            if (items.Length == 0)
                throw new InvalidDataException($"'{folder}' has no items; looked for {string.Join(", ", options.Columns[0].Patterns)}.");
            string PathOf(FileColumn column, (string Folder, string Name) item) =>
                column.FilesOf(item.Name).Select(file => Path.Combine(item.Folder, file)).FirstOrDefault(files.Contains, "");
            return new RowsDataView(items.Length,
            [
                RowsDataView.Text(FileGroupsOptions.ItemName, row =>
                    Path.GetRelativePath(root, Path.Combine(items[row].Folder, items[row].Name)).Replace('\\', '/')),
                .. options.Columns.Select(column => RowsDataView.Text(column.Name, row => PathOf(column, items[row]))),
            ]);
        }
    }
}
