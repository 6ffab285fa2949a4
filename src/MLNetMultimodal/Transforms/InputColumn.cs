using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Transforms;

/// <summary>A column whose items are read row by row into a batch.</summary>
/// <typeparam name="TPart">The items of a batch.</typeparam>
abstract class InputColumn<TPart>
{
    public abstract string Name { get; }

    /// <exception cref="ArgumentException">The column does not hold such items.</exception>
    public abstract void Check(DataViewType itemType, bool isVector);

    /// <exception cref="ArgumentException">The column is missing or of the wrong type.</exception>
    public abstract DataViewSchema.Column Find(DataViewSchema schema);

    public abstract TPart NewPart(int rows);

    /// <summary>Binds to a row of the source: the result copies the row's item into a slot.</summary>
    public abstract Action<TPart, int> Reader(DataViewRow input);

    /// <summary>What is wrong with the item of a row.</summary>
    public abstract InvalidDataException Unreadable(TPart part, int slot, long row, Exception reason);
}
