using System.Buffers;
using System.Runtime.InteropServices;
using System.Text;

namespace MLNetMultimodal.Media.Text;

// The likeliest cut of a word into pieces (Kudo 2018, arXiv:1804.10959, section 3.2) by Viterbi's algorithm. Of its own:
// Microsoft.ML.Tokenizers' reads only SentencePiece's file, and breaks ties of equally likely cuts in another way.
sealed class UnigramModel : IPieceModel
{
    const double UnknownPenalty = 10;
    const int NoPiece = -1, MaxNodes = 1 << 24;

    // The best cut that ends at a place: where its last piece begins, and that piece's id; NoPiece is an unknown one.
    readonly record struct Cut(int Start, double Score, int Id);

    readonly Dictionary<long, int> _children = []; // the trie of the pieces: from a node and a character to the next node
    readonly int[] _pieceAt;                       // by node, the piece that ends there
    readonly double[] _scores;
    readonly double _unknownScore;
    readonly int _unknown;
    readonly PieceLookup _lookup;
    readonly WordCache _known = new();

    // A piece's id is its place.
    public UnigramModel(IReadOnlyList<(string Piece, double Score)> pieces, int unknown, PieceLookup lookup)
    {
        _scores = [.. pieces.Select(p => p.Score)];
        (_unknown, _unknownScore, _lookup) = (unknown, _scores.Min() - UnknownPenalty, lookup);
        _children.EnsureCapacity(pieces.Count * 2);
        var pieceAt = new List<int>(pieces.Count * 2) { NoPiece };
        for (int id = 0; id < pieces.Count; id++)
        {
            int node = 0;
            foreach (char c in pieces[id].Piece)
            {
                ref int next = ref CollectionsMarshal.GetValueRefOrAddDefault(_children, Edge(node, c), out bool exists);
                if (!exists)
                {
                    next = pieceAt.Count < MaxNodes ? pieceAt.Count
                        : throw new FormatException($"its pieces have more than {MaxNodes} beginnings.");
                    pieceAt.Add(NoPiece);
                }
                node = next;
            }
            pieceAt[node] = id;
        }
        _pieceAt = [.. pieceAt];
    }

    static long Edge(int node, char c) => ((long)node << 16) | c;

    public void Encode(ReadOnlySpan<char> word, List<int> ids)
    {
        if (_known.TryAppend(word, ids))
            return;
        int first = ids.Count;
        Cut[] rented = ArrayPool<Cut>.Shared.Rent(word.Length + 1);
        Span<Cut> best = rented.AsSpan(0, word.Length + 1);
        FindBest(word, best);
        Collect(word, best, ids);
        ArrayPool<Cut>.Shared.Return(rented);
        _known.Remember(word, CollectionsMarshal.AsSpan(ids)[first..]);
    }

    void FindBest(ReadOnlySpan<char> word, Span<Cut> best)
    {
        best.Fill(new(-1, double.NegativeInfinity, NoPiece));
        best[0] = new(0, 0, NoPiece);
        int runeLength;
        for (int start = 0; start < word.Length; start += runeLength)
        {
            Rune.DecodeFromUtf16(word[start..], out _, out runeLength);
            bool hasSingle = false;
            int node = 0;
            for (int end = start + 1; end <= word.Length && _children.TryGetValue(Edge(node, word[end - 1]), out node); end++)
                if (_pieceAt[node] is >= 0 and int id)
                {
                    Offer(ref best[end], start, best[start].Score + _scores[id], id == _unknown ? NoPiece : id);
                    hasSingle |= end - start == runeLength;
                }
            if (!hasSingle)
                Offer(ref best[start + runeLength], start, best[start].Score + _unknownScore, NoPiece);
        }
    }

    static void Offer(ref Cut best, int start, double score, int id)
    {
        if (best.Start < 0 || score > best.Score)
            best = new(start, score, id);
    }

    // A run of unknown characters is one piece. Found from the last to the first, the pieces are kept at the span's end.
    void Collect(ReadOnlySpan<char> word, Span<Cut> best, List<int> ids)
    {
        int kept = best.Length;
        for (int end = word.Length; end > 0;)
        {
            Cut piece = best[end];
            int start = piece.Start;
            while (piece.Id == NoPiece && start > 0 && best[start].Id == NoPiece)
                start = best[start].Start;
            best[--kept] = piece with { Start = start };
            end = start;
        }
        for (int i = kept; i < best.Length; i++)
            if (best[i].Id != NoPiece)
                ids.Add(best[i].Id);
            else
                _lookup.Append(word[best[i].Start..(i + 1 < best.Length ? best[i + 1].Start : word.Length)], ids);
    }
}
