namespace MLNetMultimodal.ModelBuilder;

/// <summary>Pictures that a command line names.</summary>
static class PictureFiles
{
    static readonly HashSet<string> Endings = new(new ImageFolderOptions().Extensions, StringComparer.OrdinalIgnoreCase);

    /// <summary>Files as they are, and for a folder the pictures in it and in its folders, in ordinal order.</summary>
    /// <exception cref="InvalidDataException">A folder has no pictures.</exception>
    public static string[] Expand(IEnumerable<string> paths) =>
        [.. paths.SelectMany(path => Directory.Exists(path) ? InFolder(path) : [path])];

    static string[] InFolder(string folder)
    {
        string[] found = [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Where(f => Endings.Contains(Path.GetExtension(f))).Order(StringComparer.Ordinal)];
        return found.Length > 0 ? found
            : throw new InvalidDataException($"'{folder}' has no pictures; looked for {string.Join(", ", Endings)}.");
    }
}
