using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Models.Hub;

/// <summary>Where files of one repository lie in the cache, in the layout of Python's <c>huggingface_hub</c>: contents by hash in
/// <c>blobs</c>, commits by branch and tag in <c>refs</c>, and in <c>snapshots</c> a folder per commit with links to the
/// blobs.</summary>
sealed class HubCache(HubSettings settings, string repository)
{
    const string TagName = "CACHEDIR.TAG";
    const string Tag = "Signature: 8a477f597d28d172789f06886806bc55\n"
        + "# A cache of models; backups may leave it out (https://bford.info/cachedir/).\n";
    const int MaxRefBytes = 1024;

    readonly string _folder = Path.Combine(settings.CacheFolder, Name(repository));

    static string Name(string repository) => $"models--{repository.Replace("/", "--", StringComparison.Ordinal)}";

    public string Blob(string etag) => Path.Combine(_folder, "blobs", etag);

    /// <summary>What there is of a blob; a later download goes on from it.</summary>
    public string Incomplete(string etag) => Blob(etag) + ".incomplete";

    public string LockOf(string etag) => Path.Combine(settings.CacheFolder, ".locks", Name(repository), $"{etag}.lock");

    public string Snapshot(string commit) => Path.Combine(_folder, "snapshots", commit);

    /// <param name="commit">The commit.</param>
    /// <param name="file">A name that <see cref="RepositoryPath"/> has nothing against.</param>
    public string FileOf(string commit, string file) => Path.Combine([Snapshot(commit), .. file.Split('/')]);

    string Listing(string commit) => Path.Combine(_folder, "trees", $"{commit}.json");

    string Ref(string revision) => Path.Combine([_folder, "refs", .. revision.Split('/')]);

    public static bool IsCommit(string text) => text.Length == 40 && text.All(char.IsAsciiHexDigitLower);

    /// <summary>The commit that a branch or tag was at when it was last looked up; null where it never was.</summary>
    public string? ReadRef(string revision)
    {
        var file = new FileInfo(Ref(revision));
        if (!file.Exists || file.Length > MaxRefBytes) return null;
        string commit = File.ReadAllText(file.FullName).Trim();
        return IsCommit(commit) ? commit : null;
    }

    public void WriteRef(string revision, string commit)
    {
        if (revision != commit && ReadRef(revision) != commit) TryWrite(Ref(revision), stream => Write(stream, commit));
    }

    /// <summary>The files of a commit, as written earlier; null where none were.</summary>
    public RepositoryListing? ReadListing(string commit)
    {
        var file = new FileInfo(Listing(commit));
        return file.Exists && file.Length <= RepositoryListing.MaxBytes
            ? RepositoryListing.TryReadTree(File.ReadAllBytes(file.FullName), commit) : null;
    }

    public void WriteListing(RepositoryListing listing)
    {
        if (listing.ToTree() is { } json && !File.Exists(Listing(listing.Commit)))
            TryWrite(Listing(listing.Commit), stream => stream.Write(json));
    }

    /// <summary>True where the file, or what a link stands for, is there.</summary>
    public static bool IsThere(string path)
    {
        var file = new FileInfo(path);
        return file.Exists && (file.LinkTarget is null || file.ResolveLinkTarget(returnFinalTarget: true) is { Exists: true });
    }

    /// <summary>Shows a blob in a snapshot: by a relative link or, where there are none, as Python does, by moving it there when
    /// it is new and copying it when other snapshots may have it too.</summary>
    public void Show(string etag, string commit, string file, bool isNew)
    {
        string blob = Blob(etag), shown = FileOf(commit, file), folder = Path.GetDirectoryName(shown)!;
        if (IsThere(shown)) return;
        Directory.CreateDirectory(folder);
        File.Delete(shown); // a link whose blob is gone
        if (settings.UsesSymlinks && TryLink(shown, Path.GetRelativePath(folder, blob))) return;
        if (isNew) File.Move(blob, shown);
        else
            AtomicFile.Write(shown, target =>
            {
                using FileStream source = File.OpenRead(blob);
                source.CopyTo(target);
            });
    }

    static bool TryLink(string path, string target)
    {
        try
        {
            File.CreateSymbolicLink(path, target);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or PlatformNotSupportedException)
        {
            return IsThere(path); // another process made it, or this file system has no links
        }
    }

    /// <summary>Makes the folder of the blobs, and marks the cache for backups.</summary>
    public void Prepare()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "blobs"));
        string tag = Path.Combine(settings.CacheFolder, TagName);
        if (!File.Exists(tag)) TryWrite(tag, stream => Write(stream, Tag));
    }

    static void Write(Stream stream, string text) => stream.Write(System.Text.Encoding.UTF8.GetBytes(text));

    /// <summary>Writes what only spares later requests: a cache that may not be written to is still read.</summary>
    static void TryWrite(string path, Action<Stream> write)
    {
        try
        {
            AtomicFile.Write(path, write);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
        }
    }
}
