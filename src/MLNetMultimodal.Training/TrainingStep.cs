namespace MLNetMultimodal.Training;

/// <summary>How far a training is, for <see cref="IProgress{T}"/>.</summary>
public sealed record TrainingStep
{
    /// <summary>The pass over the data that the step belongs to, from 1.</summary>
    public required int Epoch { get; init; }

    /// <summary>Steps done, from 1.</summary>
    public required long Step { get; init; }

    /// <summary>All steps of the training.</summary>
    public required long Steps { get; init; }

    /// <summary>The objective's value at this step.</summary>
    public required double Loss { get; init; }

    /// <summary>The learning rate of this step.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Samples per second, validation included, since the training began or was resumed.</summary>
    public required double SamplesPerSecond { get; init; }

    /// <summary>Norm of all gradients before clipping.</summary>
    public required double GradientNorm { get; init; }

    /// <summary>Time since the training began, without the runs before a resumption.</summary>
    public required TimeSpan Elapsed { get; init; }

    /// <summary>The part of <see cref="Elapsed"/> in which the engine waited for data: where it is more than a tenth, decoding or
    /// augmentation is the limit.</summary>
    public TimeSpan DataWait { get; init; }

    /// <summary>Time until the end at the present pace.</summary>
    public required TimeSpan Remaining { get; init; }

    /// <summary>The metric of an evaluation; null at a step without one.</summary>
    public double? ValidationMetric { get; init; }
}
