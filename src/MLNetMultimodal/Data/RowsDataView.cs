using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Batching;

namespace MLNetMultimodal.Data;

/// <summary>A column of <see cref="RowsDataView"/>.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Its type.</param>
/// <param name="Getter">Makes a getter, given the number of the row that the cursor stands on.</param>
/// <param name="Annotations">What stands beside it; null for nothing.</param>
sealed record RowsColumn(string Name, DataViewType Type, Func<Func<int>, Delegate> Getter,
    DataViewSchema.Annotations? Annotations = null);

/// <summary>A view of numbered rows whose values are made when they are asked for. It can be shuffled, and read by several
/// cursors at once.</summary>
sealed class RowsDataView : IDataView
{
    readonly int _rows;
    readonly IReadOnlyList<RowsColumn> _columns;

    public RowsDataView(int rows, IReadOnlyList<RowsColumn> columns)
    {
        (_rows, _columns) = (rows, columns);
        var builder = new DataViewSchema.Builder();
        foreach (RowsColumn column in columns) builder.AddColumn(column.Name, column.Type, column.Annotations);
        Schema = builder.ToSchema();
    }

    public DataViewSchema Schema { get; }

    public bool CanShuffle => true;

    public long? GetRowCount() => _rows;

    public DataViewRowCursor GetRowCursor(IEnumerable<DataViewSchema.Column> columnsNeeded, Random? rand = null) =>
        new Cursor(this, columnsNeeded, rand);

    public DataViewRowCursor[] GetRowCursorSet(IEnumerable<DataViewSchema.Column> columnsNeeded, int n, Random? rand = null) =>
        [GetRowCursor(columnsNeeded, rand)];

    /// <summary>A column of texts.</summary>
    public static RowsColumn Text(string name, Func<int, string> value) =>
        new(name, TextDataViewType.Instance, row =>
            (ValueGetter<ReadOnlyMemory<char>>)((ref ReadOnlyMemory<char> text) => text = value(row()).AsMemory()));

    /// <summary>A key column.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="keys">The values, in their order.</param>
    /// <param name="value">The index into <paramref name="keys"/> of a row.</param>
    public static RowsColumn Key(string name, IReadOnlyList<string> keys, Func<int, int> value)
    {
        var annotations = new DataViewSchema.Annotations.Builder();
        annotations.Add(Transforms.Columns.KeyValues, Transforms.Columns.Names(keys.Count), Transforms.Columns.Constant(keys));
        return new(name, new KeyDataViewType(typeof(uint), Math.Max(1, keys.Count)), row =>
            (ValueGetter<uint>)((ref uint key) => key = (uint)value(row()) + 1),
            annotations.ToAnnotations());
    }

    sealed class Cursor : DataViewRowCursor
    {
        readonly RowsDataView _view;
        readonly ActiveColumns _active;
        readonly int[]? _order;
        int _position = -1;

        public Cursor(RowsDataView view, IEnumerable<DataViewSchema.Column> wanted, Random? rand)
        {
            (_view, _active) = (view, new(view.Schema.Count, 0, wanted));
            if (rand is null) return;
            _order = [.. Enumerable.Range(0, view._rows)];
            rand.Shuffle(_order);
        }

        public override DataViewSchema Schema => _view.Schema;

        public override long Position => _position;

        public override long Batch => 0;

        public override bool IsColumnActive(DataViewSchema.Column column) => _active[column];

        public override bool MoveNext()
        {
            if (_position == -2) return false;
            _position = _position + 1 < _view._rows ? _position + 1 : -2;
            return _position >= 0;
        }

        public override ValueGetter<TValue> GetGetter<TValue>(DataViewSchema.Column column)
        {
            _active.Check(column);
            return ActiveColumns.Cast<TValue>(_view._columns[column.Index].Getter(Row), Schema[column.Index]);
        }

        public override ValueGetter<DataViewRowId> GetIdGetter() => (ref DataViewRowId id) => id = new((ulong)Row(), 0);

        int Row() =>
            _position < 0 ? throw new InvalidOperationException("the cursor stands on no row; call MoveNext first, and only while it returns true.")
            : _order?[_position] ?? _position;
    }
}
