namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>Runs sections one after the other; what one cannot do, the others still do.</summary>
static class Runner
{
    /// <returns>0; 1 where a section failed.</returns>
    public static int Run(IReadOnlyList<Section> sections, IReadOnlyList<string> names, bool quick, string? output, string command)
    {
        string cache = Setting("MULTIMODAL_BENCHMARK_CACHE") ?? Path.Combine(Setting("XDG_CACHE_HOME")
            ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache"), "mlnet-multimodal-benchmarks");
        // What a quick run says is no measurement: it never goes beside the sources by itself.
        var store = new ResultStore(output ?? (quick ? Path.Combine(cache, "quick-report") : Repository.Benchmarks));
        int failed = 0;
        foreach (Section section in sections.Where(s => names.Contains(s.Name) || (names.Contains("all") && !s.OnDemand)))
        {
            var run = new BenchmarkRun(quick, cache);
            run.Say($"== {section.Name}");
            try
            {
                section.Measure(run);
                store.Save(Result(section, run, command));
                foreach (Figure figure in run.Figures) Console.WriteLine(Report.Row(figure));
            }
            catch (MissingProgramException e) when (quick)
            {
                run.Say($"{section.Name} left out: {e.Message}");
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                failed++;
                Console.Error.WriteLine($"{section.Name} failed: {(e is BenchmarkException or MissingProgramException ? e.Message : e)}");
            }
        }
        Console.WriteLine($"written: {store.WriteReport(sections)}");
        return failed == 0 ? 0 : 1;
    }

    static string? Setting(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;

    static SectionResult Result(Section section, BenchmarkRun run, string command)
    {
        SortedDictionary<string, string> machine = Machine.Facts();
        foreach (var (name, version) in run.Versions) machine[name] = version;
        return new(section.Name, section.Title, DateTime.UtcNow, command, run.Elapsed.TotalSeconds, machine, run.Figures, run.Notes);
    }
}
