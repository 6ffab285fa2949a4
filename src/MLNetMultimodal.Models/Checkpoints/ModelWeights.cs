using System.Collections;
using System.Diagnostics.CodeAnalysis;
using System.Text.Json;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Models.Checkpoints;

/// <summary>The weights of a model folder, in one file or in several: <c>model.safetensors</c>, or
/// <c>model.safetensors.index.json</c> and the shards it names. Memory-mapped; tensors live as long as this object.</summary>
public sealed class ModelWeights : IReadOnlyDictionary<string, TensorData>, IDisposable
{
    /// <summary>Names that a file of weights has, in the order in which they are looked for.</summary>
    internal static readonly string[] FileNames = ["model.safetensors", IndexName, "open_clip_model.safetensors"];
    internal const string IndexName = "model.safetensors.index.json";
    const int MaxIndexBytes = 64 << 20, MaxShards = 10_000;
    static readonly string[] PickleEndings = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];

    readonly IReadOnlyList<Safetensors> _shards;
    readonly IReadOnlyDictionary<string, TensorData> _tensors;

    ModelWeights(IReadOnlyList<Safetensors> shards, IReadOnlyDictionary<string, TensorData> tensors) => (_shards, _tensors) = (shards, tensors);

    /// <summary>True where a folder has weights of its own, other than recorded graphs and pickles.</summary>
    /// <param name="files">The folder.</param>
    public static bool Exist(ModelFiles files) => FileNames.Any(files.Contains);

    internal static ModelWeights Open(ModelFiles files, string? file)
    {
        if (file is not null) return OpenOne(files, file);
        ModelWeights own = OpenOne(files, FileNames.FirstOrDefault(files.Contains) ?? throw Missing(files));
        IReadOnlyList<string> modules = SentenceTransformer.WeightFolders(files);
        return modules.Count == 0 ? own : own.WithModules(files, modules);
    }

    /// <summary>Adds the weights that modules have in folders of their own, under the folder's name.</summary>
    ModelWeights WithModules(ModelFiles files, IReadOnlyList<string> folders)
    {
        List<Safetensors> shards = [.. _shards];
        try
        {
            var tensors = new Dictionary<string, TensorData>(_tensors, StringComparer.Ordinal);
            foreach (string folder in folders)
            {
                string file = $"{folder}/{FileNames[0]}", pickle = $"{folder}/pytorch_model.bin";
                if (!files.Contains(file) && files.Contains(pickle)) RefusePickle(files, pickle);
                Safetensors module = files.OpenSafetensors(file);
                shards.Add(module);
                foreach (var (name, tensor) in module)
                    if (!tensors.TryAdd($"{folder}.{name}", tensor))
                        throw new InvalidDataException(
                            $"'{files.Name}/{file}' has '{name}', which stands as '{folder}.{name}' in the model's own weights too.");
            }
            return new(shards, tensors);
        }
        catch
        {
            foreach (Safetensors shard in shards) shard.Dispose();
            throw;
        }
    }

    static ModelWeights OpenOne(ModelFiles files, string file)
    {
        RefusePickle(files, file);
        if (file != IndexName)
        {
            Safetensors whole = files.OpenSafetensors(file);
            return new([whole], whole);
        }
        Dictionary<string, string> index = ReadIndex(files);
        var shards = new Dictionary<string, Safetensors>(StringComparer.Ordinal);
        try
        {
            foreach (string shard in index.Values.Distinct(StringComparer.Ordinal))
                shards.Add(shard, files.OpenSafetensors(shard));
            return new([.. shards.Values], Join(files, index, shards));
        }
        catch
        {
            foreach (Safetensors shard in shards.Values) shard.Dispose();
            throw;
        }
    }

    internal static Dictionary<string, string> ReadIndex(ModelFiles files)
    {
        ReadOnlyMemory<byte> json = files.Read(IndexName);
        if (json.Length > MaxIndexBytes) throw Wrong(files, $"it has {json.Length} bytes, but may have at most {MaxIndexBytes}");
        try
        {
            using JsonDocument document = JsonDocument.Parse(json, new() { MaxDepth = 8 });
            var index = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (JsonProperty entry in document.RootElement.GetProperty("weight_map").EnumerateObject())
            {
                string shard = entry.Value.GetString() ?? "";
                if (shard != Path.GetFileName(shard) || shard.Contains('\\') || !shard.EndsWith(".safetensors", StringComparison.Ordinal))
                    throw Wrong(files, $"'{shard}' is not the name of a .safetensors file in the same folder");
                if (!index.TryAdd(entry.Name, shard)) throw Wrong(files, $"it names '{entry.Name}' twice");
            }
            if (index.Count == 0) throw Wrong(files, "its weight_map is empty");
            return index.Values.Distinct().Count() <= MaxShards ? index : throw Wrong(files, $"it names more than {MaxShards} files");
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            throw Wrong(files, e.Message);
        }
    }

    static Dictionary<string, TensorData> Join(ModelFiles files, Dictionary<string, string> index, Dictionary<string, Safetensors> shards)
    {
        var tensors = new Dictionary<string, TensorData>(index.Count, StringComparer.Ordinal);
        foreach (var (name, shard) in index)
            tensors.Add(name, shards[shard].TryGetValue(name, out TensorData? tensor) ? tensor
                : throw Wrong(files, $"'{name}' should be in {shard}, but is not"));
        foreach (var (shard, content) in shards)
            if (content.Keys.FirstOrDefault(name => !index.TryGetValue(name, out string? at) || at != shard) is { } surplus)
                throw Wrong(files, $"{shard} has '{surplus}', which the index does not place there");
        return tensors;
    }

    static InvalidDataException Wrong(ModelFiles files, string reason) => new($"{IndexName} of '{files.Name}' cannot be used: {reason}.");

    static Exception Missing(ModelFiles files)
    {
        if (files.List().FirstOrDefault(f => f.EndsWith(".onnx", StringComparison.Ordinal)) is { } graph)
            return new NotSupportedException($"'{files.Name}' holds recorded graphs ({graph}), but none of "
                + $"{string.Join(", ", FileNames)}: it embeds and classifies as it is, but cannot be trained, adapted or exported. "
                + "Take the folder that has the weights.");
        if (files.List().FirstOrDefault(IsPickle) is { } pickle) RefusePickle(files, pickle);
        return new FileNotFoundException($"'{files.Name}' has none of {string.Join(", ", FileNames)}; a model folder holds config.json, "
            + "its weights and its preprocessing.", FileNames[0]);
    }

    internal static bool IsWeights(string file) => file == IndexName || file.EndsWith(".safetensors", StringComparison.Ordinal);

    internal static bool IsPickle(string file) => PickleEndings.Any(ending => file.EndsWith(ending, StringComparison.OrdinalIgnoreCase));

    static void RefusePickle(ModelFiles files, string file)
    {
        if (IsPickle(file))
            throw new NotSupportedException($"'{files.Name}/{file}' is a PyTorch pickle, which can run any code when it is read, and is refused; "
                + "take the revision that has model.safetensors, or write one in Python: model.save_pretrained(folder, safe_serialization=True).");
    }

    /// <inheritdoc/>
    public TensorData this[string key] => _tensors[key];

    /// <inheritdoc/>
    public IEnumerable<string> Keys => _tensors.Keys;

    /// <inheritdoc/>
    public IEnumerable<TensorData> Values => _tensors.Values;

    /// <inheritdoc/>
    public int Count => _tensors.Count;

    /// <inheritdoc/>
    public bool ContainsKey(string key) => _tensors.ContainsKey(key);

    /// <inheritdoc/>
    public bool TryGetValue(string key, [MaybeNullWhen(false)] out TensorData value) => _tensors.TryGetValue(key, out value);

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, TensorData>> GetEnumerator() => _tensors.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Closes the files; no tensor may be used after.</summary>
    public void Dispose()
    {
        foreach (Safetensors shard in _shards) shard.Dispose();
    }
}
