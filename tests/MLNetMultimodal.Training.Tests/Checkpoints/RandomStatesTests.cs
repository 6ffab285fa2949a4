using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Training.Native;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training.Tests;

public sealed class RandomStatesTests
{
    [Fact]
    public void A_restored_generator_draws_the_same()
    {
        TorchNative.EnsureLoaded();
        using var generator = new Generator(5, CPU);
        using Tensor skipped = randn(3, generator: generator);
        TensorData state = RandomStates.Get(generator);
        using Tensor first = randn(10, generator: generator);
        RandomStates.Set(state, generator);
        using Tensor second = randn(10, generator: generator);
        Assert.Equal(first.ToSingles(), second.ToSingles());
    }

    [Fact]
    public void The_global_generator_can_be_stored_too()
    {
        TorchNative.EnsureLoaded();
        TensorData state = RandomStates.Get();
        Assert.Equal(DType.U8, state.Type);
        RandomStates.Set(state);
    }

    [Fact]
    public void Other_data_is_refused()
    {
        TorchNative.EnsureLoaded();
        using var generator = new Generator(5, CPU);
        Assert.Throws<InvalidDataException>(() => RandomStates.Set(TensorData.From([1f], 1), generator));
        Assert.Throws<InvalidDataException>(() => RandomStates.Set(new(DType.U8, [2], new byte[2]), generator));
    }
}
