using System.Runtime.ExceptionServices;

namespace MLNetMultimodal.Batching;

/// <summary>
/// The threads that read, prepare and compute the batches of one pass: at most one per core, on the thread pool, each with the
/// next piece of work of the earliest batch that has some. So while one batch is in the engine the rows of the next are decoded,
/// no core waits for the slowest picture of a batch, and no more threads compete than there are cores.
/// </summary>
/// <param name="computation">What is computed.</param>
/// <param name="read">Reads the rows of a batch; called by one thread at a time, in the batches' order.</param>
sealed class BatchWorkers<TBatch>(BatchComputation<TBatch> computation, Action<Flight<TBatch>> read) : IThreadPoolWorkItem
    where TBatch : RowBatch
{
    /// <summary>Threads of a pass. Beyond 32, batches would take more memory than they are worth.</summary>
    static readonly int Most = Math.Min(Environment.ProcessorCount, 32);

    /// <summary>Batches that are set off ahead of the one that is served: one per thread, and two for what finishes out of
    /// order.</summary>
    public static readonly int Ahead = Most + 2;

    readonly object _lock = new();
    readonly List<Flight<TBatch>> _line = [];
    int _threads;
    bool _reads;
    volatile bool _stopped;

    /// <summary>True after <see cref="Stop"/>: who reads gives up.</summary>
    public bool Stopped => _stopped;

    /// <summary>Sets a batch off, after those that were set off before it.</summary>
    public void Send(Flight<TBatch> flight)
    {
        lock (_lock)
        {
            if (flight.Stage == FlightStage.Read) flight.Stage = FlightStage.Preparing;
            _line.Add(flight);
            Hire();
        }
    }

    /// <summary>Waits until the first batch of the line has reached a stage, and works on it meanwhile.</summary>
    public void Await(Flight<TBatch> flight, FlightStage stage)
    {
        while (true)
        {
            Work work;
            lock (_lock)
            {
                if (flight.Stage >= stage) return;
                if ((work = Next(flight)).Flight is null)
                {
                    Monitor.Wait(_lock);
                    continue;
                }
            }
            Do(work);
        }
    }

    /// <summary>Ends the work: returns once no thread is at it.</summary>
    public void Stop()
    {
        lock (_lock)
        {
            _stopped = true;
            while (_threads > 0) Monitor.Wait(_lock);
        }
    }

    /// <summary>One thread's work, until there is no more for it.</summary>
    public void Execute()
    {
        while (true)
        {
            Work work;
            lock (_lock)
            {
                work = _stopped ? default : Next(null);
                if (work.Flight is null)
                {
                    _threads--;
                    Monitor.PulseAll(_lock);
                    return;
                }
                Hire();
            }
            Do(work);
        }
    }

    /// <summary>A stage of a batch, or one row of it to prepare.</summary>
    readonly record struct Work(Flight<TBatch>? Flight, FlightStage Stage, int Slot);

    void Hire()
    {
        if (_threads >= Most || _stopped || !_line.Exists(HasWork)) return;
        _threads++;
        ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
    }

    bool HasWork(Flight<TBatch> flight) => flight.Stage switch
    {
        FlightStage.Empty => !_reads,
        FlightStage.Preparing => flight.Claimed < flight.Count,
        FlightStage.Ready => true,
        _ => false,
    };

    /// <summary>Claims the next piece of work: reading first, because only one thread can do it; then the earliest
    /// batch.</summary>
    /// <param name="only">The batch that it must belong to; null for any.</param>
    Work Next(Flight<TBatch>? only)
    {
        Flight<TBatch>? unread = _reads ? null : _line.Find(static f => f.Stage == FlightStage.Empty);
        if (unread is not null && (only is null || only == unread))
        {
            (unread.Stage, _reads) = (FlightStage.Reading, true);
            return new(unread, FlightStage.Reading, 0);
        }
        foreach (Flight<TBatch> flight in _line)
        {
            if (only is not null && flight != only || !HasWork(flight)) continue;
            if (flight.Stage == FlightStage.Preparing) return new(flight, FlightStage.Preparing, flight.Claimed++);
            flight.Stage = FlightStage.Running;
            return new(flight, FlightStage.Running, 0);
        }
        return default;
    }

    void Do(Work work)
    {
        Flight<TBatch> flight = work.Flight!;
        ExceptionDispatchInfo? error = null;
        try
        {
            if (work.Stage == FlightStage.Reading) read(flight);
            else if (work.Stage == FlightStage.Preparing) computation.Prepare(flight.Work, work.Slot);
            else computation.Run(flight.Work, flight.Count);
        }
        catch (Exception e)
        {
            error = ExceptionDispatchInfo.Capture(e);
        }
        lock (_lock)
        {
            if (error is not null) flight.Error ??= error;
            if (work.Stage == FlightStage.Reading) (flight.Stage, _reads) = (FlightStage.Preparing, false);
            if (work.Stage == FlightStage.Preparing) flight.Prepared++;
            if (flight.Stage == FlightStage.Preparing && flight.Prepared == flight.Count)
                flight.Stage = flight.Error is null && flight.Count > 0 ? FlightStage.Ready : FlightStage.Done;
            if (work.Stage == FlightStage.Running) flight.Stage = FlightStage.Done;
            if (flight.Stage == FlightStage.Done)
            {
                _line.Remove(flight);
                if (flight.Error is not null) computation.Abandon(flight.Work, flight.Count);
            }
            Hire();
            Monitor.PulseAll(_lock);
        }
    }
}
