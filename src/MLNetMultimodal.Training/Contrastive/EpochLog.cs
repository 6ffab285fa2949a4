using System.Globalization;
using Microsoft.ML.Runtime;

namespace MLNetMultimodal.Training;

/// <summary>Writes a line for each epoch that begins, and for the last step, to ML.NET's log; passes every step on.</summary>
/// <param name="channel">The log.</param>
/// <param name="next">Is told every step; null for nobody.</param>
/// <param name="format">How the validation's result is written.</param>
sealed class EpochLog(IChannel channel, IProgress<TrainingStep>? next, string format = TrainedModel.Percent) : IProgress<TrainingStep>
{
    int _epoch;

    public void Report(TrainingStep step)
    {
        next?.Report(step);
        if (step.Epoch == _epoch && step.Step < step.Steps && step.ValidationMetric is null) return;
        _epoch = step.Epoch;
        string validation = step.ValidationMetric is { } metric ? ", validation " + metric.ToString(format, CultureInfo.InvariantCulture) : "";
        channel.Info(MessageSensitivity.None, string.Create(CultureInfo.InvariantCulture,
            $"epoch {step.Epoch}, step {step.Step} of {step.Steps}: loss {step.Loss:f4}, {step.SamplesPerSecond:f0} rows/s{validation}"));
    }
}
