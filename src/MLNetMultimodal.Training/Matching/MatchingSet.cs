using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>Pictures, captions and hard negatives: what an epoch is drawn from.</summary>
/// <param name="Pairs">Pictures and captions.</param>
/// <param name="Negatives">For each row the texts that are wrong for it.</param>
/// <param name="Units">Rows that stand together; each row is in one of them.</param>
sealed record MatchingSet(PairSet Pairs, IReadOnlyList<string[]> Negatives, IReadOnlyList<int[]> Units) : IDisposable
{
    public void Dispose() => Pairs.Dispose();
}

/// <summary>Pictures and texts of a step, ready for the engine.</summary>
/// <param name="Pixels">[B, 3, H, W].</param>
/// <param name="Ids">[U, L]: each distinct text once, captions and hard negatives.</param>
/// <param name="Length">L.</param>
/// <param name="Caption">[B]: which of the distinct texts is the row's caption.</param>
/// <param name="Group">[B]: equal for rows with equal captions.</param>
/// <param name="Positive">[B, U]: true where the text is right for the picture.</param>
/// <param name="Seed">What is drawn by lot in the step follows from it.</param>
sealed record MatchingBatch(float[] Pixels, long[] Ids, int Length, long[] Caption, long[] Group, bool[] Positive, int Seed)
{
    public int Count => Caption.Length;

    public int Texts => Ids.Length / Length;
}

/// <summary>Draws batches from a <see cref="MatchingSet"/>. Every choice follows from seed, epoch and row.</summary>
sealed class MatchingBatcher(MatchingSet set, IModelDefinition definition, ImagePreprocessing images, TextTokenizer texts, Augmentation augmentation, int seed)
{
    readonly PairBatcher _pairs = new(set.Pairs, definition, images, texts, augmentation, ["{}"], seed);
    readonly HashSet<string>[] _right = RightTexts(set.Pairs);

    static HashSet<string>[] RightTexts(PairSet pairs)
    {
        var right = new HashSet<string>[pairs.GroupNames.Count];
        for (int row = 0; row < pairs.Count; row++) (right[pairs.Group(row)] ??= new(StringComparer.Ordinal)).UnionWith(pairs.Captions(row));
        return right;
    }

    /// <summary>Makes one batch; not thread-safe, but may run on any thread.</summary>
    public MatchingBatch Make(ReadOnlyMemory<int> chosen, int epoch)
    {
        int[] rows = chosen.ToArray();
        PairBatch pairs = _pairs.Make(rows, epoch);
        IEnumerable<string> captions = rows.Select(row => _pairs.ChooseText(row, epoch)).Distinct(StringComparer.Ordinal);
        string[] all = [.. captions.Concat(rows.SelectMany(row => set.Negatives[row])).Distinct(StringComparer.Ordinal)];
        IReadOnlyList<int>[] tokens = [.. all.Select(_pairs.Tokens)];
        int length = definition.PaddedLength(tokens.Max(t => t.Count));
        var ids = new long[all.Length * length];
        for (int i = 0; i < all.Length; i++) texts.Pad(tokens[i], ids.AsSpan(i * length, length));
        bool[] positive = [.. pairs.Groups.SelectMany(group => all.Select(_right[group].Contains))];
        return new(pairs.Pixels, ids, length, pairs.Caption, pairs.Groups, positive, EpochOrder.Seed(seed ^ 0x17A, epoch, rows[0]));
    }
}
