using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>Pictures, captions and hard negatives: what an epoch is drawn from.</summary>
/// <param name="Pictures">Of all rows; the set closes them.</param>
/// <param name="Captions">For each row the texts that are right for it.</param>
/// <param name="Groups">For each row a number, equal for rows with equal captions.</param>
/// <param name="Negatives">For each row the texts that are wrong for it.</param>
/// <param name="Units">Rows that stand together; each row is in one of them.</param>
sealed record MatchingSet(PictureStore Pictures, IReadOnlyList<string[]> Captions, IReadOnlyList<int> Groups, IReadOnlyList<string[]> Negatives,
    IReadOnlyList<int[]> Units) : IDisposable
{
    public int Count => Captions.Count;

    public void Dispose() => Pictures.Dispose();
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
sealed class MatchingBatcher(MatchingSet set, IModelDefinition definition, ImagePreprocessing images, TextTokenizer texts, AugmentationOptions augmentation, int seed)
{
    readonly PairPictures _pictures = new(set.Pictures, images, augmentation, seed);
    readonly PairTexts _texts = new(set.Captions, texts, definition, ["{}"], seed);

    /// <summary>Makes one batch; not thread-safe, but may run on any thread.</summary>
    public MatchingBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        int[] chosen = rows.ToArray();
        string[] captions = [.. chosen.Select(row => _texts.Choose(row, epoch))];
        string[] all = [.. captions.Concat(chosen.SelectMany(row => set.Negatives[row])).Distinct(StringComparer.Ordinal)];
        var places = all.Select((text, i) => (text, i)).ToDictionary(t => t.text, t => (long)t.i, StringComparer.Ordinal);
        ItemBatch ids = _texts.Ids(all);
        bool[] positive = [.. chosen.SelectMany(row => all.Select(text => set.Captions[row].Contains(text, StringComparer.Ordinal)))];
        return new((float[])_pictures.Make(rows, epoch).Values, (long[])ids.Values, (int)ids.Shape[1], [.. captions.Select(c => places[c])],
            [.. chosen.Select(row => (long)set.Groups[row])], positive, EpochOrder.Seed(seed ^ 0x17A, epoch, chosen[0]));
    }
}
