using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using MLNetMultimodal.Models.Hub;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Models of the hub on the command line: downloaded before the verb begins, with progress on standard error, so that
/// the verb finds them in the cache.</summary>
static class HubModels
{
    const double Megabyte = 1e6;

    /// <summary>Options that take a model, in place of a folder one of the hub too.</summary>
    static readonly string[] Options = [ToolOptions.ModelName, ToolOptions.InitializeName];

    /// <summary>Downloads what the command line names and the cache does not have.</summary>
    public static void Download(ParseResult parsed, CancellationToken cancellation)
    {
        foreach (OptionResult option in parsed.CommandResult.Children.OfType<OptionResult>())
            if (Options.Contains(option.Option.Name) && option.Tokens is [{ Value: var model }] && ModelHub.IsReference(model))
                Download(model, cancellation);
    }

    static void Download(string model, CancellationToken cancellation)
    {
        var notes = new List<string>();
        long bytes = 0;
        string folder = ProgressDisplay.Run($"looking up {model}", show => WrongUsageException.Check(() =>
        {
            var progress = new Observer(p =>
            {
                if (p.Note is { } note) notes.Add(note);
                if (p.TotalBytes == 0) return;
                bytes = p.Bytes;
                show((double)p.Bytes / p.TotalBytes, string.Create(CultureInfo.InvariantCulture,
                    $"downloading {model}: {p.Bytes / Megabyte:n1} of {p.TotalBytes / Megabyte:n1} MB, {p.File}"));
            });
            var options = new HubOptions { Progress = progress };
            return ModelHub.DownloadAsync(model, options: options, cancellation: cancellation).GetAwaiter().GetResult();
        }));
        foreach (string note in notes) Console.Error.WriteLine($"warning: {note}");
        if (bytes > 0)
            Console.Error.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"downloaded {bytes / Megabyte:n1} MB of {model} to '{folder}'."));
    }

    sealed class Observer(Action<HubProgress> report) : IProgress<HubProgress>
    {
        public void Report(HubProgress value) => report(value);
    }
}
