namespace MLNetMultimodal.Training;

/// <summary>A learning rate that grows evenly from almost 0 and then falls along half a cosine (Loshchilov and Hutter 2017,
/// arXiv:1608.03983). A pure function of the step.</summary>
sealed record WarmupCosine
{
    /// <summary>The highest learning rate, at least 0.</summary>
    public required double Peak { get; init => field = AtLeastZero(value, nameof(Peak)); }

    /// <summary>All steps of the training, at least 1.</summary>
    public required long Steps { get; init => field = value >= 1 ? value : throw new ArgumentOutOfRangeException(nameof(Steps), value, "must be at least 1."); }

    /// <summary>Steps until the peak is reached, at least 0; default 0. More than <see cref="Steps"/> never reaches it.</summary>
    public long WarmupSteps { get; init => field = (long)AtLeastZero(value, nameof(WarmupSteps)); }

    /// <summary>The learning rate at the end and after it, at least 0; default 0.</summary>
    public double Floor { get; init => field = AtLeastZero(value, nameof(Floor)); }

    /// <summary>The learning rate of a step.</summary>
    /// <param name="step">0 for the first; step <see cref="Steps"/> and later ones have <see cref="Floor"/>.</param>
    public double At(long step)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(step);
        if (step < WarmupSteps) return Peak * (step + 1) / WarmupSteps;
        if (step >= Steps) return Floor;
        double progress = (double)(step - WarmupSteps) / (Steps - WarmupSteps);
        return Floor + (Peak - Floor) * 0.5 * (1 + Math.Cos(Math.PI * progress));
    }

    static double AtLeastZero(double value, string name) =>
        value >= 0 && double.IsFinite(value) ? value : throw new ArgumentOutOfRangeException(name, value, "must be a finite number of at least 0.");
}
