using System.Numerics.Tensors;

namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>That two sides compute the same, which is checked before either is timed.</summary>
static class Agreement
{
    /// <summary>Rows of two sides differ by no more than rounding. Rows of one side must differ from each other by much more,
    /// or the comparison could not fail.</summary>
    /// <param name="run">Gets a note.</param>
    /// <param name="what">What is compared.</param>
    /// <param name="ours">[N, E], N at least 2.</param>
    /// <param name="theirs">[N, E].</param>
    /// <param name="tolerance">Largest difference of two elements.</param>
    public static void Require(
        BenchmarkRun run, string what, IReadOnlyList<float[]> ours, IReadOnlyList<float[]> theirs, float tolerance)
    {
        if (ours.Count != theirs.Count || ours.Count < 2 || ours.Where((row, i) => row.Length != theirs[i].Length).Any())
            throw new BenchmarkException($"{what}: {ours.Count} rows against {theirs.Count}, or rows of other lengths.");
        float between = ours.Select((row, i) => Furthest(row, theirs[i])).Max();
        float among = Enumerable.Range(1, ours.Count - 1).Min(i => Furthest(ours[i - 1], ours[i]));
        if (!(between <= tolerance))
            throw new BenchmarkException($"{what}: the two sides do not compute the same: largest difference {between:g3}, "
                + $"wanted at most {tolerance:g3}.");
        if (!(among > 10 * between))
            throw new BenchmarkException($"{what}: rows differ by {among:g3} among themselves and {between:g3} between "
                + "the sides; that shows nothing.");
        run.Note($"Checked: {what}: largest difference of {ours.Count} rows {between:g2}; "
            + $"rows among themselves differ by at least {among:g2}.");
    }

    /// <summary>Token ids are equal.</summary>
    public static void RequireEqual(BenchmarkRun run, string what, IReadOnlyList<long[]> ours, IReadOnlyList<long[]> theirs)
    {
        if (ours.Count != theirs.Count) throw new BenchmarkException($"{what}: {ours.Count} against {theirs.Count}.");
        foreach (var (our, their) in ours.Zip(theirs))
            if (!our.AsSpan().SequenceEqual(their))
                throw new BenchmarkException($"{what}: {string.Join(' ', our)} against {string.Join(' ', their)}.");
        run.Note($"Checked: {what}: {ours.Count} equal.");
    }

    /// <summary>Two numbers are near each other.</summary>
    /// <param name="run">Gets a note.</param>
    /// <param name="what">What is compared.</param>
    /// <param name="ours">Our number.</param>
    /// <param name="theirs">The other's.</param>
    /// <param name="share">Largest difference as a share of the other's.</param>
    public static void RequireNear(BenchmarkRun run, string what, double ours, double theirs, double share)
    {
        if (!(Math.Abs(ours - theirs) <= share * Math.Abs(theirs)))
            throw new BenchmarkException($"{what}: {ours:g6} against {theirs:g6}; wanted at most {share:p2} apart.");
        run.Note($"Checked: {what}: {ours:g6} and {theirs:g6}.");
    }

    /// <summary>The rows with length 1: towers of published graphs give others.</summary>
    public static float[][] Unit(IEnumerable<float[]> rows) => [.. rows.Select(row =>
    {
        var unit = new float[row.Length];
        TensorPrimitives.Divide(row, TensorPrimitives.Norm<float>(row), unit);
        return unit;
    })];

    /// <summary>Cosines of the rows of two sides.</summary>
    public static double[] Cosines(IReadOnlyList<float[]> ours, IReadOnlyList<float[]> theirs) =>
        [.. ours.Select((row, i) => (double)TensorPrimitives.CosineSimilarity<float>(row, theirs[i]))];

    static float Furthest(float[] a, float[] b)
    {
        var difference = new float[a.Length];
        TensorPrimitives.Subtract(a, b, difference);
        return MathF.Abs(TensorPrimitives.MaxMagnitude<float>(difference));
    }
}
