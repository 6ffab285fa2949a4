using System.Net;
using MLNetMultimodal.Models.Hub;

namespace MLNetMultimodal.Inference.Tests.Hub;

/// <summary>Lines that break, servers that are busy, bytes that are wrong.</summary>
public sealed class HubTransferTests : HubFixture
{
    const int CutAt = 1000;

    byte[] Content => Server.Content(Weights);

    string Incomplete => Path.Combine(Blobs, HubServer.Etag(Weights, Content) + ".incomplete");

    /// <summary>Options that tell when the weights have so many bytes more than at the last call.</summary>
    (HubOptions Options, Func<int, Task> Arrival) Observed()
    {
        long there = 0;
        var arrived = new SemaphoreSlim(0);
        var progress = new Reports(p =>
        {
            if (p.File != Weights) return;
            Interlocked.Exchange(ref there, p.FileBytes);
            arrived.Release();
        });
        async Task Arrival(int bytes)
        {
            while (Interlocked.Read(ref there) < bytes) await arrived.WaitAsync();
        }
        return (Options with { Progress = progress }, Arrival);
    }

    [Fact]
    public async Task A_connection_that_is_cut_is_gone_on_from_where_it_ended()
    {
        (HubOptions options, Func<int, Task> arrival) = Observed();
        OnWeights(async (context, _, count) =>
        {
            if (count <= 3) await HubServer.CutAsync(context, Content, CutAt, arrival(count * CutAt));
            return count <= 3;
        });
        AssertSound(await Download(options), Needed);
        Assert.Equal([null, 1000, 2000, 3000], Server.Transfers(Weights).Select(r => r.From));
        Assert.Equal(3, _time.Waits.Count);
        Assert.All(_time.Waits, w => Assert.InRange(w, TimeSpan.Zero, TimeSpan.FromSeconds(60)));
    }

    [Fact]
    public async Task Too_many_cuts_are_one_error_and_what_came_is_kept()
    {
        (HubOptions options, Func<int, Task> arrival) = Observed();
        OnWeights(async (context, _, count) =>
        {
            await HubServer.CutAsync(context, Content, CutAt, arrival(count * CutAt));
            return true;
        });
        var e = await Assert.ThrowsAnyAsync<HubException>(() => Download(options with { MaxRetries = 2 }));
        Assert.Contains("localhost", e.Message, StringComparison.Ordinal);
        AssertNotShown(Weights);
        Assert.Equal(3 * CutAt, new FileInfo(Incomplete).Length);
        Assert.Equal(3, Server.Transfers(Weights).Length);
        Server.Intercept = (_, _, _) => Task.FromResult(false);
        AssertSound(await Download(), Needed);
        Assert.Equal(3 * CutAt, Server.Transfers(Weights)[^1].From);
    }

    [Fact]
    public async Task Headway_makes_up_for_cuts()
    {
        const int Part = 1 << 20;
        var files = new Dictionary<string, byte[]> { ["big.data"] = new byte[5 * Part] };
        new Random(1).NextBytes(files["big.data"]);
        Server.Push("main", files);
        long there = 0;
        var arrived = new SemaphoreSlim(0);
        Server.Intercept = async (context, request, count) =>
        {
            if (!request.IsStore || count > 4) return false;
            async Task Arrival()
            {
                while (Interlocked.Read(ref there) < count * Part) await arrived.WaitAsync();
            }
            await HubServer.CutAsync(context, files["big.data"], Part, Arrival());
            return true;
        };
        var progress = new Reports(p =>
        {
            Interlocked.Exchange(ref there, p.FileBytes);
            arrived.Release();
        });
        string folder = await Download(Options with { MaxRetries = 1, AllowPatterns = ["*.data"], Progress = progress });
        AssertSound(folder, "big.data");
        Assert.Equal([null, Part, 2 * Part, 3 * Part, 4 * Part], Server.Transfers("big.data").Select(r => r.From));
    }

    [Fact]
    public async Task A_server_that_gives_nothing_more_is_given_up_and_asked_again()
    {
        (HubOptions options, _) = Observed();
        OnWeights(async (context, _, count) =>
        {
            if (count > 1) return false;
            await HubServer.CutAsync(context, Content, CutAt, HubServer.ClientIsGone(context));
            return true;
        });
        var seen = options.Progress!;
        AssertSound(await Download(options with
        {
            Progress = new Reports(p =>
            {
                if (p.File == Weights && p.FileBytes == CutAt) _time.StallsNext = true;
                seen.Report(p);
            }),
        }), Needed);
        Assert.Equal([null, CutAt], Server.Transfers(Weights).Select(r => r.From));
    }

    [Theory]
    [InlineData(Weights)]
    [InlineData(Config)]
    public async Task A_content_that_does_not_fit_its_hash_is_thrown_away(string file)
    {
        byte[] wrong = [.. Server.Content(file)];
        wrong[^2] ^= 1;
        Server.Intercept = async (context, request, _) =>
        {
            bool isBytes = request.Method == "GET" && request.IsStore == (file == Weights);
            if (!isBytes || !request.Path.Contains($"/{file}", StringComparison.Ordinal)) return false;
            context.Response.Headers["X-Repo-Commit"] = Server.Commit;
            await HubServer.SendAsync(context, wrong);
            return true;
        };
        await Fails<InvalidDataException>($"{file} of 'tiny/clip' came with other content");
        AssertNotShown(file);
        string blob = Path.Combine(Blobs, HubServer.Etag(file, Server.Content(file)));
        Assert.False(File.Exists(blob) || File.Exists(blob + ".incomplete"));
        Assert.Single(Server.Transfers(file));
    }

    async Task<HubRequest[]> ResumeFrom(byte[] there)
    {
        Directory.CreateDirectory(Blobs);
        await File.WriteAllBytesAsync(Incomplete, there);
        AssertSound(await Download(), Needed);
        return Server.Transfers(Weights);
    }

    [Fact]
    public async Task What_is_there_is_not_sent_again() =>
        Assert.Equal(700, Assert.Single(await ResumeFrom(Content[..700])).From);

    [Fact]
    public async Task What_is_there_and_whole_is_only_checked() => Assert.Empty(await ResumeFrom(Content));

    [Fact]
    public async Task What_is_there_and_wrong_is_thrown_away() =>
        Assert.Equal([700, null], (await ResumeFrom([.. Content[..699], (byte)~Content[699]])).Select(r => r.From));

    [Fact]
    public async Task What_is_there_and_too_long_is_thrown_away() =>
        Assert.Null(Assert.Single(await ResumeFrom([.. Content, 1])).From);

    [Fact]
    public async Task A_server_that_knows_no_ranges_begins_anew()
    {
        OnWeights(async (context, _, _) =>
        {
            context.Response.ContentLength = Content.Length;
            await context.Response.Body.WriteAsync(Content);
            return true;
        });
        Assert.Equal(700, Assert.Single(await ResumeFrom(Content[..700])).From);
    }

    [Theory]
    [InlineData(206, "bytes 5-99/100")]
    [InlineData(416, "bytes */5")]
    public async Task A_server_that_answers_another_range_is_asked_for_all(int status, string range)
    {
        OnWeights(async (context, request, _) =>
        {
            if (request.From is null) return false;
            context.Response.StatusCode = status;
            context.Response.Headers.ContentRange = range;
            await context.Response.Body.WriteAsync(Content.AsMemory(0, 95));
            return true;
        });
        Assert.Equal([700, null], (await ResumeFrom(Content[..700])).Select(r => r.From));
    }

    [Fact]
    public async Task More_bytes_than_said_are_refused()
    {
        OnWeights(async (context, _, _) =>
        {
            for (int i = 0; i < 2; i++) await context.Response.Body.WriteAsync(Content);
            return true;
        });
        await Fails<InvalidDataException>("is longer than");
        AssertNotShown(Weights);
    }

    [Fact]
    public async Task Files_that_are_too_large_are_refused_before_a_byte_comes()
    {
        await Fails<InvalidDataException>("at most 5,000 are accepted", Options with { MaxFileBytes = 5000 });
        Assert.DoesNotContain(Server.Requests, r => r.IsStore);
    }

    [Fact]
    public async Task A_busy_server_is_asked_again_when_it_says()
    {
        Server.Intercept = (context, request, count) =>
        {
            if (count > 1 || !request.Path.StartsWith("/api", StringComparison.Ordinal)) return Task.FromResult(false);
            HubServer.Refuse(context, 429);
            context.Response.Headers.RetryAfter = "7";
            return Task.FromResult(true);
        };
        AssertSound(await Download(), Needed);
        Assert.Equal([TimeSpan.FromSeconds(7)], _time.Waits);
    }

    [Theory]
    [InlineData(500)]
    [InlineData(503)]
    [InlineData(504)]
    public async Task A_server_that_fails_is_asked_again_each_time_later(int status)
    {
        OnWeights((context, _, count) =>
        {
            if (count <= 4) HubServer.Refuse(context, status);
            return Task.FromResult(count <= 4);
        });
        AssertSound(await Download(), Needed);
        Assert.Equal(4, _time.Waits.Count);
        Assert.True(_time.Waits.Max() > _time.Waits.First(), string.Join(", ", _time.Waits));
    }

    [Fact]
    public async Task A_server_that_keeps_failing_is_one_error()
    {
        OnWeights((context, _, _) =>
        {
            HubServer.Refuse(context, 503, message: "out of order");
            return Task.FromResult(true);
        });
        var e = await Assert.ThrowsAnyAsync<HubException>(() => Download());
        Assert.Equal(HttpStatusCode.ServiceUnavailable, e.Status);
        Assert.Contains("does not give model.safetensors of 'tiny/clip' now (localhost", e.Message, StringComparison.Ordinal);
        Assert.Contains("503 ServiceUnavailable: out of order); try again later", e.Message, StringComparison.Ordinal);
        Assert.Equal(6, Server.Transfers(Weights).Length);
        AssertNotShown(Weights);
    }

    [Fact]
    public async Task A_server_that_asks_to_come_back_much_later_is_not_waited_for()
    {
        Server.Intercept = (context, _, _) =>
        {
            HubServer.Refuse(context, 429);
            context.Response.Headers.RetryAfter = "3600";
            return Task.FromResult(true);
        };
        await Fails<HubException>("429 TooManyRequests); it asks to wait 3,600 s");
        Assert.Single(Server.Requests);
    }

    [Fact]
    public async Task A_cancelled_download_is_gone_on_from()
    {
        using var cancellation = new CancellationTokenSource();
        OnWeights(async (context, _, count) =>
        {
            if (count > 1) return false;
            await HubServer.CutAsync(context, Content, CutAt, HubServer.ClientIsGone(context));
            return true;
        });
        HubOptions options = Options with
        {
            Progress = new Reports(p =>
            {
                if (p.File == Weights) cancellation.Cancel();
            }),
        };
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Download(options, cancellation: cancellation.Token));
        AssertNotShown(Weights);
        AssertSound(await Download(), Needed);
        Assert.Equal([null, CutAt], Server.Transfers(Weights).Select(r => r.From));
    }
}
