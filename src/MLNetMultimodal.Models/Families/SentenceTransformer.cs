using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Folders of sentence-transformers (Reimers and Gurevych 2019, arXiv:1908.10084): a BERT-like encoder, and
/// <c>modules.json</c>, which says how its tokens are pooled and what follows.</summary>
public static class SentenceTransformer
{
    /// <summary>The file that makes a folder one of sentence-transformers.</summary>
    public const string ModulesFile = "modules.json";

    internal const string LengthFile = "sentence_bert_config.json", PromptsFile = "config_sentence_transformers.json";
    const string Known = "Transformer, Pooling, Dense, Normalize, Dropout";

    // In the order in which they are joined.
    static readonly (string Field, BertPooling Pooling, bool Default)[] Modes =
    [
        ("pooling_mode_cls_token", BertPooling.FirstToken, false), ("pooling_mode_max_tokens", BertPooling.Max, false),
        ("pooling_mode_mean_tokens", BertPooling.Mean, true),
        ("pooling_mode_mean_sqrt_len_tokens", BertPooling.MeanSqrtLength, false),
        ("pooling_mode_weightedmean_tokens", BertPooling.WeightedMean, false),
        ("pooling_mode_lasttoken", BertPooling.LastToken, false),
    ];

    /// <summary>The model with the modules of the folder.</summary>
    /// <param name="files">The folder.</param>
    /// <param name="encoder">What its config.json describes.</param>
    internal static IModelDefinition Create(ModelFiles files, IModelDefinition encoder)
    {
        if (encoder is not BertModel bert)
            throw new NotSupportedException($"'{files.Name}' is a folder of sentence-transformers around '{encoder.ModelType}'; "
                + $"known are {string.Join(", ", BertConfig.ModelTypes)}.");
        SentenceHead? head = null;
        int tokenWidth = bert.Config.Blocks.Width;
        foreach (var (type, path) in Modules(files))
            head = type switch
            {
                "Transformer" when path.Length == 0 && head is null => head,
                "Pooling" when head is null => ReadPooling(files, Config(path), tokenWidth),
                "Normalize" when head is not null => head with { Layers = [.. head.Layers, SentenceLayer.Normalize] },
                "Dense" when head is not null && path.Length > 0 =>
                    head with { Layers = [.. head.Layers, ReadDense(files, path, head.Width(tokenWidth))] },
                "Dropout" => head, // nothing is dropped after training
                _ => throw new NotSupportedException($"{ModulesFile} of '{files.Name}' has the module '{type}' in '{path}'; "
                    + $"supported are {Known}, Transformer and Pooling once and before the others."),
            };
        if (head is null) throw new InvalidDataException($"{ModulesFile} of '{files.Name}' has no Pooling; it wants {Known}.");
        return new BertModel(bert.Config, head with { Prompt = ReadPrompt(files) }, ReadLength(files));
    }

    /// <summary>How the folder's modules make one vector of the tokens of a text, where that is one pooling and nothing else that
    /// changes a direction.</summary>
    /// <param name="files">A folder with <see cref="ModulesFile"/>.</param>
    /// <exception cref="InvalidDataException">A file is not sound.</exception>
    /// <exception cref="NotSupportedException">There are other modules, several poolings, or a prompt that is not pooled.</exception>
    public static BertPooling ReadPooling(ModelFiles files)
    {
        (string Type, string Path)[] others = [.. Modules(files).Where(m => m.Type is not ("Transformer" or "Normalize" or "Dropout"))];
        return others is [("Pooling", var path)] && ReadPooling(files, Config(path), width: null) is { Poolings: [var pooling] } head
            && pooling is BertPooling.Mean or BertPooling.MeanSqrtLength or BertPooling.FirstToken
            && (head.PoolsPrompt || ReadPrompt(files) is null)
            ? pooling : throw new NotSupportedException($"'{files.Name}' has {string.Join(", ", others.Select(m => m.Type))} after its tokens; "
                + "for recorded graphs that is one Pooling by the mean or the first token. Take a graph that gives sentence_embedding.");
    }

    /// <summary>The most tokens of a text as the folder says; null where it does not.</summary>
    /// <param name="files">The folder.</param>
    /// <exception cref="InvalidDataException">The file is not sound.</exception>
    public static int? ReadLength(ModelFiles files) => !files.Contains(LengthFile) ? null : Read(files, LengthFile, root =>
        new ConfigReader(root) is var config && config.Has("max_seq_length") ? config.Int("max_seq_length", 0) : (int?)null);

    /// <summary>Folders of the modules that have weights of their own; empty for any other model.</summary>
    /// <param name="files">The folder.</param>
    public static IReadOnlyList<string> WeightFolders(ModelFiles files) =>
        files.Contains(ModulesFile) ? [.. from m in Modules(files) where m.Type == "Dense" && m.Path.Length > 0 select m.Path] : [];

    static string Config(string path) => path.Length == 0 ? "config.json" : $"{path}/config.json";

    static IReadOnlyList<(string Type, string Path)> Modules(ModelFiles files) => Read(files, ModulesFile, root =>
    {
        if (root.ValueKind != JsonValueKind.Array || root.GetArrayLength() > 64)
            throw new InvalidDataException("it must be a list of at most 64 modules.");
        var modules = new List<(string, string)>();
        foreach (JsonElement module in root.EnumerateArray())
        {
            var reader = new ConfigReader(module);
            string path = reader.Text("path", "");
            if (path.Split('/', '\\').Contains("..") || Path.IsPathRooted(path))
                throw new InvalidDataException($"the path '{path}' leaves the folder.");
            modules.Add((reader.Text("type", "").Split('.')[^1], path));
        }
        return modules;
    });

    static SentenceHead ReadPooling(ModelFiles files, string file, int? width) => Read(files, file, root =>
    {
        var config = new ConfigReader(root);
        if (width is not null && config.Int("word_embedding_dimension", width.Value) is var given && given != width)
            throw new InvalidDataException($"word_embedding_dimension is {given}, but the encoder's tokens have width {width}.");
        BertPooling[] on = [.. Modes.Where(m => config.Flag(m.Field, m.Default)).Select(m => m.Pooling)];
        return on.Length > 0 ? new SentenceHead { Poolings = on, PoolsPrompt = config.Flag("include_prompt", true) }
            : throw new NotSupportedException(
                $"'{files.Name}/{file}' pools by nothing; it wants one or more of {string.Join(", ", Modes.Select(m => m.Field))}.");
    });

    static SentenceLayer ReadDense(ModelFiles files, string path, int width) => Read(files, Config(path), root =>
    {
        var config = new ConfigReader(root);
        if (config.Int("in_features", width) is var given && given != width)
            throw new InvalidDataException($"in_features is {given}, but the module before it gives {width}.");
        string activation = config.Text("activation_function", "torch.nn.modules.activation.Tanh").Split('.')[^1];
        return new SentenceLayer(path, width, config.Int("out_features", width), config.Flag("bias", true), activation switch
        {
            "Identity" => null,
            "Tanh" => Activation.Tanh,
            "ReLU" => Activation.Relu,
            "GELU" => Activation.Gelu,
            "SiLU" => Activation.Silu,
            "Sigmoid" => Activation.Sigmoid,
            _ => throw new NotSupportedException($"'{files.Name}/{path}' has the activation_function '{activation}'; "
                + "supported are Identity, Tanh, ReLU, GELU, SiLU and Sigmoid."),
        });
    });

    /// <summary>What stands before every text; null for nothing.</summary>
    /// <param name="files">The folder.</param>
    /// <exception cref="InvalidDataException">The file is not sound.</exception>
    public static string? ReadPrompt(ModelFiles files) => !files.Contains(PromptsFile) ? null : Read(files, PromptsFile, root =>
    {
        var config = new ConfigReader(root);
        if (!config.Has("default_prompt_name")) return null;
        string name = config.Text("default_prompt_name", "");
        ConfigReader prompts = config.Section("prompts");
        return prompts.Has(name) ? prompts.Text(name, "")
            : throw new InvalidDataException($"default_prompt_name is '{name}', which prompts does not have.");
    });

    static T Read<T>(ModelFiles files, string file, Func<JsonElement, T> read)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(files.Read(file), new() { MaxDepth = 32 });
            return read(document.RootElement);
        }
        catch (Exception e) when (e is JsonException or InvalidDataException or InvalidOperationException)
        {
            throw new InvalidDataException($"'{files.Name}/{file}' cannot be read: {e.Message}", e);
        }
    }
}
