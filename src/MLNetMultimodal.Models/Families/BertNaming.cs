using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Models.Families;

/// <summary>The names of encoder checkpoints that were saved inside a model for a task.</summary>
static class BertNaming
{
    /// <summary>Takes off the prefix under which the encoder stands, and gives norms the names of today.</summary>
    public static IReadOnlyDictionary<string, TensorData> ToPublished(
        IReadOnlyDictionary<string, TensorData> weights, params ReadOnlySpan<string> prefixes)
    {
        var result = new Dictionary<string, TensorData>(weights.Count, StringComparer.Ordinal);
        foreach (var (name, tensor) in weights)
        {
            string published = name;
            foreach (string prefix in prefixes)
                if (name.StartsWith(prefix, StringComparison.Ordinal)) published = name[prefix.Length..];
            if (published.EndsWith("LayerNorm.gamma", StringComparison.Ordinal)) published = $"{published[..^5]}weight";
            else if (published.EndsWith("LayerNorm.beta", StringComparison.Ordinal)) published = $"{published[..^4]}bias";
            if (!result.TryAdd(published, tensor))
                throw new InvalidDataException($"the checkpoint has '{published}' twice, once as '{name}'.");
        }
        return result;
    }
}
