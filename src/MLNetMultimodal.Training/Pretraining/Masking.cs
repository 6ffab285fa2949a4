namespace MLNetMultimodal.Training;

/// <summary>Chooses what a model is not to see. What is drawn follows from the generator alone.</summary>
static class Masking
{
    const int SmallestBlock = 4; // patches, as in BEiT
    const double ThinnestBlock = 0.3;

    /// <summary>Each place alone (He et al. 2022, arXiv:2111.06377, section 3): an even order of all places, of which the first are
    /// seen.</summary>
    /// <param name="random">What is drawn from.</param>
    /// <param name="order">[N]: the places in a random order.</param>
    public static void Shuffle(ref SampleRandom random, Span<long> order)
    {
        for (int i = 0; i < order.Length; i++)
        {
            int k = random.UpTo(i);
            order[i] = order[k];
            order[k] = i;
        }
    }

    /// <summary>Rectangles of patches until so many are hidden (Bao et al. 2022, arXiv:2106.08254, algorithm 1).</summary>
    /// <param name="random">What is drawn from.</param>
    /// <param name="side">Patches along an edge.</param>
    /// <param name="count">How many to hide, 0 to side * side.</param>
    /// <param name="masked">[side * side], set to true where hidden, else to false.</param>
    public static void Blocks(ref SampleRandom random, int side, int count, Span<bool> masked)
    {
        masked.Clear();
        double widest = -Math.Log(ThinnestBlock);
        for (int left = count; left > 0;)
        {
            double area = random.Between(SmallestBlock, Math.Max(SmallestBlock, left)), aspect = Math.Exp(random.Between(-widest, widest));
            int height = Math.Clamp((int)Math.Round(Math.Sqrt(area * aspect)), 1, side), width = Math.Clamp((int)Math.Round(Math.Sqrt(area / aspect)), 1, side);
            int top = random.UpTo(side - height), start = random.UpTo(side - width);
            for (int y = top; y < top + height; y++)
                for (int x = start; x < start + width && left > 0; x++)
                {
                    ref bool place = ref masked[y * side + x];
                    if (!place) left--;
                    place = true;
                }
        }
    }

    /// <summary>Hides words (Devlin et al. 2019, arXiv:1810.04805, section 3.1): of those chosen, 8 in 10 become the mask, 1 in 10
    /// another word, and 1 in 10 stays.</summary>
    /// <param name="random">What is drawn from.</param>
    /// <param name="share">Share of the words that is chosen; at least one, where there is a word.</param>
    /// <param name="words">Places that may be chosen, in rising order: words, no special tokens.</param>
    /// <param name="maskId">What stands for a hidden word.</param>
    /// <param name="vocabulary">Other words are drawn from 0 to below this.</param>
    /// <param name="ids">The tokens; hidden ones are replaced.</param>
    /// <param name="labels">Is given the token of each chosen place; others stay as they are.</param>
    public static void Words(ref SampleRandom random, double share, IReadOnlyList<int> words, int maskId, int vocabulary, Span<long> ids, Span<long> labels)
    {
        int count = Math.Min(words.Count, Math.Max(1, (int)(share * words.Count + random.Next())));
        for (int i = 0, left = count; i < words.Count && left > 0; i++)
        {
            if (random.Next() * (words.Count - i) >= left) continue; // each choice of so many places is as likely as any other
            left--;
            ref long id = ref ids[words[i]];
            labels[words[i]] = id;
            double fate = random.Next();
            if (fate < 0.8) id = maskId;
            else if (fate < 0.9) id = random.UpTo(vocabulary - 1);
        }
    }

    /// <summary>Spans of a sequence, which may overlap (Baevski et al. 2020, arXiv:2006.11477, section 3.1): each place begins one
    /// with the same probability.</summary>
    /// <param name="random">What is drawn from.</param>
    /// <param name="share">Share of the sequence that the spans would cover if they did not overlap.</param>
    /// <param name="length">Places of a span.</param>
    /// <param name="masked">[L], set to true where hidden, else to false; at least one place is hidden.</param>
    public static void Spans(ref SampleRandom random, double share, int length, Span<bool> masked)
    {
        masked.Clear();
        int spans = Math.Max(1, (int)(share * masked.Length / length + random.Next()));
        for (int i = 0; i < spans; i++)
        {
            int start = random.UpTo(Math.Max(0, masked.Length - length));
            masked.Slice(start, Math.Min(length, masked.Length - start)).Fill(true);
        }
    }
}
