namespace MLNetMultimodal.Training.Tests;

public sealed class WarmupCosineTests
{
    static readonly WarmupCosine s_schedule = new() { Peak = 2, Steps = 110, WarmupSteps = 10, Floor = 0.5 };

    [Theory, InlineData(0, 0.2), InlineData(4, 1.0), InlineData(9, 2.0), InlineData(10, 2.0), InlineData(60, 1.25), InlineData(110, 0.5), InlineData(1000, 0.5)]
    public void Known_points(long step, double expected) => Assert.Equal(expected, s_schedule.At(step), 12);

    [Fact]
    public void It_rises_and_then_falls()
    {
        double[] rates = [.. Enumerable.Range(0, 111).Select(s => s_schedule.At(s))];
        Assert.All(Enumerable.Range(1, 9), s => Assert.True(rates[s] > rates[s - 1], $"step {s}: {rates[s - 1]} -> {rates[s]}"));
        Assert.All(Enumerable.Range(11, 100), s => Assert.True(rates[s] < rates[s - 1], $"step {s}: {rates[s - 1]} -> {rates[s]}"));
    }

    [Fact]
    public void Without_warmup_it_begins_at_the_peak() => Assert.Equal(3, new WarmupCosine { Peak = 3, Steps = 5 }.At(0));

    [Fact]
    public void A_warmup_longer_than_the_training_only_rises() =>
        Assert.Equal(0.5, new WarmupCosine { Peak = 1, Steps = 5, WarmupSteps = 10 }.At(4));

    [Fact]
    public void Senseless_values_are_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new WarmupCosine { Peak = -1, Steps = 1 });
        Assert.Throws<ArgumentOutOfRangeException>(() => new WarmupCosine { Peak = double.NaN, Steps = 1 });
        Assert.Throws<ArgumentOutOfRangeException>(() => new WarmupCosine { Peak = 1, Steps = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() => s_schedule.At(-1));
    }
}
