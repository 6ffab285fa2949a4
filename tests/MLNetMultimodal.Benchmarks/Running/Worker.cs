using System.Diagnostics;
using System.Text.Json;

namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>The other side in a process of its own that stays alive between rounds: takes a JSON object per line and answers with
/// one. It keeps the time of its work itself, so that the pipe costs it nothing.</summary>
sealed class Worker : IDisposable
{
    static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    readonly Process _process;
    readonly string _name;

    Worker(Process process, string name) => (_process, _name) = (process, name);

    /// <summary>Starts a program and waits for its first line, which names its versions.</summary>
    /// <param name="run">Gets the versions.</param>
    /// <param name="program">The program.</param>
    /// <param name="script">Its script and arguments.</param>
    /// <param name="threads">Threads that its libraries may use.</param>
    public static Worker Start(BenchmarkRun run, string program, IReadOnlyList<string> script, int threads)
    {
        var info = new ProcessStartInfo(program, script) { RedirectStandardInput = true, RedirectStandardOutput = true };
        info.Environment["OMP_NUM_THREADS"] = info.Environment["OPENBLAS_NUM_THREADS"] = $"{threads}";
        // Set on some machines for the sake of old builds; they slow down a current one.
        info.Environment.Remove("OPENBLAS_CORETYPE");
        info.Environment.Remove("OPENBLAS_L2_SIZE");
        var worker = new Worker(Process.Start(info)!, Path.GetFileName(script[^1]));
        try
        {
            foreach (JsonProperty version in worker.Read().GetProperty("versions").EnumerateObject())
                run.Versions[version.Name] = version.Value.GetString()!;
            return worker;
        }
        catch
        {
            worker.Dispose();
            throw;
        }
    }

    /// <summary>Asks for something and waits for the answer.</summary>
    /// <exception cref="BenchmarkException">The worker failed; what it printed stands on the error stream.</exception>
    public JsonElement Ask(object request)
    {
        _process.StandardInput.WriteLine(JsonSerializer.Serialize(request));
        _process.StandardInput.Flush();
        return Read();
    }

    /// <summary>Units per second of work whose seconds the worker says.</summary>
    public double Rate(double units, object request) => units / Ask(request).GetProperty("seconds").GetDouble();

    JsonElement Read()
    {
        using var patience = new CancellationTokenSource(Patience);
        try
        {
            string line = _process.StandardOutput.ReadLineAsync(patience.Token).AsTask().GetAwaiter().GetResult()
                ?? throw new BenchmarkException($"{_name} ended before it answered.");
            JsonElement answer = JsonSerializer.Deserialize<JsonElement>(line);
            return !answer.TryGetProperty("error", out JsonElement error) ? answer
                : throw new BenchmarkException($"{_name}: {error.GetString()}");
        }
        catch (OperationCanceledException e)
        {
            throw new BenchmarkException($"{_name} did not answer for {Patience.TotalMinutes} minutes.", e);
        }
    }

    /// <summary>Ends the process.</summary>
    public void Dispose()
    {
        _process.StandardInput.Close(); // end of input is its sign to go
        if (!_process.WaitForExit(TimeSpan.FromSeconds(5))) _process.Kill(entireProcessTree: true);
        _process.Dispose();
    }
}
