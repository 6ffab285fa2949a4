using System.IO.Enumeration;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Models.Hub;

/// <summary>Which files of a repository are taken: what a model is loaded from, and no pickles, cards or other copies of the
/// weights.</summary>
static class FileChoice
{
    const string Graphs = "onnx/";
    static readonly string[] GraphEndings = [".onnx", ".onnx_data"];

    // What Transformers.js appends to the name of a graph whose weights are not float32.
    static readonly string[] Dtypes = ["_fp16", "_int8", "_uint8", "_q8", "_quantized", "_q4", "_q4f16", "_bnb4", "_q8blocks"];

    /// <summary>The files to take; where the index of shards is among them, its shards are wanted too.</summary>
    /// <exception cref="NotSupportedException">All the weights are pickles.</exception>
    /// <exception cref="HubException">There is nothing to take.</exception>
    public static IReadOnlyList<string> Select(string repository, IReadOnlyCollection<string> names, HubOptions options)
    {
        string[] chosen = options.AllowPatterns.Count > 0
            ? [.. names.Where(n => IsAllowed(n, options))]
            : [.. names.Where(n => IsSmall(n)), .. Weights(repository, names, options)];
        foreach (string name in chosen)
            if (RepositoryPath.Objection(name) is { } reason) throw RepositoryPath.Refuse(repository, name, reason);
        return chosen.Length > 0 ? chosen : throw new HubException(options.AllowPatterns.Count > 0
            ? $"no file of '{repository}' matches {string.Join(", ", options.AllowPatterns)}."
            : $"'{repository}' has none of the files that a model is loaded from; see HubOptions.AllowPatterns for others.");
    }

    /// <summary>True where there are weights, or what the options name instead: <see cref="Select"/> finds something.</summary>
    public static bool HasWeights(IReadOnlyCollection<string> names, HubOptions options) => options.AllowPatterns.Count > 0
        ? names.Any(n => IsAllowed(n, options)) : WeightsFile(names) is not null || names.Any(IsGraph);

    static bool IsAllowed(string name, HubOptions options) =>
        Matches(name, options.AllowPatterns) && !ModelWeights.IsPickle(name);

    static string? WeightsFile(IReadOnlyCollection<string> names) =>
        ModelWeights.FileNames.Append(LoraAdapter.WeightsFile).FirstOrDefault(names.Contains);

    static IEnumerable<string> Weights(string repository, IReadOnlyCollection<string> names, HubOptions options)
    {
        string? weights = WeightsFile(names);
        string[] graphs = weights is null || options.IncludeOnnx ? [.. names.Where(IsGraph)] : [];
        if (weights is null && graphs.Length == 0 && names.FirstOrDefault(ModelWeights.IsPickle) is { } pickle)
            throw new NotSupportedException($"'{repository}' has its weights only as PyTorch pickles ({pickle}), which can run "
                + "any code when they are read, and are refused; where a pull request there adds model.safetensors, give its "
                + "revision, such as refs/pr/1.");
        return weights is null ? graphs : [weights, .. graphs];
    }

    static bool IsSmall(string name) => name == LoraAdapter.ConfigFile || (Matches(name, ModelFiles.Patterns)
        && !(ModelWeights.IsWeights(name) && !name.Contains('/')) && !name.StartsWith(Graphs, StringComparison.Ordinal));

    static bool IsGraph(string name)
    {
        string? ending = Array.Find(GraphEndings, e => name.EndsWith(e, StringComparison.Ordinal));
        return ending is not null && name.StartsWith(Graphs, StringComparison.Ordinal)
            && !Dtypes.Any(dtype => name[..^ending.Length].EndsWith(dtype, StringComparison.Ordinal));
    }

    static bool Matches(string name, IReadOnlyList<string> patterns) =>
        patterns.Any(p => FileSystemName.MatchesSimpleExpression(p, name, ignoreCase: false));
}
