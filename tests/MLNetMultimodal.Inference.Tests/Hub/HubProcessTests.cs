using System.Diagnostics;
using System.Globalization;

namespace MLNetMultimodal.Inference.Tests.Hub;

/// <summary>Processes that share a cache, and one that is killed.</summary>
public sealed class HubProcessTests : HubFixture
{
    Process Start(params string[] arguments)
    {
        string here = AppContext.BaseDirectory.TrimEnd(Path.DirectorySeparatorChar); // tests/X/bin/Debug/net10.0
        const string Name = "MLNetMultimodal.HubChild";
        string folder = here.Replace("MLNetMultimodal.Inference.Tests", Name, StringComparison.Ordinal);
        var start = new ProcessStartInfo("dotnet", [Path.Combine(folder, $"{Name}.dll"), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["HF_ENDPOINT"] = Server.Endpoint.AbsoluteUri;
        start.Environment["HF_HUB_CACHE"] = Cache;
        start.Environment["HF_TOKEN"] = "hf_secret";
        start.Environment["HF_HUB_OFFLINE"] = "0";
        return Process.Start(start)!;
    }

    /// <summary>The last line that it prints.</summary>
    static async Task<string> FinishAsync(Process process)
    {
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, await errors);
        return output.TrimEnd().Split('\n')[^1];
    }

    [Fact]
    public async Task Two_processes_that_want_one_model_get_one_copy_and_each_file_is_sent_once()
    {
        // Nobody gets a byte before both have asked for all.
        var both = new TaskCompletionSource();
        int described = 0;
        Server.Intercept = async (_, request, _) =>
        {
            if (request.Method == "HEAD" && Interlocked.Increment(ref described) == 2 * Needed.Length) both.SetResult();
            if (request.Method == "GET" && !request.Path.StartsWith("/api", StringComparison.Ordinal)) await both.Task;
            return false;
        };
        using Process first = Start("download", HubServer.Repository), second = Start("download", HubServer.Repository);
        string[] folders = await Task.WhenAll(FinishAsync(first), FinishAsync(second));
        Assert.Equal(folders[0], folders[1]);
        AssertSound(folders[0], Needed);
        Assert.All(Needed, file => Assert.Single(Server.Transfers(file)));
        Assert.Equal(2 * Needed.Length, described);
    }

    [Fact]
    public async Task A_download_that_is_killed_is_gone_on_from()
    {
        const int Half = 3000;
        OnWeights(async (context, _, count) =>
        {
            if (count == 1) await HubServer.CutAsync(context, Server.Content(Weights), Half, HubServer.ClientIsGone(context));
            return count == 1;
        });
        using Process killed = Start("download", HubServer.Repository);
        int all = Needed.Where(n => n != Weights).Sum(n => Server.Content(n).Length) + Half;
        while (await killed.StandardOutput.ReadLineAsync() is { } line && int.Parse(line, CultureInfo.InvariantCulture) < all) ;
        killed.Kill();
        await killed.WaitForExitAsync();
        Assert.NotEqual(0, killed.ExitCode);
        AssertNotShown(Weights);
        using Process next = Start("download", HubServer.Repository);
        AssertSound(await FinishAsync(next), Needed);
        Assert.Equal([null, Half], Server.Transfers(Weights).Select(r => r.From));
        Assert.All(Needed.Where(n => n != Weights), n => Assert.Single(Server.Transfers(n)));
    }

    [Fact]
    public async Task A_model_of_the_hub_opens_where_a_folder_does()
    {
        using Process child = Start("load", $"hub:{HubServer.Repository}@main");
        using MultimodalModel expected = Tiny.Load();
        string bits = string.Join(" ", expected.EmbedTexts(["a cat"])[0].Select(BitConverter.SingleToInt32Bits));
        Assert.Equal($"hub:{HubServer.Repository}@main {bits}", await FinishAsync(child));
    }
}
