using MLNetMultimodal.Models.Hub;

namespace MLNetMultimodal.Inference.Tests.Hub;

/// <summary>A server that means ill.</summary>
public sealed class HubHostileTests : HubFixture
{
    async Task Refused(string expected)
    {
        var e = await Fails<InvalidDataException>(expected);
        Assert.DoesNotContain(e.Message, char.IsControl);
        Assert.False(Directory.Exists(Path.Combine(Stored, "snapshots")), "something was shown");
        Assert.Empty(_time.Waits);
    }

    [Theory]
    [InlineData("../config.json")]
    [InlineData("a/../../config.json")]
    [InlineData("/etc/config.json")]
    [InlineData("..\\\\config.json")]
    [InlineData("C:/config.json")]
    [InlineData("a/C:config.json")]
    [InlineData("a//config.json")]
    [InlineData("./config.json")]
    [InlineData("a/..")]
    [InlineData("config.json\\u0000")]
    [InlineData("\\u001b[31m")]
    [InlineData("")]
    public async Task Names_that_leave_the_folder_are_refused(string name)
    {
        Server.List = json => json.Replace("\"README.md\"", $"\"{name}\"", StringComparison.Ordinal);
        await Refused("which is refused: it");
        Assert.Single(Server.Requests);
        Assert.Equal([], Directory.Exists(Cache) ? Directory.GetFiles(Cache, "*", SearchOption.AllDirectories) : []);
    }

    [Theory]
    [InlineData("NUL_Pooling/config.json", true)]
    [InlineData("nul/x_Pooling/config.json", false)]
    [InlineData("Com1.x_Pooling/config.json", false)]
    [InlineData("lpt9/_Pooling/config.json", false)]
    [InlineData("a./_Pooling/config.json", false)]
    [InlineData("a /_Pooling/config.json", false)]
    [InlineData("a?_Pooling/config.json", false)]
    [InlineData("aa:b_Pooling/config.json", false)]
    [InlineData("COM_Pooling/config.json", true)]
    [InlineData("1_Pooling/config.json", true)]
    public async Task Names_that_are_no_files_everywhere_are_refused_where_they_are_wanted(string name, bool isFine)
    {
        Assert.Equal(isFine, RepositoryPath.Objection(name) is null);
        Server.List = json => json.Replace("\"README.md\"", $"\"{name}\"", StringComparison.Ordinal);
        if (!isFine) await Refused($"'tiny/clip' has a file named '{name}', which is refused");
        Server.List = json => json.Replace("\"README.md\"", $"\"{name}.txt\"", StringComparison.Ordinal);
        await Download();
    }

    [Fact]
    public async Task Long_names_are_refused()
    {
        Assert.NotNull(RepositoryPath.Objection(new string('é', 128)));
        Assert.Null(RepositoryPath.Objection(new string('é', 127)));
        Server.List = json => json.Replace("README.md", new string('a', 2000), StringComparison.Ordinal);
        await Refused("it has 2000 characters");
    }

    [Theory]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("null")]
    [InlineData("{\"sha\":\"0123456789012345678901234567890123456789\"}")]
    [InlineData("{\"sha\":\"0123456789012345678901234567890123456789\",\"siblings\":{}}")]
    [InlineData("{\"sha\":\"0123456789012345678901234567890123456789\",\"siblings\":[{\"rfilename\":1}]}")]
    [InlineData("{\"sha\":\"0123456789012345678901234567890123456789\",\"siblings\":[3]}")]
    [InlineData("{\"sha\":\"../../../0123456789012345678901234567890\",\"siblings\":[]}")]
    [InlineData("{\"sha\":\"main\",\"siblings\":[]}")]
    [InlineData("<html>log in</html>")]
    [InlineData("{\"sha\":\"01234")]
    public async Task A_list_that_is_none_is_refused(string json)
    {
        Server.List = _ => json;
        await Refused("list of the files of 'tiny/clip' cannot be read");
    }

    [Fact]
    public async Task A_list_that_is_too_deep_or_too_long_is_refused()
    {
        Server.List = _ => string.Concat(Enumerable.Repeat("{\"sha\":", 10_000));
        await Refused("cannot be read");
        Server.List = _ => new string(' ', RepositoryListing.MaxBytes + 1);
        await Refused("is longer than");
    }

    [Fact]
    public async Task Another_commit_than_asked_for_is_refused()
    {
        string other = new('a', 40);
        Server.List = json => json.Replace(Server.Commit, other, StringComparison.Ordinal);
        await Fails<InvalidDataException>($"but answers with {other}", revision: Server.Commit);
    }

    [Theory]
    [InlineData("\"../../../evil\"", "1000", "gives no hash of model.safetensors")]
    [InlineData("W/\"d41d8cd98f00b204e9800998ecf8427e\"", "1000", "gives no hash of model.safetensors")]
    [InlineData("\"\"", "1000", "gives no hash of model.safetensors")]
    [InlineData(null, "-1", "gives no size of model.safetensors")]
    [InlineData(null, "many", "gives no size of model.safetensors")]
    [InlineData(null, "", "gives no size of model.safetensors")]
    [InlineData(null, "9223372036854775807", "at most 50,000,000,000 are accepted")]
    [InlineData(null, "99999999999999999999", "gives no size of model.safetensors")]
    public async Task A_hash_or_a_size_that_is_none_is_refused(string? etag, string size, string expected)
    {
        Server.Intercept = (context, request, _) =>
        {
            bool isAsked = request.Method == "HEAD" && request.Path.EndsWith(Weights, StringComparison.Ordinal);
            if (!isAsked) return Task.FromResult(false);
            context.Response.StatusCode = 302;
            context.Response.Headers["X-Repo-Commit"] = Server.Commit;
            context.Response.Headers["X-Linked-Etag"] = etag ?? $"\"{new string('a', 64)}\"";
            context.Response.Headers["X-Linked-Size"] = size;
            context.Response.Headers.Location = Server.Store;
            return Task.FromResult(true);
        };
        await Refused(expected);
    }

    [Fact]
    public async Task Something_that_is_no_hub_is_said_to_be_none()
    {
        Server.Intercept = (context, request, _) =>
        {
            if (request.Method != "HEAD") return Task.FromResult(false);
            context.Response.Headers.ETag = $"\"{new string('a', 40)}\"";
            context.Response.ContentLength = 5;
            return Task.FromResult(true);
        };
        await Fails<HubException>("something that is no hub");
    }

    [Fact]
    public async Task An_index_that_names_files_elsewhere_is_refused()
    {
        Dictionary<string, byte[]> files = Files();
        files.Remove(Weights);
        files["model.safetensors.index.json"] = """{"weight_map":{"a":"../../x.safetensors"}}"""u8.ToArray();
        Server.Push("main", files);
        await Fails<InvalidDataException>("is not the name of a .safetensors file in the same folder");
    }

    [Theory]
    [InlineData("../owner")]
    [InlineData("a/b/c")]
    [InlineData("a//b")]
    [InlineData("")]
    [InlineData("a--b/c")]
    [InlineData("a/b..c")]
    [InlineData("a/b c")]
    [InlineData(".a/b")]
    [InlineData("a/b.git")]
    [InlineData("a/b?x=1")]
    [InlineData("a/é")]
    [InlineData("a/b@")]
    [InlineData("a/b@../../x")]
    [InlineData("a/b@/x")]
    [InlineData("a/b@x\ny")]
    public async Task Names_that_are_no_repository_are_refused(string name)
    {
        await Assert.ThrowsAsync<ArgumentException>(() => ModelHub.DownloadAsync(name, options: Options));
        await Assert.ThrowsAsync<ArgumentException>(() => ModelHub.DownloadAsync($"hub:{name}", options: Options));
        Assert.Empty(Server.Requests);
    }

    [Theory]
    [InlineData("gpt2", "gpt2", null)]
    [InlineData("hub:openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32", null)]
    [InlineData("a_1/B.2@v1.0", "a_1/B.2", "v1.0")]
    [InlineData("a/b@refs/pr/1", "a/b", "refs/pr/1")]
    public void Repositories_are_read(string text, string repository, string? revision) =>
        Assert.Equal(new HubReference(repository, revision), HubReference.Parse(text));

    [Fact]
    public async Task Escaped_names_are_asked_for_as_they_are()
    {
        Dictionary<string, byte[]> files = Files();
        files["ä b#1%_Pooling/config.json"] = "{}"u8.ToArray();
        Server.Push("main", files);
        AssertSound(await Download(), [.. Needed, "ä b#1%_Pooling/config.json"]);
    }
}
