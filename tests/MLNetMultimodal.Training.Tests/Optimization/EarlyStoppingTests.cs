namespace MLNetMultimodal.Training.Tests;

public sealed class EarlyStoppingTests
{
    static EarlyStopping After(EarlyStopping rule, params double[] metrics) => metrics.Aggregate(rule, (r, m) => r.Next(m));

    [Fact]
    public void It_stops_when_patience_has_run_out()
    {
        var rule = new EarlyStopping(Patience: 2);
        Assert.False(After(rule, 0.5, 0.4).Stops);
        Assert.True(After(rule, 0.5, 0.4, 0.5).Stops);
    }

    [Fact]
    public void A_gain_begins_the_wait_anew()
    {
        EarlyStopping after = After(new(Patience: 2), 0.5, 0.4, 0.6, 0.1);
        Assert.False(after.Stops);
        Assert.Equal(0.6, after.Best);
        Assert.False(after.Improved);
    }

    [Fact]
    public void Small_gains_do_not_count()
    {
        EarlyStopping after = After(new(Patience: 3, MinDelta: 0.1), 0.5, 0.55, 0.59);
        Assert.Equal((0.5, 2), (after.Best, after.Waited));
    }

    [Fact]
    public void Lower_is_better_for_losses()
    {
        EarlyStopping after = After(new(Patience: 1, HigherIsBetter: false), 2.0, 1.5);
        Assert.True(after.Improved);
        Assert.True(after.Next(1.6).Stops);
    }

    [Fact]
    public void Not_a_number_is_never_a_gain()
    {
        EarlyStopping after = new EarlyStopping(Patience: 1).Next(double.NaN);
        Assert.Null(after.Best);
        Assert.True(after.Stops);
        Assert.Equal(0.1, after.Next(0.1).Best);
    }

    [Fact]
    public void No_patience_is_refused() => Assert.Throws<ArgumentOutOfRangeException>(() => new EarlyStopping(0));
}
