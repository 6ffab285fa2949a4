using Microsoft.ML;

namespace MLNetMultimodal.Batching;

/// <summary>A data view that adds columns which are computed in batches.</summary>
sealed class BatchingDataView<TBatch>(BatchComputation<TBatch> computation, IDataView source) : IDataView where TBatch : RowBatch
{
    public DataViewSchema Schema { get; } = computation.OutputSchema(source.Schema);

    public bool CanShuffle => source.CanShuffle;

    public long? GetRowCount() => source.GetRowCount();

    public DataViewRowCursor GetRowCursor(IEnumerable<DataViewSchema.Column> columnsNeeded, Random? rand = null)
    {
        ActiveColumns active = Active(columnsNeeded);
        return new BatchingCursor<TBatch>(computation,
            source.GetRowCursor(active.Dependencies(computation, source.Schema), Own(rand)), Schema, active);
    }

    public DataViewRowCursor[] GetRowCursorSet(IEnumerable<DataViewSchema.Column> columnsNeeded, int n, Random? rand = null)
    {
        ActiveColumns active = Active(columnsNeeded);
        DataViewRowCursor[] cursors = source.GetRowCursorSet(active.Dependencies(computation, source.Schema), n, Own(rand));
        return [.. cursors.Select(c => new BatchingCursor<TBatch>(computation, c, Schema, active))];
    }

    /// <summary>The source is read on other threads than the consumer's, which keeps drawing from its own generator.</summary>
    static Random? Own(Random? rand) => rand is null ? null : new Random(rand.Next());

    ActiveColumns Active(IEnumerable<DataViewSchema.Column> wanted) =>
        new(source.Schema.Count, computation.Outputs.Count, wanted);
}
