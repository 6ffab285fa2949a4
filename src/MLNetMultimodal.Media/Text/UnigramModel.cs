using System.Text;

namespace MLNetMultimodal.Media.Text;

// The likeliest cut of a word into pieces (Kudo 2018, arXiv:1804.10959, section 3.2) by Viterbi's algorithm. Of its own:
// Microsoft.ML.Tokenizers' reads only SentencePiece's file, and breaks ties of equally likely cuts in another way.
sealed class UnigramModel : IPieceModel
{
    const double UnknownPenalty = 10;

    readonly string[] _pieces;   // in ordinal order, so that those with one beginning stand together
    readonly double[] _scores;
    readonly double _unknownScore;
    readonly string _unknown;
    readonly PieceLookup _lookup;

    public UnigramModel(IReadOnlyList<(string Piece, double Score)> pieces, int unknown, PieceLookup lookup)
    {
        _pieces = [.. pieces.Select(p => p.Piece)];
        _scores = [.. pieces.Select(p => p.Score)];
        _unknown = _pieces[unknown];
        _unknownScore = _scores.Min() - UnknownPenalty;
        _lookup = lookup;
        Array.Sort(_pieces, _scores, StringComparer.Ordinal);
    }

    public void Encode(string word, List<int> ids)
    {
        // Where the best cut that ends at a place begins, and whether that piece is unknown.
        var best = new (int Start, double Score, bool IsUnknown)[word.Length + 1];
        Array.Fill(best, (-1, double.NegativeInfinity, false));
        best[0] = (0, 0, false);
        int runeLength;
        for (int start = 0; start < word.Length; start += runeLength)
        {
            Rune.DecodeFromUtf16(word.AsSpan(start), out _, out runeLength);
            bool hasSingle = false;
            int low = 0, high = _pieces.Length;
            for (int end = start + 1; end <= word.Length && Narrow(word[end - 1], end - start - 1, ref low, ref high); end++)
                if (_pieces[low].Length == end - start)
                {
                    Offer(end, start, best[start].Score + _scores[low], isUnknown: false);
                    hasSingle |= end - start == runeLength;
                }
            if (!hasSingle)
                Offer(start + runeLength, start, best[start].Score + _unknownScore, isUnknown: true);
        }
        Collect(word, best, ids);

        void Offer(int end, int start, double score, bool isUnknown)
        {
            if (best[end].Start < 0 || score > best[end].Score)
                best[end] = (start, score, isUnknown);
        }
    }

    // A run of unknown characters is one piece.
    void Collect(string word, (int Start, double Score, bool IsUnknown)[] best, List<int> ids)
    {
        var cuts = new Stack<(int Start, int End)>();
        for (int end = word.Length; end > 0;)
        {
            int start = best[end].Start;
            if (best[end].IsUnknown || IsUnknown(start, end))
                while (start > 0 && (best[start].IsUnknown || IsUnknown(best[start].Start, start)))
                    start = best[start].Start;
            cuts.Push((start, end));
            end = start;
        }
        foreach (var (start, end) in cuts)
            _lookup.Append(word[start..end], ids);

        bool IsUnknown(int start, int end) => word.AsSpan(start, end - start).SequenceEqual(_unknown);
    }

    // Of the pieces from low to high, which agree in their first `at` characters, those that have c next.
    bool Narrow(char c, int at, ref int low, ref int high)
    {
        low = FirstAtLeast(c, at, low, high);
        high = FirstAtLeast(c + 1, at, low, high);
        return low < high;
    }

    int FirstAtLeast(int c, int at, int low, int high)
    {
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            string piece = _pieces[middle];
            if (piece.Length <= at || piece[at] < c)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    }
}
