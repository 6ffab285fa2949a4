using System.Diagnostics;
using System.Text.Json;

namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>This program again, in a process of its own, for what can be measured only once in a process.</summary>
static class ChildProcess
{
    /// <summary>First argument of such a process.</summary>
    public const string Verb = "child";

    /// <summary>Starts one and waits for its answer.</summary>
    /// <param name="job">What it does; the program knows it by this name.</param>
    /// <param name="arguments">For the job.</param>
    /// <param name="cores">Cores that it may use; 0 for all.</param>
    /// <returns>Its answer, and the seconds from its start to its answer.</returns>
    public static (JsonElement Answer, double Seconds) Run(string job, IReadOnlyList<string> arguments, int cores = 0)
    {
        List<string> command = [.. Self(), Verb, job, .. arguments];
        // The affinity must be there before the runtime counts cores.
        if (cores > 0) command = ["taskset", "--cpu-list", $"0-{cores - 1}", .. command];
        var info = new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true };
        long start = Stopwatch.GetTimestamp();
        using Process process = Process.Start(info)!;
        string? line = process.StandardOutput.ReadLine();
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return line is not null && process.ExitCode == 0 ? (JsonSerializer.Deserialize<JsonElement>(line), seconds)
            : throw new BenchmarkException($"the process '{string.Join(' ', command)}' ended with {process.ExitCode}.");
    }

    static string[] Self() => Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet"
        ? [Environment.ProcessPath!, typeof(ChildProcess).Assembly.Location] : [Environment.ProcessPath!];
}
