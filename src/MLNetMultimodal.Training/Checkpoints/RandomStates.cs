using MLNetMultimodal.Models.Checkpoints;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>States of torch's random generators as data.</summary>
static class RandomStates
{
    /// <summary>A copy of a generator's state.</summary>
    /// <param name="generator">Null for the CPU's global one.</param>
    public static TensorData Get(torch.Generator? generator = null)
    {
        using Tensor state = generator is null ? torch.random.get_rng_state() : generator.get_state();
        return state.ToTensorData();
    }

    /// <summary>Lets a generator go on from a state.</summary>
    /// <param name="state">What <see cref="Get"/> returned.</param>
    /// <param name="generator">Null for the CPU's global one.</param>
    /// <exception cref="InvalidDataException">Not a state of a generator.</exception>
    public static void Set(TensorData state, torch.Generator? generator = null)
    {
        long wanted = Get(generator).Count;
        if (state.Type != DType.U8 || state.Count != wanted)
            throw new InvalidDataException($"a generator's state must be {wanted} bytes, but is {state.Type} [{string.Join(", ", state.Shape)}].");
        using Tensor tensor = state.ToTensor();
        if (generator is null) torch.random.set_rng_state(tensor);
        else generator.set_state(tensor);
    }
}
