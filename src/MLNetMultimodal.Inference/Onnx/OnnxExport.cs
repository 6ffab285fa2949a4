using System.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>Writes models as folders that Transformers.js and Python's optimum open: graphs under <c>onnx/</c>, and beside it
/// config, tokenizer and preprocessing.</summary>
public static class OnnxExport
{
    const string Graphs = "onnx/", Preprocessor = "preprocessor_config.json", ModelCard = "README.md";

    /// <summary>What is written: 32-bit floats, 16-bit floats, 8-bit integers under two names, 4-bit and 8-bit integers in
    /// blocks.</summary>
    public static IReadOnlyList<OnnxDtype> Dtypes { get; } =
        [OnnxDtype.Fp32, OnnxDtype.Fp16, OnnxDtype.Q8, OnnxDtype.Int8, OnnxDtype.Q4, OnnxDtype.Q8Blocks];

    /// <summary>Exports a model. The folder appears whole or not at all.</summary>
    /// <param name="model">The model.</param>
    /// <param name="folder">The folder to write; an earlier export there is replaced.</param>
    /// <param name="dtypes">How weights are stored; each gives files of its own.</param>
    /// <returns>The files written, relative to <paramref name="folder"/>, with <c>/</c>, in ordinal order.</returns>
    /// <exception cref="ArgumentException"><paramref name="dtypes"/> is empty, or not of <see cref="Dtypes"/>.</exception>
    /// <exception cref="IOException">The folder holds something other than an earlier export.</exception>
    /// <exception cref="FileNotFoundException">The model's folder lacks its preprocessing or tokenizer.</exception>
    /// <exception cref="NotSupportedException">The tokenizer has no tokenizer.json, or the model's folder holds graphs
    /// only.</exception>
    /// <exception cref="InvalidDataException">A weight is too large for 16 bits.</exception>
    public static IReadOnlyList<string> Write(MultimodalModel model, string folder, params IReadOnlyList<OnnxDtype> dtypes)
    {
        if (dtypes.Count == 0) throw new ArgumentException("at least one dtype must be given.", nameof(dtypes));
        if (dtypes.FirstOrDefault(d => !Dtypes.Contains(d), OnnxDtype.Fp32) is var other and not OnnxDtype.Fp32)
            throw new ArgumentException($"{other} is not written; {string.Join(", ", Dtypes)} are.", nameof(dtypes));
        string target = Path.GetFullPath(folder).TrimEnd(Path.DirectorySeparatorChar);
        RequireReplaceable(target, folder);
        Dictionary<string, ReadOnlyMemory<byte>> texts = TextFiles(model);
        string temporary = $"{target}.{Guid.NewGuid():N}.tmp";
        try
        {
            foreach (var (name, bytes) in texts) AtomicFile.Write(Path.Combine(temporary, name), s => s.Write(bytes.Span));
            foreach (OnnxDtype dtype in dtypes.Distinct())
                foreach (OnnxModel graph in Record(model, dtype))
                    graph.SaveTo(Path.Combine(temporary, "onnx", $"{graph.Name}{Suffix(dtype)}.onnx"));
            string[] files = [.. Names(temporary).Order(StringComparer.Ordinal)];
            Replace(temporary, target);
            return files;
        }
        finally
        {
            if (Directory.Exists(temporary)) Directory.Delete(temporary, recursive: true);
        }
    }

    /// <summary>What Transformers.js puts behind a graph's name.</summary>
    internal static string Suffix(OnnxDtype dtype) => dtype switch
    {
        OnnxDtype.Fp32 => "",
        OnnxDtype.Fp16 => "_fp16",
        OnnxDtype.Q8 => "_quantized",
        OnnxDtype.Int8 => "_int8",
        OnnxDtype.Uint8 => "_uint8",
        OnnxDtype.Q4 => "_q4",
        OnnxDtype.Q4F16 => "_q4f16",
        OnnxDtype.Bnb4 => "_bnb4",
        OnnxDtype.Q8Blocks => "_q8blocks",
        _ => throw new ArgumentOutOfRangeException(nameof(dtype), dtype, "is no dtype."),
    };

    /// <summary>The graphs of a model, one after the other.</summary>
    internal static IEnumerable<OnnxModel> Record(MultimodalModel model, OnnxDtype dtype)
    {
        IProgram full = model.Definition.Full, whole = model.Definition.Exported;
        return model.Definition.Graphs is { } graphs
            ? graphs.Select(g => OnnxRecorder.Record(g.Key, g.Key == whole.Name ? whole : full, g.Value, model.Weights, dtype))
            : [OnnxRecorder.Record(full.Name, full, null, model.Weights, dtype)];
    }

    static Dictionary<string, ReadOnlyMemory<byte>> TextFiles(MultimodalModel model)
    {
        bool openClip = model.Files.Contains(OpenClipConfig.FileName);
        var files = new Dictionary<string, ReadOnlyMemory<byte>>
        {
            ["config.json"] = openClip ? Encoding.UTF8.GetBytes(model.Definition.ToConfigJson()) : model.Files.Read("config.json"),
        };
        if (model.Modalities.Contains(Modality.Image))
            files[Preprocessor] = model.Files.TryRead(Preprocessor) ?? Encoding.UTF8.GetBytes(model.Images.ToJson());
        if (model.Modalities.Contains(Modality.Text))
            foreach (var (name, bytes) in TokenizerFiles(model)) files[name] = bytes;
        if (model.Definition is CrossModalFusionModel fusion)
            foreach (var (name, bytes) in FusionPreprocessing.Load(model.Files, fusion.Config).ToFiles()) files[name] = bytes;
        if (model.Files.TryRead(ModelCard) is { } card) files[ModelCard] = card;
        return files;
    }

    static IReadOnlyDictionary<string, ReadOnlyMemory<byte>> TokenizerFiles(MultimodalModel model)
    {
        IReadOnlyDictionary<string, ReadOnlyMemory<byte>> files = model.Texts.Files;
        foreach (string file in new[] { "tokenizer.json", "tokenizer_config.json" })
            if (!files.ContainsKey(file))
                throw new NotSupportedException($"'{model.Name}' has no {file}, which Transformers.js needs; it has "
                    + $"{string.Join(", ", files.Keys)}. Python's AutoTokenizer.from_pretrained(folder).save_pretrained(folder) writes it.");
        return files;
    }

    static IEnumerable<string> Names(string folder) => Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
        .Select(f => Path.GetRelativePath(folder, f).Replace('\\', '/'));

    static void RequireReplaceable(string target, string folder)
    {
        if (File.Exists(target)) throw new IOException($"'{folder}' is a file; give a folder to export to.");
        if (!Directory.Exists(target)) return;
        string[] names = [.. Names(target)];
        bool earlier = names.Any(name => name.StartsWith(Graphs, StringComparison.Ordinal));
        string? other = names.FirstOrDefault(name => !earlier || !IsExported(target, name));
        if (other is not null)
            throw new IOException($"'{folder}' holds {other}, which is of no earlier export; give a new or empty folder.");
    }

    /// <summary>True for a graph that says that it was written here, and for the small files beside it.</summary>
    static bool IsExported(string folder, string name)
    {
        if (!name.StartsWith(Graphs, StringComparison.Ordinal))
            return !name.Contains('/') && Path.GetExtension(name) is (".json" or ".txt" or ".model" or ".md");
        if (name.EndsWith(".onnx_data", StringComparison.Ordinal)) return true;
        Span<byte> start = stackalloc byte[64]; // the producer follows the format's version
        using FileStream stream = File.OpenRead(Path.Combine(folder, name));
        int read = stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        return start[..read].IndexOf("MLNetMultimodal"u8) >= 0;
    }

    static void Replace(string temporary, string target)
    {
        if (!Directory.Exists(target))
        {
            Directory.Move(temporary, target);
            return;
        }
        string earlier = $"{target}.{Guid.NewGuid():N}.old";
        Directory.Move(target, earlier);
        try
        {
            Directory.Move(temporary, target);
        }
        catch
        {
            Directory.Move(earlier, target);
            throw;
        }
        Directory.Delete(earlier, recursive: true);
    }
}
