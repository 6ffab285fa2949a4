using MLNetMultimodal.Models.Checkpoints;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training.Tests;

public sealed class EmaTests
{
    /// <summary>Float32 against double over a hundred updates.</summary>
    const double Rounding = 1e-5;

    static NamedParameter Weight(float value) => new("w", new Parameter(full(3, value, ScalarType.Float32)), true);

    static void Set(NamedParameter weight, float value)
    {
        using IDisposable noGradients = no_grad();
        weight.Value.fill_(value);
    }

    [Fact]
    public void It_follows_the_formula()
    {
        NamedParameter weight = Weight(1);
        using var ema = new Ema([weight], decay: 0.9);
        double expected = 1;
        for (int t = 0; t < 100; t++)
        {
            Set(weight, t);
            ema.Update();
            double keep = Math.Min(0.9, (1.0 + t) / (10 + t));
            expected = keep * expected + (1 - keep) * t;
        }
        float found = ema.ToState()["w"].ToSingles()[1];
        Assert.True(Math.Abs(found / expected - 1) < Rounding, $"{found} instead of {expected}");
    }

    [Fact]
    public void Swapping_lends_the_average_and_gives_the_weights_back()
    {
        NamedParameter weight = Weight(1);
        using var ema = new Ema([weight]);
        Set(weight, 5);
        using (ema.Swap())
        {
            Assert.Equal([1f, 1f, 1f], weight.Value.ToSingles());
            Assert.Throws<InvalidOperationException>(ema.Update);
            Assert.Throws<InvalidOperationException>(ema.Swap);
            Assert.Throws<InvalidOperationException>(ema.ToState);
        }
        Assert.Equal([5f, 5f, 5f], weight.Value.ToSingles());
        Assert.Equal([1f, 1f, 1f], ema.ToState()["w"].ToSingles());
    }

    [Fact]
    public void A_restored_state_goes_on_exactly()
    {
        NamedParameter weight = Weight(1);
        using Ema straight = new([weight]), resumed = new([weight]);
        Set(weight, 2);
        straight.Update();
        resumed.LoadState(straight.ToState());
        Set(weight, 3);
        straight.Update();
        resumed.Update();
        Assert.Equal(2, resumed.Updates);
        Assert.Equal(straight.ToState()["w"].ToSingles(), resumed.ToState()["w"].ToSingles());
    }

    [Fact]
    public void A_state_of_another_model_is_refused()
    {
        using var ema = new Ema([Weight(1)]);
        var state = new Dictionary<string, TensorData> { ["v"] = TensorData.From([1f], 1) };
        var e = Assert.Throws<InvalidDataException>(() => ema.LoadState(state));
        Assert.Contains("w is missing", e.Message);
    }

    [Fact]
    public void The_model_gets_no_gradient_through_it()
    {
        NamedParameter weight = Weight(1);
        using var ema = new Ema([weight]);
        ema.Update();
        using (ema.Swap()) Assert.True(weight.Value.requires_grad && weight.Value.is_leaf);
        Assert.Null(weight.Value.grad);
    }
}
