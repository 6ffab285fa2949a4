using System.IO.Enumeration;
using Microsoft.ML;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Transforms;

/// <summary>A model inside an ML.NET zip: a header with the options as JSON, and each file of the model folder as a stream of its
/// own.</summary>
static class ModelContent
{
    const string WeightsFile = "model.safetensors";

    static readonly string[] Weights =
        [WeightsFile, "model-*-of-*.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors"];

    /// <summary>What stands before the streams: those of the model's files, then those of its adapter where it has one.</summary>
    sealed record Header<TOptions>(string ModelName, TOptions Options, IReadOnlyList<FileEntry> Files, OnnxDtype? Dtype = null,
        IReadOnlyList<FileEntry>? Adapter = null);

    sealed record FileEntry(string Name, long Bytes);

    /// <summary>The model's name without the folders above it.</summary>
    public static string ShortName(MultimodalModel model) => ShortName(model.Name);

    /// <summary>A folder's name without the folders above it.</summary>
    public static string ShortName(string folder) =>
        Path.GetFileName(Path.TrimEndingDirectorySeparator(folder)) is { Length: > 0 } name ? name : folder;

    /// <summary>The files that a model is loaded from: graphs only where it runs them, no cards or training states.</summary>
    static IReadOnlyList<string> Names(MultimodalModel model) =>
        [.. Names(model.Files), .. model.GraphFiles];

    /// <summary>The files of a model with weights.</summary>
    public static IReadOnlyList<string> Names(ModelFiles files) =>
        [.. files.List().Where(name => Matches(name, ModelFiles.Patterns))];

    static bool Matches(string name, IReadOnlyList<string> patterns) =>
        patterns.Any(w => FileSystemName.MatchesSimpleExpression(w, name, ignoreCase: false));

    public static void Save<TOptions>(ModelEntry entry, ModelSaveContext context, MultimodalModel model, TOptions options)
    {
        ModelFiles? adapter = model.Adapter is { } own ? ModelFiles.FromMemory("adapter", own.ToFiles()) : null;
        Save(entry, context, model.Files, Names(model), options, model.Dtype, adapter);
    }

    /// <summary>Writes files of a model.</summary>
    /// <param name="entry">The transformer's place in the zip.</param>
    /// <param name="context">What <see cref="ICanSaveModel.Save"/> was given.</param>
    /// <param name="files">Where the files are.</param>
    /// <param name="names">The names of those that are needed.</param>
    /// <param name="options">What stands beside them.</param>
    /// <param name="dtype">The dtype that was asked for; null for none.</param>
    /// <param name="adapter">Files of an adapter; null for none.</param>
    public static void Save<TOptions>(ModelEntry entry, ModelSaveContext context, ModelFiles files, IReadOnlyList<string> names,
        TOptions options, OnnxDtype? dtype = null, ModelFiles? adapter = null)
    {
        FileEntry[] entries = [.. names.Select(name => new FileEntry(name, Length(files, name)))];
        FileEntry[]? adapterEntries =
            adapter is null ? null : [.. adapter.List().Select(name => new FileEntry(name, Length(adapter, name)))];
        IEnumerable<(ModelFiles Files, FileEntry Entry)> all =
            [.. entries.Select(e => (files, e)), .. (adapterEntries ?? []).Select(e => (adapter!, e))];
        entry.Save(context, new Header<TOptions>(ShortName(files.Name), options, entries, dtype, adapterEntries),
            all.Select((file, i) => (Stream(i), (Action<Stream>)(stream => Copy(file.Files, file.Entry.Name, stream)))));
    }

    /// <exception cref="InvalidDataException">The entry is cut off or its header is not sound.</exception>
    public static (MultimodalModel Model, TOptions Options) Load<TOptions>(ModelEntry entry, object context,
        Func<TOptions, InferenceOptions> inference)
    {
        (TOptions options, ModelFiles files, OnnxDtype? dtype, ModelFiles? adapter) = Load<TOptions>(entry, context);
        var model = MultimodalModel.Load(files, inference(options) with
        {
            Dtype = dtype,
            Adapter = adapter is null ? null : LoraAdapter.Load(adapter),
        });
        return (model, options);
    }

    /// <exception cref="InvalidDataException">The entry is cut off or its header is not sound.</exception>
    public static (TOptions Options, ModelFiles Files, OnnxDtype? Dtype, ModelFiles? Adapter) Load<TOptions>(ModelEntry entry,
        object context)
    {
        ModelEntry.Reader reader = entry.Open(context);
        Header<TOptions> header = reader.Options<Header<TOptions>, Header<TOptions>>(read => read);
        ModelFiles Files(string name, IReadOnlyList<FileEntry> entries, int first)
        {
            var files = new Dictionary<string, ReadOnlyMemory<byte>>(StringComparer.Ordinal);
            for (int i = 0; i < entries.Count; i++)
                reader.Stream(Stream(first + i), stream => files[entries[i].Name] = Read(stream, entries[i]));
            return ModelFiles.FromMemory(name, files);
        }

        return (header.Options, Files(header.ModelName, header.Files, 0), header.Dtype,
            header.Adapter is { } adapter ? Files("adapter", adapter, header.Files.Count) : null);
    }

    /// <summary>Writes the files into a folder, each whole or not at all; an adapter is merged into the weights.</summary>
    public static void SaveFolder(MultimodalModel model, string folder)
    {
        SaveFolder(model.Files, [.. Names(model).Where(name => model.Adapter is null || !Matches(name, Weights))], folder);
        if (model.Adapter is not null) AtomicFile.Write(Path.Combine(folder, WeightsFile), model.WriteWeights);
    }

    /// <summary>Writes files of a model into a folder, each whole or not at all.</summary>
    public static void SaveFolder(ModelFiles files, IReadOnlyList<string> names, string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        foreach (string name in names) AtomicFile.Write(Path.Combine(folder, name), stream => Copy(files, name, stream));
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
