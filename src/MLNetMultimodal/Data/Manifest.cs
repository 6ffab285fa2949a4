using System.Text.Json;
using CsvHelper;

namespace MLNetMultimodal.Data;

/// <summary>Lists of media files with captions: CSV or TSV with a header line, or JSONL, one object a line, told apart by the
/// file's ending.</summary>
static class Manifest
{
    /// <summary>Reads a whole list.</summary>
    /// <param name="path">The list, UTF-8.</param>
    /// <param name="fileField">Name of the field with the media file's path.</param>
    /// <param name="captionField">Name of the field with the caption.</param>
    /// <param name="otherFields">More fields; empty where a line has none of that name.</param>
    /// <param name="folder">Folder that relative paths start from; null for the list's own.</param>
    /// <returns>For each line path, caption and the other fields.</returns>
    /// <exception cref="FileNotFoundException">The list does not exist.</exception>
    /// <exception cref="InvalidDataException">A field is missing, or a line is wrong; the message names the line.</exception>
    /// <exception cref="NotSupportedException">The file has another ending.</exception>
    public static List<string[]> Read(string path, string fileField, string captionField, IReadOnlyList<string> otherFields,
        string? folder)
    {
        if (!File.Exists(path)) throw new FileNotFoundException($"the manifest '{path}' does not exist.", path);
        string[] fields = [fileField, captionField, .. otherFields];
        List<string[]> rows = Path.GetExtension(path).ToLowerInvariant() switch
        {
            ".csv" => ReadSeparated(path, fields, ','),
            ".tsv" => ReadSeparated(path, fields, '\t'),
            ".jsonl" or ".ndjson" => ReadJsonLines(path, fields),
            string other => throw new NotSupportedException($"'{path}' ends in '{other}'; read are .csv, .tsv, .jsonl and .ndjson."),
        };
        folder ??= Path.GetDirectoryName(Path.GetFullPath(path))!;
        foreach (string[] row in rows) row[0] = Path.Combine(folder, row[0]);
        return rows;
    }

    const int MaxRecordBytes = 1 << 20;

    static List<string[]> ReadSeparated(string path, string[] fields, char separator)
    {
        var options = new CsvReaderOptions
        {
            Separator = separator,
            Mode = separator == '\t' ? CsvMode.NoEscape : CsvMode.Rfc4180, // captions in TSV hold bare quotes
            MalformedData = CsvMalformedDataHandling.Throw,
            FieldCountMismatch = CsvFieldCountHandling.Throw,
            MaxRecordSize = MaxRecordBytes,
            TrackLineNumbers = true,
        };
        using CsvReader reader = CsvReader.FromFile(path, options);
        var rows = new List<string[]>();
        try
        {
            reader.ReadHeader();
            string[] header = [.. reader.Headers];
            int[] columns = [.. fields.Select(f => Array.IndexOf(header, f))];
            for (int i = 0; i < 2; i++)
                if (columns[i] < 0)
                    throw new InvalidDataException($"'{path}' has no field '{fields[i]}'; its header has {string.Join(", ", header)}.");
            while (reader.Read())
            {
                string[] row = [.. columns.Select(c => c < 0 ? "" : reader.GetString(c))];
                rows.Add(row[0].Length > 0 ? row
                    : throw new InvalidDataException($"'{path}', line {reader.LineNumber}: the field '{fields[0]}' is empty."));
            }
        }
        catch (CsvFormatException e)
        {
            throw new InvalidDataException($"'{path}', line {e.LineNumber}: {e.Message}", e);
        }
        return rows;
    }

    static List<string[]> ReadJsonLines(string path, string[] fields)
    {
        var rows = new List<string[]>();
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line)) continue;
            try
            {
                using JsonDocument document = JsonDocument.Parse(line, new() { MaxDepth = 64 });
                if (document.RootElement.ValueKind != JsonValueKind.Object)
                    throw new InvalidDataException($"'{path}', line {number}: a JSON object is wanted.");
                string[] row = [.. fields.Select((name, i) => Field(document.RootElement, name, required: i < 2,
                    $"'{path}', line {number}"))];
                rows.Add(row[0].Length > 0 ? row
                    : throw new InvalidDataException($"'{path}', line {number}: the field '{fields[0]}' is empty."));
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException) // half a surrogate pair is the latter
            {
                throw new InvalidDataException($"'{path}', line {number}: not JSON: {e.Message}", e);
            }
        }
        return rows;
    }

    static string Field(JsonElement json, string name, bool required, string where)
    {
        if (!json.TryGetProperty(name, out JsonElement value))
        {
            return !required ? "" : throw new InvalidDataException(
                $"{where}: there is no field '{name}'; "
                + $"the fields are {string.Join(", ", json.EnumerateObject().Select(p => p.Name))}.");
        }
        string? text = value.ValueKind switch
        {
            JsonValueKind.String => value.GetString(),
            JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False when !required => value.GetRawText(),
            JsonValueKind.Null when !required => "",
            _ => null,
        };
        return text ?? throw new InvalidDataException($"{where}: the field '{name}' must be text, but is {value.ValueKind}.");
    }
}
