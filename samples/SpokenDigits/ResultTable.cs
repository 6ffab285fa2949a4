using System.Globalization;
using System.Text;

namespace SpokenDigits;

/// <summary>Accuracy of each method for each speaker that it has not heard.</summary>
sealed class ResultTable(IReadOnlyList<string> speakers)
{
    readonly Dictionary<string, Dictionary<string, double>> _rows = [];

    public void Add(string method, string speaker, double accuracy)
    {
        if (!_rows.TryGetValue(method, out Dictionary<string, double>? row)) _rows.Add(method, row = []);
        row[speaker] = accuracy;
    }

    /// <summary>Markdown, in percent.</summary>
    public override string ToString()
    {
        var text = new StringBuilder($"| top-1, % | {string.Join(" | ", speakers)} | mean |\n| --- |{string.Concat(speakers.Select(_ => " ---: |"))} ---: |\n");
        foreach (var (method, row) in _rows)
            text.Append(CultureInfo.InvariantCulture, $"| {method} | {string.Join(" | ", speakers.Select(s => Percent(row[s])))} | {Percent(row.Values.Average())} |\n");
        return text.ToString().TrimEnd();
    }

    static string Percent(double share) => (100 * share).ToString("f1", CultureInfo.InvariantCulture);
}
