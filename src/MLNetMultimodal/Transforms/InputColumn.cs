using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Transforms;

/// <summary>A column whose items are read row by row into a batch.</summary>
/// <param name="column">Its name.</param>
/// <typeparam name="TPart">The items of a batch.</typeparam>
abstract class InputColumn<TPart>(string column)
{
    public string Name => column;

    /// <exception cref="ArgumentException">The column does not hold such items.</exception>
    public abstract void Check(DataViewType itemType, bool isVector);

    /// <exception cref="ArgumentException">The column is missing or does not hold such items.</exception>
    public void Check(SchemaShape shape)
    {
        SchemaShape.Column found = Columns.Find(shape, column);
        Check(found.ItemType, Columns.IsVector(found));
    }

    /// <exception cref="ArgumentException">The column is missing or of the wrong type.</exception>
    public DataViewSchema.Column Find(DataViewSchema schema)
    {
        DataViewSchema.Column found = Columns.Find(schema, column);
        Check(Columns.ItemType(found), Columns.IsVector(found));
        Check(found);
        return found;
    }

    /// <summary>Checks what only a real column tells: sizes and what stands beside it.</summary>
    protected abstract void Check(DataViewSchema.Column found);

    public abstract TPart NewPart(int rows);

    /// <summary>Binds to a row of the source: the result copies the row's item into a slot.</summary>
    public abstract Action<TPart, int> Reader(DataViewRow input);

    /// <summary>What is wrong with the item of a row.</summary>
    public abstract InvalidDataException Unreadable(TPart part, int slot, long row, Exception reason);
}
