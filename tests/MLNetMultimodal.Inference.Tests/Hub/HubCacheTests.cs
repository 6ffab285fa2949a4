using System.Text;
using System.Text.Json;
using MLNetMultimodal.Models.Hub;

namespace MLNetMultimodal.Inference.Tests.Hub;

/// <summary>A cache as Python's huggingface_hub makes it, and what is done without the hub.</summary>
public sealed class HubCacheTests : HubFixture
{
    HubOptions Offline => Options with { Offline = true, Endpoint = new("http://127.0.0.1:1/") };

    /// <summary>What <c>snapshot_download</c> leaves: file_download.py (blobs, links, refs) and _tree_cache.py (the
    /// list).</summary>
    string AsPythonMakesIt(bool withList, params string[] files)
    {
        string folder = Path.Combine(Stored, "snapshots", Server.Commit);
        Directory.CreateDirectory(folder);
        Directory.CreateDirectory(Blobs);
        Directory.CreateDirectory(Path.Combine(Stored, "refs"));
        File.WriteAllText(Path.Combine(Stored, "refs", "main"), Server.Commit);
        foreach (string file in files)
        {
            string etag = HubServer.Etag(file, Server.Content(file));
            File.WriteAllBytes(Path.Combine(Blobs, etag), Server.Content(file));
            File.CreateSymbolicLink(Path.Combine(folder, file), Path.Combine("..", "..", "blobs", etag));
        }
        if (!withList) return folder;
        Directory.CreateDirectory(Path.Combine(Stored, "trees"));
        var listed = Needed.ToDictionary(n => n, n => new { size = Server.Content(n).Length, blob_id = new string('0', 40) });
        File.WriteAllText(Path.Combine(Stored, "trees", $"{Server.Commit}.json"),
            JsonSerializer.Serialize(new { format_version = 1, files = listed }));
        return folder;
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_Python_downloaded_is_used_as_it_is(bool withList)
    {
        string folder = AsPythonMakesIt(withList, Needed);
        string[] before = Directory.GetFiles(Blobs).Order(StringComparer.Ordinal).ToArray();
        Assert.Equal(folder, await Download());
        Assert.Equal("/api/models/tiny/clip/revision/main?blobs=true", Assert.Single(Server.Requests).Path); // Python's repo_info
        Server.Requests.Clear();
        Assert.Equal(folder, await Download(revision: Server.Commit));
        Assert.Empty(Server.Requests);
        Assert.Equal(before, Directory.GetFiles(Blobs).Order(StringComparer.Ordinal));
        AssertSound(folder, Needed);
    }

    [Fact]
    public async Task What_Python_has_not_downloaded_is_added()
    {
        string folder = AsPythonMakesIt(withList: true, Config, "preprocessor_config.json");
        Assert.Equal(folder, await Download());
        AssertSound(folder, Needed);
        Assert.Empty(Server.Transfers(Config));
        Assert.Single(Server.Transfers(Weights));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Offline_the_cache_is_enough(bool withList)
    {
        string folder = AsPythonMakesIt(withList, Needed);
        Assert.Equal(folder, await Download(Offline));
        Assert.Equal(folder, await Download(Offline, Server.Commit));
        Assert.Empty(Server.Requests);
    }

    [Fact]
    public async Task Offline_what_is_missing_is_named()
    {
        Task Lacks(string what, string? revision = null) =>
            Fails<HubException>($"'tiny/clip' cannot be had offline: the cache {Cache} lacks {what}. ", Offline, revision);
        await Lacks("the revision 'main'");
        await Lacks("all files of the commit " + Server.Commit, Server.Commit);
        string folder = AsPythonMakesIt(withList: false, Config);
        await Lacks("the weights");
        File.Delete(Path.Combine(folder, Config));
        AsPythonMakesIt(withList: true, [.. Needed.Except([Weights])]);
        await Lacks(Weights);
        await Lacks("the revision 'other'", "other");
    }

    [Fact]
    public async Task Offline_shards_that_are_missing_are_named()
    {
        Dictionary<string, byte[]> files = Files();
        files.Remove(Weights);
        files["model.safetensors.index.json"] =
            """{"weight_map":{"a":"model-1-of-2.safetensors","b":"model-2-of-2.safetensors"}}"""u8.ToArray();
        files["model-1-of-2.safetensors"] = files["model-2-of-2.safetensors"] = [1];
        Server.Push("main", files);
        string folder = await Download();
        File.Delete(Path.Combine(folder, "model-2-of-2.safetensors"));
        File.Delete(Path.Combine(Stored, "trees", $"{Server.Commit}.json"));
        await Fails<HubException>("lacks model-2-of-2.safetensors.", Offline);
    }

    [Theory]
    [InlineData("not json")]
    [InlineData("[]")]
    [InlineData("{\"format_version\":2,\"files\":{}}")]
    [InlineData("{\"format_version\":1,\"files\":{\"../x\":{}}}")]
    [InlineData("{\"format_version\":1,\"files\":[]}")]
    [InlineData("{\"format_version\":1,\"files\":{\"x\":3}}")]
    public void A_kept_list_that_is_none_is_not_used(string json) =>
        Assert.Null(RepositoryListing.TryReadTree(Encoding.UTF8.GetBytes(json), new('a', 40)));

    [Fact]
    public async Task A_ref_that_is_no_commit_is_not_used()
    {
        AsPythonMakesIt(withList: true, Needed);
        File.WriteAllText(Path.Combine(Stored, "refs", "main"), "../../../../etc");
        await Fails<HubException>("lacks the revision", Offline);
        AssertSound(await Download(), Needed);
    }

    static HubEnvironment Environment(params (string Name, string Value)[] variables) =>
        new(name => variables.FirstOrDefault(v => v.Name == name).Value);

    [Theory]
    [InlineData("HOME=/h", "/h/.cache/huggingface/hub")]
    [InlineData("HOME=/h XDG_CACHE_HOME=/x", "/x/huggingface/hub")]
    [InlineData("HOME=/h HF_HOME=~/hf", "/h/hf/hub")]
    [InlineData("HOME=/h HF_HOME=/hf HUGGINGFACE_HUB_CACHE=/old", "/old")]
    [InlineData("HOME=/h HF_HOME=/hf HUGGINGFACE_HUB_CACHE=/old HF_HUB_CACHE=$HOME/c/${USER}", "/h/c/${USER}")]
    public void The_cache_lies_where_Python_has_it(string variables, string expected)
    {
        string[][] pairs = [.. variables.Split(' ').Select(v => v.Split('='))];
        Assert.Equal(expected, Environment([.. pairs.Select(p => (p[0], p[1]))]).CacheFolder);
    }

    [Theory]
    [InlineData("HF_HUB_OFFLINE", "1", true)]
    [InlineData("HF_HUB_OFFLINE", "yes", true)]
    [InlineData("HF_HUB_OFFLINE", "0", false)]
    [InlineData("TRANSFORMERS_OFFLINE", "TRUE", true)]
    [InlineData("OTHER", "1", false)]
    public void Offline_is_read(string name, string value, bool expected) =>
        Assert.Equal(expected, Environment((name, value)).IsOffline);

    [Fact]
    public void The_token_is_read_from_the_environment_or_its_file()
    {
        Directory.CreateDirectory(Cache);
        string file = Path.Combine(Cache, "token");
        Assert.Null(Environment(("HF_HOME", Cache)).Token);
        File.WriteAllText(file, "hf_file\r\n");
        Assert.Equal("hf_file", Environment(("HF_HOME", Cache)).Token);
        Assert.Equal("hf_file", Environment(("HF_TOKEN_PATH", file)).Token);
        Assert.Equal("hf_new", Environment(("HF_TOKEN", " hf_new\n"), ("HUGGING_FACE_HUB_TOKEN", "hf_old")).Token);
        Assert.Equal("hf_old", Environment(("HF_HOME", Cache), ("HUGGING_FACE_HUB_TOKEN", "hf_old")).Token);
        Assert.Null(Environment(("HF_HOME", Cache), ("HF_TOKEN", "hf_new"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")).Token);
    }

    [Fact]
    public void The_hub_and_its_time_out_are_read()
    {
        Assert.Equal(new("https://huggingface.co"), Environment().Endpoint);
        Assert.Equal(new("https://mirror.example/hf"), Environment(("HF_ENDPOINT", "https://mirror.example/hf")).Endpoint);
        Assert.Throws<ArgumentException>(() => Environment(("HF_ENDPOINT", "mirror")).Endpoint);
        Assert.Throws<ArgumentException>(() => HubSettings.Of(new() { Endpoint = new("ftp://x") }, Environment()));
        var options = new HubOptions { Endpoint = new("https://mirror.example/hf/"), CacheFolder = Cache };
        Assert.Equal("https://mirror.example/hf/a/b", HubSettings.Of(options, Environment()).Address("a/b").AbsoluteUri);
        foreach (var (value, seconds) in new[] { ("60", 60), ("x", 10), ("-1", 10), ("", 10) })
            Assert.Equal(TimeSpan.FromSeconds(seconds), Environment(("HF_HUB_DOWNLOAD_TIMEOUT", value)).Timeout);
    }
}
