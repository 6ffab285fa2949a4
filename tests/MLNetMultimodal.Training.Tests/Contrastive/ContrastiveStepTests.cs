using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Training.Native;
using TorchSharp;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;

namespace MLNetMultimodal.Training.Tests;

public sealed class ContrastiveStepTests
{
    /// <summary>Float32 sums of eight rows in another order, relative to the longest gradient of a weight.</summary>
    const double Rounding = 5e-6;

    const int Rows = 8, Length = 6;

    static readonly ClipModel s_clip = new(ClipConfig.Tiny);
    static readonly ContrastiveOptions s_options = new() { Image = "Image", Text = "Text", BatchSize = Rows };

    public ContrastiveStepTests()
    {
        TorchNative.EnsureLoaded();
        set_num_threads(1); // for tensors of this size threads cost more than they give
    }

    // Eight pictures with five captions, two of which belong to one group.
    static PairBatch Batch(int seed = 1)
    {
        var random = new Random(seed);
        float[] pixels = [.. Enumerable.Range(0, Rows * 3 * 8 * 8).Select(_ => (float)(2 * random.NextDouble() - 1))];
        var ids = new long[5 * Length];
        for (int i = 0; i < ids.Length; i++) ids[i] = (i % Length) switch { 0 => 48, Length - 1 => 49, _ => random.Next(48) };
        long[] caption = [0, 1, 2, 1, 3, 4, 0, 0];
        return new(new(pixels, [Rows, 3, 8, 8]), new(ids, [5, Length], caption), [.. caption.Select(c => Math.Min(c, 3))]);
    }

    sealed record Outcome(float Loss, Dictionary<string, float[]> Gradients, float Next);

    // Next is what the generator draws after the step.
    static Outcome Run(ContrastiveOptions options)
    {
        using DisposeScope scope = NewDisposeScope();
        using TorchModel model = TorchModel.Create(s_clip.Full, seed: 3);
        using var generator = new Generator(4, CPU);
        using Parameter? bias = options.Objective == ContrastiveObjective.Sigmoid ? new Parameter(tensor(-10f), requires_grad: true) : null;
        float loss = new ContrastiveStep(s_clip, model, (Modality.Image, Modality.Text), options, generator, bias).Backward(Batch());
        var gradients = model.Parameters.ToDictionary(p => p.Key, p => p.Value.grad?.ToSingles() ?? []);
        if (bias is not null) gradients.Add("logit_bias", bias.grad!.ToSingles());
        return new(loss, gradients, rand(1, generator: generator).item<float>());
    }

    static void AssertSame(Outcome whole, Outcome parts)
    {
        Assert.True(Math.Abs(whole.Loss - parts.Loss) <= Rounding * whole.Loss, $"loss {parts.Loss} instead of {whole.Loss}");
        double longest = whole.Gradients.Values.Max(g => Math.Sqrt(g.Sum(v => (double)v * v)));
        foreach (var (name, gradient) in whole.Gradients) Difference.Check(name, gradient, parts.Gradients[name], Rounding * longest);
        Assert.Equal(whole.Next, parts.Next);
    }

    [Theory]
    [InlineData(ContrastiveObjective.InfoNce, 3)]
    [InlineData(ContrastiveObjective.MultiPositive, 3)]
    [InlineData(ContrastiveObjective.Sigmoid, 3)]
    [InlineData(ContrastiveObjective.MultiPositive, 1)]
    [InlineData(ContrastiveObjective.MultiPositive, 7)]
    public void Parts_of_a_batch_give_the_loss_and_gradients_of_the_whole(ContrastiveObjective objective, int micro)
    {
        ContrastiveOptions options = s_options with { Objective = objective };
        AssertSame(Run(options), Run(options with { MicroBatchSize = micro }));
    }

    // On the CPU a generator draws number after number, so that parts see the very patches of the whole batch; this holds only where the
    // second pass of a part drops what its first pass dropped, and where the generator stands in the end as if there had been one pass.
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Both_passes_of_a_part_drop_the_same_patches(int micro)
    {
        ContrastiveOptions options = s_options with { PatchDropout = 0.5 };
        Outcome whole = Run(options);
        Assert.NotEqual(Run(s_options).Loss, whole.Loss);
        AssertSame(whole, Run(options with { MicroBatchSize = micro }));
    }

    [Fact]
    public void A_micro_batch_of_the_whole_batch_is_one_pass()
    {
        Outcome whole = Run(s_options), same = Run(s_options with { MicroBatchSize = Rows });
        Assert.Equal(whole.Loss, same.Loss);
        Assert.All(whole.Gradients, g => Assert.Equal(g.Value, same.Gradients[g.Key]));
    }

    [Theory]
    [InlineData(ContrastiveObjective.InfoNce, null, false)]
    [InlineData(ContrastiveObjective.MultiPositive, null, false)]
    [InlineData(ContrastiveObjective.Sigmoid, null, false)]
    [InlineData(ContrastiveObjective.Sigmoid, 3, false)]
    [InlineData(ContrastiveObjective.MultiPositive, null, true)]
    [InlineData(ContrastiveObjective.MultiPositive, 3, true)]
    public void Every_weight_gets_a_gradient(ContrastiveObjective objective, int? micro, bool bfloat16)
    {
        Outcome outcome = Run(s_options with { Objective = objective, MicroBatchSize = micro, BFloat16 = bfloat16 });
        Assert.All(outcome.Gradients, g =>
        {
            Assert.NotEmpty(g.Value);
            Assert.All(g.Value, v => Assert.True(float.IsFinite(v), g.Key));
            // A softmax does not see what is added to all scores, and that is all that a bias of the keys does.
            if (!g.Key.EndsWith("k_proj.bias", StringComparison.Ordinal)) Assert.True(g.Value.Any(v => v != 0), $"{g.Key} has none");
        });
    }

    [Theory]
    [InlineData(null, true)]
    [InlineData(3, false)]
    public void Steps_leave_no_tensor_behind(int? micro, bool bfloat16)
    {
        ContrastiveOptions options = s_options with { MicroBatchSize = micro, PatchDropout = 0.5, Objective = ContrastiveObjective.Sigmoid, BFloat16 = bfloat16 };
        using TorchModel model = TorchModel.Create(s_clip.Full, seed: 3);
        using var generator = new Generator(4, CPU);
        using var bias = new Parameter(tensor(-10f), requires_grad: true);
        var parameters = model.Specs.Select(s => new NamedParameter(s.Name, model.Parameters[s.Name], s.Decays)).Append(new("logit_bias", bias, false)).ToArray();
        using var optimizer = new AdamWOptimizer(parameters);
        using var ema = new Ema(parameters);
        var step = new ContrastiveStep(s_clip, model, (Modality.Image, Modality.Text), options, generator, bias);
        static long Live() => DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        long afterTwenty = Live();
        using (Tensor one = ones(1)) Assert.Equal(afterTwenty + 1, Live());
        for (int i = 1; i <= 300; i++)
        {
            optimizer.ClearGradients();
            step.Backward(Batch());
            optimizer.ClipGradients(1);
            optimizer.Step(1e-3);
            ema.Update();
            if (i == 20) afterTwenty = Live();
        }
        Assert.Equal(afterTwenty, Live());
    }
}
