using MLNetMultimodal.Training.Native;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training.Tests;

public sealed class TorchNumbersTests
{
    static readonly float[] s_values = [-1.5f, 0, 2, 3.25f];

    public TorchNumbersTests() => TorchNative.EnsureLoaded();

    [Fact]
    public void Arithmetic_is_that_of_plain_numbers()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor x = tensor(s_values);
        Assert.Equal(s_values.Select(v => v + 3), x.Plus(3).ToSingles());
        Assert.Equal(s_values.Select(v => v + 0.5f), x.Plus(0.5).ToSingles());
        Assert.Equal(s_values.Select(v => v + v), x.Plus(x).ToSingles());
        Assert.Equal(s_values.Select(v => v * -2), x.Times(-2).ToSingles());
        Assert.Equal(s_values.Select(v => v / 4), x.Over(4).ToSingles());
        Assert.Equal(s_values.Select(v => v * v), x.Squared().ToSingles());
    }

    [Fact]
    public void Whole_numbers_stay_whole()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor places = TorchNumbers.Range(5, CPU).Plus(3).With(4, (x, size) => x.remainder(size));
        Assert.Equal(ScalarType.Int64, places.dtype);
        Assert.Equal([3, 0, 1, 2, 3], places.data<long>().ToArray());
    }
}
