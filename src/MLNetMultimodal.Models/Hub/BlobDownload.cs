namespace MLNetMultimodal.Models.Hub;

/// <summary>Brings one content into the cache: under a lock that other processes wait for, going on where an earlier attempt
/// ended, checked against its hash, and only then given its name.</summary>
sealed class BlobDownload(HubClient client, HubCache cache, string repository, ProgressTally tally)
{
    const long Headway = 1 << 20; // that makes a failing transfer worth another round of attempts

    /// <summary>Puts the file into the snapshot of a commit.</summary>
    public async Task RunAsync(HubFile file, string commit, CancellationToken cancellation)
    {
        using IDisposable held = await CacheLock.TakeAsync(cache.LockOf(file.Etag), cancellation).ConfigureAwait(false);
        string blob = cache.Blob(file.Etag);
        bool isNew = !File.Exists(blob) && !HubCache.IsThere(cache.FileOf(commit, file.Name));
        if (isNew) await FetchAsync(file, blob, cancellation).ConfigureAwait(false);
        cache.Show(file.Etag, commit, file.Name, isNew);
        tally.Report(file, file.Size);
    }

    async Task FetchAsync(HubFile file, string blob, CancellationToken cancellation)
    {
        string incomplete = cache.Incomplete(file.Etag);
        bool resumes = Length(incomplete) > 0;
        await TransferAsync(file, incomplete, cancellation).ConfigureAwait(false);
        if (resumes && !await IsSoundAsync(file, incomplete, cancellation).ConfigureAwait(false))
        {
            File.Delete(incomplete); // what was there may have been the fault
            await TransferAsync(file, incomplete, cancellation).ConfigureAwait(false);
            resumes = false;
        }
        if (!resumes && !await IsSoundAsync(file, incomplete, cancellation).ConfigureAwait(false))
        {
            File.Delete(incomplete);
            throw new InvalidDataException($"{file.Name} of '{repository}' came with other content than its hash {file.Etag} "
                + "says; it was thrown away. Try again later.");
        }
        File.Move(incomplete, blob, overwrite: true);
    }

    async Task TransferAsync(HubFile file, string incomplete, CancellationToken cancellation)
    {
        while (true)
        {
            long before = Length(incomplete);
            try
            {
                await client.RetryAsync(token => AttemptAsync(file, incomplete, token), cancellation).ConfigureAwait(false);
                return;
            }
            catch (TransientHubException) when (Length(incomplete) - before >= Headway)
            {
            }
        }
    }

    async ValueTask AttemptAsync(HubFile file, string incomplete, CancellationToken cancellation)
    {
        await using var target = new FileStream(incomplete, new FileStreamOptions
        {
            Mode = FileMode.OpenOrCreate,
            Access = FileAccess.Write,
            BufferSize = 0,
            Options = FileOptions.Asynchronous,
            Share = FileShare.None,
        });
        if (target.Length > file.Size) target.SetLength(0);
        if (target.Length < file.Size)
            await client.AppendAsync(file, target, bytes => tally.Report(file, bytes), cancellation).ConfigureAwait(false);
        target.Flush(flushToDisk: true);
    }

    static long Length(string path) => new FileInfo(path) is { Exists: true } file ? file.Length : 0;

    static async Task<bool> IsSoundAsync(HubFile file, string path, CancellationToken cancellation) =>
        await BlobHash.OfAsync(path, file.Etag, cancellation).ConfigureAwait(false) == file.Etag;
}
