using System.Diagnostics;

namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>Programs of others that are measured against.</summary>
static class Programs
{
    const string SystemPython = "/usr/bin/python3"; // Debian's modules belong to it

    static readonly Dictionary<string, string> Packages = new()
    {
        ["PIL"] = "python3-pil",
        ["numpy"] = "python3-numpy libopenblas0-pthread",
        ["torch"] = "python3-torch libopenblas0-pthread",
    };

    /// <summary>A script of this project in Python.</summary>
    /// <param name="run">Gets the versions.</param>
    /// <param name="script">A file in the folder <c>python</c>.</param>
    /// <param name="threads">Threads that its libraries may use.</param>
    /// <param name="modules">What it imports, for the message.</param>
    /// <exception cref="MissingProgramException">Python or a module is missing; the message says what to install.</exception>
    public static Worker Python(BenchmarkRun run, string script, int threads, params IReadOnlyList<string> modules)
    {
        string python = File.Exists(SystemPython) ? SystemPython : "python3";
        string path = Path.Combine(Repository.Benchmarks, "python", script);
        if (!Succeeds(python, "-B", path, "--check"))
            throw new MissingProgramException($"{script} needs Python with {string.Join(", ", modules)}; with Debian's packages: "
                + $"apt-get install --no-install-recommends python3 {string.Join(' ', modules.Select(m => Packages[m]))}");
        return Worker.Start(run, python, ["-B", path], threads);
    }

    /// <summary>The script of this project in Node, beside the packages that the interop test installs.</summary>
    /// <exception cref="MissingProgramException">Node is missing, or in a quick run the packages are.</exception>
    public static Worker Node(BenchmarkRun run, int threads)
    {
        if (!Succeeds("node", "--version") || !Succeeds("npm", "--version"))
            throw new MissingProgramException("the section needs node and npm; with Debian's packages: "
                + "apt-get install --no-install-recommends nodejs npm");
        string packages = InstalledPackages(run);
        const string script = "worker.mjs"; // modules are looked for beside it
        string copy = Path.Combine(packages, "benchmark-" + script);
        File.Copy(Path.Combine(Repository.Benchmarks, "node", script), copy, overwrite: true);
        return Worker.Start(run, "node", [copy], threads);
    }

    static string InstalledPackages(BenchmarkRun run)
    {
        string install = Path.Combine(Repository.Root, "tests", "interop", "install.sh");
        string[] arguments = run.Quick ? [install, "--check"] : [install];
        using Process process = Process.Start(new ProcessStartInfo("bash", arguments) { RedirectStandardOutput = true })!;
        string folder = process.StandardOutput.ReadToEnd().Trim();
        process.WaitForExit();
        if (process.ExitCode == 0) return folder;
        throw run.Quick ? new MissingProgramException("there are no packages for node; tests/interop/install.sh installs them")
            : new BenchmarkException($"{install} failed with {process.ExitCode}.");
    }

    static bool Succeeds(string program, params IReadOnlyList<string> arguments)
    {
        try
        {
            var info = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
            using Process process = Process.Start(info)!;
            process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception) // there is no such program
        {
            return false;
        }
    }
}
