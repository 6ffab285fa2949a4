using System.Net;
using System.Net.Http.Headers;
using Polly;
using Polly.Retry;

namespace MLNetMultimodal.Models.Hub;

/// <summary>A file as the server describes it.</summary>
/// <param name="Name">Its name in the repository.</param>
/// <param name="Address">Where it is asked for.</param>
/// <param name="Etag">Hash of its content, and name of its blob.</param>
/// <param name="Size">Its bytes.</param>
sealed record HubFile(string Name, Uri Address, string Etag, long Size);

/// <summary>Requests to the hub for one repository and revision: redirects followed by hand, so that the token stays with the
/// hub; time-outs, retries, and errors in words.</summary>
sealed class HubClient(HubSettings settings, HubReference reference)
{
    const int MaxRedirects = 8;
    const string LinkedEtag = "X-Linked-Etag", LinkedSize = "X-Linked-Size", RepoCommit = "X-Repo-Commit";
    static readonly TimeSpan FirstWait = TimeSpan.FromSeconds(1), LongestWait = TimeSpan.FromSeconds(30);
    static readonly TimeSpan LongestRetryAfter = TimeSpan.FromMinutes(6); // the hub counts requests in windows of five

    static readonly HttpClient Http = new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        AutomaticDecompression = DecompressionMethods.None,
        PooledConnectionLifetime = TimeSpan.FromMinutes(5),
    })
    { Timeout = Timeout.InfiniteTimeSpan };

    readonly HubErrors _errors = new(settings, reference);
    readonly ResiliencePipeline _retries = Retries(settings.Options);

    static ResiliencePipeline Retries(HubOptions options)
    {
        if (options.MaxRetries == 0) return ResiliencePipeline.Empty;
        return new ResiliencePipelineBuilder { TimeProvider = options.Time }.AddRetry(new RetryStrategyOptions
        {
            ShouldHandle = new PredicateBuilder().Handle<TransientHubException>(e => !(e.RetryAfter > LongestRetryAfter)),
            MaxRetryAttempts = options.MaxRetries,
            BackoffType = DelayBackoffType.Exponential,
            UseJitter = true,
            Delay = FirstWait,
            MaxDelay = LongestWait,
            DelayGenerator = args => ValueTask.FromResult((args.Outcome.Exception as TransientHubException)?.RetryAfter),
        }).Build();
    }

    /// <summary>Attempts until one succeeds, or fails for good.</summary>
    public ValueTask RetryAsync(Func<CancellationToken, ValueTask> attempt, CancellationToken cancellation) =>
        _retries.ExecuteAsync(attempt, cancellation);

    /// <summary>The files of the revision.</summary>
    /// <param name="retries">False: one attempt only, since there is something to fall back to.</param>
    /// <param name="cancellation">Ends it.</param>
    public async Task<RepositoryListing> ListAsync(bool retries, CancellationToken cancellation)
    {
        // blobs: with sizes and hashes, which Python keeps beside the snapshots.
        Uri address = settings.Address(
            $"api/models/{reference.Repository}/revision/{Uri.EscapeDataString(reference.Revision ?? ModelHub.DefaultRevision)}?blobs=true");
        ResiliencePipeline pipeline = retries ? _retries : ResiliencePipeline.Empty;
        byte[] json = await pipeline.ExecuteAsync(async token => await ReadAsync(address, token).ConfigureAwait(false), cancellation).ConfigureAwait(false);
        return RepositoryListing.Parse(json, reference.Repository);
    }

    async Task<byte[]> ReadAsync(Uri address, CancellationToken cancellation)
    {
        using var guard = new StallGuard(settings, cancellation);
        using HttpResponseMessage response = await SendAsync(HttpMethod.Get, address, 0, isDescription: false, guard).ConfigureAwait(false);
        if (response.StatusCode != HttpStatusCode.OK) throw _errors.Of(response);
        var content = new MemoryStream();
        await foreach (ReadOnlyMemory<byte> part in PartsAsync(response, guard).ConfigureAwait(false))
        {
            content.Write(part.Span);
            if (content.Length > RepositoryListing.MaxBytes)
                throw new InvalidDataException($"the hub's list of the files of '{reference.Repository}' is longer than {RepositoryListing.MaxBytes} bytes.");
        }
        return content.ToArray();
    }

    /// <summary>Size and hash of a file.</summary>
    public async Task<HubFile> DescribeAsync(string commit, string file, CancellationToken cancellation)
    {
        string path = string.Join('/', file.Split('/').Select(Uri.EscapeDataString));
        Uri address = settings.Address($"{reference.Repository}/resolve/{commit}/{path}");
        return await _retries.ExecuteAsync(async token =>
        {
            using var guard = new StallGuard(settings, token);
            using HttpResponseMessage response = await SendAsync(HttpMethod.Head, address, 0, isDescription: true, guard).ConfigureAwait(false);
            return Describe(response, commit, file, address);
        }, cancellation).ConfigureAwait(false);
    }

    HubFile Describe(HttpResponseMessage response, string commit, string file, Uri address)
    {
        bool isLinked = Header(response, LinkedEtag) is not null;
        if (response.StatusCode != HttpStatusCode.OK && !isLinked) throw _errors.Of(response, file);
        if (Header(response, RepoCommit) != commit)
            throw new HubException($"{address} is answered by something that is no hub, or by one that has another commit than {commit} there; "
                + "look at HF_ENDPOINT, proxies and firewalls.", response.StatusCode);
        string etag = Unquoted(Header(response, LinkedEtag) ?? Header(response, "ETag"));
        if (!BlobHash.IsHash(etag)) throw new InvalidDataException($"the hub gives no hash of {file} of '{reference.Repository}'; without one it cannot be checked.");
        bool hasSize = isLinked ? long.TryParse(Header(response, LinkedSize), out long size) : (size = response.Content.Headers.ContentLength ?? -1) >= 0;
        if (!hasSize || size < 0) throw new InvalidDataException($"the hub gives no size of {file} of '{reference.Repository}'.");
        return size <= settings.Options.MaxFileBytes ? new(file, address, etag, size) : throw new InvalidDataException(
            $"{file} of '{reference.Repository}' has {size:n0} bytes, but at most {settings.Options.MaxFileBytes:n0} are accepted; raise HubOptions.MaxFileBytes.");
    }

    static string? Header(HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out IEnumerable<string>? values) ? values.FirstOrDefault() : null;

    static string Unquoted(string? etag) => (etag ?? "").Replace("W/", "", StringComparison.Ordinal).Trim('"');

    /// <summary>Appends a file's bytes from the target's end on, or from its beginning where the server begins there.</summary>
    /// <exception cref="TransientHubException">The answer ended early; what came is kept.</exception>
    public async ValueTask AppendAsync(HubFile file, FileStream target, Action<long> report, CancellationToken cancellation)
    {
        long from = target.Length;
        using var guard = new StallGuard(settings, cancellation);
        using HttpResponseMessage response = await SendAsync(HttpMethod.Get, file.Address, from, isDescription: false, guard).ConfigureAwait(false);
        bool fits = response.StatusCode switch
        {
            HttpStatusCode.OK => from == 0,
            HttpStatusCode.PartialContent => response.Content.Headers.ContentRange is { } range && range.From == from && (range.Length ?? file.Size) == file.Size,
            HttpStatusCode.RequestedRangeNotSatisfiable => false,
            _ => throw _errors.Of(response, file.Name),
        };
        if (!fits)
        {
            target.SetLength(0);
            if (response.StatusCode != HttpStatusCode.OK)
                throw new TransientHubException($"{file.Name} of '{reference.Repository}': the server has no part from byte {from} on.", response.StatusCode);
        }
        target.Seek(0, SeekOrigin.End);
        await foreach (ReadOnlyMemory<byte> part in PartsAsync(response, guard).ConfigureAwait(false))
        {
            if (target.Position + part.Length > file.Size)
                throw new InvalidDataException($"{file.Name} of '{reference.Repository}' is longer than the {file.Size:n0} bytes that the hub says.");
            await target.WriteAsync(part, cancellation).ConfigureAwait(false);
            report(target.Position);
        }
        if (target.Position < file.Size)
            throw new TransientHubException($"{file.Name} of '{reference.Repository}' ended after {target.Position:n0} of {file.Size:n0} bytes.");
    }

    /// <summary>Sends, and follows redirects.</summary>
    /// <param name="method">GET or HEAD.</param>
    /// <param name="address">An address of the hub.</param>
    /// <param name="from">First byte that is wanted.</param>
    /// <param name="isDescription">True: the answer is the hub's own, not that of a host that it redirects to.</param>
    /// <param name="guard">Ends it.</param>
    async Task<HttpResponseMessage> SendAsync(HttpMethod method, Uri address, long from, bool isDescription, StallGuard guard)
    {
        bool isHub = true;
        for (int hop = 0; hop <= MaxRedirects; hop++)
        {
            isHub &= IsHub(address); // once away from the hub, the token is not sent again
            using var request = new HttpRequestMessage(method, address);
            request.Headers.UserAgent.Add(new("MLNetMultimodal", typeof(HubClient).Assembly.GetName().Version!.ToString(3)));
            request.Headers.AcceptEncoding.Add(new("identity")); // sizes and ranges are those of the file
            if (from > 0) request.Headers.Range = new RangeHeaderValue(from, null);
            if (isHub && settings.Token is { } token) request.Headers.Authorization = new("Bearer", token);
            HttpResponseMessage response = await guard.RunAsync(
                t => Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, t), address).ConfigureAwait(false);
            if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308)) return response;
            Uri? next = response.Headers.Location is { } location ? new Uri(address, location) : null;
            if (isDescription && (Header(response, LinkedEtag) is not null || next is null || !IsHub(next))) return response;
            response.Dispose();
            if (next?.Scheme is not ("https" or "http") || (address.Scheme == "https" && next.Scheme != "https"))
                throw new HubException($"{address.GetLeftPart(UriPartial.Path)} redirects to no address that may be followed.", response.StatusCode);
            address = next;
        }
        throw new HubException($"{address.GetLeftPart(UriPartial.Path)} is redirected to more than {MaxRedirects} times.");
    }

    bool IsHub(Uri address) =>
        Uri.Compare(address, settings.Endpoint, UriComponents.SchemeAndServer, UriFormat.SafeUnescaped, StringComparison.OrdinalIgnoreCase) == 0;

    static async IAsyncEnumerable<ReadOnlyMemory<byte>> PartsAsync(HttpResponseMessage response, StallGuard guard)
    {
        const int BufferBytes = 1 << 17;
        Uri address = response.RequestMessage!.RequestUri!;
        await using Stream stream = await guard.RunAsync(response.Content.ReadAsStreamAsync, address).ConfigureAwait(false);
        var buffer = new byte[BufferBytes];
        while (await guard.RunAsync(t => stream.ReadAsync(buffer, t).AsTask(), address).ConfigureAwait(false) is > 0 and var read)
            yield return buffer.AsMemory(0, read);
    }
}
