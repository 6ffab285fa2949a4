using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace MLNetMultimodal.Notebooks.Tests;

/// <summary>What a cell shows: <c>text/plain</c> for what it prints, else a media type with base64 content.</summary>
public sealed record CellOutput(string MediaType, string Content)
{
    public const string Text = "text/plain";
}

/// <summary>A notebook file (nbformat 4).</summary>
sealed class Notebook
{
    // Apostrophes, < and umlauts stand as themselves, as Jupyter writes them.
    static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        IndentSize = 1,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    readonly JsonNode _root;

    Notebook(string path, JsonNode root) => (Path, _root) = (path, root);

    public string Path { get; }

    /// <summary>The code cells, in order.</summary>
    public IEnumerable<Cell> CodeCells => _root["cells"]!.AsArray()
        .Select((cell, i) => new Cell(i + 1, cell!.AsObject())).Where(c => c.Kind == "code");

    public static Notebook Load(string path) =>
        new(path, JsonNode.Parse(File.ReadAllText(path)) ?? throw new InvalidDataException($"'{path}' is not a notebook."));

    public void Save() => File.WriteAllText(Path, _root.ToJsonString(Json) + "\n");
}

/// <summary>A cell of a notebook.</summary>
/// <param name="Number">From 1, texts counted too.</param>
/// <param name="Node">Its JSON.</param>
sealed record Cell(int Number, JsonObject Node)
{
    public string Kind => Node["cell_type"]!.GetValue<string>();

    public string Source => Joined(Node["source"]);

    /// <summary>True where the cell's tags say that its output is another one each time.</summary>
    public bool Varies => Node["metadata"]?["tags"] is JsonArray tags && tags.Any(t => t!.GetValue<string>() == "varies");

    public IReadOnlyList<CellOutput> Outputs => [.. Node["outputs"]!.AsArray().Select(o => Output(o!))];

    public void SetOutputs(IEnumerable<CellOutput> outputs, int executionCount)
    {
        Node["execution_count"] = executionCount;
        Node["outputs"] = new JsonArray([.. outputs.Select(o => o.MediaType == CellOutput.Text
            ? new JsonObject { ["name"] = "stdout", ["output_type"] = "stream", ["text"] = Lines(o.Content) }
            : new JsonObject
            {
                ["data"] = new JsonObject { [o.MediaType] = o.Content },
                ["metadata"] = new JsonObject(),
                ["output_type"] = "display_data",
            })]);
    }

    CellOutput Output(JsonNode output) => output["output_type"]!.GetValue<string>() switch
    {
        "stream" => new(CellOutput.Text, Joined(output["text"])),
        "display_data" when output["data"]!.AsObject().First() is var data => new(data.Key, Joined(data.Value)),
        var other => throw new InvalidDataException(
            $"cell {Number} has an output of type '{other}'; stream and display_data are known."),
    };

    /// <summary>nbformat keeps a text as a list of lines that end in a line break.</summary>
    static JsonArray Lines(string text)
    {
        string[] lines = text.Split('\n');
        return [.. lines.Select((line, i) => i < lines.Length - 1 ? line + "\n" : line).Where(line => line.Length > 0)
            .Select(line => (JsonNode)line)];
    }

    static string Joined(JsonNode? text) =>
        text is JsonArray lines ? string.Concat(lines.Select(l => l!.GetValue<string>())) : text!.GetValue<string>();
}
