using System.Globalization;
using System.Text;

namespace MLNetMultimodal;

/// <summary>Quality of one class. A value that would divide by zero is NaN.</summary>
/// <param name="Label">The class.</param>
/// <param name="Rows">Rows whose true class it is.</param>
/// <param name="Accuracy">Of those rows, the part that was predicted right; the same as recall.</param>
/// <param name="Precision">Of the rows predicted as this class, the part that is right.</param>
/// <param name="Recall">Of the rows of this class, the part that was predicted as it.</param>
/// <param name="F1">Harmonic mean of precision and recall.</param>
public sealed record ClassMetrics(string Label, long Rows, double Accuracy, double Precision, double Recall, double F1)
{
    internal static void AppendTable(StringBuilder text, IReadOnlyList<ClassMetrics> classes)
    {
        int width = classes.Select(c => c.Label.Length).Append("class".Length).Max();
        text.Append(CultureInfo.InvariantCulture, $"{"class".PadRight(width)}    rows  precision  recall      F1\n");
        foreach (ClassMetrics c in classes)
            text.Append(CultureInfo.InvariantCulture,
                $"{c.Label.PadRight(width)}  {c.Rows,6}  {c.Precision,9:F4}  {c.Recall,6:F4}  {c.F1,6:F4}\n");
    }
}

/// <summary>Counts rows of one or more passes.</summary>
sealed class ClassCounter(int classes)
{
    readonly long[][] _confusion = [.. Enumerable.Range(0, classes).Select(_ => new long[classes])];
    readonly long[] _rows = new long[classes];
    long _top1, _top5;

    public long Rows => _rows.Sum();

    public long Unlabelled { get; private set; }

    public long Missing { get; private set; }

    public double Top1 => (double)_top1 / Rows;

    public double Top5 => (double)_top5 / Rows;

    public double MacroAccuracy => _rows.Select((rows, i) => (double)_confusion[i][i] / rows).Where(a => !double.IsNaN(a))
        .DefaultIfEmpty(double.NaN).Average();

    public IReadOnlyList<IReadOnlyList<long>> Confusion => _confusion;

    public void SkipUnlabelled() => Unlabelled++;

    public void Add(int actual, ReadOnlySpan<float> scores)
    {
        _rows[actual]++;
        if (scores.Contains(float.NaN))
        {
            Missing++;
            return;
        }
        int before = 0, best = 0;
        for (int i = 0; i < scores.Length; i++)
        {
            if (scores[i] > scores[actual] || (scores[i] == scores[actual] && i < actual)) before++;
            if (scores[i] > scores[best]) best = i;
        }
        _confusion[actual][best]++;
        if (before == 0) _top1++;
        if (before < 5) _top5++;
    }

    public ClassMetrics[] Classes(IReadOnlyList<string> labels) => [.. labels.Select((label, i) =>
    {
        double right = _confusion[i][i], recall = right / _rows[i], precision = right / _confusion.Sum(row => row[i]);
        double f1 = 2 * right / (_rows[i] + _confusion.Sum(row => row[i]));
        return new ClassMetrics(label, _rows[i], recall, precision, recall, f1);
    })];
}
