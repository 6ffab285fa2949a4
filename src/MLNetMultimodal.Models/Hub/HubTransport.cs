using System.Net;
using System.Net.Http.Headers;
using Polly;
using Polly.Retry;

namespace MLNetMultimodal.Models.Hub;

/// <summary>Requests and their repetition: redirects are followed by hand, so that the token stays with the hub; attempts that
/// fail for the moment are made again.</summary>
sealed class HubTransport(HubSettings settings)
{
    const int MaxRedirects = 8, BufferBytes = 1 << 17;
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

    static readonly string Version = typeof(HubTransport).Assembly.GetName().Version!.ToString(3);

    /// <summary>Makes attempts until one succeeds, or fails for good.</summary>
    public ResiliencePipeline Retries { get; } = settings.Options.MaxRetries == 0 ? ResiliencePipeline.Empty
        : new ResiliencePipelineBuilder { TimeProvider = settings.Options.Time }.AddRetry(new RetryStrategyOptions
        {
            ShouldHandle = new PredicateBuilder().Handle<TransientHubException>(e => !(e.RetryAfter > LongestRetryAfter)),
            MaxRetryAttempts = settings.Options.MaxRetries,
            BackoffType = DelayBackoffType.Exponential,
            UseJitter = true,
            Delay = FirstWait,
            MaxDelay = LongestWait,
            DelayGenerator = args => ValueTask.FromResult((args.Outcome.Exception as TransientHubException)?.RetryAfter),
        }).Build();

    public StallGuard Guard(CancellationToken cancellation) => new(settings, cancellation);

    /// <summary>Asks for bytes, wherever they lie.</summary>
    /// <param name="address">An address of the hub.</param>
    /// <param name="from">First byte that is wanted.</param>
    /// <param name="guard">Ends it.</param>
    public Task<HttpResponseMessage> GetAsync(Uri address, long from, StallGuard guard) =>
        SendAsync(HttpMethod.Get, address, from, (_, _) => false, guard);

    /// <summary>Asks what the hub has to say of a file: its own answer, not that of a host that it redirects to.</summary>
    /// <param name="address">An address of the hub.</param>
    /// <param name="isAnswer">True for a redirect that is the answer; others within the hub are followed.</param>
    /// <param name="guard">Ends it.</param>
    public Task<HttpResponseMessage> HeadAsync(Uri address, Func<HttpResponseMessage, bool> isAnswer, StallGuard guard) =>
        SendAsync(HttpMethod.Head, address, 0, (response, next) => isAnswer(response) || next is null || !IsHub(next), guard);

    async Task<HttpResponseMessage> SendAsync(
        HttpMethod method, Uri address, long from, Func<HttpResponseMessage, Uri?, bool> staysHere, StallGuard guard)
    {
        bool isHub = true;
        for (int hop = 0; hop <= MaxRedirects; hop++)
        {
            isHub &= IsHub(address); // once away from the hub, the token is not sent again
            using HttpRequestMessage request = Request(method, address, from, isHub ? settings.Token : null);
            HttpResponseMessage response = await guard.RunAsync(
                token => Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, token), address).ConfigureAwait(false);
            if ((int)response.StatusCode is not (301 or 302 or 303 or 307 or 308)) return response;
            Uri? next = response.Headers.Location is { } location ? new Uri(address, location) : null;
            if (staysHere(response, next)) return response;
            response.Dispose();
            if (next?.Scheme is not ("https" or "http") || (address.Scheme == "https" && next.Scheme != "https"))
                throw new HubException($"{Shown(address)} redirects to no address that may be followed.", response.StatusCode);
            address = next;
        }
        throw new HubException($"{Shown(address)} is redirected to more than {MaxRedirects} times.");
    }

    static HttpRequestMessage Request(HttpMethod method, Uri address, long from, string? token)
    {
        var request = new HttpRequestMessage(method, address);
        request.Headers.UserAgent.Add(new("MLNetMultimodal", Version));
        request.Headers.AcceptEncoding.Add(new("identity")); // sizes and ranges are those of the file
        if (from > 0) request.Headers.Range = new RangeHeaderValue(from, null);
        if (token is not null) request.Headers.Authorization = new("Bearer", token);
        return request;
    }

    /// <summary>Without the query, which may hold a signature.</summary>
    static string Shown(Uri address) => address.GetLeftPart(UriPartial.Path);

    bool IsHub(Uri address) => Uri.Compare(address, settings.Endpoint, UriComponents.SchemeAndServer, UriFormat.SafeUnescaped,
        StringComparison.OrdinalIgnoreCase) == 0;

    /// <summary>The bytes of an answer as they come; each part is gone when the next is asked for.</summary>
    public static async IAsyncEnumerable<ReadOnlyMemory<byte>> PartsAsync(HttpResponseMessage response, StallGuard guard)
    {
        Uri address = response.RequestMessage!.RequestUri!;
        await using Stream stream = await guard.RunAsync(response.Content.ReadAsStreamAsync, address).ConfigureAwait(false);
        var buffer = new byte[BufferBytes];
        Task<int> ReadAsync(CancellationToken cancellation) => stream.ReadAsync(buffer, cancellation).AsTask();
        while (await guard.RunAsync(ReadAsync, address).ConfigureAwait(false) is > 0 and var read)
            yield return buffer.AsMemory(0, read);
    }

    /// <summary>A header's value; null where it is missing.</summary>
    public static string? Header(HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out IEnumerable<string>? values) ? values.FirstOrDefault() : null;
}
