using Microsoft.ML;
using MLNetMultimodal.Data;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="ImageTextPairsCatalog.LoadImageTextPairs"/>.</summary>
public sealed record ImageTextPairsOptions
{
    /// <summary>Name of the field with the picture's path; default <c>image</c>. Case counts.</summary>
    public string ImageField { get; init => field = Checked.Name(value); } = "image";

    /// <summary>Name of the field with the caption; default <c>caption</c>. Case counts.</summary>
    public string CaptionField { get; init => field = Checked.Name(value); } = "caption";

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
            List<string[]> rows =
                Manifest.Read(path, options.ImageField, options.CaptionField, options.OtherFields, options.ImageFolder);
            return new RowsDataView(rows.Count,
            [
                RowsDataView.Text("ImagePath", row => rows[row][0]),
                RowsDataView.Text("Caption", row => rows[row][1]),
                .. options.OtherFields.Select((name, i) => RowsDataView.Text(name, row => rows[row][i + 2])),
            ]);
        }
    }
}
