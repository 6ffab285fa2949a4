using System.Diagnostics;

namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>One of those that are compared.</summary>
/// <param name="Name">For the table.</param>
/// <param name="Measure">Does the work of one round once and gives its rate: units of work per second.</param>
sealed record Contender(string Name, Func<double> Measure);

/// <summary>Rates of contenders that took turns: A, B, A, B, so that what the machine does besides hits both alike.</summary>
sealed class Alternation
{
    const int FewestRounds = 3;

    readonly Dictionary<string, List<double>> _rates = new(StringComparer.Ordinal);
    readonly string _unit;

    Alternation(string unit) => _unit = unit;

    /// <summary>Runs the contenders in turns. All have run before, when it was checked that they compute the same.</summary>
    /// <param name="run">Says how many rounds; a quick run has one.</param>
    /// <param name="rounds">At most; at least three are run whatever they take.</param>
    /// <param name="seconds">No further round begins after so many.</param>
    /// <param name="unit">Of the rates, for example <c>pictures/s</c>.</param>
    /// <param name="contenders">Two or more.</param>
    public static Alternation Run(
        BenchmarkRun run, int rounds, double seconds, string unit, params IReadOnlyList<Contender> contenders)
    {
        var result = new Alternation(unit);
        long start = Stopwatch.GetTimestamp();
        for (int round = 0; round < (run.Quick ? 1 : rounds); round++)
        {
            if (round >= FewestRounds && Stopwatch.GetElapsedTime(start).TotalSeconds > seconds) break;
            foreach (Contender contender in contenders)
            {
                GC.Collect(); // nobody pays for another's garbage
                GC.WaitForPendingFinalizers();
                double rate = contender.Measure();
                result._rates[contender.Name] = [.. result._rates.GetValueOrDefault(contender.Name, []), rate];
                run.Say($"round {round + 1}, {contender.Name}: {Quantity.Of(rate, unit)}");
            }
        }
        return result;
    }

    /// <summary>Work done by the clock of this process.</summary>
    /// <param name="units">How many units of work <paramref name="work"/> does.</param>
    /// <param name="work">The work.</param>
    /// <returns>Units per second.</returns>
    public static double Rate(double units, Action work)
    {
        long start = Stopwatch.GetTimestamp();
        work();
        return units / Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    /// <summary>One contender's rates.</summary>
    public Quantity this[string name] => Quantity.Of(_rates[name], _unit);

    /// <summary>Round by round, what one reaches of the best of others.</summary>
    public IReadOnlyList<double> Ratios(string ours, params IReadOnlyList<string> others) =>
        [.. _rates[ours].Select((rate, round) => rate / others.Max(other => _rates[other][round]))];

    /// <summary>A row that compares two.</summary>
    public Figure Compare(string what, string ours, string other, Bound? wanted = null) =>
        new(what, this[ours], this[other], other, Quantity.Of(Ratios(ours, other), ""), wanted);
}
