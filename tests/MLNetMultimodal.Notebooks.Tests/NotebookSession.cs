using System.Reflection;
using System.Runtime.InteropServices;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Scripting;
using Microsoft.CodeAnalysis.Scripting;
using Microsoft.CodeAnalysis.Scripting.Hosting;

namespace MLNetMultimodal.Notebooks.Tests;

/// <summary>What .NET Interactive gives to a cell beyond C# itself.</summary>
public static class NotebookDisplay
{
    static readonly AsyncLocal<Action<CellOutput>?> Show = new();

    /// <summary>Shows encoded content, as the method of the same name in .NET Interactive does.</summary>
    public static void DisplayAs(this string value, string mimeType) =>
        (Show.Value ?? throw new InvalidOperationException("no cell is running."))(new(mimeType, value));

    internal static void SendTo(Action<CellOutput>? show) => Show.Value = show;
}

/// <summary>Runs cells one after the other; each sees what those before it declared.</summary>
sealed class NotebookSession
{
    static readonly ScriptOptions Options = ScriptOptions.Default.WithLanguageVersion(LanguageVersion.CSharp14)
        .WithReferences(Libraries())
        .WithImports("System", "System.IO", "System.Linq", "System.Text", "System.Collections.Generic", "System.Threading.Tasks",
            typeof(NotebookDisplay).Namespace!);

    readonly InteractiveAssemblyLoader _loader = new();
    ScriptState<object>? _state;

    public NotebookSession()
    {
        foreach (Assembly library in Libraries()) _loader.RegisterDependency(library);
    }

    /// <summary>Runs a cell. Lines that only Jupyter understands are left out: packages, their sources, commands.</summary>
    /// <exception cref="CompilationErrorException">The cell is not C#.</exception>
    public async Task<IReadOnlyList<CellOutput>> Run(string source)
    {
        string[] jupyter = ["#r \"nuget:", "#i ", "#!"];
        string code = string.Join('\n', source.Split('\n').Select(line =>
            jupyter.Any(start => line.StartsWith(start, StringComparison.Ordinal)) ? "" : line)); // so that line numbers stay
        List<CellOutput> outputs = [];
        var printed = new StringWriter { NewLine = "\n" };
        void Print()
        {
            if (printed.GetStringBuilder().Length > 0) outputs.Add(new(CellOutput.Text, printed.ToString()));
            printed.GetStringBuilder().Clear();
        }
        TextWriter console = Console.Out;
        Console.SetOut(printed);
        NotebookDisplay.SendTo(shown =>
        {
            Print();
            outputs.Add(shown);
        });
        try
        {
            _state = _state is null
                ? await CSharpScript.Create<object>(code, Options, assemblyLoader: _loader).RunAsync()
                : await _state.ContinueWithAsync<object>(code);
        }
        finally
        {
            NotebookDisplay.SendTo(null);
            Console.SetOut(console);
        }
        if (_state.ReturnValue is { } value)
            throw new InvalidOperationException(
                $"the cell ends in an expression of type {value.GetType()}; print it, or end it with a semicolon.");
        Print();
        return outputs;
    }

    /// <summary>The assemblies of this test program and of .NET itself, the very ones that are loaded here.</summary>
    static Assembly[] Libraries()
    {
        string runtime = RuntimeEnvironment.GetRuntimeDirectory();
        return [.. Directory.GetFiles(AppContext.BaseDirectory, "*.dll").Concat(Directory.GetFiles(runtime, "System*.dll"))
            .Append(Path.Combine(runtime, "netstandard.dll")).Select(TryLoad).OfType<Assembly>().Distinct()];
    }

    static Assembly? TryLoad(string path)
    {
        try
        {
            return Assembly.Load(AssemblyName.GetAssemblyName(path));
        }
        catch (Exception e) when (e is BadImageFormatException or FileNotFoundException or FileLoadException)
        {
            return null; // native, or not for this machine
        }
    }
}
