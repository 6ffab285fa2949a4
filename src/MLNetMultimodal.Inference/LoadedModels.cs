using System.Globalization;
using System.Text;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Inference;

/// <summary>The models of this process. A folder that is loaded twice with the same options is one model, with one session per
/// encoder, as long as somebody has it. Thread-safe.</summary>
static class LoadedModels
{
    static readonly string[] Extensions = [".json", ".safetensors", ".onnx", ".onnx_data", ".txt", ".model"];
    static readonly EnumerationOptions WithSubfolders = new() { RecurseSubdirectories = true, MaxRecursionDepth = 1 };
    static readonly Lock Gate = new();
    static readonly Dictionary<Key, Entry> Entries = [];

    /// <summary>What makes two models the same: the folder, its files as they are now, and the options.</summary>
    sealed record Key(string Folder, string Files, InferenceOptions Options);

    sealed class Entry(Func<ModelRuntime> open)
    {
        public Lazy<ModelRuntime> Runtime { get; } = new(open);

        public int Users { get; set; }
    }

    /// <summary>The model that is loaded already, or a new one. Files in memory are loaded for each caller.</summary>
    /// <param name="files">The files.</param>
    /// <param name="options">How.</param>
    /// <param name="open">Loads them.</param>
    public static Lease Rent(ModelFiles files, InferenceOptions options, Func<ModelRuntime> open)
    {
        if (files.Folder is not { } folder) return new(open(), null);
        var key = new Key(folder, Identity(folder), options);
        Entry? entry;
        lock (Gate)
        {
            if (!Entries.TryGetValue(key, out entry)) Entries.Add(key, entry = new(open));
            entry.Users++;
        }
        try
        {
            return new(entry.Runtime.Value, () => Return(key, entry));
        }
        catch
        {
            Return(key, entry);
            throw;
        }
    }

    static void Return(Key key, Entry entry)
    {
        lock (Gate)
        {
            if (--entry.Users > 0) return;
            Entries.Remove(key);
        }
        if (entry.Runtime.IsValueCreated) entry.Runtime.Value.Dispose();
    }

    /// <summary>Names, sizes and times of the files that a model may be read from.</summary>
    static string Identity(string folder)
    {
        var text = new StringBuilder();
        IEnumerable<string> paths = Directory.EnumerateFiles(folder, "*", WithSubfolders)
            .Where(path => Extensions.Contains(Path.GetExtension(path))).Order(StringComparer.Ordinal);
        foreach (string path in paths)
        {
            var file = new FileInfo(path);
            if (file.ResolveLinkTarget(returnFinalTarget: true) is FileInfo target) file = target;
            if (file.Exists) text.Append(CultureInfo.InvariantCulture,
                $"{path}\0{file.FullName}\0{file.Length} {file.LastWriteTimeUtc.Ticks} {file.CreationTimeUtc.Ticks}\n");
        }
        return text.ToString();
    }

    /// <summary>The right to use a model.</summary>
    /// <param name="runtime">The model.</param>
    /// <param name="giveBack">Called once at the end; null for a model of one user.</param>
    public sealed class Lease(ModelRuntime runtime, Action? giveBack) : IDisposable
    {
        int _released;

        public ModelRuntime Runtime => runtime;

        public bool IsReleased => Volatile.Read(ref _released) != 0;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _released, 1) != 0) return;
            if (giveBack is null) runtime.Dispose();
            else giveBack();
        }
    }
}
