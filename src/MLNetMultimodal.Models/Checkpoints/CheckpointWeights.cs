using System.Text;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Checkpoints;

/// <summary>Checks that a checkpoint has just the weights that a model asks for.</summary>
public static class CheckpointWeights
{
    /// <summary>The weights of a model folder under the names of its family, checked; a checkpoint in another known naming is
    /// renamed.</summary>
    /// <param name="weights">The tensors as they stand in the file.</param>
    /// <param name="model">The model they are for.</param>
    /// <param name="name">Where they come from, for messages.</param>
    /// <exception cref="InvalidDataException">Weights are missing, surplus or of another shape; one message names them
    /// all.</exception>
    public static IReadOnlyDictionary<string, TensorData> For(IModelDefinition model, IReadOnlyDictionary<string, TensorData> weights, string name)
    {
        weights = model.Rename(weights);
        Check(ModelSummary.Of(model.Full).Parameters, weights, model.IgnoredWeights, name);
        return weights;
    }

    /// <summary>Compares the weights that are wanted with those that are there.</summary>
    /// <param name="wanted">What the program asks for.</param>
    /// <param name="found">What the checkpoint has.</param>
    /// <param name="ignored">Names that may be surplus; one that ends in a dot stands for all that begin with it.</param>
    /// <param name="name">Where the weights come from, for messages.</param>
    /// <exception cref="InvalidDataException">They differ; one message names all missing, surplus and mis-shaped
    /// weights.</exception>
    public static void Check(IReadOnlyList<ParameterSpec> wanted, IReadOnlyDictionary<string, TensorData> found, IReadOnlyList<string> ignored, string name)
    {
        var missing = new List<string>();
        var misshaped = new List<string>();
        foreach (ParameterSpec spec in wanted)
        {
            if (!found.TryGetValue(spec.Name, out TensorData? tensor)) missing.Add(spec.ToString());
            else if (!tensor.Shape.SequenceEqual(spec.Shape.Select(d => (long)d)))
                misshaped.Add($"{spec.Name} is [{string.Join(", ", tensor.Shape)}], wanted [{string.Join(", ", spec.Shape)}]");
            else if (tensor.Type is not (DType.F32 or DType.F16 or DType.BF16 or DType.F64 or DType.I8))
                misshaped.Add($"{spec.Name} is {tensor.Type}, wanted floats");
        }
        var known = wanted.Select(s => s.Name).Concat(ignored).ToHashSet(StringComparer.Ordinal);
        string[] groups = [.. ignored.Where(i => i.EndsWith('.'))];
        string[] surplus = [.. found.Keys.Where(k => !known.Contains(k) && !groups.Any(g => k.StartsWith(g, StringComparison.Ordinal))).Order(StringComparer.Ordinal)];
        if (missing.Count + misshaped.Count + surplus.Length == 0) return;

        var message = new StringBuilder($"the weights of '{name}' do not fit its config.json.");
        Append(message, "missing", missing);
        Append(message, "of another shape or type", misshaped);
        Append(message, "surplus", surplus);
        throw new InvalidDataException(message.ToString());
    }

    static void Append(StringBuilder message, string kind, IReadOnlyCollection<string> names)
    {
        if (names.Count > 0) message.Append(' ').Append(names.Count).Append(' ').Append(kind).Append(": ").AppendJoin("; ", names).Append('.');
    }
}
