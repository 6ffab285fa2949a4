namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>Runs sections one after the other; what one cannot do, the others still do.</summary>
/// <param name="quick">Tiny sizes, one round; a section whose program is missing is left out.</param>
/// <param name="output">Folder of results and report; null for this project's own.</param>
/// <param name="command">What was typed.</param>
sealed class Runner(bool quick, string? output, string command)
{
    /// <param name="sections">All there are.</param>
    /// <param name="names">Those to run, or <c>all</c>.</param>
    /// <returns>0; 1 where a section failed.</returns>
    public int Run(IReadOnlyList<Section> sections, IReadOnlyList<string> names)
    {
        string user = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        string cache = Setting("MULTIMODAL_BENCHMARK_CACHE")
            ?? Path.Combine(Setting("XDG_CACHE_HOME") ?? Path.Combine(user, ".cache"), "mlnet-multimodal-benchmarks");
        // What a quick run says is no measurement: it never goes beside the sources by itself.
        var store = new ResultStore(output ?? (quick ? Path.Combine(cache, "quick-report") : Repository.Benchmarks));
        bool failed = false;
        foreach (Section section in sections.Where(s => names.Contains(s.Name) || (names.Contains("all") && !s.OnDemand)))
            failed |= !Measure(section, new(quick, cache), store);
        Console.WriteLine($"written: {store.WriteReport(sections)}");
        return failed ? 1 : 0;
    }

    bool Measure(Section section, BenchmarkRun run, ResultStore store)
    {
        run.Say($"== {section.Name}");
        try
        {
            section.Measure(run);
            store.Save(Result(section, run));
            foreach (Figure figure in run.Figures) Console.WriteLine(Report.Row(figure));
            return true;
        }
        catch (MissingProgramException e) when (quick)
        {
            run.Say($"{section.Name} left out: {e.Message}");
            return true;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            string message = e is BenchmarkException or MissingProgramException ? e.Message : e.ToString();
            Console.Error.WriteLine($"{section.Name} failed: {message}");
            return false;
        }
    }

    SectionResult Result(Section section, BenchmarkRun run)
    {
        SortedDictionary<string, string> machine = Machine.Facts();
        foreach (var (name, version) in run.Versions) machine[name] = version;
        double seconds = run.Elapsed.TotalSeconds;
        return new(section.Name, section.Title, DateTime.UtcNow, command, seconds, machine, run.Figures, run.Notes);
    }

    static string? Setting(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;
}
