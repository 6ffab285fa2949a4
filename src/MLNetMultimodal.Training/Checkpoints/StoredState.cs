using MLNetMultimodal.Models.Checkpoints;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Puts stored values back into live tensors.</summary>
static class StoredState
{
    /// <summary>Checks that a state is just what is wanted.</summary>
    /// <param name="what">What it is, for the message.</param>
    /// <param name="wanted">Type and shape by name.</param>
    /// <param name="state">What was stored.</param>
    /// <exception cref="InvalidDataException">Entries are missing, surplus or different: the message lists all.</exception>
    public static void Check(string what, IReadOnlyDictionary<string, (DType Type, long[] Shape)> wanted, IReadOnlyDictionary<string, TensorData> state)
    {
        List<string> wrong = [];
        foreach (var (name, (type, shape)) in wanted)
        {
            if (!state.TryGetValue(name, out TensorData? found)) wrong.Add($"{name} is missing");
            else if (found.Type != type || !found.Shape.SequenceEqual(shape))
                wrong.Add($"{name} is {found.Type} [{string.Join(", ", found.Shape)}] instead of {type} [{string.Join(", ", shape)}]");
        }
        wrong.AddRange(state.Keys.Where(n => !wanted.ContainsKey(n)).Select(n => $"{n} is not asked for"));
        if (wrong.Count > 0) throw new InvalidDataException($"{what} does not fit this model: {string.Join("; ", wrong)}.");
    }

    /// <summary>Overwrites a tensor's values.</summary>
    public static void CopyTo(TensorData data, Tensor tensor)
    {
        using IDisposable noGradients = no_grad();
        using Tensor values = data.ToTensor();
        tensor.copy_(values);
    }
}
