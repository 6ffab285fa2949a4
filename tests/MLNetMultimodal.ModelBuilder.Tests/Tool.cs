using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace MLNetMultimodal.ModelBuilder.Tests;

/// <summary>What a run of the tool ended with.</summary>
public sealed record ToolResult(int ExitCode, byte[] OutputBytes, string Errors)
{
    public string Output => Encoding.UTF8.GetString(OutputBytes);

    /// <summary>Each line as JSON.</summary>
    public JsonElement[] Rows =>
        [.. Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement)];

    /// <summary>Fails with the messages where the tool did not end as wanted.</summary>
    public ToolResult Expect(int exitCode)
    {
        Assert.True(ExitCode == exitCode, $"exit code {ExitCode}, expected {exitCode}\n{Output}\n{Errors}");
        return this;
    }

    /// <summary>Fails unless the tool ended with this code, no results, and one line that contains all of the texts.</summary>
    public void ExpectOneLine(int exitCode, params string[] texts)
    {
        Expect(exitCode);
        Assert.Equal("", Output);
        string line = Assert.Single(Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        foreach (string text in texts) Assert.Contains(text, line);
    }
}

/// <summary>The built tool as a process of its own.</summary>
public static class Tool
{
    static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    public static Task<ToolResult> Run(params string[] arguments) => Run(environment: [], arguments);

    /// <summary>The same with variables of the environment.</summary>
    public static async Task<ToolResult> Run((string Name, string Value)[] environment, params string[] arguments)
    {
        using Process process = Start(environment, arguments);
        process.StandardInput.Close();
        Task<string> errors = process.StandardError.ReadToEndAsync();
        return await Finish(process, errors);
    }

    /// <summary>Starts a run; its streams are the caller's to write and read.</summary>
    public static Process Start(params string[] arguments) => Start(environment: [], arguments);

    static Process Start((string Name, string Value)[] environment, string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet")
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "mlnet-multimodal.dll"));
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        foreach (var (name, value) in environment) start.Environment[name] = value;
        return Process.Start(start)!;
    }

    public static async Task<ToolResult> Finish(Process process, Task<string> errors)
    {
        using var limit = new CancellationTokenSource(Limit);
        using var output = new MemoryStream();
        try
        {
            await process.StandardOutput.BaseStream.CopyToAsync(output, limit.Token);
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
        return new(process.ExitCode, output.ToArray(), await errors);
    }
}
