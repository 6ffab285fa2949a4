using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Batching;

/// <summary>The values of a source column for the rows of one batch.</summary>
abstract class ColumnBuffer
{
    /// <summary>Copies the source row's value. The source gets its earlier value back and may dispose it; nobody else does, since
    /// it may be shared.</summary>
    public abstract void Read(int slot);
}

/// <summary>A source column that passes through a batching cursor: one binding to the source, one buffer per batch.</summary>
abstract class PassedColumn
{
    public abstract ColumnBuffer NewBuffer(int rows);

    /// <summary>The getter of the cursor's column.</summary>
    /// <param name="current">The buffer and the slot that the cursor stands on.</param>
    public abstract Delegate Getter(Func<(ColumnBuffer Buffer, int Slot)> current);

    public static PassedColumn Create(DataViewRow source, DataViewSchema.Column column)
    {
        Type raw = column.Type.RawType;
        Type type = raw == typeof(MLImage) ? typeof(PassedImage)
            : raw.IsGenericType && raw.GetGenericTypeDefinition() == typeof(VBuffer<>)
                ? typeof(PassedVector<>).MakeGenericType(raw.GetGenericArguments())
            : typeof(PassedValue<>).MakeGenericType(raw);
        return (PassedColumn)Activator.CreateInstance(type, source, column)!;
    }
}

class PassedValue<T>(DataViewRow source, DataViewSchema.Column column) : PassedColumn
{
    readonly ValueGetter<T> _source = source.GetGetter<T>(column);

    public sealed override ColumnBuffer NewBuffer(int rows) => new Buffer(_source, new T[rows]);

    public sealed override Delegate Getter(Func<(ColumnBuffer Buffer, int Slot)> current)
    {
        ValueGetter<T> getter = (ref T value) =>
        {
            var (buffer, slot) = current();
            Copy(in ((Buffer)buffer).Values[slot], ref value);
        };
        return getter;
    }

    protected virtual void Copy(in T from, ref T to) => to = from;

    sealed class Buffer(ValueGetter<T> source, T[] values) : ColumnBuffer
    {
        public T[] Values => values;

        public override void Read(int slot) => source(ref values[slot]);
    }
}

sealed class PassedVector<T>(DataViewRow source, DataViewSchema.Column column) : PassedValue<VBuffer<T>>(source, column)
{
    protected override void Copy(in VBuffer<T> from, ref VBuffer<T> to) => from.CopyTo(ref to);
}

/// <summary>Who asks for an image may dispose it, so each gets a copy.</summary>
sealed class PassedImage(DataViewRow source, DataViewSchema.Column column) : PassedValue<MLImage>(source, column)
{
    protected override void Copy(in MLImage from, ref MLImage to)
    {
        to?.Dispose();
        to = from is null ? null! : MLImage.CreateFromPixels(from.Width, from.Height, from.PixelFormat, from.Pixels);
    }
}
