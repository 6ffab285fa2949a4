using System.Runtime.InteropServices;

namespace MLNetMultimodal.Media.Text;

/// <summary>
/// Learns a tokenizer of CLIP's kind from texts: byte pair encoding (Sennrich et al. 2016, arXiv:1508.07909, section 3.2) over
/// bytes.
/// The begin token <c>&lt;|startoftext|&gt;</c> and the end token <c>&lt;|endoftext|&gt;</c> get the two highest ids, as models
/// that pool at the highest id need.
/// The same texts in any order give the same tokenizer.
/// </summary>
public static class ByteLevelBpeTrainer
{
    /// <summary>Learns a tokenizer. 100,000 captions take some seconds.</summary>
    /// <param name="texts">The texts; read once.</param>
    /// <param name="options">Size and kind of the tokenizer.</param>
    /// <returns>The tokenizer; its <see cref="TextTokenizer.Files"/> hold a <c>tokenizer.json</c> that Hugging Face's libraries
    /// read.</returns>
    public static TextTokenizer Train(IEnumerable<string> texts, BpeTrainingOptions options)
    {
        ArgumentNullException.ThrowIfNull(texts);
        ArgumentNullException.ThrowIfNull(options);
        var merger = new PairMerger(CountWords(texts, options.Lowercase));
        while (merger.Tokens.Count + 2 < options.VocabularySize && merger.MergeNext(options.MinFrequency)) ;
        Dictionary<string, ReadOnlyMemory<byte>> files = TokenizerWriter.Write(merger.Tokens, merger.Merges, options);
        return TextTokenizer.Load(file => files.TryGetValue(file, out var bytes) ? bytes : null, "the trained tokenizer");
    }

    static SortedDictionary<string, long> CountWords(IEnumerable<string> texts, bool lowercase)
    {
        string[] specialTokens = [TokenizerDefinition.DefaultBegin, TokenizerDefinition.DefaultEnd];
        var normalizer = new ClipNormalizer(composes: true, lowercase);
        var preTokenizer = new ClipPreTokenizer(specialTokens, specialTokensFirst: true);
        var counts = new Dictionary<string, long>();
        var lookup = counts.GetAlternateLookup<ReadOnlySpan<char>>();
        foreach (string text in texts)
        {
            string normal = normalizer.Normalize(text ?? throw new ArgumentException("texts must not hold null.", nameof(texts)));
            foreach ((int offset, int length) in preTokenizer.PreTokenize(normal))
                CollectionsMarshal.GetValueRefOrAddDefault(lookup, normal.AsSpan(offset, length), out _)++;
        }
        foreach (string token in specialTokens)
            counts.Remove(token);
        return new(counts, StringComparer.Ordinal);
    }

    // Words as lists of token ids, and the counts of neighbours in them, kept up to date merge by merge.
    sealed class PairMerger
    {
        readonly List<int[]> _words = [];
        readonly List<long> _frequencies = [];
        readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
        readonly Dictionary<(int Left, int Right), long> _counts = [];
        readonly Dictionary<(int Left, int Right), HashSet<int>> _places = [];
        readonly PriorityQueue<(int Left, int Right), (long Count, string Left, string Right)> _queue =
            new(Comparer<(long Count, string Left, string Right)>.Create(Compare));

        public PairMerger(SortedDictionary<string, long> words)
        {
            foreach (char c in ByteLevel.Alphabet)
                AddToken(c.ToString());
            foreach (char c in ByteLevel.Alphabet)
                AddToken(c + TokenizerDefinition.WordEnd);
            foreach ((string word, long frequency) in words)
            {
                string bytes = ByteLevel.FromText(word);
                _words.Add([.. bytes.Select((c, i) =>
                    _ids[i < bytes.Length - 1 ? c.ToString() : c + TokenizerDefinition.WordEnd])]);
                _frequencies.Add(frequency);
                Count(_words.Count - 1, +1, []);
            }
            foreach ((int Left, int Right) pair in _counts.Keys)
                Enqueue(pair);
        }

        public List<string> Tokens { get; } = [];

        public List<(string Left, string Right)> Merges { get; } = [];

        // Makes a token of the most frequent pair; false when none is frequent enough.
        public bool MergeNext(int minFrequency)
        {
            while (_queue.TryDequeue(out (int Left, int Right) pair, out (long Count, string Left, string Right) priority))
            {
                long count = _counts.GetValueOrDefault(pair);
                if (count < minFrequency)
                    continue;
                if (count != priority.Count)
                {
                    // Its count has changed since it was queued; queued again, it takes its right place.
                    if (count < priority.Count)
                        Enqueue(pair);
                    continue;
                }
                Merges.Add((Tokens[pair.Left], Tokens[pair.Right]));
                int merged = AddToken(Tokens[pair.Left] + Tokens[pair.Right]);
                HashSet<(int, int)> risen = [];
                foreach (int word in _places[pair])
                {
                    Count(word, -1, risen);
                    _words[word] = Replace(_words[word], pair, merged);
                    Count(word, +1, risen);
                }
                _counts.Remove(pair);
                _places.Remove(pair);
                risen.Remove(pair);
                foreach ((int, int) neighbours in risen)
                    Enqueue(neighbours);
                return true;
            }
            return false;
        }

        // Two ways to merge the same characters share one token.
        int AddToken(string token)
        {
            if (_ids.TryGetValue(token, out int id))
                return id;
            _ids[token] = Tokens.Count;
            Tokens.Add(token);
            return Tokens.Count - 1;
        }

        void Count(int word, int sign, HashSet<(int, int)> risen)
        {
            int[] tokens = _words[word];
            for (int i = 0; i + 1 < tokens.Length; i++)
            {
                (int, int) pair = (tokens[i], tokens[i + 1]);
                CollectionsMarshal.GetValueRefOrAddDefault(_counts, pair, out _) += sign * _frequencies[word];
                if (sign < 0)
                    continue;
                (CollectionsMarshal.GetValueRefOrAddDefault(_places, pair, out _) ??= []).Add(word);
                risen.Add(pair);
            }
        }

        void Enqueue((int Left, int Right) pair)
        {
            if (_counts.GetValueOrDefault(pair) is > 0 and long count)
                _queue.Enqueue(pair, (count, Tokens[pair.Left], Tokens[pair.Right]));
        }

        static int[] Replace(int[] tokens, (int Left, int Right) pair, int merged)
        {
            var result = new List<int>(tokens.Length);
            for (int i = 0; i < tokens.Length; i++)
                if (i + 1 < tokens.Length && (tokens[i], tokens[i + 1]) == pair)
                {
                    result.Add(merged);
                    i++;
                }
                else
                    result.Add(tokens[i]);
            return [.. result];
        }

        static int Compare((long Count, string Left, string Right) a, (long Count, string Left, string Right) b)
        {
            int order = b.Count.CompareTo(a.Count);
            order = order != 0 ? order : string.CompareOrdinal(a.Left, b.Left);
            return order != 0 ? order : string.CompareOrdinal(a.Right, b.Right);
        }
    }
}
