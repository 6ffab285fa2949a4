using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Training;

/// <summary>Reads pictures and captions out of a data view.</summary>
sealed class PairReader(ContrastiveOptions options)
{
    /// <summary>All captions, in the order of the rows.</summary>
    public IEnumerable<string> Captions(IDataView data)
    {
        using DataViewRowCursor cursor = data.GetRowCursor([data.Schema[options.Text]]);
        Func<string[]> captions = TextsGetter(cursor, options.Text);
        while (cursor.MoveNext())
        {
            options.Cancellation.ThrowIfCancellationRequested();
            foreach (string caption in captions()) yield return caption;
        }
    }

    /// <summary>All rows, pictures at the size that the model sees.</summary>
    /// <exception cref="InvalidDataException">A picture cannot be read, or a row has no caption or no group; the message names
    /// the row.</exception>
    /// <exception cref="OperationCanceledException">Cancelled: part of the data is no data to train on.</exception>
    public PairSet Read(IDataView data, ImagePreprocessing images)
    {
        var set = new PairSet();
        if (options.Cache is not { } folder)
        {
            set.Pictures = PictureStore.InMemory(images, Pictures(data, images, set));
            return set;
        }
        set.Pictures = PictureStore.OnDisk(folder, images,
            hash => Pass(data, set, pictures => pictures.AppendTo(hash)), () => Pictures(data, images, null));
        return set;
    }

    /// <summary>The pictures of all rows, decoded on all cores.</summary>
    /// <param name="data">The rows.</param>
    /// <param name="images">How pictures are made.</param>
    /// <param name="set">Is given captions and groups on the way; null where it has them.</param>
    IEnumerable<RgbImage> Pictures(IDataView data, ImagePreprocessing images, PairSet? set) =>
        PictureReader.Decode(Encoded(data, set), images);

    IEnumerable<Func<RgbImage>> Encoded(IDataView data, PairSet? set)
    {
        using DataViewRowCursor cursor = data.GetRowCursor(set is null ? [data.Schema[options.Image]] : Columns(data));
        using var pictures = new ImageColumn(cursor, options.Image, options.ImageFolder);
        Action<PairSet>? pair = set is null ? null : PairGetter(cursor);
        while (cursor.MoveNext())
        {
            options.Cancellation.ThrowIfCancellationRequested();
            if (set is not null) pair!(set);
            yield return pictures.Take();
        }
    }

    /// <summary>Captions and groups of all rows, and something for each picture.</summary>
    void Pass(IDataView data, PairSet set, Action<ImageColumn> each)
    {
        using DataViewRowCursor cursor = data.GetRowCursor(Columns(data));
        using var pictures = new ImageColumn(cursor, options.Image, options.ImageFolder);
        Action<PairSet> pair = PairGetter(cursor);
        while (cursor.MoveNext())
        {
            options.Cancellation.ThrowIfCancellationRequested();
            pair(set);
            each(pictures);
        }
    }

    DataViewSchema.Column[] Columns(IDataView data)
    {
        (DataViewSchema.Column image, DataViewSchema.Column text) = (data.Schema[options.Image], data.Schema[options.Text]);
        return options.Group is { } group ? [image, text, data.Schema[group]] : [image, text];
    }

    Action<PairSet> PairGetter(DataViewRowCursor cursor)
    {
        Func<string[]> captions = TextsGetter(cursor, options.Text);
        Func<string>? group = options.Group is { } name ? GroupGetter(cursor, name) : null;
        return set =>
        {
            string[] texts = captions();
            if (texts.Length == 0) throw new InvalidDataException($"row {cursor.Position}, column '{options.Text}': the row has no caption.");
            string own = group is null ? string.Join('\u001f', texts) : group();
            if (own.Length == 0) throw new InvalidDataException($"row {cursor.Position}, column '{options.Group}': the row has no group.");
            set.Add(texts, own);
        };
    }

    /// <summary>The texts of a column of texts or of vectors of them, but for empty ones.</summary>
    public static Func<string[]> TextsGetter(DataViewRow row, string name)
    {
        DataViewSchema.Column column = row.Schema[name];
        if (column.Type is VectorDataViewType)
        {
            ValueGetter<VBuffer<ReadOnlyMemory<char>>> vector = row.GetGetter<VBuffer<ReadOnlyMemory<char>>>(column);
            VBuffer<ReadOnlyMemory<char>> values = default;
            return () =>
            {
                vector(ref values);
                return [.. values.DenseValues().Where(v => !v.IsEmpty).Select(v => v.ToString())];
            };
        }
        ValueGetter<ReadOnlyMemory<char>> single = row.GetGetter<ReadOnlyMemory<char>>(column);
        ReadOnlyMemory<char> value = default;
        return () =>
        {
            single(ref value);
            return value.IsEmpty ? [] : [value.ToString()];
        };
    }

    /// <summary>The values of a column of texts or keys; empty where one is missing.</summary>
    public static Func<string> GroupGetter(DataViewRow row, string name)
    {
        DataViewSchema.Column column = row.Schema[name];
        if (column.Type is KeyDataViewType)
        {
            ValueGetter<uint> key = row.GetGetter<uint>(column);
            uint value = 0;
            return () =>
            {
                key(ref value);
                return value == 0 ? "" : value.ToString(CultureInfo.InvariantCulture); // 0 is a missing key
            };
        }
        ValueGetter<ReadOnlyMemory<char>> text = row.GetGetter<ReadOnlyMemory<char>>(column);
        ReadOnlyMemory<char> memory = default;
        return () =>
        {
            text(ref memory);
            return memory.ToString();
        };
    }
}
