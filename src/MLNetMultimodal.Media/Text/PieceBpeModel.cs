using System.Runtime.InteropServices;
using System.Text;

namespace MLNetMultimodal.Media.Text;

// Byte pair encoding (Sennrich et al. 2016, arXiv:1508.07909) of characters, those without a token as their bytes. Of its own:
// Microsoft.ML.Tokenizers' has no bytes to fall back to, and its time grows with the square of a word, which here is a whole text.
sealed class PieceBpeModel : IPieceModel
{
    readonly PieceLookup _lookup;
    readonly Dictionary<(int Left, int Right), (int Rank, int Id)> _merges;
    readonly HashSet<int> _seams = [];                        // pairs of characters at which some merge joins its two parts
    readonly bool[] _isToken = new bool[char.MaxValue + 1];   // characters that are a token
    readonly bool _fusesUnknown, _ignoresMerges;
    readonly WordCache _known = new();

    public PieceBpeModel(
        IReadOnlyCollection<(string Left, string Right)> merges, PieceLookup lookup, bool fusesUnknown, bool ignoresMerges)
    {
        (_lookup, _fusesUnknown, _ignoresMerges) = (lookup, fusesUnknown, ignoresMerges);
        _merges = new(merges.Count);
        int rank = 0;
        foreach (var (left, right) in merges)
        {
            _merges[(IdOf(left), IdOf(right))] = (rank++, IdOf(left + right));
            _seams.Add(Seam(left[^1], right[0]));
        }
        for (int c = 0; c < _isToken.Length; c++)
            _isToken[c] = lookup.TryFind([(char)c], out _);
    }

    static int Seam(char left, char right) => (left << 16) | right;

    int IdOf(string piece) => _lookup.TryFind(piece, out int id) ? id
        : throw new FormatException($"its merges name '{piece}', which its vocabulary does not have.");

    // Between two characters with tokens of their own that no merge joins, the word is cut first: nothing merges across.
    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        if (_ignoresMerges && _lookup.TryFind(word, out int whole))
        {
            ids.Add(whole);
            return;
        }
        int start = 0;
        for (int i = 1; i <= word.Length; i++)
            if (i == word.Length
                || (_isToken[word[i - 1]] && _isToken[word[i]] && !_seams.Contains(Seam(word[i - 1], word[i]))))
            {
                ReadOnlySpan<char> part = word[start..i];
                if (!_known.TryAppend(part, ids))
                {
                    int first = ids.Count;
                    Merge(part, ids);
                    _known.Remember(part, CollectionsMarshal.AsSpan(ids)[first..]);
                }
                start = i;
            }
    }

    void Merge(ReadOnlySpan<char> part, List<int> ids)
    {
        int[] symbols = [.. Symbols(part)];
        int[] next = new int[symbols.Length], before = new int[symbols.Length];
        var queue = new PriorityQueue<(int Place, int Left, int Right, int Id), long>(); // by rank, then by place
        for (int i = 0; i < symbols.Length; i++)
        {
            (next[i], before[i]) = (i + 1, i - 1);
            Offer(i, i + 1);
        }
        while (queue.TryDequeue(out var merge, out _))
        {
            int left = merge.Place, right = next[left];
            if (symbols[left] != merge.Left || right >= symbols.Length || symbols[right] != merge.Right)
                continue; // one of the two has become part of another
            (symbols[left], symbols[right]) = (merge.Id, -1);
            next[left] = next[right];
            if (next[left] < symbols.Length)
                before[next[left]] = left;
            Offer(before[left], left);
            Offer(left, next[left]);
        }
        foreach (int symbol in symbols)
            if (symbol >= 0)
                ids.Add(symbol);

        void Offer(int left, int right)
        {
            if (left >= 0 && right < symbols.Length && _merges.TryGetValue((symbols[left], symbols[right]), out var merge))
                queue.Enqueue((left, symbols[left], symbols[right], merge.Id), ((long)merge.Rank << 32) | (uint)left);
        }
    }

    List<int> Symbols(ReadOnlySpan<char> part)
    {
        var symbols = new List<int>(part.Length);
        bool lastIsUnknown = false;
        int length;
        for (int i = 0; i < part.Length; i += length)
        {
            Rune.DecodeFromUtf16(part[i..], out _, out length);
            ReadOnlySpan<char> character = part.Slice(i, length);
            bool isKnown = _lookup.TryFind(character, out int id);
            if (isKnown)
                symbols.Add(id);
            else if (!_lookup.TryAppendBytes(character, symbols) && _lookup.Unknown is { } unknown)
            {
                if (!(lastIsUnknown && _fusesUnknown))
                    symbols.Add(unknown);
                lastIsUnknown = true;
                continue;
            }
            lastIsUnknown = false;
        }
        return symbols;
    }
}
