using System.Runtime.ExceptionServices;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Batching;

/// <summary>How far a batch is; the stages follow each other.</summary>
enum FlightStage
{
    /// <summary>Its room is free, or its rows are still to be read.</summary>
    Empty,

    /// <summary>A thread reads its rows from the source.</summary>
    Reading,

    /// <summary>Its rows are there; nobody has asked for a value yet.</summary>
    Read,

    /// <summary>Threads decode and preprocess its rows, one at a time each.</summary>
    Preparing,

    /// <summary>All rows are prepared.</summary>
    Ready,

    /// <summary>A thread runs the engine.</summary>
    Running,

    /// <summary>Its values are there, or what went wrong.</summary>
    Done,
}

/// <summary>A batch on its way: read, prepared, computed, served. Its room is used again.</summary>
/// <param name="work">Inputs and results of the computation.</param>
/// <param name="passed">The columns of the source that are served too; null for one that is not.</param>
/// <param name="room">The most rows.</param>
sealed class Flight<TBatch>(TBatch work, PassedColumn?[] passed, int room) where TBatch : RowBatch
{
    public TBatch Work => work;

    public ColumnBuffer?[] Columns { get; } = [.. passed.Select(p => p?.NewBuffer(room))];

    public long[] Batches { get; } = new long[room];

    public DataViewRowId[] Ids { get; } = new DataViewRowId[room];

    /// <summary>Rows that it takes at most.</summary>
    public int Wanted { get; private set; }

    /// <summary>Rows that it has.</summary>
    public int Count { get; set; }

    public FlightStage Stage { get; set; }

    /// <summary>Rows that were given to threads to prepare, and rows that they have prepared.</summary>
    public int Claimed { get; set; }

    public int Prepared { get; set; }

    /// <summary>What the source threw after the rows.</summary>
    public ExceptionDispatchInfo? ReadError { get; set; }

    /// <summary>What preparing or running threw.</summary>
    public ExceptionDispatchInfo? Error { get; set; }

    public void Begin(int wanted) =>
        (Wanted, Count, Stage, Claimed, Prepared, ReadError, Error) = (wanted, 0, FlightStage.Empty, 0, 0, null, null);
}
