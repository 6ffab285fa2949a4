namespace MLNetMultimodal.Training.Tests;

/// <summary>Compares floats; the message of a failure has the largest difference.</summary>
static class Difference
{
    /// <summary>The largest |expected - got|; infinite where one of them is not a number.</summary>
    public static double Max(IReadOnlyList<float> expected, IReadOnlyList<float> got)
    {
        Assert.Equal(expected.Count, got.Count);
        double largest = 0;
        for (int i = 0; i < expected.Count; i++)
        {
            double difference = Math.Abs((double)expected[i] - got[i]);
            largest = double.IsNaN(difference) ? double.PositiveInfinity : Math.Max(largest, difference);
        }
        return largest;
    }

    /// <summary>Fails where a value is farther from the expected one than <paramref name="atol"/> + <paramref name="rtol"/>
    /// |expected|.</summary>
    public static void Check(string name, IReadOnlyList<float> expected, IReadOnlyList<float> got, double atol, double rtol = 0)
    {
        double largest = Max(expected, got);
        bool close = expected.Zip(got).All(p => Math.Abs((double)p.First - p.Second) <= atol + rtol * Math.Abs(p.First));
        Assert.True(close, $"{name}: max |expected - got| = {largest:g3}, wanted at most {atol:g3} + {rtol:g3} |expected|");
    }
}
