using System.Collections.Concurrent;

namespace MLNetMultimodal.Media.Text;

// The ids of words met before, since few words make up most of a text. Begins anew when full. Thread-safe.
sealed class WordCache
{
    public const int MaxWords = 1 << 15;
    const int MaxChars = 48;

    readonly ConcurrentDictionary<string, int[]> _words = new(StringComparer.Ordinal);
    readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> _bySpan;
    int _count;

    public WordCache() => _bySpan = _words.GetAlternateLookup<ReadOnlySpan<char>>();

    public bool TryAppend(ReadOnlySpan<char> word, List<int> ids)
    {
        if (word.Length > MaxChars || !_bySpan.TryGetValue(word, out int[]? known))
            return false;
        ids.AddRange(known.AsSpan());
        return true;
    }

    public void Remember(ReadOnlySpan<char> word, ReadOnlySpan<int> ids)
    {
        if (word.Length > MaxChars || !_bySpan.TryAdd(word, ids.ToArray()) || Interlocked.Increment(ref _count) < MaxWords)
            return;
        Volatile.Write(ref _count, 0);
        _words.Clear();
    }
}
