using System.CommandLine;
using System.CommandLine.Invocation;
using System.Runtime.InteropServices;
using MLNetMultimodal.ModelBuilder;
using MLNetMultimodal.ModelBuilder.Commands;

var verbose = new Option<bool>("--verbose") { Description = "Show where an error comes from.", Recursive = true };
var root = new RootCommand("Trains, evaluates, runs and inspects multimodal models.")
{
    RunCommand.Create(), EmbedCommand.Create(), ClassifyCommand.Create(), TokenizeCommand.Create(), PreprocessCommand.Create(),
    SummaryCommand.Create(), TrainCommand.Create(tunes: false), TrainCommand.Create(tunes: true), EvaluateCommand.Create(),
    ExportCommand.Create(), QuantizeCommand.Create(), verbose,
};

// A text such as "@home" is a text, and no file of more arguments.
ParseResult parsed = root.Parse(args, new() { ResponseFileTokenReplacer = null, EnablePosixBundling = false });
if (parsed.Action is ParseErrorAction wrong)
{
    wrong.ShowHelp = args.Length == 0;
    parsed.Invoke(new() { Output = Console.Error, Error = Console.Error });
    return ExitCode.WrongUsage;
}

using var cancellation = new CancellationTokenSource();
void Cancel(PosixSignalContext signal)
{
    signal.Cancel = !cancellation.IsCancellationRequested; // a second signal ends the process at once
    cancellation.Cancel();
}
using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Cancel);
using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Cancel);
try
{
    HubModels.Download(parsed, cancellation.Token);
    return await parsed.InvokeAsync(new() { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null },
        cancellation.Token);
}
catch (Exception e)
{
    Console.Error.WriteLine(e is OperationCanceledException ? "cancelled." : $"error: {ErrorText.Of(e)}");
    if (parsed.GetValue(verbose)) Console.Error.WriteLine(e);
    return e is WrongUsageException ? ExitCode.WrongUsage : ExitCode.Failed;
}
