namespace MLNetMultimodal.Training;

/// <summary>Says when a metric no longer gets better. A value: each evaluation gives the next one.</summary>
/// <param name="Patience">Evaluations without a gain that are borne; at least 1.</param>
/// <param name="MinDelta">What counts as a gain: more than this, at least 0.</param>
/// <param name="HigherIsBetter">True for accuracy and recall, false for losses.</param>
sealed record EarlyStopping(int Patience, double MinDelta = 0, bool HigherIsBetter = true)
{
    /// <inheritdoc cref="EarlyStopping(int, double, bool)" path="/param[@name='Patience']"/>
    public int Patience { get; } = Patience >= 1 ? Patience : throw new ArgumentOutOfRangeException(nameof(Patience), Patience, "must be at least 1.");

    /// <inheritdoc cref="EarlyStopping(int, double, bool)" path="/param[@name='MinDelta']"/>
    public double MinDelta { get; } = MinDelta >= 0 ? MinDelta : throw new ArgumentOutOfRangeException(nameof(MinDelta), MinDelta, "must be at least 0.");

    /// <summary>The best value so far; null before the first evaluation.</summary>
    public double? Best { get; init; }

    /// <summary>Evaluations since the best one.</summary>
    public int Waited { get; init; }

    /// <summary>True once patience has run out.</summary>
    public bool Stops => Waited >= Patience;

    /// <summary>True where the last evaluation was the best so far.</summary>
    public bool Improved => Best is not null && Waited == 0;

    /// <summary>After one more evaluation.</summary>
    /// <param name="metric">Its value; one that is not a number is never a gain.</param>
    public EarlyStopping Next(double metric)
    {
        bool gain = !double.IsNaN(metric) && (Best is not double best || (HigherIsBetter ? metric - best : best - metric) > MinDelta);
        return gain ? this with { Best = metric, Waited = 0 } : this with { Waited = Waited + 1 };
    }
}
