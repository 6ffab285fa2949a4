using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Transforms;

/// <summary>Media files of a batch: paths as text, or the bytes of files.</summary>
/// <param name="rows">The most rows.</param>
sealed class FilePart(int rows)
{
    readonly ReadOnlyMemory<char>[] _paths = new ReadOnlyMemory<char>[rows];
    readonly VBuffer<byte>[] _contents = new VBuffer<byte>[rows];

    /// <summary>Binds to a row's column of paths or bytes: the result copies the value into a slot.</summary>
    public static Action<FilePart, int> Reader(DataViewRow input, DataViewSchema.Column column)
    {
        if (column.Type is TextDataViewType)
        {
            ValueGetter<ReadOnlyMemory<char>> path = input.GetGetter<ReadOnlyMemory<char>>(column);
            return (part, slot) => path(ref part._paths[slot]);
        }
        ValueGetter<VBuffer<byte>> content = input.GetGetter<VBuffer<byte>>(column);
        return (part, slot) => content(ref part._contents[slot]);
    }

    /// <summary>True where the slot has neither path nor bytes.</summary>
    public bool IsEmpty(int slot) => _paths[slot].IsEmpty && _contents[slot].Length == 0;

    /// <summary>The path; null where the slot has none.</summary>
    public string? Path(int slot, string? folder) => _paths[slot].IsEmpty ? null
        : folder is null ? _paths[slot].ToString() : System.IO.Path.Combine(folder, _paths[slot].ToString());

    /// <summary>The bytes of the file.</summary>
    /// <exception cref="InvalidDataException">The slot has neither path nor bytes.</exception>
    public ReadOnlySpan<byte> Content(int slot) => _contents[slot] switch
    {
        { Length: 0 } => throw Missing(),
        { IsDense: true } dense => dense.GetValues(),
        var sparse => (byte[])[.. sparse.DenseValues()],
    };

    public static InvalidDataException Missing() => new("there is none: the column is empty in this row.");

    /// <summary>What is wrong with a row's item.</summary>
    /// <param name="row">The row.</param>
    /// <param name="column">Its column.</param>
    /// <param name="item">What it should be, with its article.</param>
    /// <param name="path">Its file; null for none.</param>
    /// <param name="reason">What happened.</param>
    public static InvalidDataException Unreadable(long row, string column, string item, string? path, Exception reason) => new(
        $"row {row}, column '{column}': {item}{(path is null ? "" : $" '{path}'")} cannot be read: {reason.Message}", reason);
}
