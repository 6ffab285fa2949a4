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
    /// <summary>One thread per batch keeps every core busy when the engine runs a batch on one thread; more than a few batches
    /// only cost memory.</summary>
    static readonly int MaxAhead = Math.Clamp(Environment.ProcessorCount, 2, 8);

    readonly BatchComputation<TBatch> _computation;
    readonly DataViewRowCursor _source;
    readonly ActiveColumns _active;
    readonly PassedColumn?[] _passed;
    readonly Action<TBatch, int> _read = (_, _) => { };
    readonly ValueGetter<DataViewRowId>? _id;
    readonly List<Flight> _all = [];
    readonly Stack<Flight> _free = new();
    readonly Queue<Flight> _ahead = new();
    readonly CancellationTokenSource _stop = new();
    Flight? _current;
    Task _lastReading = Task.CompletedTask;
    int _slot, _served;
    long _position = -1, _rowsRead, _failures;
    volatile bool _sourceEnded;
    bool _done, _disposed;

    public BatchingCursor(BatchComputation<TBatch> computation, DataViewRowCursor source, DataViewSchema schema,
        ActiveColumns active)
    {
        (_computation, _source, Schema, _active) = (computation, source, schema, active);
        _passed = new PassedColumn?[source.Schema.Count];
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

    Flight Row() => _position >= 0 ? _current!
        : throw new InvalidOperationException("the cursor stands on no row; call MoveNext first, and only while it returns true.");

    /// <summary>The next batch: one that was read ahead, or read now.</summary>
    Flight Next()
    {
        Flight next;
        if (_ahead.TryDequeue(out Flight? ready)) (next = ready).Reading!.GetAwaiter().GetResult();
        else Read(next = Rent());
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
        Wait(landed.Computing);
        if (landed.Computing is { IsCompletedSuccessfully: true }) _failures += _computation.Failures(landed.Work, landed.Count);
        _free.Push(landed);
        if (landed.Count > 0) landed.ReadError?.Throw();
    }

    /// <summary>The current batch after its computation; the batches after it are set off too.</summary>
    Flight Computed()
    {
        Flight current = Row();
        if (current.IsComputed) return current;
        bool inline = current.Computing is null;
        var done = new TaskCompletionSource();
        if (inline) current.Computing = done.Task;
        FlyAhead();
        if (inline)
        {
            try
            {
                Compute(current);
                done.SetResult();
            }
            catch (Exception e)
            {
                done.SetException(e);
            }
        }
        current.Computing!.GetAwaiter().GetResult();
        current.IsComputed = true;
        return current;
    }

    void FlyAhead()
    {
        int ahead = Math.Min(_served, MaxAhead); // who takes three rows does not pay for ten batches
        while (_ahead.Count < ahead && !_sourceEnded)
        {
            Flight flight = Rent();
            Task before = _lastReading;
            flight.Reading = _lastReading = Task.Run(async () =>
            {
                await before.ConfigureAwait(false);
                Read(flight);
            });
            _ahead.Enqueue(flight);
        }
        foreach (Flight flight in _ahead)
            flight.Computing ??= Task.Run(async () =>
            {
                await flight.Reading!.ConfigureAwait(false);
                Compute(flight);
            });
    }

    Flight Rent()
    {
        if (!_free.TryPop(out Flight? flight))
            _all.Add(flight = new(_computation.NewBatch(_computation.BatchSize, _active.Output), _passed,
                _computation.BatchSize));
        (flight.Reading, flight.Computing, flight.IsComputed) = (null, null, false);
        return flight;
    }

    /// <summary>Reads rows from the source; one thread at a time. What the source throws is kept and thrown to the consumer after
    /// the rows before it.</summary>
    void Read(Flight flight)
    {
        (flight.Count, flight.ReadError, flight.Work.FirstRow) = (0, null, _rowsRead);
        try
        {
            while (flight.Count < _computation.BatchSize && !_sourceEnded && !_stop.IsCancellationRequested)
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

    void Compute(Flight flight)
    {
        if (flight.Count == 0) return;
        Parallel.For(0, flight.Count, slot =>
        {
            if (!_stop.IsCancellationRequested) _computation.Prepare(flight.Work, slot);
        });
        if (!_stop.IsCancellationRequested) _computation.Run(flight.Work, flight.Count);
    }

    static void Wait(Task? task) => task?.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();

    protected override void Dispose(bool disposing)
    {
        if (disposing && !_disposed)
        {
            _disposed = true;
            _stop.Cancel();
            foreach (Flight flight in _all)
            {
                Wait(flight.Reading);
                Wait(flight.Computing);
            }
            if (_current is { IsComputed: true } last) _failures += _computation.Failures(last.Work, last.Count);
            _source.Dispose();
            _stop.Dispose();
            if (_failures > 0) _computation.Report(_failures);
        }
        base.Dispose(disposing);
    }

    /// <summary>A batch on its way: read, computed, served.</summary>
    sealed class Flight(TBatch work, PassedColumn?[] passed, int rows)
    {
        public TBatch Work => work;

        public ColumnBuffer?[] Columns { get; } = [.. passed.Select(p => p?.NewBuffer(rows))];

        public long[] Batches { get; } = new long[rows];

        public DataViewRowId[] Ids { get; } = new DataViewRowId[rows];

        public int Count { get; set; }

        public ExceptionDispatchInfo? ReadError { get; set; }

        public Task? Reading { get; set; }

        public Task? Computing { get; set; }

        public bool IsComputed { get; set; }
    }
}
