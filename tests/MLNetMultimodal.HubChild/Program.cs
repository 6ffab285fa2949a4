// A process of its own that wants a model of the hub, which the environment names: download REPOSITORY prints the bytes that are
// there, then the folder, and may be killed at any time; load MODEL opens it where a folder is wanted, from a thread that must
// not be waited for.
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Hub;

if (args[0] == "download")
{
    Console.WriteLine(await ModelHub.DownloadAsync(args[1], options: new() { Progress = new Printer() }));
    return;
}
SynchronizationContext.SetSynchronizationContext(new Never());
using MultimodalModel model = MultimodalModel.Load(args[1]);
Console.WriteLine($"{model.Name} {string.Join(" ", model.EmbedTexts(["a cat"])[0].Select(BitConverter.SingleToInt32Bits))}");

sealed class Printer : IProgress<HubProgress>
{
    public void Report(HubProgress value)
    {
        Console.WriteLine(value.Bytes);
        Console.Out.Flush();
    }
}

/// <summary>A user interface whose thread is busy: what is posted to it never runs.</summary>
sealed class Never : SynchronizationContext
{
    public override void Post(SendOrPostCallback d, object? state)
    {
    }
}
