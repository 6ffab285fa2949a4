using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Data;

/// <summary>A folder with one folder of media files per class.</summary>
static class ClassFolders
{
    /// <summary>Lists the files.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="endings">Endings of the files that count, with the dot, in any case.</param>
    /// <param name="item">What a file is, for messages.</param>
    /// <returns>The names of all classes, and the files in ordinal order of their classes' folders and then of paths, each with
    /// the index of its class.</returns>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="InvalidDataException">It has no folders, or <c>classnames.txt</c> does not fit them.</exception>
    public static (IReadOnlyList<string> Names, (string Path, int Label)[] Files) Read(string folder,
        IReadOnlyList<string> endings, string item)
    {
        if (!Directory.Exists(folder)) throw new DirectoryNotFoundException($"the {item} folder '{folder}' does not exist.");
        string[] classFolders = [.. Directory.GetDirectories(Path.GetFullPath(folder)).Order(StringComparer.Ordinal)];
        if (classFolders.Length == 0)
            throw new InvalidDataException($"'{folder}' has no folders; one per class is wanted, with its {item}s inside.");
        (IReadOnlyList<string> names, int[] keys) = Name(folder, [.. classFolders.Select(f => Path.GetFileName(f))]);
        return (names, [.. classFolders.SelectMany((path, label) => Within(path, endings).Select(f => (f, keys[label])))]);
    }

    /// <summary>The files of these endings in a folder and in its folders, in ordinal order.</summary>
    public static IEnumerable<string> Within(string folder, IReadOnlyList<string> endings)
    {
        var wanted = new HashSet<string>(endings, StringComparer.OrdinalIgnoreCase);
        return Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Where(f => wanted.Contains(Path.GetExtension(f))).Order(StringComparer.Ordinal);
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
