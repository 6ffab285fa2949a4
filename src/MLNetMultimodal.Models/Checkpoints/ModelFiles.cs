using MLNetMultimodal.Models.Hub;

namespace MLNetMultimodal.Models.Checkpoints;

/// <summary>The files of a model folder, wherever they lie: in a folder on disk, or in memory after loading an ML.NET
/// zip.</summary>
public sealed class ModelFiles
{
    static readonly ReadOnlyMemory<byte>? NotThere = null; // a bare null beside bytes would convert to empty memory

    readonly IReadOnlyDictionary<string, ReadOnlyMemory<byte>>? _memory;

    /// <summary>Names of the files that a model is loaded from, relative, with <c>/</c>; <c>*</c> stands for any
    /// characters.</summary>
    public static IReadOnlyList<string> Patterns { get; } =
    [
        "config.json", "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json",
        "model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json",
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt",
        "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
        "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json",
        "*_Pooling/config.json", "*_Dense/config.json", "*_Dense/model.safetensors",
        "open_clip_config.json", "open_clip_model.safetensors",
    ];

    ModelFiles(string name, string? folder, IReadOnlyDictionary<string, ReadOnlyMemory<byte>>? memory) => (Name, Folder, _memory) = (name, folder, memory);

    /// <summary>The folder's path or its name on the hub, as given, or a name for messages.</summary>
    public string Name { get; }

    /// <summary>The folder on disk; null for files in memory.</summary>
    public string? Folder { get; }

    /// <summary>The model in a folder on disk, or one of the hub, which is downloaded where the cache does not have it: what is
    /// not there yet is waited for. <see cref="ModelHub.DownloadAsync"/> downloads with progress and cancellation.</summary>
    /// <param name="folder">The folder, or <c>hub:owner/name</c> or <c>hub:owner/name@revision</c>.</param>
    /// <exception cref="ArgumentException">What follows <c>hub:</c> names no repository.</exception>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <exception cref="HubException">The hub does not give the model.</exception>
    /// <exception cref="InvalidDataException">What the hub gives is not sound.</exception>
    /// <exception cref="NotSupportedException">The hub has the model only as pickles.</exception>
    public static ModelFiles FromFolder(string folder)
    {
        string path = ModelHub.IsReference(folder) ? ModelHub.Download(folder) : Path.GetFullPath(folder);
        return Directory.Exists(path) ? new(folder, path, null) : throw new DirectoryNotFoundException($"the model folder '{folder}' does not exist.");
    }

    /// <summary>A model whose files are in memory.</summary>
    /// <param name="name">A name for messages.</param>
    /// <param name="files">Content by name, as in a folder; <c>/</c> separates folders.</param>
    public static ModelFiles FromMemory(string name, IReadOnlyDictionary<string, ReadOnlyMemory<byte>> files) => new(name, null, files);

    /// <summary>Names of all files, relative, with <c>/</c>, in ordinal order.</summary>
    public IReadOnlyList<string> List()
    {
        IEnumerable<string> names = _memory is not null
            ? _memory.Keys
            : Directory.EnumerateFiles(Folder!, "*", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(Folder!, f).Replace('\\', '/'));
        return [.. names.Order(StringComparer.Ordinal)];
    }

    /// <summary>True where the file is there.</summary>
    public bool Contains(string file) => _memory?.ContainsKey(file) ?? File.Exists(Path.Combine(Folder!, file));

    /// <summary>The whole content of a small file, or null where it is missing.</summary>
    public ReadOnlyMemory<byte>? TryRead(string file)
    {
        if (_memory is not null) return _memory.TryGetValue(file, out ReadOnlyMemory<byte> content) ? content : NotThere;
        string path = Path.Combine(Folder!, file);
        return File.Exists(path) ? File.ReadAllBytes(path) : NotThere;
    }

    /// <summary>The whole content of a small file.</summary>
    /// <exception cref="FileNotFoundException">The file is missing; the message names folder and file.</exception>
    public ReadOnlyMemory<byte> Read(string file) =>
        TryRead(file) ?? throw new FileNotFoundException($"'{Name}' has no {file}; a model folder holds config.json, model.safetensors and its preprocessing.", file);

    /// <summary>Opens the weights, memory-mapped where they lie on disk: <c>model.safetensors</c>,
    /// <c>model.safetensors.index.json</c> with its shards, or <c>open_clip_model.safetensors</c>.</summary>
    /// <param name="file">Another file of weights; null looks for those.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">A file is not sound.</exception>
    /// <exception cref="NotSupportedException">The weights are a PyTorch pickle.</exception>
    public ModelWeights OpenWeights(string? file = null) => ModelWeights.Open(this, file);

    internal Safetensors OpenSafetensors(string file) =>
        Folder is not null && Contains(file) ? Safetensors.Open(Path.Combine(Folder, file)) : Safetensors.Parse(Read(file), $"{Name}/{file}");
}
