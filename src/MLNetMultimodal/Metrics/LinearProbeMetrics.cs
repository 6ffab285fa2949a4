using System.Globalization;
using System.Text;
using System.Text.Json;

namespace MLNetMultimodal;

/// <summary>One run of a probe.</summary>
/// <param name="Seed">What drew its rows.</param>
/// <param name="TrainRows">Rows that the final probe learned from.</param>
/// <param name="L2">Lambda, the strength of the L2 penalty, chosen or given.</param>
/// <param name="ValidationTop1">Accuracy on the held-out rows that chose it, 0 to 1; null where it was given or no class had
/// two rows.</param>
/// <param name="Top1">Part of the test rows whose class has the highest score, 0 to 1; NaN without rows.</param>
/// <param name="Top5">Part of the test rows whose class is among the five highest, 0 to 1; null for five classes or fewer, where
/// it says nothing.</param>
public sealed record LinearProbeRun(int Seed, int TrainRows, double L2, double? ValidationTop1, double Top1, double? Top5);

/// <summary>Rows of a view.</summary>
/// <param name="Rows">Rows with a label; in training with features too.</param>
/// <param name="Missing">Rows with a label whose features are missing (NaN or infinite): left out of training, wrong in every
/// number of a test.</param>
/// <param name="Unlabelled">Rows without a label, which count nowhere.</param>
public sealed record LinearProbeRows(long Rows, long Missing, long Unlabelled);

/// <summary>How well a linear classifier on frozen features does.</summary>
/// <param name="Model">The model that made the features; null where the column does not say.</param>
/// <param name="Features">Column of the features.</param>
/// <param name="ShotsPerClass">Labelled rows of each class; null for all.</param>
/// <param name="Runs">The runs, one a seed.</param>
/// <param name="MacroAccuracy">Mean accuracy of the classes that have test rows, over all runs.</param>
/// <param name="Train">Rows there were to learn from.</param>
/// <param name="Test">Rows of the test data.</param>
/// <param name="Classes">Each class, in the order of the key values or else in ordinal order, counted over all runs.</param>
/// <param name="Confusion">[true][predicted] over all runs, in the order of <paramref name="Classes"/>.</param>
public sealed record LinearProbeMetrics(string? Model, string Features, int? ShotsPerClass, IReadOnlyList<LinearProbeRun> Runs,
    double MacroAccuracy, LinearProbeRows Train, LinearProbeRows Test,
    IReadOnlyList<ClassMetrics> Classes, IReadOnlyList<IReadOnlyList<long>> Confusion)
{
    /// <summary>Mean over the runs of <see cref="LinearProbeRun.Top1"/>.</summary>
    public double Top1 => Runs.Average(r => r.Top1);

    /// <summary>Standard deviation of a run's <see cref="LinearProbeRun.Top1"/>, with runs - 1 below the line; NaN for one
    /// run.</summary>
    public double Top1Deviation => Math.Sqrt(Runs.Sum(r => (r.Top1 - Top1) * (r.Top1 - Top1)) / (Runs.Count - 1));

    /// <summary>Mean over the runs of <see cref="LinearProbeRun.Top5"/>; null for five classes or fewer.</summary>
    public double? Top5 => Runs.Average(r => r.Top5);

    /// <summary>All numbers as JSON; NaN as the text "NaN".</summary>
    public string ToJson() => JsonSerializer.Serialize(this, ZeroShotMetrics.Json);

    /// <summary>The overall numbers, what was probed and how, and a table of the classes.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"top-1 {Top1:P2}{(Runs.Count > 1 ? $" ± {100 * Top1Deviation:F2}" : "")}  ");
        if (Top5 is { } top5) text.Append(CultureInfo.InvariantCulture, $"top-5 {top5:P2}  ");
        text.Append(CultureInfo.InvariantCulture, $"macro {MacroAccuracy:P2}  rows {Test.Rows}  missing {Test.Missing}\n");
        string shots = ShotsPerClass is { } k ? $"{k} of each class" : "all rows";
        text.Append(CultureInfo.InvariantCulture, $"linear probe of {Features} ({Model ?? "unknown model"}), {shots}, ");
        text.Append(CultureInfo.InvariantCulture, $"{Train.Rows} rows to learn from, missing {Train.Missing}\n");
        foreach (LinearProbeRun run in Runs)
        {
            string chosen = run.ValidationTop1 is { } accuracy ? $"chosen at {accuracy:P2} on held-out rows" : "not swept";
            text.Append(CultureInfo.InvariantCulture,
                $"seed {run.Seed}: top-1 {run.Top1:P2}, learned from {run.TrainRows}, L2 {run.L2:G3} {chosen}\n");
        }
        if (Runs.Count > 1) text.Append(CultureInfo.InvariantCulture, $"over all {Runs.Count} runs:\n");
        ClassMetrics.AppendTable(text, Classes);
        return text.ToString();
    }
}
