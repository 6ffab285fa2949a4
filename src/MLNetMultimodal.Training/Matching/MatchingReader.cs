using Microsoft.ML;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Training;

/// <summary>Reads pictures, captions and hard negatives out of a data view.</summary>
sealed class MatchingReader(ImageTextMatchingOptions options)
{
    readonly PairReader _pairs = new(new()
    {
        Image = options.Image,
        Text = options.Text,
        ImageFolder = options.ImageFolder,
        Cache = options.Cache,
        Cancellation = options.Cancellation,
    });

    /// <summary>All texts, of captions and of hard negatives.</summary>
    public IEnumerable<string> Texts(IDataView data) => _pairs.Captions(data).Concat(Negatives(data).SelectMany(n => n));

    /// <summary>All rows, pictures at the size that the model sees.</summary>
    /// <exception cref="InvalidDataException">A picture cannot be read, or a row has no caption; the message names the row.</exception>
    /// <exception cref="OperationCanceledException">Cancelled: part of the data is no data to train on.</exception>
    public MatchingSet Read(IDataView data, ImagePreprocessing images)
    {
        PairSet pairs = _pairs.Read(data, images);
        IReadOnlyList<string[]> negatives = options.NegativeText is null ? [.. Enumerable.Repeat<string[]>([], pairs.Count)] : [.. Negatives(data)];
        return new(pairs, negatives, Units(data, pairs.Count));
    }

    IEnumerable<string[]> Negatives(IDataView data)
    {
        if (options.NegativeText is not { } name) yield break;
        using DataViewRowCursor cursor = data.GetRowCursor([data.Schema[name]]);
        Func<string[]> texts = PairReader.TextsGetter(cursor, name);
        while (cursor.MoveNext()) yield return texts();
    }

    // A row whose value is missing stands alone.
    List<int[]> Units(IDataView data, int rows)
    {
        if (options.Together is not { } name) return [.. Enumerable.Range(0, rows).Select(row => new[] { row })];
        using DataViewRowCursor cursor = data.GetRowCursor([data.Schema[name]]);
        Func<string> key = PairReader.GroupGetter(cursor, name);
        var units = new OrderedDictionary<string, List<int>>(StringComparer.Ordinal);
        for (int row = 0; cursor.MoveNext(); row++)
        {
            string unit = key() is { Length: > 0 } value ? $"={value}" : $"{row}";
            if (!units.TryGetValue(unit, out List<int>? together)) units.Add(unit, together = []);
            together.Add(row);
        }
        return [.. units.Values.Select(u => u.ToArray())];
    }
}
