using System.Text.Json.Serialization;

namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>A number that was measured several times.</summary>
/// <param name="Value">The median.</param>
/// <param name="Low">The least.</param>
/// <param name="High">The most.</param>
/// <param name="Unit">For example <c>pictures/s</c>; empty for a plain number.</param>
sealed record Quantity(double Value, double Low, double High, string Unit)
{
    public static Quantity Of(IReadOnlyList<double> values, string unit)
    {
        double[] sorted = [.. values.Order()];
        int middle = sorted.Length / 2;
        double median = sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
        return new(median, sorted[0], sorted[^1], unit);
    }

    public static Quantity Of(double value, string unit) => new(value, value, value, unit);

    /// <summary>With three digits: <c>21.4 pictures/s</c>.</summary>
    public override string ToString() => Unit.Length == 0 ? Digits(Value) : $"{Digits(Value)} {Unit}";

    /// <summary>The least and the most: <c>20.9 to 21.6</c>; empty where it was measured once.</summary>
    [JsonIgnore]
    public string Spread => Low.Equals(High) ? "" : $"{Digits(Low)} to {Digits(High)}";

    /// <summary>Three digits, and never so few that a whole number loses one.</summary>
    static string Digits(double value) => Math.Abs(value) switch
    {
        >= 100 => value.ToString("n0"),
        >= 10 => value.ToString("n1"),
        >= 1 => value.ToString("n2"),
        > 0.98 => value.ToString("n4"), // a cosine near 1
        >= 0.01 => value.ToString("n3"),
        _ => value.ToString("g3"),
    };
}

/// <summary>What a figure must be.</summary>
/// <param name="Limit">The limit, in the unit of the figure.</param>
/// <param name="AtMost">True where less is better.</param>
sealed record Bound(double Limit, bool AtMost = false)
{
    public static Bound AtLeast(double limit) => new(limit);

    public static Bound NotAbove(double limit) => new(limit, AtMost: true);

    public bool Admits(double value) => AtMost ? value <= Limit : value >= Limit;

    public override string ToString() => $"at {(AtMost ? "most" : "least")} {Limit:0.###}";
}

/// <summary>A row of a table: what we do, what the other does, and how they compare.</summary>
/// <param name="What">What is measured, for people.</param>
/// <param name="Ours">Our number.</param>
/// <param name="Against">The other's number; null where there is no other.</param>
/// <param name="Other">Who the other is.</param>
/// <param name="Ratio">Ours by the other's, of the rounds that they ran side by side.</param>
/// <param name="Wanted">Where there is a target: of the ratio, or of our number where there is no ratio.</param>
sealed record Figure(string What, Quantity Ours, Quantity? Against = null, string? Other = null, Quantity? Ratio = null,
    Bound? Wanted = null)
{
    /// <summary>True and false where there is a target, else null.</summary>
    [JsonIgnore]
    public bool? IsMet => Wanted?.Admits((Ratio ?? Ours).Value);
}
