namespace MLNetMultimodal.Parity.Tests;

/// <summary>Compares floats with |got - expected| at most atol + rtol |expected|.</summary>
public static class Difference
{
    public static void Check(string name, IReadOnlyList<float> expected, IReadOnlyList<float> got, double atol, double rtol)
    {
        Assert.Equal(expected.Count, got.Count);
        if (expected.Count == 0) return;
        double worst = 0, largest = 0;
        int at = 0;
        for (int i = 0; i < expected.Count; i++)
        {
            double difference = Math.Abs((double)got[i] - expected[i]), share = difference / (atol + rtol * Math.Abs(expected[i]));
            if (share > worst || double.IsNaN(share)) (worst, at) = (share, i); // NaN stays the worst
            largest = Math.Max(largest, difference);
        }
        Assert.True(worst <= 1, $"{name}[{at}] is {got[at]}, expected {expected[at]}; max |got - expected| = {largest:g3}, {worst:g3} of the tolerance");
    }
}
