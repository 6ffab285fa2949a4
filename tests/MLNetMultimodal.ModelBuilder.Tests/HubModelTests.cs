using MLNetMultimodal.Inference.Tests.Hub;
using MLNetMultimodal.Media.Text;

namespace MLNetMultimodal.ModelBuilder.Tests;

/// <summary><c>--model hub:owner/name</c>, against a hub on loopback.</summary>
[Collection(ToolCollection.Name)]
public sealed class HubModelTests(ToolFixture fixture) : IAsyncLifetime
{
    const string Model = "hub:" + HubServer.Repository;

    readonly string _cache = Directory.CreateTempSubdirectory("mlnet-multimodal-hub-").FullName;
    HubServer _server = null!;

    public async Task InitializeAsync() => _server = await HubServer.StartAsync(
        Directory.GetFiles(fixture.Model).ToDictionary(f => Path.GetFileName(f), File.ReadAllBytes));

    public async Task DisposeAsync()
    {
        await _server.DisposeAsync();
        Directory.Delete(_cache, recursive: true);
    }

    Task<ToolResult> Run(params string[] arguments)
    {
        string endpoint = _server.Endpoint.AbsoluteUri;
        return Tool.Run([("HF_ENDPOINT", endpoint), ("HF_HOME", _cache), ("HF_TOKEN", "hf_secret"), ("HF_HUB_OFFLINE", "0")], arguments);
    }

    [Fact]
    public async Task A_model_of_the_hub_is_downloaded_once_and_gives_what_its_folder_gives()
    {
        string[] texts = ["a photo of a red thing"];
        ToolResult result = (await Run(["tokenize", "--model", Model, "--text", .. texts])).Expect(0);
        Assert.Equal(TextTokenizer.Load(fixture.Model).Encode(texts[0]),
            Assert.Single(result.Rows).GetProperty("input_ids").EnumerateArray().Select(i => i.GetInt32()));
        long bytes = Directory.GetFiles(fixture.Model).Sum(f => new FileInfo(f).Length);
        string line = Assert.Single(result.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        string hub = Path.Combine(_cache, "hub");
        Assert.StartsWith($"downloaded {bytes / 1e6:n1} MB of {Model} to '{hub}", line, StringComparison.Ordinal);
        Assert.Single(_server.Transfers("model.safetensors"));

        ToolResult second = (await Run(["embed", "--model", Model, "--text", .. texts])).Expect(0);
        Assert.Equal("", second.Errors);
        Assert.Equal((await Tool.Run(["embed", "--model", fixture.Model, "--text", .. texts])).Expect(0).Output, second.Output);
        Assert.Single(_server.Transfers("model.safetensors"));
    }

    [Fact]
    public async Task The_transforms_and_the_trainer_take_it_too()
    {
        string[] evaluate = ["evaluate", "--data", fixture.Pictures, "--format", "json", "--model"];
        ToolResult evaluated = (await Run([.. evaluate, $"{Model}@main"])).Expect(0);
        Assert.Equal((await Tool.Run([.. evaluate, fixture.Model])).Expect(0).Output, evaluated.Output);
        string output = fixture.At("tuned-from-hub");
        string[] finetune = ["finetune", "--data", fixture.Pictures, "--output", output, "--epochs", "1", "--batch-size", "4"];
        (await Run([.. finetune, "--model", Model])).Expect(0);
        Assert.Contains($"from {Model}.", File.ReadAllText(Path.Combine(output, "README.md")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_the_hub_does_not_give_is_one_line()
    {
        ToolResult unknown = await Run("tokenize", "--model", "hub:no/body", "--text", "a");
        unknown.ExpectOneLine(1, "error: 'no/body' does not exist, or the token may not read it");
        ToolResult wrong = await Run("tokenize", "--model", "hub:no body", "--text", "a");
        wrong.ExpectOneLine(2, "error: 'hub:no body' names no repository");
        ToolResult offline = await Tool.Run([("HF_HOME", _cache), ("HF_HUB_OFFLINE", "1")], "summary", "--model", Model);
        offline.ExpectOneLine(1, "cannot be had offline", "lacks the revision 'main'");
    }
}
