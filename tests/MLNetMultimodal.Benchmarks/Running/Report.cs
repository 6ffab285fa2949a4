using System.Globalization;
using System.Text;

namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>Results as a page of tables.</summary>
static class Report
{
    public static string Write(IReadOnlyList<SectionResult> results)
    {
        var text = new StringBuilder();
        text.Append("""
            # Benchmarks

            Written by the program in this folder; its [README](README.md) says how. The two sides of a row took turns in one run
            on one machine. Numbers are medians over the rounds; a ratio is that of each round, its median, least and most.

            """);
        if (results.Count == 0) text.Append("\nThere are no results yet.\n");
        Figure[] judged = [.. results.SelectMany(r => r.Figures).Where(f => f.IsMet is not null)];
        if (judged.Length > 0)
            text.Append($"\nTargets: {judged.Count(f => f.IsMet == true)} of {judged.Length} met.\n");
        foreach (SectionResult result in results) Write(text, result);
        return text.ToString();
    }

    static void Write(StringBuilder text, SectionResult result)
    {
        var culture = CultureInfo.InvariantCulture;
        text.Append(culture, $"\n## {result.Title}\n\n");
        text.Append("| what | ours | against | ratio | least to most | wanted | met |\n|---|---|---|---|---|---|---|\n");
        foreach (Figure figure in result.Figures) text.Append(Row(figure)).Append('\n');
        text.Append('\n');
        foreach (string note in result.Notes) text.Append(culture, $"- {note}\n");
        text.Append(culture, $"- {result.Date:yyyy-MM-dd HH:mm} UTC, {result.Seconds:n0} s, `{result.Command}`\n");
        text.Append(culture, $"- {string.Join("; ", result.Machine.Select(fact => $"{fact.Key} {fact.Value}"))}\n");
    }

    /// <summary>One figure as a line of a table.</summary>
    public static string Row(Figure f)
    {
        string against = f.Against is null ? "" : $"{f.Other}: {f.Against}";
        string met = f.IsMet switch { true => "yes", false => "**no**", null => "" };
        return $"| {f.What} | {f.Ours} | {against} | {f.Ratio} | {(f.Ratio ?? f.Ours).Spread} | {f.Wanted} | {met} |";
    }
}
