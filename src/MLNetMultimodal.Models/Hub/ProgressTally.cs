namespace MLNetMultimodal.Models.Hub;

/// <summary>Adds up the bytes of files that are downloaded side by side, and reports one at a time.</summary>
sealed class ProgressTally(IProgress<HubProgress>? progress)
{
    readonly Lock _lock = new();
    readonly Dictionary<string, long> _bytes = new(StringComparer.Ordinal);
    long _done, _total;

    /// <summary>More bytes are going to come.</summary>
    public void Expect(long bytes)
    {
        lock (_lock) _total += bytes;
    }

    /// <summary>So many bytes of a file are there.</summary>
    public void Report(HubFile file, long bytes)
    {
        lock (_lock)
        {
            _done += bytes - _bytes.GetValueOrDefault(file.Name);
            _bytes[file.Name] = bytes;
            progress?.Report(new(file.Name, bytes, file.Size, _done, _total));
        }
    }

    /// <summary>Something that a user should know.</summary>
    public void Note(string text)
    {
        lock (_lock) progress?.Report(new("", 0, 0, _done, _total, text));
    }
}
