using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class PlattScalingTests
{
    static (float[][] Evidence, bool[] Labels) Draw(int rows, double[] weights, double bias)
    {
        var random = new Random(3);
        float[][] evidence = [.. Enumerable.Range(0, rows).Select(_ => weights.Select(_ => (float)(4 * random.NextDouble() - 2)).ToArray())];
        return (evidence, [.. evidence.Select(e => random.NextDouble() < 1 / (1 + Math.Exp(-bias - e.Zip(weights, (a, b) => a * b).Sum())))]);
    }

    [Fact]
    public void It_finds_the_weights_that_labels_were_drawn_with()
    {
        var (evidence, labels) = Draw(20_000, [1.5, -0.7], 0.4);
        PlattScaling fitted = PlattScaling.Fit(evidence, labels);
        double tolerance = 0.08; // three standard deviations of the estimates
        Assert.Equal(1.5, fitted.Weights[0], tolerance);
        Assert.Equal(-0.7, fitted.Weights[1], tolerance);
        Assert.Equal(0.4, fitted.Bias, tolerance);
        Assert.Equal(0.4 + 1.5 * 2, PlattScaling.Fit(evidence, labels).Logit([2, 0]), 3 * tolerance);
    }

    [Fact]
    public void At_the_optimum_the_gradient_is_zero()
    {
        var (evidence, labels) = Draw(200, [2], -1);
        PlattScaling fitted = PlattScaling.Fit(evidence, labels);
        int yes = labels.Count(l => l), no = labels.Length - yes;
        double[] errors = [.. evidence.Zip(labels, (e, l) =>
            1 / (1 + Math.Exp(-(double)fitted.Logit(e))) - (l ? (yes + 1.0) / (yes + 2) : 1.0 / (no + 2)))];
        Assert.Equal(0, errors.Sum() / 200, 1e-5);
        Assert.Equal(0, errors.Zip(evidence, (r, e) => r * e[0]).Sum() / 200, 1e-5);
    }

    [Fact]
    public void Classes_that_are_apart_and_evidence_that_says_nothing_stay_finite()
    {
        float[][] evidence = [.. Enumerable.Range(0, 20).Select(i => new[] { i < 10 ? -1000f : 1000f, 7f })];
        PlattScaling fitted = PlattScaling.Fit(evidence, [.. Enumerable.Range(0, 20).Select(i => i >= 10)]);
        Assert.All(fitted.Weights, w => Assert.True(float.IsFinite(w)));
        double yes = 1 / (1 + Math.Exp(-fitted.Logit([1000, 7])));
        Assert.Equal(11 / 12.0, yes, 1e-3); // Platt's target for ten of them
    }
}
