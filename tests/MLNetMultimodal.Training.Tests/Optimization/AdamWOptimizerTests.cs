using MLNetMultimodal.Models.Checkpoints;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training.Tests;

public sealed class AdamWOptimizerTests : IDisposable
{
    /// <summary>Both compute in float32 and differ only in the order of roundings.</summary>
    const float Rounding = 1e-6f;
    static readonly long[][] s_shapes = [[5, 7], [16, 33], [33], []];
    readonly DisposeScope _scope = NewDisposeScope();

    public void Dispose() => _scope.Dispose();

    static IReadOnlyList<NamedParameter> Weights(int seed)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return [.. s_shapes.Select((shape, i) => new NamedParameter($"w{i}", new Parameter(randn(shape, generator: generator)), Decays: shape.Length > 1))];
    }

    static void SetGradients(IReadOnlyList<NamedParameter> weights, int seed)
    {
        using var generator = new Generator((ulong)seed, CPU);
        foreach (NamedParameter w in weights) w.Value.grad = randn(w.Value.shape, generator: generator);
    }

    static float[] Values(IReadOnlyList<NamedParameter> weights) => [.. weights.SelectMany(w => w.Value.ToSingles())];

    static void AssertClose(float[] expected, float[] actual)
    {
        float worst = expected.Zip(actual, (e, a) => MathF.Abs(e - a)).Max();
        Assert.True(worst < Rounding, $"max |difference| = {worst:g3}");
    }

    [Fact]
    public void It_steps_like_the_stock_optimizer()
    {
        IReadOnlyList<NamedParameter> ours = Weights(1), theirs = Weights(1);
        using var optimizer = new AdamWOptimizer(ours);
        var o = new AdamWOptions();
        using AdamW stock = new([
            new AdamW.ParamGroup(theirs.Where(w => w.Decays).Select(w => w.Value), 0.01, o.Beta1, o.Beta2, o.Epsilon, o.WeightDecay),
            new AdamW.ParamGroup(theirs.Where(w => !w.Decays).Select(w => w.Value), 0.01, o.Beta1, o.Beta2, o.Epsilon, weight_decay: 0),
        ]);
        for (int step = 0; step < 10; step++)
        {
            SetGradients(ours, step);
            SetGradients(theirs, step);
            optimizer.Step(0.01);
            stock.step();
        }
        AssertClose(Values(theirs), Values(ours));
    }

    [Fact]
    public void One_pass_and_operations_agree()
    {
        IReadOnlyList<NamedParameter> a = Weights(2), b = Weights(2);
        using AdamWOptimizer first = new(a), second = new(b);
        for (int step = 0; step < 5; step++)
        {
            SetGradients(a, step);
            SetGradients(b, step);
            first.Step(0.01);
            second.Step(0.01, inOnePass: false);
        }
        AssertClose(Values(a), Values(b));
    }

    [Fact]
    public void Only_weights_that_decay_shrink_without_a_gradient()
    {
        IReadOnlyList<NamedParameter> weights = Weights(3);
        float[][] before = [.. weights.Select(w => w.Value.ToSingles())];
        using var optimizer = new AdamWOptimizer(weights, new() { WeightDecay = 0.5 });
        foreach (NamedParameter w in weights) w.Value.grad = zeros_like(w.Value);
        optimizer.Step(0.1);
        for (int i = 0; i < weights.Count; i++)
            AssertClose([.. before[i].Select(x => weights[i].Decays ? x * 0.95f : x)], weights[i].Value.ToSingles());
    }

    [Fact]
    public void A_weight_without_a_gradient_stays()
    {
        IReadOnlyList<NamedParameter> weights = Weights(4);
        float[] before = Values(weights);
        using var optimizer = new AdamWOptimizer(weights);
        SetGradients(weights, 1);
        optimizer.ClearGradients();
        Assert.All(weights, w => Assert.Null(w.Value.grad));
        optimizer.Step(0.1);
        Assert.Equal(before, Values(weights));
    }

    [Fact]
    public void A_gradient_that_is_not_contiguous_is_read_in_its_order()
    {
        NamedParameter a = new("a", new Parameter(zeros(3, 5)), false), b = new("b", new Parameter(zeros(3, 5)), false);
        Tensor gradient = arange(15, ScalarType.Float32).reshape(5, 3).t();
        (a.Value.grad, b.Value.grad) = (gradient, gradient.contiguous());
        using var optimizer = new AdamWOptimizer([a, b]);
        optimizer.Step(0.1);
        Assert.Equal(b.Value.ToSingles(), a.Value.ToSingles());
    }

    [Fact]
    public void A_restored_state_goes_on_exactly()
    {
        IReadOnlyList<NamedParameter> straight = Weights(5), resumed = Weights(5);
        using AdamWOptimizer all = new(straight), early = new(resumed);
        Run(all, straight, 0, 6);
        Run(early, resumed, 0, 3);
        IReadOnlyDictionary<string, TensorData> state = early.ToState();
        using var late = new AdamWOptimizer(resumed);
        late.LoadState(state);
        Run(late, resumed, 3, 6);
        Assert.Equal(Values(straight), Values(resumed));

        static void Run(AdamWOptimizer optimizer, IReadOnlyList<NamedParameter> weights, int from, int to)
        {
            for (int step = from; step < to; step++)
            {
                SetGradients(weights, step);
                optimizer.Step(0.01);
            }
        }
    }

    [Fact]
    public void A_state_that_does_not_fit_is_refused_with_all_reasons()
    {
        using var optimizer = new AdamWOptimizer(Weights(6));
        var state = optimizer.ToState().ToDictionary();
        state.Remove("exp_avg.w0");
        state["exp_avg_sq.w1"] = TensorData.From([1f], 1);
        state["other"] = TensorData.From([1f], 1);
        var e = Assert.Throws<InvalidDataException>(() => optimizer.LoadState(state));
        Assert.Contains("exp_avg.w0 is missing", e.Message);
        Assert.Contains("exp_avg_sq.w1 is F32 [1] instead of F32 [16, 33]", e.Message);
        Assert.Contains("other is not asked for", e.Message);
    }

    [Fact]
    public void Clipping_returns_the_norm_and_bounds_it()
    {
        var weight = new NamedParameter("w", new Parameter(zeros(2)), false);
        weight.Value.grad = tensor(new float[] { 3, 4 });
        using var optimizer = new AdamWOptimizer([weight]);
        Assert.Equal(5, optimizer.ClipGradients(1), 4);
        Assert.Equal(1, optimizer.ClipGradients(double.PositiveInfinity), 4);
    }

    [Fact]
    public void A_weight_that_stands_twice_is_refused()
    {
        NamedParameter weight = Weights(7)[0];
        Assert.Throws<ArgumentException>(() => new AdamWOptimizer([weight, weight]));
    }
}
