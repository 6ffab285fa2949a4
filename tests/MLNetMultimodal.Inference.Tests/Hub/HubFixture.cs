using MLNetMultimodal.Models.Hub;

namespace MLNetMultimodal.Inference.Tests.Hub;

/// <summary>A hub, an empty cache and a clock, for one test.</summary>
public abstract class HubFixture : IAsyncLifetime
{
    protected const string Weights = "model.safetensors", Config = "config.json";

    readonly TemporaryFolder _folder = new();
    private protected readonly TestTime _time = new();

    protected HubServer Server { get; private set; } = null!;

    protected string Cache => _folder.File("cache");

    protected string Stored => Path.Combine(Cache, "models--tiny--clip");

    protected string Blobs => Path.Combine(Stored, "blobs");

    /// <summary>Options that read nothing of the environment.</summary>
    protected HubOptions Options => new()
    {
        CacheFolder = Cache,
        Endpoint = Server.Endpoint,
        Token = "hf_secret",
        Offline = false,
        Timeout = TimeSpan.FromSeconds(10),
        Time = _time,
    };

    /// <summary>The files of a tiny CLIP, and what of a repository is not needed.</summary>
    protected static Dictionary<string, byte[]> Files()
    {
        Dictionary<string, byte[]> files = Tiny.Files().ToDictionary(f => f.Key, f => f.Value.ToArray());
        foreach (string name in new[] { "README.md", "pytorch_model.bin", "flax_model.msgpack", "onnx/model.onnx" })
            files[name] = "not needed"u8.ToArray();
        return files;
    }

    public async Task InitializeAsync() => Server = await HubServer.StartAsync(Files());

    public async Task DisposeAsync()
    {
        await Server.DisposeAsync();
        _folder.Dispose();
    }

    protected Task<string> Download(
        HubOptions? options = null, string? revision = null, CancellationToken cancellation = default) =>
        ModelHub.DownloadAsync(HubServer.Repository, revision, options ?? Options, cancellation);

    /// <summary>The download ends with an error that says so.</summary>
    protected async Task<T> Fails<T>(string expected, HubOptions? options = null, string? revision = null) where T : Exception
    {
        T e = await Assert.ThrowsAnyAsync<T>(() => Download(options, revision));
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
        return e;
    }

    /// <summary>Each file that the cache shows has all the bytes of the server's, and there is nothing half done beside
    /// them.</summary>
    protected void AssertSound(string folder, params string[] files)
    {
        Assert.Equal(files.Order(StringComparer.Ordinal), Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories)
            .Select(f => Path.GetRelativePath(folder, f)).Order(StringComparer.Ordinal));
        foreach (string file in files) Assert.Equal(Server.Content(file), File.ReadAllBytes(Path.Combine(folder, file)));
        Assert.Empty(Directory.GetFiles(Stored, "*.incomplete", SearchOption.AllDirectories));
        Assert.Empty(Directory.GetFiles(Stored, "*.tmp", SearchOption.AllDirectories));
    }

    /// <summary>No snapshot shows the file.</summary>
    protected void AssertNotShown(string file) =>
        Assert.Empty(Directory.Exists(Stored) ? Directory.GetFiles(Stored, file, SearchOption.AllDirectories) : []);

    /// <summary>The files of the tiny CLIP that are needed.</summary>
    protected string[] Needed => [.. Tiny.Files().Keys];

    /// <summary>Answers requests for the bytes of the weights.</summary>
    protected void OnWeights(Func<Microsoft.AspNetCore.Http.HttpContext, HubRequest, int, Task<bool>> answer) =>
        Server.Intercept = (context, request, count) => request.IsStore && request.Path.Contains(Weights, StringComparison.Ordinal)
            ? answer(context, request, count) : Task.FromResult(false);
}

/// <summary>Progress that is told at once.</summary>
sealed class Reports(Action<HubProgress> report) : IProgress<HubProgress>
{
    public void Report(HubProgress value) => report(value);
}
