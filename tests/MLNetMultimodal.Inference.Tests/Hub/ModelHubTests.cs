using System.Text.Json;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Hub;

namespace MLNetMultimodal.Inference.Tests.Hub;

/// <summary>What is downloaded, and where it lies then.</summary>
public sealed class ModelHubTests : HubFixture
{
    [Fact]
    public async Task A_repository_becomes_a_snapshot_in_the_layout_of_the_hub()
    {
        string folder = await Download();
        Assert.Equal(Path.Combine(Stored, "snapshots", Server.Commit), folder);
        AssertSound(folder, Needed);
        Assert.Equal(Server.Commit, File.ReadAllText(Path.Combine(Stored, "refs", "main")));
        Assert.True(File.Exists(Path.Combine(Cache, "CACHEDIR.TAG")));
        foreach (string file in Needed)
        {
            string etag = HubServer.Etag(file, Server.Content(file));
            Assert.Equal($"../../blobs/{etag}", new FileInfo(Path.Combine(folder, file)).LinkTarget);
            Assert.True(File.Exists(Path.Combine(Cache, ".locks", "models--tiny--clip", $"{etag}.lock")));
        }
        Assert.Equal(Needed.Length, Directory.GetFiles(Blobs).Length);
        using MultimodalModel model = MultimodalModel.Load(folder), expected = Tiny.Load();
        Assert.Equal(expected.EmbedTexts(["a cat"])[0], model.EmbedTexts(["a cat"])[0]);
    }

    [Fact]
    public async Task A_repository_of_graphs_without_weights_is_downloaded_and_runs()
    {
        using var exported = new TemporaryFolder();
        using MultimodalModel expected = Tiny.Load();
        string[] files = [.. OnnxExport.Write(expected, exported.File("model"), OnnxDtype.Fp32, OnnxDtype.Q8)];
        Server.Push("main", files.ToDictionary(f => f, f => File.ReadAllBytes(Path.Combine(exported.File("model"), f))));
        string folder = await Download();
        AssertSound(folder, [.. files.Where(f => !f.Contains("_quantized", StringComparison.Ordinal))]);
        using MultimodalModel model = MultimodalModel.Load(folder);
        Difference.Small(expected.EmbedTexts(["a cat"])[0], model.EmbedTexts(["a cat"])[0], 1e-5f);
        Difference.Small(expected.EmbedImages([Tiny.Picture(1)])[0], model.EmbedImages([Tiny.Picture(1)])[0], 1e-5f);
    }

    [Fact]
    public async Task The_list_of_files_is_kept_as_Python_keeps_it()
    {
        await Download();
        using JsonDocument tree = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Stored, "trees", $"{Server.Commit}.json")));
        Assert.Equal(1, tree.RootElement.GetProperty("format_version").GetInt32());
        JsonElement files = tree.RootElement.GetProperty("files"), weights = files.GetProperty(Weights);
        Assert.Equal(HubServer.Etag(Weights, Server.Content(Weights)), weights.GetProperty("lfs_sha256").GetString());
        Assert.Equal(Server.Content(Weights).Length, weights.GetProperty("lfs_size").GetInt64());
        Assert.Equal(40, weights.GetProperty("blob_id").GetString()!.Length);
        Assert.Equal(Server.Content("README.md").Length, files.GetProperty("README.md").GetProperty("size").GetInt64());
    }

    [Fact]
    public async Task A_list_of_names_alone_is_enough()
    {
        Server.List = json => System.Text.RegularExpressions.Regex.Replace(json, "\"(size|blobId)\":[^,}]*,?", "");
        string folder = await Download();
        AssertSound(folder, Needed);
        Assert.False(Directory.Exists(Path.Combine(Stored, "trees")));
        Assert.Equal(folder, await Download(Options with { Offline = true }));
    }

    [Fact]
    public async Task A_second_download_asks_for_the_commit_only_and_a_commit_for_nothing()
    {
        string folder = await Download();
        Server.Requests.Clear();
        Assert.Equal(folder, await Download());
        Assert.Equal("/api/models/tiny/clip/revision/main?blobs=true", Assert.Single(Server.Requests).Path);
        Assert.Equal(folder, await Download(revision: Server.Commit));
        Assert.Equal(folder, await ModelHub.DownloadAsync($"hub:{HubServer.Repository}@{Server.Commit}", options: Options));
        Assert.Single(Server.Requests);
    }

    [Fact]
    public async Task A_branch_that_moved_gives_the_new_files_and_sends_only_those()
    {
        string old = await Download(), commit = Server.Commit;
        Dictionary<string, byte[]> files = Files();
        files[Config] = [.. files[Config], (byte)'\n'];
        Server.Push("main", files);
        Server.Requests.Clear();
        string folder = await Download();
        AssertSound(folder, Needed);
        Assert.Single(Server.Transfers(Config));
        Assert.Empty(Server.Transfers(Weights));
        Assert.Equal(old, await Download(revision: commit));
        Assert.NotEqual(File.ReadAllBytes(Path.Combine(old, Config)), File.ReadAllBytes(Path.Combine(folder, Config)));
    }

    [Fact]
    public async Task A_revision_may_be_a_pull_request()
    {
        Server.Push("refs/pr/1", Files());
        string folder = await ModelHub.DownloadAsync($"{HubServer.Repository}@refs/pr/1", options: Options);
        Assert.Equal(Path.GetFileName(folder), File.ReadAllText(Path.Combine(Stored, "refs", "refs", "pr", "1")));
        await Assert.ThrowsAsync<ArgumentException>(
            () => ModelHub.DownloadAsync($"{HubServer.Repository}@main", "main", Options));
    }

    [Fact]
    public async Task Of_shards_those_that_the_index_names_are_taken()
    {
        Dictionary<string, byte[]> files = Files();
        files.Remove(Weights);
        files["model-00001-of-00002.safetensors"] = [1];
        files["model-00002-of-00002.safetensors"] = [2, 2];
        files["model-00001-of-00009.safetensors"] = [3];
        files["model.safetensors.index.json"] =
            """{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"""u8.ToArray();
        Server.Push("main", files);
        AssertSound(await Download(), [.. Needed.Where(n => n != Weights), "model.safetensors.index.json",
            "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
        files.Remove("model-00002-of-00002.safetensors");
        Server.Push("main", files);
        await Fails<InvalidDataException>("model-00002-of-00002.safetensors, which the repository does not have");
    }

    [Theory]
    [InlineData(
        "config.json modules.json 1_Pooling/config.json 2_Normalize/x.txt sentence_bert_config.json vocab.txt model.safetensors a.bin",
        "config.json modules.json 1_Pooling/config.json sentence_bert_config.json vocab.txt model.safetensors")]
    [InlineData(
        "config.json modules.json 1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors 2_Dense/pytorch_model.bin model.safetensors",
        "config.json modules.json 1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors model.safetensors")]
    [InlineData("open_clip_config.json open_clip_model.safetensors open_clip_pytorch_model.bin tokenizer.json",
        "open_clip_config.json open_clip_model.safetensors tokenizer.json")]
    [InlineData("config.json model.safetensors open_clip_model.safetensors open_clip_config.json onnx/model.onnx",
        "config.json model.safetensors open_clip_config.json")]
    [InlineData(
        "config.json onnx/model.onnx onnx/model.onnx_data onnx/model_fp16.onnx onnx/model_fp16.onnx_data onnx/model_q4.onnx onnx/x.txt",
        "config.json onnx/model.onnx onnx/model.onnx_data")]
    [InlineData("adapter_config.json adapter_model.safetensors adapter_model.bin README.md",
        "adapter_config.json adapter_model.safetensors")]
    [InlineData("tokenizer.json tokenizer_config.json README.md", "tokenizer.json tokenizer_config.json")]
    public void Only_the_files_needed_are_chosen(string names, string chosen) =>
        Assert.Equal(chosen.Split(' ').Order(), FileChoice.Select("r", names.Split(' '), new()).Order());

    [Fact]
    public void Graphs_and_other_files_are_taken_when_asked_for()
    {
        string[] names = ["config.json", "model.safetensors", "onnx/model.onnx", "onnx/model_int8.onnx", "a/evil.bin"];
        Assert.Equal(["config.json", "model.safetensors", "onnx/model.onnx"],
            FileChoice.Select("r", names, new() { IncludeOnnx = true }).Order());
        Assert.Equal(["onnx/model_int8.onnx"], FileChoice.Select("r", names, new() { AllowPatterns = ["*_int8.onnx", "a/*"] }));
        Assert.Contains("no file of 'r' matches *.txt", Assert.Throws<HubException>(
            () => FileChoice.Select("r", names, new() { AllowPatterns = ["*.txt"] })).Message, StringComparison.Ordinal);
        Assert.Throws<HubException>(() => FileChoice.Select("r", ["README.md"], new()));
    }

    [Fact]
    public async Task Pickles_are_refused()
    {
        Dictionary<string, byte[]> files = Files();
        files.Remove(Weights);
        files.Remove("onnx/model.onnx");
        Server.Push("main", files);
        await Fails<NotSupportedException>("pytorch_model.bin");
        Assert.Single(Server.Requests);
    }

    [Fact]
    public async Task Progress_ends_with_all_bytes()
    {
        var reports = new List<HubProgress>();
        await Download(Options with { Progress = new Reports(reports.Add) });
        long total = Needed.Sum(n => (long)Server.Content(n).Length);
        Assert.Equal((total, total), (reports[^1].Bytes, reports[^1].TotalBytes));
        Assert.All(reports.Zip(reports.Skip(1)), r => Assert.True(r.First.Bytes <= r.Second.Bytes));
        Assert.Equal(Needed.Order(), reports.Where(r => r.FileBytes == r.FileLength).Select(r => r.File).Distinct().Order());
    }

    [Fact]
    public async Task Without_links_the_files_themselves_lie_in_the_snapshot()
    {
        var environment = new HubEnvironment(name => name == "HF_HUB_DISABLE_SYMLINKS" ? "1" : null);
        HubReference reference = HubReference.Parse(HubServer.Repository);
        Task<string> Run() => new SnapshotDownload(HubSettings.Of(Options, environment), reference).RunAsync(default);
        string folder = await Run();
        AssertSound(folder, Needed);
        Assert.All(Needed, n => Assert.Null(new FileInfo(Path.Combine(folder, n)).LinkTarget));
        Assert.Empty(Directory.GetFiles(Blobs));
        Server.Requests.Clear();
        Assert.Equal(folder, await Run());
        Assert.Single(Server.Requests);
        string etag = HubServer.Etag(Config, Server.Content(Config)), blob = Path.Combine(Blobs, etag);
        File.Move(Path.Combine(folder, Config), blob); // as another snapshot would have left it
        AssertSound(await Run(), Needed);
        Assert.True(File.Exists(blob));
        Assert.Empty(Server.Transfers(Config));
    }

    [Fact]
    public async Task A_link_whose_blob_is_gone_is_mended()
    {
        string folder = await Download();
        File.Delete(Path.Combine(Blobs, HubServer.Etag(Weights, Server.Content(Weights))));
        AssertSound(await Download(), Needed);
        Assert.Equal(2, Server.Transfers(Weights).Length);
        Assert.Single(Server.Transfers(Config));
        Assert.True(Directory.Exists(folder));
    }
}
