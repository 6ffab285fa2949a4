using System.Text.Json;
using CsvHelper;
using Microsoft.ML;
using MLNetMultimodal.Data;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="ImageTextPairsCatalog.LoadImageTextPairs"/>.</summary>
public sealed record ImageTextPairsOptions
{
    /// <summary>Name of the field with the picture's path; default <c>image</c>. Case counts.</summary>
    public string ImageField { get; init => field = MultimodalEmbedOptions.Name(value, nameof(ImageField)); } = "image";

    /// <summary>Name of the field with the caption; default <c>caption</c>. Case counts.</summary>
    public string CaptionField { get; init => field = MultimodalEmbedOptions.Name(value, nameof(CaptionField)); } = "caption";

    /// <summary>More fields, each of which becomes a text column of its name; default none. A field that a line lacks is
    /// empty.</summary>
    public IReadOnlyList<string> OtherFields { get; init; } = [];

    /// <summary>Folder that relative picture paths start from; null for the manifest's own folder.</summary>
    public string? ImageFolder { get; init; }
}

/// <summary>Adds the loader to <see cref="MLContext.Data"/>.</summary>
public static class ImageTextPairsCatalog
{
    extension(DataOperationsCatalog catalog)
    {
        /// <summary>Pictures with captions from a manifest: CSV or TSV with a header line, or JSONL, one object a line, told
        /// apart by the file's ending
        /// (<c>.csv</c>, <c>.tsv</c>, <c>.jsonl</c>, <c>.ndjson</c>). Columns: <c>ImagePath</c> (text, relative paths resolved),
        /// <c>Caption</c> (text), and
        /// <see cref="ImageTextPairsOptions.OtherFields"/> (text). The manifest is read now and held in memory; no picture is
        /// opened. The view can be shuffled.</summary>
        /// <param name="path">The manifest, UTF-8.</param>
        /// <param name="options">Field names; null for the defaults.</param>
        /// <exception cref="FileNotFoundException">The manifest does not exist.</exception>
        /// <exception cref="InvalidDataException">A field is missing, or a line is wrong; the message names the line.</exception>
        /// <exception cref="NotSupportedException">The file has another ending.</exception>
        public IDataView LoadImageTextPairs(string path, ImageTextPairsOptions? options = null)
        {
            ArgumentNullException.ThrowIfNull(catalog);
            options ??= new();
            if (!File.Exists(path)) throw new FileNotFoundException($"the manifest '{path}' does not exist.", path);
            string[] fields = [options.ImageField, options.CaptionField, .. options.OtherFields];
            List<string[]> rows = Path.GetExtension(path).ToLowerInvariant() switch
            {
                ".csv" => ReadSeparated(path, fields, ','),
                ".tsv" => ReadSeparated(path, fields, '\t'),
                ".jsonl" or ".ndjson" => ReadJsonLines(path, fields),
                string other => throw new NotSupportedException($"'{path}' ends in '{other}'; read are .csv, .tsv, .jsonl and .ndjson."),
            };
            string folder = options.ImageFolder ?? Path.GetDirectoryName(Path.GetFullPath(path))!;
            foreach (string[] row in rows) row[0] = Path.Combine(folder, row[0]);
            return new RowsDataView(rows.Count,
            [
                RowsDataView.Text("ImagePath", row => rows[row][0]),
                RowsDataView.Text("Caption", row => rows[row][1]),
                .. options.OtherFields.Select((name, i) => RowsDataView.Text(name, row => rows[row][i + 2])),
            ]);
        }
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
