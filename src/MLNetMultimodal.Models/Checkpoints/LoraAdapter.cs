using System.Text.Json;
using System.Text.Json.Nodes;

namespace MLNetMultimodal.Models.Checkpoints;

/// <summary>Low-rank adaptation (LoRA: Hu et al. 2021, arXiv:2106.09685, section 4.1): a linear layer W gets W + scale B A beside
/// it, and only A and B are trained. For a convolution A is one of r channels, and B goes from these to its own channels.</summary>
public sealed record LoraConfig
{
    /// <summary>The projections of attention under the names of every family here.</summary>
    public static IReadOnlyList<string> AttentionTargets { get; } =
        ["q_proj", "k_proj", "v_proj", "out_proj", "query", "key", "value", "attention.output.dense"];

    /// <summary>The layers of the feed-forward parts under the names of every family here.</summary>
    public static IReadOnlyList<string> MlpTargets { get; } =
        ["fc1", "fc2", "intermediate.dense", "output.dense", "weights_in", "weights_out"];

    /// <summary>The convolutions that make patches of pictures, under the names of every family here.</summary>
    public static IReadOnlyList<string> PatchTargets { get; } = ["patch_embedding", "patch_embeddings.projection", "conv"];

    /// <summary>r, rows of A and columns of B, 1 to 4096. Default 8.</summary>
    public int Rank
    {
        get;
        init => field = value is >= 1 and <= 4096 ? value : throw new ArgumentOutOfRangeException(nameof(Rank), value, "Rank must be 1 to 4096.");
    } = 8;

    /// <summary>Strength: B A is multiplied with Alpha / Rank, or Alpha / sqrt(Rank) with <see cref="RankStabilized"/>; finite,
    /// above 0. Default 16.</summary>
    public double Alpha
    {
        get;
        init => field = value > 0 && double.IsFinite(value) ? value : throw new ArgumentOutOfRangeException(nameof(Alpha), value, "Alpha must be above 0.");
    } = 16;

    /// <summary>Share of the inputs of A that are dropped in training, 0 to below 1. Default 0.</summary>
    public double Dropout
    {
        get;
        init => field = value is >= 0 and < 1 ? value : throw new ArgumentOutOfRangeException(nameof(Dropout), value, "Dropout must be at least 0 and below 1.");
    }

    /// <summary>True: the scale falls with the root of the rank only (rsLoRA: Kalajdzievski 2023, arXiv:2312.03732). Default
    /// false.</summary>
    public bool RankStabilized { get; init; }

    /// <summary>Layers that are adapted: whole names, or their last parts. Default <see cref="AttentionTargets"/>.</summary>
    public IReadOnlyList<string> Targets { get; init; } = AttentionTargets;

    /// <summary>What B A is multiplied with.</summary>
    public double Scale => Alpha / (RankStabilized ? Math.Sqrt(Rank) : Rank);

    /// <summary>True for a layer that is adapted.</summary>
    /// <param name="layer">Its full name, without <c>.weight</c>.</param>
    public bool Adapts(string layer) =>
        Targets.Any(t => layer == t || layer.Length > t.Length && layer.EndsWith(t, StringComparison.Ordinal) && layer[^(t.Length + 1)] == '.');
}

/// <summary>The trained A and B of a model, in the layout of Hugging Face's PEFT: <c>adapter_config.json</c> and
/// <c>adapter_model.safetensors</c>.</summary>
public sealed class LoraAdapter
{
    /// <summary>File of the settings.</summary>
    public const string ConfigFile = "adapter_config.json";

    /// <summary>File of the weights.</summary>
    public const string WeightsFile = "adapter_model.safetensors";

    const string Prefix = "base_model.model.", Weight = ".weight";

    /// <summary>An adapter.</summary>
    /// <param name="config">Rank, strength, targets.</param>
    /// <param name="layers">A [r, in] and B [out, r] by the full name of the layer; of a convolution A [r, in, k, k] and B [out, r, 1, 1].</param>
    /// <param name="baseModel">The model it belongs to: a folder or a name on the hub; null where it is not known.</param>
    /// <param name="replaced">Weights that were trained as a whole, by their full names; null for none.</param>
    /// <exception cref="InvalidDataException">A matrix has another shape than the rank asks for.</exception>
    public LoraAdapter(LoraConfig config, IReadOnlyDictionary<string, (TensorData A, TensorData B)> layers,
        string? baseModel = null, IReadOnlyDictionary<string, TensorData>? replaced = null)
    {
        foreach (var (layer, (a, b)) in layers)
            if (!Fits(a.Shape, b.Shape, config.Rank))
                throw new InvalidDataException($"the adapter of '{layer}' is {Text(a.Shape)} and {Text(b.Shape)}, wanted "
                    + $"[{config.Rank}, in] and [out, {config.Rank}], or [{config.Rank}, in, k, k] and [out, {config.Rank}, 1, 1].");
        (Config, Layers, BaseModel, Replaced) = (config, layers, baseModel, replaced ?? new Dictionary<string, TensorData>());
    }

    static bool Fits(IReadOnlyList<long> a, IReadOnlyList<long> b, int rank) =>
        a.Count is 2 or 4 && b.Count == a.Count && a[0] == rank && b[1] == rank && b.Skip(2).All(size => size == 1);

    static string Text(IEnumerable<long> shape) => $"[{string.Join(", ", shape)}]";

    /// <summary>Rank, strength, targets.</summary>
    public LoraConfig Config { get; }

    /// <summary>A [r, in] and B [out, r] by the full name of the layer; of a convolution A [r, in, k, k] and B [out, r, 1, 1].</summary>
    public IReadOnlyDictionary<string, (TensorData A, TensorData B)> Layers { get; }

    /// <summary>Weights that stand in place of the model's own, by their full names: those of PEFT's <c>modules_to_save</c>, such
    /// as heads that were trained as a whole.</summary>
    public IReadOnlyDictionary<string, TensorData> Replaced { get; }

    /// <summary>The model it belongs to; null where it is not known.</summary>
    public string? BaseModel { get; }

    /// <summary>Name of A of a layer inside a model.</summary>
    public static string NameOfA(string layer) => $"{layer}.lora_A{Weight}";

    /// <summary>Name of B of a layer inside a model.</summary>
    public static string NameOfB(string layer) => $"{layer}.lora_B{Weight}";

    /// <summary>W + scale B A for each adapted layer, and the weights that are <see cref="Replaced"/>; the others as they
    /// are.</summary>
    /// <param name="weights">Weights of the model by name.</param>
    /// <returns>All weights; those of adapted layers as new F32 tensors.</returns>
    /// <exception cref="InvalidDataException">Layers are not there or of another shape; one message names them all.</exception>
    public IReadOnlyDictionary<string, TensorData> Merge(IReadOnlyDictionary<string, TensorData> weights)
    {
        Dictionary<string, TensorData> result = Added(weights, Config.Scale);
        foreach (var (name, tensor) in Replaced) result[name] = tensor;
        return result;
    }

    /// <summary>W - scale B A for each adapted layer: takes back <see cref="Merge"/>, but for rounding.</summary>
    /// <inheritdoc cref="Merge" path="/param"/>
    /// <returns>All weights; those of adapted layers as new F32 tensors.</returns>
    /// <inheritdoc cref="Merge" path="/exception"/>
    /// <exception cref="InvalidOperationException">Weights were <see cref="Replaced"/>: the adapter does not know what they
    /// were.</exception>
    public IReadOnlyDictionary<string, TensorData> Unmerge(IReadOnlyDictionary<string, TensorData> weights) => Replaced.Count == 0
        ? Added(weights, -Config.Scale)
        : throw new InvalidOperationException(
            $"the adapter replaces {string.Join(", ", Replaced.Keys)}, which cannot be taken back; load the base model.");

    Dictionary<string, TensorData> Added(IReadOnlyDictionary<string, TensorData> weights, double scale)
    {
        Check(weights);
        var result = new Dictionary<string, TensorData>(weights, StringComparer.Ordinal);
        foreach (var (layer, (a, b)) in Layers)
        {
            TensorData matrix = weights[layer + Weight];
            (int rank, int rows) = ((int)a.Shape[0], (int)b.Shape[0]);
            int width = (int)(a.Count / rank);
            float[] w = matrix.ToSingles(), left = b.ToSingles(), right = a.ToSingles();
            for (int o = 0; o < rows; o++)
                for (int i = 0; i < width; i++)
                {
                    double sum = 0;
                    for (int r = 0; r < rank; r++) sum += (double)left[o * rank + r] * right[r * width + i];
                    w[o * width + i] += (float)(scale * sum);
                }
            result[layer + Weight] = TensorData.From(w, matrix.Shape);
        }
        return result;
    }

    /// <exception cref="InvalidDataException">It is for another model.</exception>
    void Check(IReadOnlyDictionary<string, TensorData> weights)
    {
        IEnumerable<(string Name, long[] Shape)> wanted =
            [.. Layers.Select(l => (l.Key + Weight, (long[])[l.Value.B.Shape[0], .. l.Value.A.Shape.Skip(1)])),
                .. Replaced.Select(r => (r.Key, (long[])[.. r.Value.Shape]))];
        string[] wrong = [.. wanted.Select(w => !weights.TryGetValue(w.Name, out TensorData? found)
            ? $"{w.Name} {Text(w.Shape)}, which it does not have"
            : found.Shape.SequenceEqual(w.Shape) ? null
            : $"{w.Name} {Text(w.Shape)}, which is {Text(found.Shape)}").OfType<string>()];
        if (wrong.Length > 0)
            throw new InvalidDataException($"the adapter{(BaseModel is null ? "" : $" of '{BaseModel}'")} does not fit the model: it is "
                + $"for {string.Join("; for ", wrong.Take(8))}{(wrong.Length > 8 ? $"; and {wrong.Length - 8} more" : "")}.");
    }

    /// <summary>Reads an adapter in PEFT's layout.</summary>
    /// <param name="folder">The folder, with <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>.</param>
    /// <exception cref="DirectoryNotFoundException">There is no such folder.</exception>
    /// <inheritdoc cref="Load(ModelFiles)" path="/exception"/>
    public static LoraAdapter Load(string folder) => Load(ModelFiles.FromFolder(folder));

    /// <summary>Reads an adapter in PEFT's layout.</summary>
    /// <param name="files">The folder.</param>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    /// <exception cref="InvalidDataException">A file is not sound, or they do not fit together; the message names it.</exception>
    /// <exception cref="NotSupportedException">The adapter is of another kind than LoRA, or uses an option that changes the
    /// mathematics; the message names it.</exception>
    public static LoraAdapter Load(ModelFiles files)
    {
        (LoraConfig config, string? baseModel, string[] saved) = ReadConfig(files);
        using Safetensors stored = files.OpenSafetensors(WeightsFile);
        var found = new Dictionary<string, TensorData>(StringComparer.Ordinal);
        var replaced = new Dictionary<string, TensorData>(StringComparer.Ordinal);
        foreach (var (key, tensor) in stored)
        {
            if (!key.StartsWith(Prefix, StringComparison.Ordinal))
                throw new InvalidDataException($"'{files.Name}/{WeightsFile}' has '{key}', which does not begin with {Prefix}.");
            string name = key[Prefix.Length..];
            bool isMatrix = name.EndsWith(NameOfA(""), StringComparison.Ordinal)
                || name.EndsWith(NameOfB(""), StringComparison.Ordinal);
            if (!isMatrix && !IsSaved(name, saved))
                throw new NotSupportedException($"'{files.Name}/{WeightsFile}' has '{key}', which is neither a matrix of LoRA on a linear "
                    + $"layer or a convolution nor of modules_to_save ({string.Join(", ", saved)}).");
            (isMatrix ? found : replaced)[name] = TensorData.From(tensor.ToSingles(), tensor.Shape);
        }
        var layers = new Dictionary<string, (TensorData, TensorData)>(StringComparer.Ordinal);
        foreach (string name in found.Keys)
        {
            string layer = name[..^NameOfA("").Length];
            if (!found.TryGetValue(NameOfA(layer), out TensorData? a) || !found.TryGetValue(NameOfB(layer), out TensorData? b))
                throw new InvalidDataException($"'{files.Name}/{WeightsFile}' has only one of the two matrices of '{layer}'.");
            layers[layer] = (a, b);
        }
        return new(config, layers, baseModel, replaced);
    }

    /// <summary>True for a weight of a module whose name ends as one of those that were trained as a whole, or of a part of
    /// it.</summary>
    static bool IsSaved(string weight, string[] modules)
    {
        for (int end = weight.LastIndexOf('.'); end > 0; end = weight.LastIndexOf('.', end - 1))
            if (modules.Any(m => weight.AsSpan(0, end).EndsWith(m, StringComparison.Ordinal))) return true;
        return false;
    }

    static (LoraConfig, string?, string[]) ReadConfig(ModelFiles files)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(files.Read(ConfigFile), new() { MaxDepth = 32 });
            var json = new ConfigReader(document.RootElement);
            string type = json.Text("peft_type", "");
            if (type != "LORA") throw new NotSupportedException($"'{files.Name}/{ConfigFile}' has the peft_type '{type}'; LORA is supported.");
            foreach (string flag in new[] { "use_dora", "use_qalora", "fan_in_fan_out", "lora_bias" })
                if (json.Flag(flag, false)) throw new NotSupportedException($"'{files.Name}/{ConfigFile}' has {flag}, which is not supported.");
            foreach (string field in new[] { "rank_pattern", "alpha_pattern", "layers_to_transform",
                "target_parameters", "layer_replication", "trainable_token_indices", "alora_invocation_tokens" })
                if (json.Has(field) && document.RootElement.GetProperty(field) is var e && (e.ValueKind != JsonValueKind.Object || e.EnumerateObject().Any())
                    && (e.ValueKind != JsonValueKind.Array || e.GetArrayLength() > 0))
                    throw new NotSupportedException($"'{files.Name}/{ConfigFile}' has {field}, which is not supported.");
            if (document.RootElement.TryGetProperty("init_lora_weights", out JsonElement init) && init.ValueKind == JsonValueKind.String
                && init.GetString() != "gaussian")
                throw new NotSupportedException($"'{files.Name}/{ConfigFile}' has init_lora_weights '{init.GetString()}', which changes the model "
                    + "that the adapter belongs to, and is not supported.");
            if (json.Text("bias", "none") != "none") throw new NotSupportedException($"'{files.Name}/{ConfigFile}' trains biases, which is not supported.");
            JsonElement targets = document.RootElement.GetProperty("target_modules");
            return (new()
            {
                Rank = json.Int("r", 8, max: 4096),
                Alpha = json.Single("lora_alpha", 8),
                Dropout = json.Single("lora_dropout", 0),
                RankStabilized = json.Flag("use_rslora", false),
                Targets = targets.ValueKind == JsonValueKind.Array ? [.. targets.EnumerateArray().Select(t => t.GetString()!)] : [targets.GetString()!],
            }, json.Text("base_model_name_or_path", "") is { Length: > 0 } name ? name : null,
                Names(document.RootElement, "modules_to_save"));
        }
        catch (Exception e) when (e is JsonException or InvalidDataException or InvalidOperationException or KeyNotFoundException or ArgumentException)
        {
            throw new InvalidDataException($"'{files.Name}/{ConfigFile}' cannot be read: {e.Message}", e);
        }
    }

    static string[] Names(JsonElement config, string field) =>
        config.TryGetProperty(field, out JsonElement list) && list.ValueKind != JsonValueKind.Null
            ? [.. list.EnumerateArray().Select(e => e.GetString() is { Length: > 0 } name ? name
                : throw new InvalidDataException($"{field} holds an empty name."))]
            : [];

    /// <summary>The two files of the adapter, by name.</summary>
    public IReadOnlyDictionary<string, ReadOnlyMemory<byte>> ToFiles()
    {
        var config = new JsonObject
        {
            ["peft_type"] = "LORA",
            ["task_type"] = null,
            ["base_model_name_or_path"] = BaseModel,
            ["r"] = Config.Rank,
            ["lora_alpha"] = Config.Alpha,
            ["lora_dropout"] = Config.Dropout,
            ["use_rslora"] = Config.RankStabilized,
            ["target_modules"] = new JsonArray([.. Layers.Keys.Order(StringComparer.Ordinal).Select(t => JsonValue.Create(t))]),
            ["bias"] = "none",
            ["fan_in_fan_out"] = false,
            ["modules_to_save"] = Replaced.Count == 0 ? null : new JsonArray([.. Replaced.Keys
                .Select(r => r[..r.LastIndexOf('.')]).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).Select(m => JsonValue.Create(m))]),
            ["inference_mode"] = true,
        };
        var weights = new MemoryStream();
        Safetensors.Write(weights, Layers.OrderBy(l => l.Key, StringComparer.Ordinal).SelectMany(l => new[]
        {
            KeyValuePair.Create(Prefix + NameOfA(l.Key), l.Value.A), KeyValuePair.Create(Prefix + NameOfB(l.Key), l.Value.B),
        }).Concat(Replaced.Select(r => KeyValuePair.Create(Prefix + r.Key, r.Value))),
            new Dictionary<string, string> { ["format"] = "pt" });
        return new Dictionary<string, ReadOnlyMemory<byte>>
        {
            [ConfigFile] = System.Text.Encoding.UTF8.GetBytes(config.ToJsonString(new() { WriteIndented = true }) + "\n"),
            [WeightsFile] = weights.ToArray(),
        };
    }
}
