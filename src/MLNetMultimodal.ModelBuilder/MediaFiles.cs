namespace MLNetMultimodal.ModelBuilder;

/// <summary>Media files that a command line names.</summary>
static class MediaFiles
{
    static readonly HashSet<string> PictureEndings = new(new ImageFolderOptions().Extensions, StringComparer.OrdinalIgnoreCase);

    static readonly HashSet<string> SoundEndings = new(new AudioTextPairsOptions().Extensions, StringComparer.OrdinalIgnoreCase);

    static readonly HashSet<string> VideoEndings = new(StringComparer.OrdinalIgnoreCase)
    {
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".ogv", ".3gp", ".wmv", ".flv",
    };

    /// <summary>Files as they are, and for a folder the pictures in it and in its folders, in ordinal order.</summary>
    /// <exception cref="InvalidDataException">A folder has no pictures.</exception>
    public static string[] Pictures(IEnumerable<string> paths) => Expand(paths, PictureEndings, "pictures");

    /// <summary>Files as they are, and for a folder the sounds in it and in its folders, in ordinal order.</summary>
    /// <exception cref="InvalidDataException">A folder has no sounds.</exception>
    public static string[] Sounds(IEnumerable<string> paths) => Expand(paths, SoundEndings, "sounds");

    /// <summary>Files as they are, and for a folder the videos in it and in its folders, in ordinal order.</summary>
    /// <exception cref="InvalidDataException">A folder has no videos.</exception>
    public static string[] Videos(IEnumerable<string> paths) => Expand(paths, VideoEndings, "videos");

    /// <summary>Files as they are, and for a folder the pictures and sounds in it and in its folders, in ordinal order.</summary>
    /// <exception cref="InvalidDataException">A folder has neither.</exception>
    public static string[] PicturesAndSounds(IEnumerable<string> paths) =>
        Expand(paths, new([.. PictureEndings, .. SoundEndings], StringComparer.OrdinalIgnoreCase), "pictures or sounds");

    /// <summary>Whether a name has the ending of a sound.</summary>
    public static bool IsSound(string path) => SoundEndings.Contains(Path.GetExtension(path));

    /// <summary>Whether a name has the ending of a video.</summary>
    public static bool IsVideo(string path) => VideoEndings.Contains(Path.GetExtension(path));

    static string[] Expand(IEnumerable<string> paths, HashSet<string> endings, string items) =>
        [.. paths.SelectMany(path => Directory.Exists(path) ? InFolder(path, endings, items) : [path])];

    static string[] InFolder(string folder, HashSet<string> endings, string items)
    {
        string[] found = [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Where(f => endings.Contains(Path.GetExtension(f))).Order(StringComparer.Ordinal)];
        return found.Length > 0 ? found
            : throw new InvalidDataException($"'{folder}' has no {items}; looked for {string.Join(", ", endings)}.");
    }
}
