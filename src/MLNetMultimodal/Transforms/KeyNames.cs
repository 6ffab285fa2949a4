using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Transforms;

/// <summary>The values that a key column stands for, as texts, and the type that they have there.</summary>
/// <param name="Type">Name of the item type, for example <c>Text</c> or <c>Int32</c>; null where the keys stand for nothing.</param>
/// <param name="Values">One for each key.</param>
sealed record KeyNames(string? Type, IReadOnlyList<string> Values)
{
    static readonly Dictionary<string, (PrimitiveDataViewType Item, Func<DataViewSchema.Column, string[]> Read, Func<IReadOnlyList<string>, Delegate> Get)> Types = new()
    {
        ["Text"] = (TextDataViewType.Instance, c => Read<ReadOnlyMemory<char>>(c, v => v.ToString()), Columns.Constant),
        ["Single"] = Number<float>(NumberDataViewType.Single),
        ["Double"] = Number<double>(NumberDataViewType.Double),
        ["Int32"] = Number<int>(NumberDataViewType.Int32),
        ["UInt32"] = Number<uint>(NumberDataViewType.UInt32),
        ["Int64"] = Number<long>(NumberDataViewType.Int64),
        ["UInt64"] = Number<ulong>(NumberDataViewType.UInt64),
        ["Boolean"] = Number<bool>(BooleanDataViewType.Instance),
    };

    /// <summary>Of a key column; keys that stand for nothing are called by their number, from 0.</summary>
    /// <exception cref="NotSupportedException">They stand for values of a type that cannot be kept.</exception>
    public static KeyNames Of(DataViewSchema.Column column)
    {
        int count = (int)((KeyDataViewType)column.Type).Count;
        if (column.Annotations.Schema.GetColumnOrNull(Columns.KeyValues) is not { Type: VectorDataViewType vector })
            return new(null, [.. Enumerable.Range(0, count).Select(i => i.ToString(CultureInfo.InvariantCulture))]);
        string name = Types.FirstOrDefault(t => t.Value.Item == vector.ItemType).Key ?? throw new NotSupportedException(
            $"column '{column.Name}' has key values of {vector.ItemType}; {string.Join(", ", Types.Keys)} are supported.");
        return new(name, Types[name].Read(column));
    }

    /// <summary>Puts the values beside a column, as they were; nothing where the keys stand for nothing.</summary>
    public void AddTo(DataViewSchema.Annotations.Builder builder, string annotation)
    {
        if (Type is null) return;
        if (!Types.TryGetValue(Type, out var known)) throw new InvalidDataException($"the label's type '{Type}' in the model is none that is known.");
        builder.Add(annotation, new VectorDataViewType(known.Item, Values.Count), known.Get(Values));
    }

    static (PrimitiveDataViewType, Func<DataViewSchema.Column, string[]>, Func<IReadOnlyList<string>, Delegate>) Number<T>(
        PrimitiveDataViewType type) where T : IConvertible
    {
        return (type, c => Read<T>(c, v => v.ToString(CultureInfo.InvariantCulture)), Get);

        static Delegate Get(IReadOnlyList<string> values)
        {
            T[] numbers = [.. values.Select(v => (T)Convert.ChangeType(v, typeof(T), CultureInfo.InvariantCulture))];
            return (ValueGetter<VBuffer<T>>)((ref VBuffer<T> value) => Columns.Fill<T>(ref value, numbers));
        }
    }

    static string[] Read<T>(DataViewSchema.Column column, Func<T, string> text)
    {
        VBuffer<T> values = default;
        column.Annotations.GetValue(Columns.KeyValues, ref values);
        return [.. values.DenseValues().Select(text)];
    }
}
