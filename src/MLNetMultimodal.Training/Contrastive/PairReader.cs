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
        Func<string[]> captions = CaptionGetter(cursor);
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
        DataViewSchema.Column[] columns = [data.Schema[options.Image], data.Schema[options.Text], .. options.Group is { } g ? [data.Schema[g]] : Array.Empty<DataViewSchema.Column>()];
        using DataViewRowCursor cursor = data.GetRowCursor(columns);
        using var pictures = new ImageColumn(cursor, options.Image, options.ImageFolder);
        Func<string[]> captions = CaptionGetter(cursor);
        Func<string>? group = options.Group is { } name ? GroupGetter(cursor, name) : null;
        var set = new PairSet();
        while (cursor.MoveNext())
        {
            options.Cancellation.ThrowIfCancellationRequested();
            string[] texts = captions();
            if (texts.Length == 0) throw new InvalidDataException($"row {cursor.Position}, column '{options.Text}': the row has no caption.");
            string own = group is null ? string.Join('\u001f', texts) : group();
            if (own.Length == 0) throw new InvalidDataException($"row {cursor.Position}, column '{options.Group}': the row has no group.");
            set.Add(images.ResizeAndCrop(pictures.Read()), texts, own);
        }
        return set;
    }

    Func<string[]> CaptionGetter(DataViewRow row)
    {
        DataViewSchema.Column column = row.Schema[options.Text];
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

    static Func<string> GroupGetter(DataViewRow row, string name)
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
