using System.Text;

namespace MLNetMultimodal.Media.Text;

// Byte pair encoding (Sennrich et al. 2016, arXiv:1508.07909) of characters, those without a token as their bytes. Of its own:
// Microsoft.ML.Tokenizers' has no bytes to fall back to, and its time grows with the square of a word, which here is a whole text.
sealed class PieceBpeModel : IPieceModel
{
    readonly PieceLookup _lookup;
    readonly Dictionary<(int Left, int Right), (int Rank, int Id)> _merges = [];
    readonly bool _fusesUnknown, _ignoresMerges;

    public PieceBpeModel(
        IEnumerable<(string Left, string Right)> merges, PieceLookup lookup, bool fusesUnknown, bool ignoresMerges)
    {
        (_lookup, _fusesUnknown, _ignoresMerges) = (lookup, fusesUnknown, ignoresMerges);
        int rank = 0;
        foreach (var (left, right) in merges)
            _merges[(IdOf(left), IdOf(right))] = (rank++, IdOf(left + right));
    }

    int IdOf(string piece) => _lookup.TryFind(piece, out int id) ? id
        : throw new FormatException($"its merges name '{piece}', which its vocabulary does not have.");

    public void Encode(string word, List<int> ids)
    {
        if (_ignoresMerges && _lookup.TryFind(word, out int whole))
        {
            ids.Add(whole);
            return;
        }
        int[] symbols = [.. Symbols(word)];
        int[] next = new int[symbols.Length], before = new int[symbols.Length];
        var queue = new PriorityQueue<(int Place, int Left, int Right, int Id), (int Rank, int Place)>();
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
                queue.Enqueue((left, symbols[left], symbols[right], merge.Id), (merge.Rank, left));
        }
    }

    List<int> Symbols(string word)
    {
        var symbols = new List<int>(word.Length);
        bool lastIsUnknown = false;
        foreach (Rune rune in word.EnumerateRunes())
        {
            string character = rune.ToString();
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
