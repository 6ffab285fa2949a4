using System.Text.RegularExpressions;
using MLNetMultimodal.Media.Text;

namespace MLNetMultimodal.Media.Tests.Text;

/// <summary>What cuts words into pieces, against the same rules in plain loops; the shortcuts that it takes.</summary>
public sealed class PieceModelTests
{
    static string Letters(Random random, string letters, int length) =>
        string.Concat(Enumerable.Range(0, length).Select(_ => letters[random.Next(letters.Length)]));

    static List<int> Encode(IPieceModel model, string word)
    {
        var ids = new List<int>();
        model.Encode(word, ids);
        return ids;
    }

    // Random vocabularies of a few letters, where some neighbours never merge; f and the smile have no token.
    [Theory, InlineData(1), InlineData(2), InlineData(3), InlineData(4)]
    public void Merges_are_those_of_plain_loops(int seed)
    {
        var random = new Random(seed);
        var vocabulary = new Dictionary<string, int>(StringComparer.Ordinal) { ["?"] = 0 };
        foreach (char c in "abcde ")
            vocabulary.Add(c.ToString(), vocabulary.Count);
        List<(string Left, string Right)> merges = [];
        for (int i = 0; i < 30; i++)
        {
            string[] tokens = [.. vocabulary.Keys.Skip(1)];
            (string Left, string Right) merge = (tokens[random.Next(tokens.Length)], tokens[random.Next(tokens.Length)]);
            if (merges.Contains(merge))
                continue;
            merges.Add(merge);
            vocabulary.TryAdd(merge.Left + merge.Right, vocabulary.Count);
        }
        var lookup = new PieceLookup(vocabulary, "?", fallsBackToBytes: false);
        var model = new PieceBpeModel(merges, lookup, fusesUnknown: true, ignoresMerges: false);
        for (int i = 0; i < 200; i++)
        {
            string text = Letters(random, "aabbccddee f", random.Next(1, 60)).Replace("ff", "\U0001F600", StringComparison.Ordinal);
            List<int> expected = MergeInLoops(text, vocabulary, merges);
            Assert.Equal(expected, Encode(model, text));
            Assert.Equal(expected, Encode(model, text)); // as remembered
        }
    }

    static List<int> MergeInLoops(string text, Dictionary<string, int> vocabulary, List<(string Left, string Right)> merges)
    {
        List<string> symbols = [];
        foreach (string symbol in text.EnumerateRunes().Select(r => r.ToString()).Select(c => vocabulary.ContainsKey(c) ? c : "?"))
            if (symbol != "?" || symbols.Count == 0 || symbols[^1] != "?")
                symbols.Add(symbol);
        while (true)
        {
            (int rank, int place) = (int.MaxValue, -1);
            for (int i = 0; i + 1 < symbols.Count; i++)
                if (merges.IndexOf((symbols[i], symbols[i + 1])) is >= 0 and int found && found < rank)
                    (rank, place) = (found, i);
            if (place < 0)
                return [.. symbols.Select(s => vocabulary[s])];
            symbols[place] += symbols[place + 1];
            symbols.RemoveAt(place + 1);
        }
    }

    // d and e have no piece of their own, but some pieces hold them.
    [Theory, InlineData(1), InlineData(2), InlineData(3), InlineData(4)]
    public void The_likeliest_cut_is_that_of_plain_loops(int seed)
    {
        var random = new Random(seed);
        List<string> pieces = ["<unk>", "a", "b", "c"];
        for (int i = 0; i < 60; i++)
            pieces.Add(Letters(random, "aabbccde", random.Next(2, 6)));
        List<(string Piece, double Score)> scored = [.. pieces.Distinct().Select(p => (p, -1 - 10 * random.NextDouble()))];
        Dictionary<string, int> vocabulary = scored.Select((p, id) => (p.Piece, Id: id)).ToDictionary(p => p.Piece, p => p.Id);
        var lookup = new PieceLookup(vocabulary, "<unk>", fallsBackToBytes: false);
        var model = new UnigramModel(scored, 0, lookup);
        for (int i = 0; i < 200; i++)
        {
            string text = Letters(random, "aabbccde", random.Next(1, 60));
            List<int> expected = CutInLoops(text, scored);
            Assert.Equal(expected, Encode(model, text));
            Assert.Equal(expected, Encode(model, text)); // as remembered
        }
    }

    // Piece 0 is the unknown one. A run of unknown characters that is a piece together counts as that piece.
    static List<int> CutInLoops(string text, List<(string Piece, double Score)> pieces)
    {
        double unknownScore = pieces.Min(p => p.Score) - 10;
        var best = new (double Score, List<(int Id, string Text)> Cut)?[text.Length + 1];
        best[0] = (0, []);
        for (int start = 0; start < text.Length; start++)
        {
            (double score, List<(int, string)> cut) = best[start]!.Value;
            void Offer(int id, string piece, double more)
            {
                if (best[start + piece.Length] is not { } other || score + more > other.Score)
                    best[start + piece.Length] = (score + more, [.. cut, (id, piece)]);
            }

            for (int id = 0; id < pieces.Count; id++)
                if (text.AsSpan(start).StartsWith(pieces[id].Piece, StringComparison.Ordinal))
                    Offer(id, pieces[id].Piece, pieces[id].Score);
            if (!pieces.Any(p => p.Piece == text[start..(start + 1)]))
                Offer(0, text[start..(start + 1)], unknownScore);
        }
        List<(int Id, string Text)> joined = [];
        foreach (var piece in best[^1]!.Value.Cut)
            if (piece.Id == 0 && joined.Count > 0 && joined[^1].Id == 0)
                joined[^1] = (0, joined[^1].Text + piece.Text);
            else
                joined.Add(piece);
        return [.. joined.Select(j => j.Id > 0 ? j.Id : Math.Max(0, pieces.FindIndex(p => p.Piece == j.Text)))];
    }

    [Fact]
    public void A_full_cache_begins_anew_and_tells_only_what_it_was_told()
    {
        var cache = new WordCache();
        const int Words = 3 * WordCache.MaxWords + 100;
        for (int i = 0; i < Words; i++)
            cache.Remember($"word{i}", [i]);
        int found = 0;
        for (int i = 0; i < Words; i++)
        {
            var ids = new List<int>();
            if (!cache.TryAppend($"word{i}", ids))
                continue;
            found++;
            Assert.Equal([i], ids);
        }
        Assert.InRange(found, 1, WordCache.MaxWords);
        string tooLong = new('a', 1000);
        cache.Remember(tooLong, [1]);
        Assert.False(cache.TryAppend(tooLong, []));
    }

    [Theory, InlineData("unigram"), InlineData("bytefallback")]
    public void Many_threads_get_the_ids_that_one_gets(string family)
    {
        string folder = Path.Combine(AppContext.BaseDirectory, "Data", "tokenizers", family);
        var random = new Random(5);
        string[] texts = [.. Enumerable.Range(0, 500).Select(_ => Letters(random, "aeiourstn   ", 60))];
        TextTokenizer one = TextTokenizer.Load(folder), many = TextTokenizer.Load(folder);
        IReadOnlyList<int>[] expected = [.. texts.Select(one.Encode)], got = new IReadOnlyList<int>[texts.Length];
        Parallel.For(0, texts.Length, i => got[i] = many.Encode(texts[i]));
        Assert.Equal(expected, got);
    }

    [Fact]
    public void Of_added_tokens_the_first_counts_and_of_those_at_one_place_the_longest()
    {
        var added = new AddedTokens([(new("abc"), 1), (new("xa"), 2), (new("xab"), 3)]);
        Assert.Equal([3, 102, 1], added.Encode("xabc-abc", 10, (part, _, _) => [100 + part.Length]));
    }

    [Fact]
    public void White_space_is_that_of_expressions()
    {
        var expression = new Regex(@"\s", RegexOptions.CultureInvariant);
        for (int c = 0; c <= char.MaxValue; c++)
            Assert.True(TextPattern.WhiteSpace.TryFind([(char)c], 0, out _, out _) == expression.IsMatch([(char)c]), $"U+{c:X4}");
    }

    // One letter beyond ASCII takes the long way.
    [Theory, InlineData(true), InlineData(false)]
    public void Plain_texts_are_normalised_as_others_are(bool lowercases)
    {
        string ascii = string.Concat(Enumerable.Range(' ', '~' - ' ' + 1).Select(c => (char)c));
        var clip = new ClipNormalizer(composes: true, lowercases);
        var bert = new BertNormalizer(lowercases, stripsAccents: false, splitsChinese: true);
        foreach (string text in new[] { ascii, "A Photo OF a Cat", " two  Spaces, one before" })
        {
            Assert.Equal(clip.Normalize(text + "\u00E9"), clip.Normalize(text) + "\u00E9");
            Assert.Equal(bert.Normalize(text + "\u00E9"), bert.Normalize(text) + "\u00E9");
        }
    }
}
