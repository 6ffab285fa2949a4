using System.Globalization;
using Microsoft.ML;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Training;

/// <summary>Rows as a fusion model sees them, with their labels, in memory.</summary>
/// <param name="Rows">What is seen of each row.</param>
/// <param name="Labels">The class from 0, 1 for yes and 0 for no, or the number.</param>
sealed record FusionSet(IReadOnlyList<FusionRow> Rows, IReadOnlyList<float> Labels)
{
    public int Count => Rows.Count;

    /// <summary>Some of the rows.</summary>
    public FusionSet Of(IEnumerable<int> rows)
    {
        int[] chosen = [.. rows];
        return new([.. chosen.Select(r => Rows[r])], [.. chosen.Select(r => Labels[r])]);
    }
}

/// <summary>Reads rows and labels out of a data view.</summary>
sealed class FusionReader(CrossModalFusionOptions options, FusionTask task)
{
    const int Chunk = 256; // rows that are held unprepared

    readonly FusionColumns _columns = options.Predict(null).Columns;

    public FusionColumns Columns => _columns;

    /// <summary>Rows of the last <see cref="Read"/> whose label was missing.</summary>
    public int Unlabelled { get; private set; }

    /// <summary>Items of the last <see cref="Read"/> that could not be read and count as missing.</summary>
    public int Failures { get; private set; }

    /// <summary>All texts, without the empty ones.</summary>
    public IEnumerable<string> Texts(IDataView data)
    {
        using DataViewRowCursor cursor = data.GetRowCursor([data.Schema[options.Text!]]);
        ValueGetter<ReadOnlyMemory<char>> getter = cursor.GetGetter<ReadOnlyMemory<char>>(data.Schema[options.Text!]);
        ReadOnlyMemory<char> text = default;
        while (cursor.MoveNext())
        {
            options.Cancellation.ThrowIfCancellationRequested();
            getter(ref text);
            if (!text.IsEmpty) yield return text.ToString();
        }
    }

    /// <summary>All rows that have a label, prepared on all cores.</summary>
    /// <exception cref="InvalidDataException">An item cannot be read and the options say to throw; the message names the
    /// row.</exception>
    /// <exception cref="OperationCanceledException">Cancelled: part of the data is no data to train on.</exception>
    public FusionSet Read(IDataView data, FusionPreprocessing preprocessing)
    {
        (Unlabelled, Failures) = (0, 0);
        FusionInput input = _columns.With(preprocessing, options.OnError);
        DataViewSchema.Column label = data.Schema[options.Label];
        using DataViewRowCursor cursor = data.GetRowCursor([.. input.Find(data.Schema), label]);
        Func<float> labelOf = LabelGetter(cursor, label);
        Action<FusionPart, int> read = input.Reader(cursor);
        var part = new FusionPart(Chunk);
        var positions = new long[Chunk];
        var rows = new List<FusionRow>();
        var labels = new List<float>();
        int count = 0;
        while (cursor.MoveNext())
        {
            options.Cancellation.ThrowIfCancellationRequested();
            float value = labelOf();
            if (float.IsNaN(value))
            {
                Unlabelled++;
                continue;
            }
            labels.Add(value);
            read(part, count);
            positions[count++] = cursor.Position;
            if (count == Chunk) Flush();
        }
        Flush();
        return new(rows, labels);

        void Flush()
        {
            Parallel.For(0, count, slot => input.Prepare(part, slot, positions[slot]));
            for (int slot = 0; slot < count; slot++)
            {
                rows.Add(part.Errors[slot] is { } error ? throw error : part.Rows[slot]);
                Failures += part.Failures[slot];
            }
            count = 0;
        }
    }

    /// <summary>NaN for a missing label.</summary>
    Func<float> LabelGetter(DataViewRowCursor cursor, DataViewSchema.Column label)
    {
        switch (task)
        {
            case FusionTask.Multiclass:
                ValueGetter<uint> key = cursor.GetGetter<uint>(label);
                uint k = 0;
                return () =>
                {
                    key(ref k);
                    return k == 0 ? float.NaN : k - 1;
                };
            case FusionTask.Binary:
                ValueGetter<bool> flag = cursor.GetGetter<bool>(label);
                bool yes = false;
                return () =>
                {
                    flag(ref yes);
                    return yes ? 1 : 0;
                };
            default:
                ValueGetter<float> number = cursor.GetGetter<float>(label);
                float value = 0;
                return () =>
                {
                    number(ref value);
                    return float.IsInfinity(value)
                        ? throw new InvalidDataException(string.Create(CultureInfo.InvariantCulture, $"row {cursor.Position}, column '{options.Label}': the label is {value}."))
                        : value;
                };
        }
    }
}
