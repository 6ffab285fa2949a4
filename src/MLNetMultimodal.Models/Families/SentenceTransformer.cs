using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Models.Families;

/// <summary>Folders of sentence-transformers (Reimers and Gurevych 2019, arXiv:1908.10084): a BERT-like encoder, and
/// <c>modules.json</c>, which says how its tokens are pooled.</summary>
public static class SentenceTransformer
{
    /// <summary>The file that makes a folder one of sentence-transformers.</summary>
    public const string ModulesFile = "modules.json";

    const string LengthFile = "sentence_bert_config.json";
    const string Known = "Transformer, Pooling, Normalize";

    /// <summary>The model with the pooling of the folder.</summary>
    /// <param name="files">The folder.</param>
    /// <param name="encoder">What its config.json describes.</param>
    internal static IModelDefinition Create(ModelFiles files, IModelDefinition encoder)
    {
        if (encoder is not BertModel bert)
            throw new NotSupportedException($"'{files.Name}' is a folder of sentence-transformers around '{encoder.ModelType}'; "
                + $"known are {string.Join(", ", BertConfig.ModelTypes)}.");
        return new BertModel(bert.Config, ReadPooling(files), ReadLength(files));
    }

    /// <summary>How the folder's modules make one vector of the tokens of a text.</summary>
    /// <param name="files">A folder with <see cref="ModulesFile"/>.</param>
    /// <exception cref="InvalidDataException">A file is not sound, or there is no pooling.</exception>
    /// <exception cref="NotSupportedException">There are other modules than Transformer, Pooling and Normalize, or another
    /// pooling.</exception>
    public static BertPooling ReadPooling(ModelFiles files)
    {
        BertPooling? pooling = null;
        foreach (var (type, path) in Modules(files))
            switch (type)
            {
                case "Transformer" when path.Length == 0:
                case "Normalize":
                    break;
                case "Pooling" when pooling is null:
                    pooling = ReadPooling(files, path.Length == 0 ? "config.json" : $"{path}/config.json");
                    break;
                default:
                    throw new NotSupportedException(
                        $"{ModulesFile} of '{files.Name}' has the module '{type}' in '{path}'; supported are {Known}, once each.");
            }
        return pooling ?? throw new InvalidDataException($"{ModulesFile} of '{files.Name}' has no Pooling; it wants {Known}.");
    }

    /// <summary>The most tokens of a text as the folder says; null where it does not.</summary>
    /// <param name="files">The folder.</param>
    /// <exception cref="InvalidDataException">The file is not sound.</exception>
    public static int? ReadLength(ModelFiles files) => files.Contains(LengthFile)
        ? Read(files, LengthFile, root => new ConfigReader(root) is var c && c.Has("max_seq_length") ? c.Int("max_seq_length", 0) : (int?)null)
        : null;

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

    static BertPooling ReadPooling(ModelFiles files, string file) => Read(files, file, root =>
    {
        var config = new ConfigReader(root);
        (string Field, BertPooling? Value)[] modes =
        [
            ("pooling_mode_cls_token", BertPooling.FirstToken), ("pooling_mode_mean_tokens", BertPooling.Mean),
            ("pooling_mode_mean_sqrt_len_tokens", BertPooling.MeanSqrtLength), ("pooling_mode_max_tokens", null),
            ("pooling_mode_weightedmean_tokens", null), ("pooling_mode_lasttoken", null),
        ];
        var on = modes.Where(m => config.Flag(m.Field, false)).ToArray();
        return on is [{ Value: { } pooling }] ? pooling : throw new NotSupportedException(
            $"'{files.Name}/{file}' pools by {(on.Length == 0 ? "nothing" : string.Join(" and ", on.Select(m => m.Field)))}; supported is one of "
            + $"{string.Join(", ", modes.Where(m => m.Value is not null).Select(m => m.Field))}.");
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
