namespace MLNetMultimodal.Models.Hub;

/// <summary>Models of the Hugging Face hub, in the cache that Python's <c>huggingface_hub</c> uses too: what one of them has
/// downloaded, the other finds. Wherever a model folder is wanted, <c>hub:owner/name</c> or <c>hub:owner/name@revision</c> may
/// stand. Thread-safe.</summary>
public static class ModelHub
{
    /// <summary>What stands before a repository's name where a folder may stand too.</summary>
    public const string Scheme = "hub:";

    /// <summary>The revision that is taken where none is given.</summary>
    public const string DefaultRevision = "main";

    /// <summary>True where a model is named by <see cref="Scheme"/> and a repository, and is no folder.</summary>
    public static bool IsReference(string model) => model.StartsWith(Scheme, StringComparison.Ordinal);

    /// <summary>Downloads the files that a model is loaded from: configs, weights as safetensors (of shards, those that the index
    /// names), tokenizer, preprocessing, modules of sentence-transformers; graphs of <c>onnx/</c> only where there are no
    /// safetensors; never pickles. Files that the cache has are not downloaded again, a download that was cut off goes on where
    /// it ended, and each file is checked against its hash before it is seen. Processes that want the same file wait for each
    /// other. Where the hub cannot be reached, what the cache has of the revision is used, if it is complete, and
    /// <see cref="HubProgress.Note"/> says so.</summary>
    /// <param name="repository"><c>owner/name</c>, <c>owner/name@revision</c>, or the same after <c>hub:</c>.</param>
    /// <param name="revision">A branch, a tag or a commit (40 hexadecimal digits, which never changes); null for the one after
    /// <c>@</c>, or <see cref="DefaultRevision"/>.</param>
    /// <param name="options">Cache, token, files, progress; null for the environment's.</param>
    /// <param name="cancellation">Ends the download; what is there of it is gone on from later.</param>
    /// <returns>The full path of the snapshot's folder, whose name is the commit. The files in it must not be written
    /// to.</returns>
    /// <exception cref="ArgumentException">No repository or revision is named, or two revisions; or the token or the endpoint
    /// make no sense.</exception>
    /// <exception cref="HubException">It does not exist, may not be read, cannot be reached, or is not in the cache while
    /// offline.</exception>
    /// <exception cref="InvalidDataException">What the server gives is not sound: another hash, a name that leaves the folder,
    /// too many bytes.</exception>
    /// <exception cref="NotSupportedException">The repository has its weights only as pickles.</exception>
    /// <exception cref="OperationCanceledException">Cancelled.</exception>
    public static async Task<string> DownloadAsync(string repository, string? revision = null, HubOptions? options = null,
        CancellationToken cancellation = default)
    {
        HubReference reference = HubReference.Parse(repository);
        if (revision is not null && reference.Revision is not null)
            throw new ArgumentException($"'{repository}' names a revision already; give one of the two.", nameof(revision));
        reference = reference with { Revision = reference.Revision ?? HubReference.CheckRevision(revision) };
        HubSettings settings = HubSettings.Of(options ?? new(), HubEnvironment.OfProcess);
        return await new SnapshotDownload(settings, reference).RunAsync(cancellation).ConfigureAwait(false);
    }

    /// <summary>The same for callers that cannot wait asynchronously. On a thread of the pool, so that no context is waited
    /// for.</summary>
    internal static string Download(string reference) => Task.Run(() => DownloadAsync(reference)).GetAwaiter().GetResult();
}
