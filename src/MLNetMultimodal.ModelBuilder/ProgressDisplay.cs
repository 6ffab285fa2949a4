using System.Diagnostics;
using System.Globalization;
using Spectre.Console;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Progress on standard error: a bar in a terminal, else a plain line every few seconds.</summary>
static class ProgressDisplay
{
    static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    /// <summary>Runs work and shows how far it is.</summary>
    /// <param name="title">What is shown before the first report.</param>
    /// <param name="work">Is given what it reports to: the share that is done, 0 to 1, and a text for people.</param>
    public static T Run<T>(string title, Func<Action<double, string>, T> work)
    {
        if (Console.IsErrorRedirected) return work(PlainLines());
        IAnsiConsole console = AnsiConsole.Create(new() { Out = new AnsiConsoleOutput(Console.Error) });
        return console.Progress()
            .Columns(new ProgressBarColumn(), new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .Start(context =>
            {
                ProgressTask bar = context.AddTask(Markup.Escape(title), maxValue: 1);
                return work((share, text) =>
                {
                    bar.Value = share;
                    bar.Description = Markup.Escape(text);
                });
            });
    }

    static Action<double, string> PlainLines()
    {
        var clock = Stopwatch.StartNew();
        TimeSpan next = Interval;
        return (share, text) =>
        {
            if (clock.Elapsed < next) return;
            next = clock.Elapsed + Interval;
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{share:p1}  {text}"));
        };
    }
}
