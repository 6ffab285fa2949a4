using System.Diagnostics;
using System.Globalization;

namespace MLNetMultimodal.Training.Tests;

public sealed class KillAndResumeTests : IDisposable
{
    const int Steps = 100; // of the child

    readonly string _folder = Directory.CreateTempSubdirectory("kill-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    string At(string name) => Path.Combine(_folder, name);

    Process Start(string name, int checkpointSteps)
    {
        string here = AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar); // tests/X/bin/Debug/net10.0
        string program = Path.Combine(here.Replace("MLNetMultimodal.Training.Tests", "MLNetMultimodal.TrainingChild", StringComparison.Ordinal),
            "MLNetMultimodal.TrainingChild.dll");
        string[] arguments = [program, At(name + "-checkpoints"), At(name), checkpointSteps.ToString(CultureInfo.InvariantCulture)];
        return Process.Start(new ProcessStartInfo("dotnet", arguments) { RedirectStandardOutput = true })!;
    }

    /// <summary>Runs to the end.</summary>
    /// <returns>The steps that were taken.</returns>
    int[] Finish(string name, int checkpointSteps)
    {
        using Process child = Start(name, checkpointSteps);
        string text = child.StandardOutput.ReadToEnd();
        child.WaitForExit();
        Assert.Equal(0, child.ExitCode);
        return [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(int.Parse)];
    }

    /// <summary>Runs until a step was printed and something holds, and no longer.</summary>
    void Kill(string name, int checkpointSteps, int atStep, Func<bool>? when = null)
    {
        using Process child = Start(name, checkpointSteps);
        while (child.StandardOutput.ReadLine() is { } line && int.Parse(line, CultureInfo.InvariantCulture) < atStep) ;
        while (when is not null && !child.HasExited && !when()) ;
        child.Kill();
        child.WaitForExit();
        Assert.NotEqual(0, child.ExitCode);
        Assert.False(Directory.Exists(At(name)), "the child was done before it was killed");
    }

    static byte[] Weights(string folder) => File.ReadAllBytes(Path.Combine(folder, "model.safetensors"));

    [Fact]
    public void A_training_that_was_killed_ends_with_the_weights_of_an_undisturbed_one()
    {
        int[] all = Finish("undisturbed", checkpointSteps: 7);
        Assert.Equal(Enumerable.Range(1, Steps), all);

        Kill("killed", checkpointSteps: 7, atStep: 25);
        int[] rest = Finish("killed", checkpointSteps: 7);
        Assert.InRange(rest[0], 22, Steps - 1);
        Assert.Equal(Steps, rest[^1]);
        Assert.Equal(Weights(At("undisturbed")), Weights(At("killed")));

        string checkpoints = At("torn-checkpoints");
        bool IsWriting() => Directory.Exists(checkpoints) && Directory.EnumerateDirectories(checkpoints, "*.partial").Any();
        Kill("torn", checkpointSteps: 1, atStep: 10, IsWriting);
        Kill("torn", checkpointSteps: 1, atStep: 20, IsWriting);
        Assert.InRange(Finish("torn", checkpointSteps: 50)[0], 20, Steps - 1);
        Assert.Equal(Weights(At("undisturbed")), Weights(At("torn")));
        Assert.Empty(Directory.EnumerateDirectories(checkpoints, "*.partial"));
    }
}
