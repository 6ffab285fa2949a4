using System.Buffers.Binary;
using System.Numerics.Tensors;
using System.Security.Cryptography;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Metrics;

/// <summary>A row of a probe.</summary>
/// <param name="Id">Names the row, whatever order the view is read in.</param>
/// <param name="Label">Index of its class.</param>
/// <param name="Features">[D]; null where they are missing.</param>
sealed record LabelledRow(DataViewRowId Id, int Label, float[]? Features);

/// <summary>Features and classes of a view, in memory.</summary>
/// <param name="Rows">Rows with a label, and with features where they are for training.</param>
/// <param name="Classes">The classes: those of the rows with features, or those that were known before.</param>
/// <param name="Width">D.</param>
/// <param name="Missing">Rows with a label whose features are NaN or infinite.</param>
/// <param name="Unlabelled">Rows without a label.</param>
/// <param name="Model">The model that made the features; null where the column does not say.</param>
sealed record LabelledFeatures(
    IReadOnlyList<LabelledRow> Rows, IReadOnlyList<string> Classes, int Width, long Missing, long Unlabelled, string? Model)
{
    /// <param name="data">The view; read once.</param>
    /// <param name="options">Columns.</param>
    /// <param name="known">The classes there may be, for test data: then rows without features are kept. Null for training: those
    /// of the rows, in the order of the key values or else in ordinal order.</param>
    public static LabelledFeatures Read(IDataView data, LinearProbeOptions options, IReadOnlyList<string>? known)
    {
        DataViewSchema.Column label = Columns.Find(data.Schema, options.Label),
            features = ColumnReader.Vector(data.Schema, options.Features);
        var rows = new List<(DataViewRowId Id, string Label, float[]? Features)>();
        long missing = 0, unlabelled = 0;
        using DataViewRowCursor cursor = data.GetRowCursor([label, features]);
        Func<string?> labelOf = ColumnReader.Text(cursor, label);
        ValueGetter<VBuffer<float>> featuresOf = cursor.GetGetter<VBuffer<float>>(features);
        ValueGetter<DataViewRowId> idOf = cursor.GetIdGetter();
        VBuffer<float> buffer = default;
        DataViewRowId id = default;
        while (cursor.MoveNext())
        {
            if (labelOf() is not { } name)
            {
                unlabelled++;
                continue;
            }
            if (known is not null && !known.Contains(name, StringComparer.Ordinal))
                throw new InvalidDataException($"row {cursor.Position} of the test data: the label '{name}' does not occur in "
                    + $"training, whose classes are {string.Join(", ", known)}.");
            featuresOf(ref buffer);
            float[] values = [.. buffer.DenseValues()];
            bool isThere = Array.TrueForAll(values, float.IsFinite);
            if (!isThere) missing++;
            if (!isThere && known is null) continue;
            if (options.UnitLength && TensorPrimitives.Norm<float>(values) is > 0 and var length)
                TensorPrimitives.Divide(values, length, values);
            idOf(ref id);
            rows.Add((id, name, isThere ? values : null));
        }
        IReadOnlyList<string> classes = known ?? Order(label, [.. rows.Select(r => r.Label)]);
        var index = classes.Select((name, i) => (name, i)).ToDictionary(c => c.name, c => c.i, StringComparer.Ordinal);
        return new([.. rows.Select(r => new LabelledRow(r.Id, index[r.Label], r.Features))], classes,
            ((VectorDataViewType)features.Type).Size, missing, unlabelled,
            ColumnReader.Annotation(features, EmbedComputation.ModelAnnotation));
    }

    /// <summary>The rows of a run, in an order that the seed says.</summary>
    /// <param name="shots">The most of each class; null for all.</param>
    /// <param name="seed">Its seed.</param>
    /// <exception cref="ArgumentException">A class has fewer rows.</exception>
    public LabelledRow[] Draw(int? shots, int seed)
    {
        LabelledRow[] mixed = [.. Rows.OrderBy(r => Place(r.Id, seed)).ThenBy(r => r.Id.High).ThenBy(r => r.Id.Low)];
        if (shots is not { } k) return mixed;
        int[] counts = [.. Classes.Select((_, i) => mixed.Count(r => r.Label == i))];
        int scarce = Array.FindIndex(counts, n => n < k);
        if (scarce >= 0)
            throw new ArgumentException($"the class '{Classes[scarce]}' has {counts[scarce]} rows with features in training, "
                + $"but ShotsPerClass is {k}; it may be at most {counts.Min()}.");
        return TakePerClass(mixed, (_, _) => k).Taken;
    }

    /// <summary>The first rows of each class, and the others.</summary>
    /// <param name="rows">The rows.</param>
    /// <param name="count">How many of a class, given the class and its number of rows.</param>
    public static (LabelledRow[] Taken, LabelledRow[] Left) TakePerClass(LabelledRow[] rows, Func<int, int, int> count)
    {
        Dictionary<int, int> open = rows.CountBy(r => r.Label).ToDictionary(c => c.Key, c => count(c.Key, c.Value));
        ILookup<bool, LabelledRow> parts = rows.ToLookup(r => open[r.Label]-- > 0);
        return ([.. parts[true]], [.. parts[false]]);
    }

    static IReadOnlyList<string> Order(DataViewSchema.Column label, HashSet<string> names) =>
        ColumnReader.Names(label, Columns.KeyValues) is { } keys
            ? [.. keys.Where(names.Contains)] : [.. names.Order(StringComparer.Ordinal)];

    /// <summary>Where a seed puts a row: the same place in every order of reading.</summary>
    static ulong Place(DataViewRowId id, int seed)
    {
        Span<byte> bytes = stackalloc byte[20], hash = stackalloc byte[SHA256.HashSizeInBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, id.Low);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], id.High);
        BinaryPrimitives.WriteInt32LittleEndian(bytes[16..], seed);
        SHA256.HashData(bytes, hash);
        return BinaryPrimitives.ReadUInt64LittleEndian(hash);
    }
}
