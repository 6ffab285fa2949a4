using TorchSharp;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training.Tests;

public sealed class LoadBalancingLossTests
{
    static float Of(float[] logits, int experts, int chosen)
    {
        using DisposeScope scope = NewDisposeScope();
        return LoadBalancingLoss.Of(tensor(logits, [1, logits.Length / experts, experts]), chosen).item<float>();
    }

    [Fact]
    public void Equal_shares_cost_one_and_one_expert_for_all_costs_their_number()
    {
        Assert.Equal(1, Of([9, 0, 0, 0, 9, 0, 0, 0, 9], 3, 1), 1e-4);
        Assert.Equal(3, Of([50, 0, 0, 50, 0, 0], 3, 1), 1e-4);
        Assert.Equal(1.5, Of([50, 50, 0, 50, 50, 0], 3, 2), 1e-4); // two of three get everything
    }

    [Fact]
    public void It_is_what_the_paper_says()
    {
        // Two tokens, two experts: probabilities by hand, f counts where each token goes.
        double Softmax(double a, double b) => Math.Exp(a) / (Math.Exp(a) + Math.Exp(b));
        double first = (Softmax(1, 0) + Softmax(0.2, 0.5)) / 2;
        Assert.Equal(2 * (0.5 * first + 0.5 * (1 - first)), Of([1, 0, 0.2f, 0.5f], 2, 1), 1e-6);
        double both = (Softmax(1, 0) + Softmax(0.7, 0.5)) / 2;
        Assert.Equal(2 * (1 * both), Of([1, 0, 0.7f, 0.5f], 2, 1), 1e-6);
    }

    [Fact]
    public void Its_gradient_lowers_the_expert_that_gets_most()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor logits = tensor(new float[] { 1, 0, 1, 0, 0, 1 }, [1, 3, 2]).requires_grad_(true);
        LoadBalancingLoss.Of(logits, 1).backward();
        float[] gradient = logits.grad!.ToSingles();
        Assert.True(gradient[0] > 0 && gradient[1] < 0, $"gradient is {string.Join(", ", gradient)}");
    }
}
