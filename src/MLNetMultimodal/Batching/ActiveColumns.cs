using Microsoft.ML;

namespace MLNetMultimodal.Batching;

/// <summary>Which columns of a computation's output schema somebody wants: the input's columns stand first, at their old indices,
/// then the outputs.</summary>
sealed class ActiveColumns
{
    readonly bool[] _active;
    readonly int _inputs;

    public ActiveColumns(int inputs, int outputs, IEnumerable<DataViewSchema.Column> wanted)
    {
        _inputs = inputs;
        _active = new bool[inputs + outputs];
        foreach (DataViewSchema.Column column in wanted) _active[column.Index] = true;
    }

    public bool this[DataViewSchema.Column column] => _active[column.Index];

    /// <summary>True where at least one output is wanted.</summary>
    public bool Computes => _active.AsSpan(_inputs).Contains(true);

    public bool Input(int index) => _active[index];

    public bool Output(int index) => _active[_inputs + index];

    /// <summary>The columns of the source that these need.</summary>
    public IEnumerable<DataViewSchema.Column> Dependencies<TBatch>(BatchComputation<TBatch> computation, DataViewSchema input)
        where TBatch : RowBatch
    {
        HashSet<int> read = Computes ? [.. computation.Inputs(input, Output).Select(c => c.Index)] : [];
        return input.Where(c => Input(c.Index) || read.Contains(c.Index));
    }

    /// <exception cref="ArgumentException">The column is not active.</exception>
    public void Check(DataViewSchema.Column column)
    {
        if (!_active[column.Index])
            throw new ArgumentException($"column '{column.Name}' is not active in this cursor; "
                + "ask for it when the cursor is made.", nameof(column));
    }

    /// <exception cref="InvalidOperationException">The column has another type.</exception>
    public static ValueGetter<T> Cast<T>(Delegate getter, DataViewSchema.Column column) => getter as ValueGetter<T>
        ?? throw new InvalidOperationException($"column '{column.Name}' is {column.Type} ({column.Type.RawType.Name}), "
            + $"but was asked for as {typeof(T).Name}.");
}
