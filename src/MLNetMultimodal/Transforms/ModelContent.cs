using System.IO.Enumeration;
using System.Text.Json;
using Microsoft.ML;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Transforms;

/// <summary>A model inside an ML.NET zip: a header with the options as JSON, and each file of the model folder as a stream of its
/// own.</summary>
static class ModelContent
{
    sealed record Header<TOptions>(string ModelName, TOptions Options, IReadOnlyList<FileEntry> Files);

    sealed record FileEntry(string Name, long Bytes);

    /// <summary>The model's name without the folders above it.</summary>
    public static string ShortName(MultimodalModel model) => ShortName(model.Name);

    /// <summary>A folder's name without the folders above it.</summary>
    public static string ShortName(string folder) =>
        Path.GetFileName(Path.TrimEndingDirectorySeparator(folder)) is { Length: > 0 } name ? name : folder;

    /// <summary>The files that a model is loaded from; no recorded graphs, cards or training states.</summary>
    public static IReadOnlyList<string> Names(ModelFiles files) =>
        [.. files.List().Where(name => ModelFiles.Patterns.Any(w => FileSystemName.MatchesSimpleExpression(w, name, ignoreCase: false)))];

    public static void Save<TOptions>(ModelEntry entry, ModelSaveContext context, MultimodalModel model, TOptions options)
    {
        ModelFiles files = model.Files;
        FileEntry[] entries = [.. Names(files).Select(name => new FileEntry(name, Length(files, name)))];
        string header = JsonSerializer.Serialize(new Header<TOptions>(ShortName(model), options, entries));
        entry.Save(context, writer => writer.Write(header),
            entries.Select((file, i) => (Stream(i), (Action<Stream>)(stream => Copy(files, file.Name, stream)))));
    }

    /// <exception cref="InvalidDataException">The entry is cut off or its header is not sound.</exception>
    public static (MultimodalModel Model, TOptions Options) Load<TOptions>(ModelEntry entry, object context,
        Func<TOptions, int> threads)
    {
        ModelEntry.Reader reader = entry.Open(context);
        Header<TOptions> header;
        try
        {
            header = JsonSerializer.Deserialize<Header<TOptions>>(reader.Header.ReadString())
                ?? throw new JsonException("it is null.");
        }
        catch (Exception e) when (e is JsonException or ArgumentException or FormatException)
        {
            throw new InvalidDataException($"the options of {entry.Loader} in the model cannot be read: {e.Message}", e);
        }
        var files = new Dictionary<string, ReadOnlyMemory<byte>>(StringComparer.Ordinal);
        for (int i = 0; i < header.Files.Count; i++)
        {
            FileEntry file = header.Files[i];
            reader.Stream(Stream(i), stream => files[file.Name] = Read(stream, file));
        }
        var model = MultimodalModel.Load(ModelFiles.FromMemory(header.ModelName, files),
            new() { Threads = threads(header.Options) });
        return (model, header.Options);
    }

    /// <summary>Writes the files into a folder, each whole or not at all.</summary>
    public static void SaveFolder(MultimodalModel model, string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        foreach (string name in Names(model.Files))
            AtomicFile.Write(Path.Combine(folder, name), stream => Copy(model.Files, name, stream));
    }

    static string Stream(int index) => FormattableString.Invariant($"ModelFile_{index:00}");

    static long Length(ModelFiles files, string name) =>
        files.Folder is { } folder ? new FileInfo(Path.Combine(folder, name)).Length : files.Read(name).Length;

    static void Copy(ModelFiles files, string name, Stream target)
    {
        if (files.Folder is not { } folder)
        {
            target.Write(files.Read(name).Span);
            return;
        }
        using FileStream source = File.OpenRead(Path.Combine(folder, name));
        source.CopyTo(target);
    }

    static byte[] Read(Stream stream, FileEntry file)
    {
        if (file.Bytes < 0 || file.Bytes > Array.MaxLength)
            throw new InvalidDataException($"'{file.Name}' in the model has {file.Bytes} bytes; "
                + $"0 to {Array.MaxLength} can be read. Split the weights into shards.");
        if (stream.CanSeek && stream.Length - stream.Position < file.Bytes)
            throw new InvalidDataException($"'{file.Name}' in the model should have {file.Bytes} bytes, but "
                + $"{stream.Length - stream.Position} are there.");
        var content = new byte[file.Bytes];
        try
        {
            stream.ReadExactly(content);
        }
        catch (EndOfStreamException e)
        {
            throw new InvalidDataException($"'{file.Name}' in the model is cut off; it should have {file.Bytes} bytes.", e);
        }
        return content;
    }
}
