using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Metrics;

/// <summary>Reads columns for metrics.</summary>
static class ColumnReader
{
    /// <exception cref="ArgumentException">The column is missing or is no vector of Single.</exception>
    public static DataViewSchema.Column Vector(DataViewSchema schema, string name)
    {
        DataViewSchema.Column column = Columns.Find(schema, name);
        return column.Type is VectorDataViewType { IsKnownSize: true } vector && vector.ItemType == NumberDataViewType.Single
            ? column
            : throw new ArgumentException($"column '{name}' must be a vector of Single of known size, but is {column.Type}.");
    }

    /// <summary>Reads a label, key or number as text; null where it is missing.</summary>
    /// <exception cref="ArgumentException">The column has another type.</exception>
    public static Func<string?> Text(DataViewRow row, DataViewSchema.Column column)
    {
        switch (column.Type)
        {
            case TextDataViewType:
                ValueGetter<ReadOnlyMemory<char>> text = row.GetGetter<ReadOnlyMemory<char>>(column);
                return () =>
                {
                    ReadOnlyMemory<char> value = default;
                    text(ref value);
                    return value.IsEmpty ? null : value.ToString();
                };
            case KeyDataViewType key when key.RawType == typeof(uint):
                string[]? names = Names(column, Columns.KeyValues);
                ValueGetter<uint> number = row.GetGetter<uint>(column);
                return () =>
                {
                    uint value = 0;
                    number(ref value);
                    return value == 0 ? null : names?[value - 1] ?? value.ToString(CultureInfo.InvariantCulture);
                };
            case NumberDataViewType when column.Type.RawType == typeof(int): return Number<int>(row, column);
            case NumberDataViewType when column.Type.RawType == typeof(long): return Number<long>(row, column);
            case NumberDataViewType when column.Type.RawType == typeof(uint): return Number<uint>(row, column);
            default: throw new ArgumentException($"column '{column.Name}' must be text, a key or a whole number, but is {column.Type}.");
        }
    }

    /// <summary>An annotation of texts of a column; null where there is none.</summary>
    public static string[]? Names(DataViewSchema.Column column, string kind)
    {
        if (column.Annotations.Schema.GetColumnOrNull(kind) is not { Type: VectorDataViewType { ItemType: TextDataViewType } }) return null;
        VBuffer<ReadOnlyMemory<char>> values = default;
        column.Annotations.GetValue(kind, ref values);
        return [.. values.DenseValues().Select(v => v.ToString())];
    }

    /// <summary>A text annotation of a column; null where there is none.</summary>
    public static string? Annotation(DataViewSchema.Column column, string kind)
    {
        if (column.Annotations.Schema.GetColumnOrNull(kind) is not { Type: TextDataViewType }) return null;
        ReadOnlyMemory<char> value = default;
        column.Annotations.GetValue(kind, ref value);
        return value.ToString();
    }

    static Func<string?> Number<T>(DataViewRow row, DataViewSchema.Column column) where T : IFormattable
    {
        ValueGetter<T> getter = row.GetGetter<T>(column);
        return () =>
        {
            T value = default!;
            getter(ref value);
            return value.ToString(null, CultureInfo.InvariantCulture);
        };
    }
}
