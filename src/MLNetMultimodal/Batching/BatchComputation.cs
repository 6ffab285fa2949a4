using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;

namespace MLNetMultimodal.Batching;

/// <summary>A column that a computation adds.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Its type.</param>
/// <param name="Annotations">What stands beside it; null for nothing.</param>
sealed record OutputColumn(string Name, DataViewType Type, DataViewSchema.Annotations? Annotations = null);

/// <summary>The rows that are computed together. A computation derives its inputs and results from it.</summary>
abstract class RowBatch
{
    /// <summary>Position of the first row in its pass.</summary>
    public long FirstRow { get; set; }
}

/// <summary>The columns that are computed, whatever a batch of rows holds.</summary>
abstract class BatchComputation
{
    /// <summary>B, rows that run through the engine together.</summary>
    public abstract int BatchSize { get; }

    /// <summary>The most rows that are read into one batch, at least <see cref="BatchSize"/>: more where the engine does better
    /// when it can choose which of them run together.</summary>
    public virtual int MostRows(Func<int, bool> isActive) => BatchSize;

    /// <summary>The columns that are added, in their order.</summary>
    public abstract IReadOnlyList<OutputColumn> Outputs { get; }

    /// <summary>The same after a given input, where something beside them depends on it.</summary>
    public virtual IEnumerable<OutputColumn> OutputsOn(DataViewSchema input) => Outputs;

    /// <summary>The columns that are read for the given outputs.</summary>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type.</exception>
    public abstract IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive);

    /// <summary>Called at the end of a pass in which values are missing.</summary>
    public virtual void Report(long failures) { }

    /// <summary>The input's columns and the outputs.</summary>
    public DataViewSchema OutputSchema(DataViewSchema input)
    {
        _ = Inputs(input, _ => true).Count();
        var builder = new DataViewSchema.Builder();
        builder.AddColumns(input);
        foreach (OutputColumn column in OutputsOn(input)) builder.AddColumn(column.Name, column.Type, column.Annotations);
        return builder.ToSchema();
    }

    /// <summary>The data with the outputs, computed as they are asked for.</summary>
    public abstract IDataView Over(IDataView source);

    /// <summary>The outputs for one row at a time.</summary>
    public abstract IRowToRowMapper Mapper(DataViewSchema input);

    protected static void Warn(IHost host, string transform, string text)
    {
        using IChannel channel = host.Start(transform);
        channel.Warning(MessageSensitivity.None, text);
    }
}

/// <summary>What is computed for a batch of rows. It holds no state of a pass: several cursors use one computation at
/// once.</summary>
/// <typeparam name="TBatch">Inputs and results of the rows of a batch, by slot.</typeparam>
abstract class BatchComputation<TBatch> : BatchComputation where TBatch : RowBatch
{
    /// <summary>Room for a batch. It is used again and again.</summary>
    /// <param name="rows">The most rows.</param>
    /// <param name="isActive">The outputs that will be asked for.</param>
    public abstract TBatch NewBatch(int rows, Func<int, bool> isActive);

    /// <summary>Binds to a row of the source: the result copies the row's inputs into a slot. Called on one thread at a
    /// time.</summary>
    public abstract Action<TBatch, int> Reader(DataViewRow input, Func<int, bool> isActive);

    /// <summary>Decodes and preprocesses one slot, on any thread, several slots at once. What is wrong with the row is kept in
    /// the batch, not thrown.</summary>
    public abstract void Prepare(TBatch batch, int slot);

    /// <summary>Computes the outputs of the first <paramref name="count"/> slots, on any thread.</summary>
    public abstract void Run(TBatch batch, int count);

    /// <summary>Told that the first <paramref name="count"/> slots were read but will not be computed, because nobody asks for
    /// them or because preparing or running them failed.</summary>
    public virtual void Abandon(TBatch batch, int count) { }

    /// <summary>The getter of an output.</summary>
    /// <param name="output">Index into <see cref="BatchComputation.Outputs"/>.</param>
    /// <param name="current">The batch, computed, and the slot that the cursor stands on.</param>
    public abstract Delegate Getter(int output, Func<(TBatch Batch, int Slot)> current);

    /// <summary>Rows among the first <paramref name="count"/> whose value is missing because it could not be computed.</summary>
    public virtual int Failures(TBatch batch, int count) => 0;

    public sealed override IDataView Over(IDataView source) => new BatchingDataView<TBatch>(this, source);

    public sealed override IRowToRowMapper Mapper(DataViewSchema input) => new SingleRowMapper<TBatch>(this, input);
}
