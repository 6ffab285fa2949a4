using System.Net;
using MLNetMultimodal.Models.Hub;

namespace MLNetMultimodal.Inference.Tests.Hub;

/// <summary>What a server does not give, and who sees the token.</summary>
public sealed class HubRefusalTests : HubFixture
{
    async Task<string> Refused(HttpStatusCode status, HubOptions? options = null, string? revision = null)
    {
        var e = await Assert.ThrowsAsync<HubException>(() => Download(options, revision));
        Assert.Equal(status, e.Status);
        Assert.Empty(_time.Waits);
        Assert.DoesNotContain("hf_secret", e.ToString(), StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(Stored, "snapshots")));
        return e.Message;
    }

    void Answer(int status, string? code = null, string? message = null) => Server.Intercept = (context, _, _) =>
    {
        HubServer.Refuse(context, status, code, message);
        return Task.FromResult(true);
    };

    [Theory]
    [InlineData(401, "RepoNotFound", "hf_secret", "does not exist, or the token may not read it")]
    [InlineData(401, null, "", "does not exist, or is private or gated; in the latter cases give a token")]
    [InlineData(401, "GatedRepo", "", "accept its conditions at http://127.0.0.1")]
    [InlineData(403, "GatedRepo", "hf_secret", "is gated")]
    [InlineData(403, null, "hf_secret", "may not be read")]
    [InlineData(404, "RepoNotFound", "hf_secret", "does not exist at http://127.0.0.1")]
    [InlineData(404, "RevisionNotFound", "hf_secret", "has no revision 'main'")]
    [InlineData(418, null, "hf_secret", "is not given")]
    public async Task A_refusal_says_what_is_missing(int status, string? code, string token, string expected)
    {
        Answer(status, code, "Access to model tiny/clip is restricted.");
        string message = await Refused((HttpStatusCode)status, Options with { Token = token });
        Assert.Contains("'tiny/clip'", message, StringComparison.Ordinal);
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.Contains($"answers {status} ", message, StringComparison.Ordinal);
        Assert.Contains("Access to model tiny/clip is restricted.", message, StringComparison.Ordinal);
        if (status is 401 or 403) Assert.Contains("HF_TOKEN", message, StringComparison.Ordinal);
        Assert.Single(Server.Requests);
    }

    [Fact]
    public async Task An_unknown_revision_is_named() =>
        Assert.Contains("no revision 'other'", await Refused(HttpStatusCode.NotFound, revision: "other"), StringComparison.Ordinal);

    [Fact]
    public async Task A_file_that_is_not_there_is_named()
    {
        Server.List = json => json.Replace("\"README.md\"", "\"vocab.txt\"", StringComparison.Ordinal);
        await Fails<HubException>("'tiny/clip' has no file vocab.txt");
    }

    [Fact]
    public async Task The_store_never_sees_the_token()
    {
        await Download();
        Assert.Contains(Server.Requests, r => r.IsStore);
        Assert.All(Server.Requests, r => Assert.Equal(r.IsStore ? null : "Bearer hf_secret", r.Token));
    }

    [Fact]
    public async Task The_token_does_not_come_back_by_way_of_another_host()
    {
        OnWeights((context, _, _) =>
        {
            context.Response.Redirect(new Uri(Server.Endpoint, "elsewhere").AbsoluteUri);
            return Task.FromResult(true);
        });
        await Assert.ThrowsAsync<HubException>(() => Download());
        HubRequest back = Assert.Single(Server.Requests, r => r.Path == "/elsewhere");
        Assert.Null(back.Token);
    }

    [Fact]
    public async Task A_repository_that_was_renamed_is_followed_with_the_token()
    {
        Server.Intercept = (context, request, _) =>
        {
            if (!request.Path.Contains("old/name", StringComparison.Ordinal)) return Task.FromResult(false);
            context.Response.StatusCode = 307;
            context.Response.Headers.Location = request.Path.Replace("old/name", HubServer.Repository, StringComparison.Ordinal);
            return Task.FromResult(true);
        };
        string folder = await ModelHub.DownloadAsync("old/name", options: Options);
        Assert.Equal(Server.Content(Weights), File.ReadAllBytes(Path.Combine(folder, Weights)));
        Assert.All(Server.Requests.Where(r => !r.IsStore), r => Assert.Equal("Bearer hf_secret", r.Token));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_hub_that_redirects_small_files_within_itself_is_followed(bool isLinked)
    {
        byte[] config = Server.Content(Config);
        Server.Intercept = async (context, request, _) =>
        {
            if (!request.Path.Contains($"/{Config}", StringComparison.Ordinal)) return false;
            context.Response.Headers["X-Repo-Commit"] = Server.Commit;
            string etag = $"\"{HubServer.Etag(Config, config)}\"";
            if (request.Path.StartsWith("/api/resolve-cache", StringComparison.Ordinal))
            {
                context.Response.Headers.ETag = $"W/{etag}";
                await HubServer.SendAsync(context, config);
                return true;
            }
            context.Response.StatusCode = 307;
            context.Response.Headers.Location = $"/api/resolve-cache/{Config}?etag=1";
            if (!isLinked) return true;
            context.Response.Headers["X-Linked-Etag"] = etag;
            context.Response.Headers["X-Linked-Size"] = $"{config.Length}";
            return true;
        };
        AssertSound(await Download(), Needed);
        Assert.All(Server.Requests.Where(r => !r.IsStore), r => Assert.Equal("Bearer hf_secret", r.Token));
    }

    [Theory]
    [InlineData("/model.safetensors?again=1", "redirected to more than")]
    [InlineData("file:///etc/passwd", "no address that may be followed")]
    [InlineData("", "no address that may be followed")]
    public async Task A_redirect_to_nowhere_is_one_error(string location, string expected)
    {
        OnWeights((context, _, _) =>
        {
            context.Response.StatusCode = 302;
            if (location.Length > 0) context.Response.Headers.Location = location;
            return Task.FromResult(true);
        });
        Assert.DoesNotContain("signature", (await Fails<HubException>(expected)).Message, StringComparison.Ordinal);
        AssertNotShown(Weights);
    }

    [Fact]
    public async Task No_token_is_sent_where_there_is_none()
    {
        await Download(Options with { Token = "" });
        Assert.All(Server.Requests, r => Assert.Null(r.Token));
        await Assert.ThrowsAsync<ArgumentException>(() => Download(Options with { Token = "a\r\nHost: b" }));
    }

    [Fact]
    public void Options_do_not_show_the_token() =>
        Assert.DoesNotContain("hf_secret", Options.ToString(), StringComparison.Ordinal);

    [Fact]
    public async Task A_hub_that_cannot_be_reached_leaves_the_cache()
    {
        HubOptions gone = Options with { Endpoint = new("http://127.0.0.1:1/") };
        await Fails<HubException>("the connection to 127.0.0.1:1 failed", gone);
        Assert.Equal(5, _time.Waits.Count);
        string folder = await Download();
        _time.Waits.Clear();
        var notes = new List<string?>();
        Assert.Equal(folder, await Download(gone with { Progress = new Reports(p => notes.Add(p.Note)) }));
        Assert.Contains("The copy in the cache is used", Assert.Single(notes), StringComparison.Ordinal);
        Assert.Empty(_time.Waits);
    }

    [Fact]
    public async Task A_refusal_is_not_covered_up_by_the_cache()
    {
        await Download();
        Answer(403);
        Assert.Equal(HttpStatusCode.Forbidden, (await Assert.ThrowsAsync<HubException>(() => Download())).Status);
    }
}
