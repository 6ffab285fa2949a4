using System.Runtime.ExceptionServices;
using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Batching;

/// <summary>
/// Serves rows one at a time, in order, while whole batches are read and computed ahead on worker threads. The first value that
/// is asked for starts the work:
/// a pass that skips rows, or asks only for columns of the source, computes nothing. Memory is bounded by the batches in flight,
/// which are used again.
/// </summary>
sealed class BatchingCursor<TBatch> : DataViewRowCursor where TBatch : RowBatch
{
    readonly BatchComputation<TBatch> _computation;
    readonly DataViewRowCursor _source;
    readonly ActiveColumns _active;
    readonly PassedColumn?[] _passed;
    readonly Action<TBatch, int> _read = (_, _) => { };
    readonly ValueGetter<DataViewRowId>? _id;
    readonly Stack<Flight<TBatch>> _free = new();
    readonly Queue<Flight<TBatch>> _ahead = new();
    readonly BatchWorkers<TBatch> _workers;
    Flight<TBatch>? _current;
    int _slot, _served, _rented;
    long _position = -1, _rowsRead, _failures;
    volatile bool _sourceEnded;
    bool _done, _disposed;

    public BatchingCursor(BatchComputation<TBatch> computation, DataViewRowCursor source, DataViewSchema schema,
        ActiveColumns active)
    {
        (_computation, _source, Schema, _active) = (computation, source, schema, active);
        _passed = new PassedColumn?[source.Schema.Count];
        _workers = new(computation, Read);
        if (!active.Computes) return;
        _id = source.GetIdGetter();
        _read = computation.Reader(source, active.Output);
        for (int i = 0; i < _passed.Length; i++)
            if (active.Input(i)) _passed[i] = PassedColumn.Create(source, source.Schema[i]);
    }

    public override DataViewSchema Schema { get; }

    public override long Position => _active.Computes ? _position : _source.Position;

    public override long Batch => !_active.Computes ? _source.Batch : _position < 0 ? 0 : _current!.Batches[_slot];

    public override bool IsColumnActive(DataViewSchema.Column column) => _active[column];

    public override bool MoveNext()
    {
        if (!_active.Computes) return _source.MoveNext();
        if (_done) return false;
        if (_current is null || ++_slot >= _current.Count)
        {
            Land();
            _current = Next();
            _slot = 0;
        }
        if (_current.Count == 0)
        {
            (_done, _position) = (true, -1);
            Land();
            return false;
        }
        _position = _current.Work.FirstRow + _slot;
        return true;
    }

    public override ValueGetter<DataViewRowId> GetIdGetter() =>
        _active.Computes ? (ref DataViewRowId value) => value = Row().Ids[_slot] : _source.GetIdGetter();

    public override ValueGetter<TValue> GetGetter<TValue>(DataViewSchema.Column column)
    {
        _active.Check(column);
        int index = column.Index;
        if (index >= _passed.Length)
            return ActiveColumns.Cast<TValue>(_computation.Getter(index - _passed.Length, () => (Computed().Work, _slot)),
                Schema[index]);
        return _passed[index] is { } passed
            ? ActiveColumns.Cast<TValue>(passed.Getter(() => (Row().Columns[index]!, _slot)), Schema[index])
            : _source.GetGetter<TValue>(_source.Schema[index]);
    }

    Flight<TBatch> Row() => _position >= 0 ? _current!
        : throw new InvalidOperationException("the cursor stands on no row; call MoveNext first, and only while it returns true.");

    /// <summary>The next batch: one that was read ahead, or read now.</summary>
    Flight<TBatch> Next()
    {
        if (_ahead.TryDequeue(out Flight<TBatch>? next)) _workers.Await(next, FlightStage.Preparing);
        else
        {
            Read(next = Rent());
            next.Stage = FlightStage.Read;
        }
        if (next.Count == 0) next.ReadError?.Throw();
        _served++;
        return next;
    }

    /// <summary>Leaves the current batch: its room is free for another. An error of the source that came after its rows is thrown
    /// now.</summary>
    void Land()
    {
        if (_current is not { } landed) return;
        _current = null;
        _position = -1;
        if (landed.Stage == FlightStage.Read) _computation.Abandon(landed.Work, landed.Count);
        else
        {
            _workers.Await(landed, FlightStage.Done);
            if (landed.Error is null) _failures += _computation.Failures(landed.Work, landed.Count);
        }
        _free.Push(landed);
        if (landed.Count > 0) landed.ReadError?.Throw();
    }

    /// <summary>The current batch after its computation; the batches after it are set off too.</summary>
    Flight<TBatch> Computed()
    {
        Flight<TBatch> current = Row();
        if (current.Stage != FlightStage.Done)
        {
            if (current.Stage == FlightStage.Read) _workers.Send(current);
            FlyAhead();
            _workers.Await(current, FlightStage.Done);
        }
        current.Error?.Throw();
        return current;
    }

    void FlyAhead()
    {
        int ahead = Math.Min(_served, BatchWorkers<TBatch>.Ahead); // who takes three rows does not pay for ten batches
        while (_ahead.Count < ahead && !_sourceEnded)
        {
            Flight<TBatch> flight = Rent();
            _ahead.Enqueue(flight);
            _workers.Send(flight);
        }
    }

    Flight<TBatch> Rent()
    {
        int room = _computation.MostRows(_active.Output);
        if (!_free.TryPop(out Flight<TBatch>? flight)) flight = new(_computation.NewBatch(room, _active.Output), _passed, room);
        // The first batches are small, so that the first rows come soon; their sizes depend on nothing but their number.
        flight.Begin((int)Math.Min(room, (long)_computation.BatchSize << Math.Min(_rented++, 30)));
        return flight;
    }

    /// <summary>Reads rows from the source; one thread at a time. What the source throws is kept and thrown to the consumer after
    /// the rows before it.</summary>
    void Read(Flight<TBatch> flight)
    {
        flight.Work.FirstRow = _rowsRead;
        try
        {
            while (flight.Count < flight.Wanted && !_sourceEnded && !_workers.Stopped)
            {
                if (!_source.MoveNext())
                {
                    _sourceEnded = true;
                    break;
                }
                int slot = flight.Count;
                foreach (ColumnBuffer? column in flight.Columns) column?.Read(slot);
                _read(flight.Work, slot);
                flight.Batches[slot] = _source.Batch;
                _id!(ref flight.Ids[slot]);
                flight.Count++;
            }
        }
        catch (Exception e)
        {
            _sourceEnded = true;
            flight.ReadError = ExceptionDispatchInfo.Capture(e);
        }
        _rowsRead += flight.Count;
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing && !_disposed)
        {
            _disposed = true;
            _workers.Stop();
            if (_current is { Stage: FlightStage.Done, Error: null } last) _failures += _computation.Failures(last.Work, last.Count);
            _source.Dispose();
            if (_failures > 0) _computation.Report(_failures);
        }
        base.Dispose(disposing);
    }
}
