using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Models.Hub;

/// <summary>One download of a repository's files into the cache: look up the commit, choose files, bring those that are
/// missing.</summary>
sealed class SnapshotDownload
{
    const int FilesAtOnce = 4, NamedFiles = 10;

    readonly HubSettings _settings;
    readonly HubOptions _options;
    readonly string _repository, _revision;
    readonly HubCache _cache;
    readonly HubClient _client;
    readonly ProgressTally _tally;
    readonly BlobDownload _blobs;

    public SnapshotDownload(HubSettings settings, HubReference reference)
    {
        (_settings, _options) = (settings, settings.Options);
        (_repository, _revision) = (reference.Repository, reference.Revision ?? ModelHub.DefaultRevision);
        (_cache, _client, _tally) = (new(settings, _repository), new(settings, reference), new(_options.Progress));
        _blobs = new(_client, _cache, _repository, _tally);
    }

    string? KnownCommit => HubCache.IsCommit(_revision) ? _revision : null;

    /// <summary>The snapshot's folder, with all that was chosen.</summary>
    public async Task<string> RunAsync(CancellationToken cancellation)
    {
        (string? cached, string missing) = FindInCache();
        if (_settings.IsOffline)
            return cached ?? throw new HubException($"'{_repository}' cannot be had offline: the cache {_settings.CacheFolder} "
                + $"lacks {missing}. Download it once with HF_HUB_OFFLINE unset and HubOptions.Offline false.");
        if (cached is not null && KnownCommit is { } pinned && _cache.ReadListing(pinned) is not null) return cached;
        RepositoryListing listing;
        try
        {
            listing = await ListAsync(hasCopy: cached is not null, cancellation).ConfigureAwait(false);
        }
        catch (TransientHubException e) when (cached is not null)
        {
            _tally.Note($"{e.Message} The copy in the cache is used, which was '{_revision}' when it was last looked up.");
            return cached;
        }
        IReadOnlyList<string> chosen = FileChoice.Select(_repository, listing.Files.Keys, _options);
        await FetchAsync(listing.Commit, chosen, cancellation).ConfigureAwait(false);
        string folder = _cache.Snapshot(listing.Commit);
        if (chosen.Contains(ModelWeights.IndexName))
        {
            string[] shards = Shards(folder);
            if (Array.Find(shards, s => !listing.Files.ContainsKey(s)) is { } absent)
                throw new InvalidDataException(
                    $"{ModelWeights.IndexName} of '{_repository}' names {absent}, which the repository does not have.");
            await FetchAsync(listing.Commit, shards, cancellation).ConfigureAwait(false);
        }
        return folder;
    }

    async Task<RepositoryListing> ListAsync(bool hasCopy, CancellationToken cancellation)
    {
        if (KnownCommit is { } commit && _cache.ReadListing(commit) is { } known) return known;
        RepositoryListing listing = await _client.ListAsync(retries: !hasCopy, cancellation).ConfigureAwait(false);
        if (KnownCommit is { } wanted && wanted != listing.Commit)
            throw new InvalidDataException(
                $"the hub was asked for the commit {wanted} of '{_repository}', but answers with {listing.Commit}.");
        _cache.WriteRef(_revision, listing.Commit);
        _cache.WriteListing(listing);
        return listing;
    }

    /// <summary>The snapshot's folder where the cache has all of it, or else what it lacks.</summary>
    (string? Folder, string Missing) FindInCache()
    {
        if ((KnownCommit ?? _cache.ReadRef(_revision)) is not { } commit) return (null, $"the revision '{_revision}'");
        string folder = _cache.Snapshot(commit);
        if (!Directory.Exists(folder)) return (null, $"all files of the commit {commit}");
        IEnumerable<string> chosen;
        if (_cache.ReadListing(commit) is { } listing)
            chosen = FileChoice.Select(_repository, listing.Files.Keys, _options);
        else
        {
            // Without a list of what there should be, a folder without weights is taken for half a download.
            IReadOnlyList<string> names = ModelFiles.FromFolder(folder).List();
            if (!FileChoice.HasWeights(names, _options)) return (null, "the weights");
            chosen = FileChoice.Select(_repository, names, _options);
        }
        bool IsMissing(string file) => !HubCache.IsThere(_cache.FileOf(commit, file));
        if (chosen.Contains(ModelWeights.IndexName) && !IsMissing(ModelWeights.IndexName)) chosen = chosen.Concat(Shards(folder));
        string[] missing = [.. chosen.Where(IsMissing)];
        return missing.Length == 0 ? (folder, "") : (null, string.Join(", ", missing.Take(NamedFiles)));
    }

    /// <summary>The files that the index in a snapshot names.</summary>
    static string[] Shards(string folder) =>
        [.. ModelWeights.ReadIndex(ModelFiles.FromFolder(folder)).Values.Distinct(StringComparer.Ordinal)];

    async Task FetchAsync(string commit, IEnumerable<string> files, CancellationToken cancellation)
    {
        string[] missing = [.. files.Where(f => !HubCache.IsThere(_cache.FileOf(commit, f)))];
        if (missing.Length == 0) return;
        _cache.Prepare();
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = FilesAtOnce, CancellationToken = cancellation };
        var described = new HubFile[missing.Length];
        await Parallel.ForAsync(0, missing.Length, parallel, async (i, token) =>
            described[i] = await _client.DescribeAsync(commit, missing[i], token).ConfigureAwait(false)).ConfigureAwait(false);
        _tally.Expect(described.Sum(f => f.Size));
        await Parallel.ForEachAsync(described, parallel, async (file, token) =>
            await _blobs.RunAsync(file, commit, token).ConfigureAwait(false)).ConfigureAwait(false);
    }
}
