using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Batching;

/// <summary>The same computation for one row at a time, as PredictionEngine asks for it: a batch of one.</summary>
sealed class SingleRowMapper<TBatch>(BatchComputation<TBatch> computation, DataViewSchema input) : IRowToRowMapper
    where TBatch : RowBatch
{
    public DataViewSchema InputSchema => input;

    public DataViewSchema OutputSchema { get; } = computation.OutputSchema(input);

    public IEnumerable<DataViewSchema.Column> GetDependencies(IEnumerable<DataViewSchema.Column> dependingColumns) =>
        Active(dependingColumns).Dependencies(computation, input);

    public DataViewRow GetRow(DataViewRow row, IEnumerable<DataViewSchema.Column> activeColumns)
    {
        if (row.Schema != input)
            throw new ArgumentException("the row has another schema than the mapper was made for.", nameof(row));
        return new Row(computation, row, OutputSchema, Active(activeColumns));
    }

    ActiveColumns Active(IEnumerable<DataViewSchema.Column> wanted) => new(input.Count, computation.Outputs.Count, wanted);

    sealed class Row : DataViewRow
    {
        readonly BatchComputation<TBatch> _computation;
        readonly DataViewRow _source;
        readonly ActiveColumns _active;
        readonly TBatch? _batch;
        readonly Action<TBatch, int>? _read;
        long _computed = -1, _failures;

        public Row(BatchComputation<TBatch> computation, DataViewRow source, DataViewSchema schema, ActiveColumns active)
        {
            (_computation, _source, Schema, _active) = (computation, source, schema, active);
            if (!active.Computes) return;
            _batch = computation.NewBatch(1, active.Output);
            _read = computation.Reader(source, active.Output);
        }

        public override DataViewSchema Schema { get; }

        public override long Position => _source.Position;

        public override long Batch => _source.Batch;

        public override bool IsColumnActive(DataViewSchema.Column column) => _active[column];

        public override ValueGetter<DataViewRowId> GetIdGetter() => _source.GetIdGetter();

        public override ValueGetter<TValue> GetGetter<TValue>(DataViewSchema.Column column)
        {
            _active.Check(column);
            int index = column.Index;
            return index < _source.Schema.Count
                ? _source.GetGetter<TValue>(_source.Schema[index])
                : ActiveColumns.Cast<TValue>(_computation.Getter(index - _source.Schema.Count, Current), Schema[index]);
        }

        (TBatch Batch, int Slot) Current()
        {
            if (_computed >= 0 && _computed == _source.Position) return (_batch!, 0);
            _computed = -1;
            _batch!.FirstRow = Math.Max(0, _source.Position);
            _read!(_batch, 0);
            try
            {
                _computation.Prepare(_batch, 0);
                _computation.Run(_batch, 1);
            }
            catch
            {
                _computation.Abandon(_batch, 1);
                throw;
            }
            _failures += _computation.Failures(_batch, 1);
            _computed = _source.Position;
            return (_batch, 0);
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                _source.Dispose();
                if (_failures > 0) _computation.Report(_failures);
                _failures = 0;
            }
            base.Dispose(disposing);
        }
    }
}
