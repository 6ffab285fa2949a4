using System.Globalization;
using System.Net;
using Polly;

namespace MLNetMultimodal.Models.Hub;

/// <summary>A file as the server describes it.</summary>
/// <param name="Name">Its name in the repository.</param>
/// <param name="Address">Where it is asked for.</param>
/// <param name="Etag">Hash of its content, and name of its blob.</param>
/// <param name="Size">Its bytes.</param>
sealed record HubFile(string Name, Uri Address, string Etag, long Size);

/// <summary>What the hub is asked of one repository and revision. Its answers are untrusted.</summary>
sealed class HubClient(HubSettings settings, HubReference reference)
{
    const string LinkedEtag = "X-Linked-Etag", LinkedSize = "X-Linked-Size", RepoCommit = "X-Repo-Commit";

    readonly string _repository = reference.Repository;
    readonly HubErrors _errors = new(settings, reference);
    readonly HubTransport _transport = new(settings);

    /// <summary>Makes attempts until one succeeds, or fails for good.</summary>
    public ValueTask RetryAsync(Func<CancellationToken, ValueTask> attempt, CancellationToken cancellation) =>
        _transport.Retries.ExecuteAsync(attempt, cancellation);

    /// <summary>The files of the revision.</summary>
    /// <param name="retries">False: one attempt only, since there is something to fall back to.</param>
    /// <param name="cancellation">Ends it.</param>
    public async Task<RepositoryListing> ListAsync(bool retries, CancellationToken cancellation)
    {
        string revision = Uri.EscapeDataString(reference.Revision ?? ModelHub.DefaultRevision);
        // blobs: with sizes and hashes, which Python keeps beside the snapshots.
        Uri address = settings.Address($"api/models/{_repository}/revision/{revision}?blobs=true");
        ResiliencePipeline pipeline = retries ? _transport.Retries : ResiliencePipeline.Empty;
        byte[] json = await pipeline.ExecuteAsync(
            async token => await ReadAsync(address, token).ConfigureAwait(false), cancellation).ConfigureAwait(false);
        return RepositoryListing.Parse(json, _repository);
    }

    async Task<byte[]> ReadAsync(Uri address, CancellationToken cancellation)
    {
        using StallGuard guard = _transport.Guard(cancellation);
        using HttpResponseMessage response = await _transport.GetAsync(address, 0, guard).ConfigureAwait(false);
        if (response.StatusCode != HttpStatusCode.OK) throw _errors.Of(response);
        var content = new MemoryStream();
        await foreach (ReadOnlyMemory<byte> part in HubTransport.PartsAsync(response, guard).ConfigureAwait(false))
        {
            content.Write(part.Span);
            if (content.Length > RepositoryListing.MaxBytes)
                throw new InvalidDataException(
                    $"the hub's list of the files of '{_repository}' is longer than {RepositoryListing.MaxBytes} bytes.");
        }
        return content.ToArray();
    }

    /// <summary>Size and hash of a file.</summary>
    public async Task<HubFile> DescribeAsync(string commit, string file, CancellationToken cancellation)
    {
        string path = string.Join('/', file.Split('/').Select(Uri.EscapeDataString));
        Uri address = settings.Address($"{_repository}/resolve/{commit}/{path}");
        return await _transport.Retries.ExecuteAsync(async token =>
        {
            using StallGuard guard = _transport.Guard(token);
            using HttpResponseMessage response = await _transport.HeadAsync(
                address, r => BlobHash.IsHash(Hash(r)) && IsLinked(r), guard).ConfigureAwait(false);
            return Describe(response, commit, file, address);
        }, cancellation).ConfigureAwait(false);
    }

    /// <summary>True for the answer that stands for a file kept elsewhere.</summary>
    static bool IsLinked(HttpResponseMessage response) => HubTransport.Header(response, LinkedEtag) is not null;

    HubFile Describe(HttpResponseMessage response, string commit, string file, Uri address)
    {
        if (response.StatusCode != HttpStatusCode.OK && !IsLinked(response)) throw _errors.Of(response, file);
        if (HubTransport.Header(response, RepoCommit) != commit)
            throw new HubException($"{address} is answered by something that is no hub, or by one that has another commit than "
                + $"{commit} there; look at HF_ENDPOINT, proxies and firewalls.", response.StatusCode);
        string etag = Hash(response);
        if (!BlobHash.IsHash(etag))
            throw new InvalidDataException(
                $"the hub gives no hash of {file} of '{_repository}'; without one it cannot be checked.");
        long size = Size(response) ?? throw new InvalidDataException($"the hub gives no size of {file} of '{_repository}'.");
        return size <= settings.Options.MaxFileBytes ? new(file, address, etag, size) : throw new InvalidDataException(
            $"{file} of '{_repository}' has {size:n0} bytes, but at most {settings.Options.MaxFileBytes:n0} are accepted; "
            + "raise HubOptions.MaxFileBytes.");
    }

    /// <summary>The etag without what HTTP puts around it.</summary>
    static string Hash(HttpResponseMessage response) =>
        (HubTransport.Header(response, LinkedEtag) ?? HubTransport.Header(response, "ETag") ?? "")
            .Replace("W/", "", StringComparison.Ordinal).Trim('"');

    static long? Size(HttpResponseMessage response)
    {
        if (!IsLinked(response)) return response.Content.Headers.ContentLength;
        string? text = HubTransport.Header(response, LinkedSize);
        return long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long size) ? size : null;
    }

    /// <summary>Appends a file's bytes from the target's end on, or from its beginning where the server begins there.</summary>
    /// <exception cref="TransientHubException">The answer ended early; what came is kept.</exception>
    public async ValueTask AppendAsync(HubFile file, FileStream target, Action<long> report, CancellationToken cancellation)
    {
        using StallGuard guard = _transport.Guard(cancellation);
        using HttpResponseMessage response = await _transport.GetAsync(file.Address, target.Length, guard).ConfigureAwait(false);
        if (!Continues(response, target.Length, file))
        {
            target.SetLength(0);
            if (response.StatusCode != HttpStatusCode.OK)
                throw new TransientHubException(
                    $"the server does not go on with {file.Name} of '{_repository}' where it was asked to.", response.StatusCode);
        }
        target.Seek(0, SeekOrigin.End);
        await foreach (ReadOnlyMemory<byte> part in HubTransport.PartsAsync(response, guard).ConfigureAwait(false))
        {
            if (target.Position + part.Length > file.Size)
                throw new InvalidDataException(
                    $"{file.Name} of '{_repository}' is longer than the {file.Size:n0} bytes that the hub says.");
            await target.WriteAsync(part, cancellation).ConfigureAwait(false);
            report(target.Position);
        }
        if (target.Position < file.Size)
            throw new TransientHubException(
                $"{file.Name} of '{_repository}' ended after {target.Position:n0} of {file.Size:n0} bytes.");
    }

    /// <summary>True where the answer has the bytes from <paramref name="from"/> on.</summary>
    bool Continues(HttpResponseMessage response, long from, HubFile file) => response.StatusCode switch
    {
        HttpStatusCode.OK => from == 0,
        HttpStatusCode.PartialContent => response.Content.Headers.ContentRange is { } range
            && range.From == from && (range.Length ?? file.Size) == file.Size,
        HttpStatusCode.RequestedRangeNotSatisfiable => false,
        _ => throw _errors.Of(response, file.Name),
    };
}
