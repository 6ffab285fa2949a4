using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MLNetMultimodal.Inference.Tests.Hub;

/// <summary>What a server was asked.</summary>
/// <param name="Method">GET or HEAD.</param>
/// <param name="Path">The address without the host.</param>
/// <param name="IsStore">True: the host that large files lie on.</param>
/// <param name="Token">The header Authorization.</param>
/// <param name="From">First byte that was asked for.</param>
public sealed record HubRequest(string Method, string Path, bool IsStore, string? Token, long? From)
{
    public static HubRequest Of(HttpRequest request, bool isStore)
    {
        string? range = request.Headers.Range;
        long? from = range is null ? null : long.Parse(range["bytes=".Length..^1], CultureInfo.InvariantCulture);
        return new(request.Method, request.Path + request.QueryString, isStore, request.Headers.Authorization, from);
    }
}

/// <summary>A hub on loopback that answers as the Hugging Face hub does: small files by itself, large ones by a redirect to a
/// store at another host name. Tests change its answers.</summary>
public sealed class HubServer : IAsyncDisposable
{
    public const string Repository = "tiny/clip";

    readonly WebApplication _hub, _store;
    readonly Dictionary<string, Dictionary<string, byte[]>> _commits = new(StringComparer.Ordinal);
    readonly Dictionary<string, string> _revisions = new(StringComparer.Ordinal);
    readonly ConcurrentDictionary<string, int> _counts = new(StringComparer.Ordinal);

    HubServer() => (_hub, _store) = (Build(OnHubAsync), Build(OnStoreAsync));

    public ConcurrentQueue<HubRequest> Requests { get; } = new();

    public Uri Endpoint => new($"http://127.0.0.1:{Port(_hub)}/");

    /// <summary>The same machine by another name: another host.</summary>
    public string Store => $"http://localhost:{Port(_store)}";

    /// <summary>The commit of main.</summary>
    public string Commit => _revisions["main"];

    /// <summary>Answers in place of the hub or the store, where it returns true. The number counts equal requests, from
    /// 1.</summary>
    public Func<HttpContext, HubRequest, int, Task<bool>> Intercept { get; set; } = (_, _, _) => Task.FromResult(false);

    /// <summary>Changes the list of files before it is sent.</summary>
    public Func<string, string> List { get; set; } = json => json;

    public static async Task<HubServer> StartAsync(IReadOnlyDictionary<string, byte[]> files)
    {
        var server = new HubServer();
        server.Push("main", files);
        await Task.WhenAll(server._hub.StartAsync(), server._store.StartAsync());
        return server;
    }

    /// <summary>A new commit.</summary>
    public string Push(string revision, IReadOnlyDictionary<string, byte[]> files)
    {
        string commit = Hash(SHA1.HashData(Encoding.UTF8.GetBytes($"commit {_commits.Count}")));
        _commits[commit] = new(files, StringComparer.Ordinal);
        _revisions[revision] = commit;
        return commit;
    }

    /// <summary>Name of a content.</summary>
    public static string Etag(string name, byte[] content) => IsLarge(name) ? Hash(SHA256.HashData(content)) : GitHash(content);

    static bool IsLarge(string name) => Path.GetExtension(name) is ".safetensors" or ".data";

    static string GitHash(byte[] content) =>
        Hash(SHA1.HashData([.. Encoding.ASCII.GetBytes($"blob {content.Length}\0"), .. content]));

    static string Hash(byte[] hash) => Convert.ToHexStringLower(hash);

    static WebApplication Build(RequestDelegate answer)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        WebApplication app = builder.Build();
        app.Urls.Add("http://127.0.0.1:0");
        app.Run(answer);
        return app;
    }

    static int Port(WebApplication app) =>
        new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()).Port;

    async Task<bool> IsAnsweredAsync(HttpContext context, bool isStore)
    {
        HubRequest request = HubRequest.Of(context.Request, isStore);
        Requests.Enqueue(request);
        int count = _counts.AddOrUpdate($"{request.Method} {request.Path}", 1, (_, n) => n + 1);
        return await Intercept(context, request, count);
    }

    async Task OnHubAsync(HttpContext context)
    {
        if (await IsAnsweredAsync(context, isStore: false)) return;
        const string Api = $"/api/models/{Repository}/revision/", Resolve = $"/{Repository}/resolve/";
        string path = context.Request.Path.Value!;
        if (path.StartsWith(Api, StringComparison.Ordinal)) await ListAsync(context, Uri.UnescapeDataString(path[Api.Length..]));
        else if (path.StartsWith(Resolve, StringComparison.Ordinal)) await ResolveAsync(context, path[Resolve.Length..]);
        else Refuse(context, 401, "RepoNotFound");
    }

    public static void Refuse(HttpContext context, int status, string? code = null, string? message = null)
    {
        context.Response.StatusCode = status;
        if (code is not null) context.Response.Headers["X-Error-Code"] = code;
        if (message is not null) context.Response.Headers["X-Error-Message"] = message;
    }

    async Task ListAsync(HttpContext context, string revision)
    {
        string? commit = _commits.ContainsKey(revision) ? revision : _revisions.GetValueOrDefault(revision);
        if (commit is null)
        {
            Refuse(context, 404, "RevisionNotFound", $"Invalid rev id: {revision}");
            return;
        }
        bool describes = context.Request.Query["blobs"] == "true";
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync(List(JsonSerializer.Serialize(new
        {
            id = Repository,
            sha = commit,
            siblings = _commits[commit].Select(f => describes ? Describe(f.Key, f.Value) : new { rfilename = f.Key }),
        })));
    }

    static object Describe(string name, byte[] content) => new
    {
        rfilename = name,
        size = content.Length,
        blobId = GitHash(content),
        lfs = IsLarge(name) ? new { sha256 = Hash(SHA256.HashData(content)), size = content.Length, pointerSize = 130 } : null,
    };

    async Task ResolveAsync(HttpContext context, string rest)
    {
        int end = rest.IndexOf('/');
        string name = rest[(end + 1)..], commit = _revisions.GetValueOrDefault(rest[..end], rest[..end]);
        HttpResponse response = context.Response;
        response.Headers["X-Repo-Commit"] = commit;
        if (!_commits[commit].TryGetValue(name, out byte[]? content)) Refuse(context, 404, "EntryNotFound");
        else if (IsLarge(name))
        {
            response.StatusCode = 302;
            response.Headers["X-Linked-Etag"] = $"\"{Etag(name, content)}\"";
            response.Headers["X-Linked-Size"] = content.Length.ToString(CultureInfo.InvariantCulture);
            response.Headers.Location = $"{Store}/{commit}/{name}?signature=1";
        }
        else
        {
            response.Headers.ETag = $"\"{Etag(name, content)}\"";
            await SendAsync(context, content);
        }
    }

    async Task OnStoreAsync(HttpContext context)
    {
        if (await IsAnsweredAsync(context, isStore: true)) return;
        string path = context.Request.Path.Value![1..];
        context.Response.Headers.ETag = "\"of-the-store\"";
        await SendAsync(context, _commits[path[..40]][path[41..]]);
    }

    /// <summary>Sends what is asked for of a content.</summary>
    public static async Task SendAsync(HttpContext context, ReadOnlyMemory<byte> content)
    {
        if (HubRequest.Of(context.Request, false).From is { } from)
        {
            context.Response.StatusCode = (int)HttpStatusCode.PartialContent;
            context.Response.Headers.ContentRange = $"bytes {from}-{content.Length - 1}/{content.Length}";
            content = content[(int)from..];
        }
        context.Response.ContentLength = content.Length;
        if (context.Request.Method != "HEAD") await context.Response.Body.WriteAsync(content);
    }

    /// <summary>Done when the client has closed the connection.</summary>
    public static async Task ClientIsGone(HttpContext context)
    {
        var gone = new TaskCompletionSource();
        await using CancellationTokenRegistration registration = context.RequestAborted.Register(gone.SetResult);
        await gone.Task;
    }

    /// <summary>Sends the first bytes of what is asked for, waits, and cuts the connection.</summary>
    public static async Task CutAsync(HttpContext context, ReadOnlyMemory<byte> content, int bytes, Task when)
    {
        int from = (int)(HubRequest.Of(context.Request, false).From ?? 0);
        if (from > 0)
        {
            context.Response.StatusCode = (int)HttpStatusCode.PartialContent;
            context.Response.Headers.ContentRange = $"bytes {from}-{content.Length - 1}/{content.Length}";
        }
        context.Response.ContentLength = content.Length - from;
        await context.Response.Body.WriteAsync(content.Slice(from, bytes));
        await context.Response.Body.FlushAsync();
        await when;
        context.Abort();
    }

    public byte[] Content(string name) => _commits[Commit][name];

    /// <summary>How often the bytes of a file were asked for, and from where on.</summary>
    public HubRequest[] Transfers(string name) => [.. Requests.Where(r => r.Method == "GET" && r.IsStore == IsLarge(name)
        && r.Path.Split('?')[0].EndsWith($"/{name}", StringComparison.Ordinal))];

    public async ValueTask DisposeAsync()
    {
        await _hub.DisposeAsync();
        await _store.DisposeAsync();
    }
}
