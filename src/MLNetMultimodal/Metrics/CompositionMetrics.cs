using System.Globalization;
using System.Text;
using System.Text.Json;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal;

/// <summary>Adds the metric to <see cref="MultimodalCatalog"/>.</summary>
public static class CompositionEvaluation
{
    extension(MultimodalCatalog catalog)
    {
        /// <summary>Does a model understand how words are put together? Winoground's text, image and group scores (Thrush et al. 2022,
        /// arXiv:2204.03162, section 3.3).</summary>
        /// <param name="model">Any model of pictures and texts: scored by what it says of pairs, or by similarity
        /// (<see cref="MultimodalModel.ScorePairs"/>).</param>
        /// <param name="items">The questions.</param>
        /// <param name="cancellation">Ends the work between two batches.</param>
        /// <exception cref="ArgumentException">There are no items, or one has too few captions or pictures.</exception>
        /// <exception cref="InvalidDataException">A picture cannot be read.</exception>
        public CompositionMetrics EvaluateComposition(MultimodalModel model, IReadOnlyList<CompositionItem> items, CancellationToken cancellation = default) =>
            catalog.EvaluateComposition((images, texts) => model.ScorePairs(images, texts, cancellation), items);

        /// <summary>The same of anything that scores pairs.</summary>
        /// <param name="score">Given B pictures and B texts, how well each pair fits, [B]: the higher the better.</param>
        /// <param name="items">The questions.</param>
        /// <exception cref="ArgumentException">There are no items, or one has too few captions or pictures.</exception>
        /// <exception cref="InvalidDataException">A picture cannot be read, or there are not as many scores as pairs.</exception>
        public CompositionMetrics EvaluateComposition(Func<IReadOnlyList<RgbImage>, IReadOnlyList<string>, float[]> score, IReadOnlyList<CompositionItem> items)
        {
            ArgumentNullException.ThrowIfNull(catalog);
            ArgumentNullException.ThrowIfNull(score);
            if (items.Count == 0) throw new ArgumentException("there are no items.", nameof(items));
            for (int i = 0; i < items.Count; i++) items[i].Check(i);
            const int itemsAtOnce = 64; // pictures that are held
            List<CompositionAnswer> answers = [.. items.Chunk(itemsAtOnce).SelectMany(chunk => Answers(score, chunk))];
            return CompositionMetrics.Of(answers) with
            {
                Tags = new SortedDictionary<string, CompositionMetrics>(answers.Where(a => a.Tag.Length > 0).GroupBy(a => a.Tag)
                    .ToDictionary(g => g.Key, g => CompositionMetrics.Of([.. g])), StringComparer.Ordinal),
            };
        }
    }

    static IEnumerable<CompositionAnswer> Answers(Func<IReadOnlyList<RgbImage>, IReadOnlyList<string>, float[]> score, CompositionItem[] items)
    {
        var images = new List<RgbImage>();
        var texts = new List<string>();
        foreach (CompositionItem item in items)
            foreach (RgbImage image in item.Images.Select(i => i.Load()))
                foreach (string caption in item.Captions)
                {
                    images.Add(image);
                    texts.Add(caption);
                }
        float[] scores = score(images, texts);
        if (scores.Length != images.Count) throw new InvalidDataException($"there are {scores.Length} scores for {images.Count} pairs.");
        int start = 0;
        foreach (CompositionItem item in items)
        {
            yield return CompositionAnswer.Of(item, scores.AsSpan(start, item.Images.Count * item.Captions.Count));
            start += item.Images.Count * item.Captions.Count;
        }
    }
}

/// <summary>What came of one item.</summary>
readonly record struct CompositionAnswer(string Tag, int Captions, int Images, bool Text, bool Image, double TextChoices, double ImageChoices)
{
    /// <param name="item">The item.</param>
    /// <param name="scores">[images][captions]. Of equal scores none wins.</param>
    public static CompositionAnswer Of(CompositionItem item, ReadOnlySpan<float> scores)
    {
        int captions = item.Captions.Count, images = item.Images.Count;
        double text = 0, image = 0;
        for (int i = 0; i < images; i++)
        {
            bool textWins = true, imageWins = images > 1;
            for (int other = 0; other < captions; other++) textWins &= other == i || scores[i * captions + i] > scores[i * captions + other];
            for (int other = 0; other < images; other++) imageWins &= other == i || scores[i * captions + i] > scores[other * captions + i];
            text += textWins ? 1 : 0;
            image += imageWins ? 1 : 0;
        }
        return new(item.Tag, captions, images, text == images, images > 1 && image == images, text / images, image / images);
    }
}

/// <summary>Scores of a benchmark of composition, 0 to 1.</summary>
/// <param name="Items">Items.</param>
/// <param name="TextScore">Part of the items where each picture scores higher with its own caption than with any other.</param>
/// <param name="ImageScore">Part of the items with a picture per caption where each caption scores higher with its own picture than with
/// any other; NaN where there are none.</param>
/// <param name="GroupScore">Part of those items where both hold; NaN where there are none.</param>
/// <param name="TextChoice">Part of single choices that are right: a picture among the captions of its item. A model that does not look at
/// the picture chooses the same caption for both pictures of an item, and so has just 1/2 with two captions, but 0 as text score.</param>
/// <param name="ImageChoice">Part of single choices that are right: a caption among the pictures of its item; NaN where there are
/// none.</param>
/// <param name="TextChance">What <paramref name="TextScore"/> is by lot: 25 % for two captions and two pictures, 50 % for two captions and
/// one picture.</param>
/// <param name="ImageChance">What <paramref name="ImageScore"/> is by lot: 25 % for two pictures; NaN where there are none.</param>
/// <param name="GroupChance">What <paramref name="GroupScore"/> is by lot: 16.7 % for two captions and two pictures; NaN where there are
/// none, or with more captions.</param>
public sealed record CompositionMetrics(long Items, double TextScore, double ImageScore, double GroupScore, double TextChoice, double ImageChoice,
    double TextChance, double ImageChance, double GroupChance)
{
    /// <summary>The same for the items of each tag; empty where items have none.</summary>
    public IReadOnlyDictionary<string, CompositionMetrics> Tags { get; init; } = new Dictionary<string, CompositionMetrics>();

    internal static CompositionMetrics Of(IReadOnlyList<CompositionAnswer> answers)
    {
        CompositionAnswer[] pairs = [.. answers.Where(a => a.Images > 1)];
        static double Mean(IEnumerable<double> values) => values.DefaultIfEmpty(double.NaN).Average();
        static double Share(IEnumerable<bool> values) => Mean(values.Select(v => v ? 1.0 : 0));
        // 2x2 scores in any order: of the 24 orders, 4 have both captions' own scores above the other two.
        double groupChance = Mean(pairs.Select(a => a.Captions == 2 ? 1.0 / 6 : double.NaN));
        return new(answers.Count, Share(answers.Select(a => a.Text)), Share(pairs.Select(a => a.Image)), Share(pairs.Select(a => a.Text && a.Image)),
            Mean(answers.Select(a => a.TextChoices)), Mean(pairs.Select(a => a.ImageChoices)),
            Mean(answers.Select(a => Math.Pow(1.0 / a.Captions, a.Images))), Mean(pairs.Select(a => Math.Pow(1.0 / a.Images, a.Images))), groupChance);
    }

    /// <summary>All numbers as JSON; NaN as the text "NaN".</summary>
    public string ToJson() => JsonSerializer.Serialize(this, ZeroShotMetrics.Json);

    /// <summary>The scores beside chance, and a line for each tag.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"text {TextScore:P2} (chance {TextChance:P1})  image {ImageScore:P2} (chance {ImageChance:P1})  group {GroupScore:P2} (chance {GroupChance:P1})  items {Items}\n");
        foreach (var (tag, m) in Tags)
            text.Append(CultureInfo.InvariantCulture, $"  {tag,-24} text {m.TextScore,8:P2}  image {m.ImageScore,8:P2}  group {m.GroupScore,8:P2}  items {m.Items}\n");
        return text.ToString();
    }
}
