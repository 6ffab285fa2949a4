using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>What a section found, where, when and by which command.</summary>
sealed record SectionResult(string Name, string Title, DateTime Date, string Command, double Seconds,
    IReadOnlyDictionary<string, string> Machine, IReadOnlyList<Figure> Figures, IReadOnlyList<string> Notes);

/// <summary>Results as files, one per section: sections can be measured one at a time, and the report stays whole.</summary>
/// <param name="folder">The report's folder; results lie under it.</param>
sealed class ResultStore(string folder)
{
    static readonly JsonSerializerOptions Json =
        new() { WriteIndented = true, NewLine = "\n", PropertyNamingPolicy = JsonNamingPolicy.CamelCase };

    string PathOf(string section) => Path.Combine(folder, "results", section + ".json");

    public void Save(SectionResult result) =>
        AtomicFile.WriteText(PathOf(result.Name), JsonSerializer.Serialize(result, Json) + "\n");

    /// <summary>The results there are, in the order of the sections.</summary>
    public IReadOnlyList<SectionResult> Load(IEnumerable<Section> sections) => [.. sections
        .Where(s => File.Exists(PathOf(s.Name)))
        .Select(s => JsonSerializer.Deserialize<SectionResult>(File.ReadAllText(PathOf(s.Name)), Json)
            ?? throw new InvalidDataException($"'{PathOf(s.Name)}' is empty; delete it."))];

    /// <summary>Writes BENCHMARKS.md from all results there are.</summary>
    /// <returns>Its path.</returns>
    public string WriteReport(IEnumerable<Section> sections)
    {
        string path = Path.Combine(folder, "BENCHMARKS.md");
        AtomicFile.WriteText(path, Report.Write(Load(sections)));
        return path;
    }
}
