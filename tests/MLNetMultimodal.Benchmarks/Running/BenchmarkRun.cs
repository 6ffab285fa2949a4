using System.Diagnostics;

namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>A question with its answer.</summary>
/// <param name="Name">As on the command line.</param>
/// <param name="Title">For people.</param>
/// <param name="Measure">Adds figures and notes to the run.</param>
/// <param name="OnDemand">True where <c>all</c> leaves it out.</param>
sealed record Section(string Name, string Title, Action<BenchmarkRun> Measure, bool OnDemand = false);

/// <summary>One section that is being measured.</summary>
/// <param name="quick">Tiny sizes and one round: shows that everything runs, says nothing about speed.</param>
/// <param name="cache">Folder of generated pictures and models.</param>
sealed class BenchmarkRun(bool quick, string cache)
{
    readonly long _start = Stopwatch.GetTimestamp();

    public bool Quick => quick;

    /// <summary>Folder of generated pictures and models; a quick run has one of its own.</summary>
    public string Cache { get; } = Path.Combine(cache, quick ? "quick" : "full");

    public List<Figure> Figures { get; } = [];

    /// <summary>What was checked before the clock was started, and what the reader must know.</summary>
    public List<string> Notes { get; } = [];

    /// <summary>Versions of the other side: <c>Pillow</c>, <c>onnxruntime-node</c>.</summary>
    public SortedDictionary<string, string> Versions { get; } = new(StringComparer.Ordinal);

    public TimeSpan Elapsed => Stopwatch.GetElapsedTime(_start);

    /// <summary>A size of the full run, or that of a quick one.</summary>
    public int Size(int full, int quickly) => quick ? quickly : full;

    public void Say(string text) => Console.Error.WriteLine($"{Elapsed:mm\\:ss}  {text}");

    public void Add(Figure figure) => Figures.Add(quick ? figure with { Wanted = null } : figure);

    public void Note(string text)
    {
        Notes.Add(text);
        Say(text);
    }
}
