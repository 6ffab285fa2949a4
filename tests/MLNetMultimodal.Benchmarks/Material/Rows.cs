using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Benchmarks.Material;

/// <summary>A row with the path of a picture.</summary>
sealed class PictureRow
{
    public string ImagePath { get; set; } = "";
}

/// <summary>A row with a text.</summary>
sealed class TextRow
{
    public string Text { get; set; } = "";
}

/// <summary>Rows into a pipeline and vectors out of it.</summary>
static class Rows
{
    public static IDataView Pictures(MLContext ml, IEnumerable<string> paths) =>
        ml.Data.LoadFromEnumerable(paths.Select(path => new PictureRow { ImagePath = path }));

    public static IDataView Texts(MLContext ml, IEnumerable<string> texts) =>
        ml.Data.LoadFromEnumerable(texts.Select(text => new TextRow { Text = text }));

    /// <summary>A transform of pictures, or of texts where the options name that column.</summary>
    public static MultimodalTransformer Embedder(MLContext ml, MultimodalEmbedOptions options) => options.Text is null
        ? ml.Transforms.MultimodalEmbed(options with { Image = nameof(PictureRow.ImagePath) }).Fit(Pictures(ml, []))
        : ml.Transforms.MultimodalEmbed(options).Fit(Texts(ml, []));

    /// <summary>All rows of a vector column, as any consumer reads them: one cursor, row by row.</summary>
    public static float[][] Read(IDataView data, string column = "Embedding")
    {
        var rows = new List<float[]>();
        ForEach(data, column, (in VBuffer<float> row) => rows.Add([.. row.DenseValues()]));
        return [.. rows];
    }

    public delegate void RowAction(in VBuffer<float> row);

    public static void ForEach(IDataView data, string column, RowAction action)
    {
        using DataViewRowCursor cursor = data.GetRowCursor([data.Schema[column]]);
        ValueGetter<VBuffer<float>> getter = cursor.GetGetter<VBuffer<float>>(data.Schema[column]);
        VBuffer<float> row = default;
        while (cursor.MoveNext())
        {
            getter(ref row);
            action(row);
        }
    }
}
