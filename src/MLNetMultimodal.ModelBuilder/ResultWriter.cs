using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using MLNetMultimodal.Models.Checkpoints;
using Spectre.Console;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Results: JSON, one object a line, or a table for people.</summary>
static class ResultWriter
{
    public const string Table = "table", Json = "json";

    static readonly JsonSerializerOptions Options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    /// <summary>Writes to standard output, or to a file that appears whole or not at all.</summary>
    /// <param name="path">The file; null for standard output.</param>
    /// <param name="write">Writes the content.</param>
    public static void Write(string? path, Action<Stream> write)
    {
        if (path is not null)
        {
            WriteFile(path, write);
            return;
        }
        using Stream output = new BufferedStream(Console.OpenStandardOutput(), 1 << 16);
        write(output);
    }

    /// <summary>A result under the names that JSON of this tool has.</summary>
    public static JsonObject ToJson<T>(T result) => JsonSerializer.SerializeToNode(result, Options)!.AsObject();

    /// <summary>Leaves no new folder behind where there is no file to put there.</summary>
    static void WriteFile(string path, Action<Stream> write)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        bool isNew = !Directory.Exists(folder);
        try
        {
            AtomicFile.Write(path, write);
        }
        catch when (isNew && Directory.Exists(folder) && !Directory.EnumerateFileSystemEntries(folder).Any())
        {
            Directory.Delete(folder);
            throw;
        }
    }

    public static void WriteJson<T>(IEnumerable<T> rows, string? path = null) => Write(path, stream =>
    {
        foreach (T row in rows)
        {
            JsonSerializer.Serialize(stream, row, Options);
            stream.WriteByte((byte)'\n');
        }
    });

    /// <summary>Rows in the format that was asked for.</summary>
    public static void Write<T>(
        string? format, IReadOnlyList<T> rows, IReadOnlyList<string> headers, Func<T, IReadOnlyList<string>> cells)
    {
        if (format == Json) WriteJson(rows);
        else if (rows.Count > 0) WriteTable(headers, rows.Select(cells));
    }

    /// <summary>A shape as people write it.</summary>
    public static string Shape(IReadOnlyList<long> shape) => $"[{string.Join(", ", shape)}]";

    static void WriteTable(IReadOnlyList<string> headers, IEnumerable<IReadOnlyList<string>> rows)
    {
        IAnsiConsole console = AnsiConsole.Create(new() { Out = new AnsiConsoleOutput(Console.Out) });
        if (Console.IsOutputRedirected) console.Profile.Width = 1 << 14; // nothing is wrapped in a file
        var table = new Spectre.Console.Table().NoBorder();
        foreach (string header in headers) table.AddColumn(new TableColumn(new Text(header)));
        foreach (IReadOnlyList<string> row in rows) table.AddRow(row.Select(cell => new Text(cell)));
        console.Write(table);
    }
}
