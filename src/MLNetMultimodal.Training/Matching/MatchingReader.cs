using Microsoft.ML;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Training;

/// <summary>Reads pictures, captions and hard negatives out of a data view.</summary>
sealed class MatchingReader(ImageTextMatchingOptions options)
{
    /// <summary>All texts, of captions and of hard negatives.</summary>
    public IEnumerable<string> Texts(IDataView data) => Column(data, options.Text).Concat(Negatives(data)).SelectMany(t => t);

    /// <summary>All rows, pictures at the size that the model sees.</summary>
    /// <exception cref="InvalidDataException">A picture cannot be read, or a row has no caption; the message names the row.</exception>
    /// <exception cref="OperationCanceledException">Cancelled: part of the data is no data to train on.</exception>
    public MatchingSet Read(IDataView data, ImagePreprocessing images)
    {
        List<string[]> captions = [.. Column(data, options.Text)];
        if (captions.FindIndex(c => c.Length == 0) is >= 0 and var row)
            throw new InvalidDataException($"row {row}, column '{options.Text}': the row has no caption.");
        var numbers = new Dictionary<string, int>(StringComparer.Ordinal);
        var groups = new int[captions.Count];
        for (int i = 0; i < groups.Length; i++)
        {
            string own = string.Join('\u001f', captions[i]);
            if (!numbers.TryGetValue(own, out groups[i])) numbers.Add(own, groups[i] = numbers.Count);
        }
        IReadOnlyList<string[]> negatives = options.NegativeText is null ? [.. Enumerable.Repeat<string[]>([], captions.Count)] : [.. Negatives(data)];
        IReadOnlyList<int[]> units = Units(data, captions.Count);
        return new(new PictureReader(options.Image, options.ImageFolder, options.Cancellation).Read(data, images, options.Cache), captions, groups, negatives, units);
    }

    IEnumerable<string[]> Negatives(IDataView data) => options.NegativeText is { } name ? Column(data, name) : [];

    IEnumerable<string[]> Column(IDataView data, string name)
    {
        using DataViewRowCursor cursor = data.GetRowCursor([data.Schema[name]]);
        Func<string[]> texts = PairReader.TextsGetter(cursor, name);
        while (cursor.MoveNext())
        {
            options.Cancellation.ThrowIfCancellationRequested();
            yield return texts();
        }
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
