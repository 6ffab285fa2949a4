using System.Globalization;
using System.Numerics.Tensors;
using System.Text.Json;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Metrics;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="RetrievalEvaluation.EvaluateRetrieval"/>.</summary>
public sealed record RetrievalOptions
{
    /// <summary>Column of picture embeddings, Vector&lt;Single, E&gt;; default <c>ImageEmbedding</c>.</summary>
    public string ImageEmbedding { get; init => field = Checked.Name(value); } = "ImageEmbedding";

    /// <summary>Column of text embeddings, Vector&lt;Single, E&gt;; default <c>TextEmbedding</c>.</summary>
    public string TextEmbedding { get; init => field = Checked.Name(value); } = "TextEmbedding";

    /// <summary>Column that says which rows belong together (text, key or whole number): each picture of a group matches each
    /// text of it. Give the picture's
    /// path or number where pictures have several captions, the caption or class where several pictures share one. Null: each row
    /// is a pair of its own.
    /// Equal embeddings of one side in one group are one item, counted once. A row whose group is missing is a group of its
    /// own.</summary>
    public string? Group { get; init => field = Checked.NameOrNull(value); }
}

/// <summary>Adds the metric to <see cref="MultimodalCatalog"/>.</summary>
public static class RetrievalEvaluation
{
    extension(MultimodalCatalog catalog)
    {
        /// <summary>How often the right text is found for a picture, and the right picture for a text, by cosine over all rows
        /// (the protocol of
        /// Karpathy and Fei-Fei 2015, arXiv:1412.2306, section 4.1). A wrong item that scores as high as the right one counts as
        /// found before it: duplicates
        /// that <see cref="RetrievalOptions.Group"/> does not declare cost recall instead of inflating it. Time grows with the
        /// square of the rows.</summary>
        /// <param name="data">Rows with both embeddings.</param>
        /// <param name="options">Columns; null for the defaults.</param>
        /// <exception cref="ArgumentException">A column is missing, of the wrong type, or the two have different
        /// widths.</exception>
        public RetrievalMetrics EvaluateRetrieval(IDataView data, RetrievalOptions? options = null)
        {
            ArgumentNullException.ThrowIfNull(catalog);
            ArgumentNullException.ThrowIfNull(data);
            options ??= new();
            DataViewSchema.Column image = ColumnReader.Vector(data.Schema, options.ImageEmbedding),
                text = ColumnReader.Vector(data.Schema, options.TextEmbedding);
            if (!image.Type.Equals(text.Type))
                throw new ArgumentException($"columns '{image.Name}' ({image.Type}) and '{text.Name}' ({text.Type}) must have the same width.");
            DataViewSchema.Column? group = options.Group is null ? null : Columns.Find(data.Schema, options.Group);
            RetrievalSide images = new(), texts = new();
            var groups = new Dictionary<string, int>(StringComparer.Ordinal);
            int rows = 0;
            using (DataViewRowCursor cursor = data.GetRowCursor(group is { } g ? [image, text, g] : [image, text]))
            {
                Func<string?> groupOf = group is { } column ? ColumnReader.Text(cursor, column) : () => null;
                ValueGetter<VBuffer<float>> imageOf = cursor.GetGetter<VBuffer<float>>(image),
                    textOf = cursor.GetGetter<VBuffer<float>>(text);
                VBuffer<float> embedding = default;
                for (; cursor.MoveNext(); rows++)
                {
                    int id = -1 - rows; // a group of its own
                    if (groupOf() is { } name && !groups.TryGetValue(name, out id)) groups.Add(name, id = groups.Count);
                    imageOf(ref embedding);
                    images.Add(id, [.. embedding.DenseValues()]);
                    textOf(ref embedding);
                    texts.Add(id, [.. embedding.DenseValues()]);
                }
            }
            return new(rows, images.Missing, texts.Missing, images.Search(texts), texts.Search(images));
        }
    }
}

/// <summary>Retrieval in one direction. NaN where there are no queries.</summary>
/// <param name="RecallAt1">Part of the queries whose best match is found first, 0 to 1.</param>
/// <param name="RecallAt5">Part of the queries with a match among the first 5.</param>
/// <param name="RecallAt10">Part of the queries with a match among the first 10.</param>
/// <param name="MedianRank">Median over queries of the rank of the best match, from 1; the mean of the two middle ones for an
/// even number; infinite where most are missing.</param>
/// <param name="Queries">Distinct queries.</param>
/// <param name="Candidates">Distinct items searched among.</param>
public sealed record RetrievalDirection(double RecallAt1, double RecallAt5, double RecallAt10, double MedianRank, int Queries,
    int Candidates)
{
    internal static RetrievalDirection From(double[] ranks, int candidates)
    {
        if (ranks.Length == 0) return new(double.NaN, double.NaN, double.NaN, double.NaN, 0, candidates);
        Array.Sort(ranks);
        double At(int k) => (double)ranks.Count(r => r <= k) / ranks.Length;
        return new(At(1), At(5), At(10), (ranks[(ranks.Length - 1) / 2] + ranks[ranks.Length / 2]) / 2, ranks.Length, candidates);
    }
}

/// <summary>How well pictures and texts find each other.</summary>
/// <param name="Rows">Rows of the data.</param>
/// <param name="MissingImages">Rows whose picture embedding is missing (NaN): such a query finds nothing, such a candidate is
/// left out.</param>
/// <param name="MissingTexts">Rows whose text embedding is missing.</param>
/// <param name="ImageToText">Pictures as queries, texts as candidates.</param>
/// <param name="TextToImage">Texts as queries, pictures as candidates.</param>
public sealed record RetrievalMetrics(int Rows, int MissingImages, int MissingTexts, RetrievalDirection ImageToText,
    RetrievalDirection TextToImage)
{
    /// <summary>All numbers as JSON; NaN and infinity as texts.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, ZeroShotMetrics.Json);

    /// <summary>A table with a line per direction.</summary>
    public override string ToString()
    {
        static string Line(string name, RetrievalDirection d) => string.Create(CultureInfo.InvariantCulture,
            $"{name}  {d.RecallAt1,8:P2}  {d.RecallAt5,8:P2}  {d.RecallAt10,8:P2}  {d.MedianRank,11:0.#}  {d.Queries,7}  {d.Candidates,10}\n");
        return "direction           R@1       R@5      R@10  median rank  queries  candidates\n"
            + Line("image to text", ImageToText) + Line("text to image", TextToImage);
    }
}

/// <summary>The items of one side: distinct within their group.</summary>
sealed class RetrievalSide
{
    readonly List<(int Group, float[]? Embedding)> _items = [];
    readonly Dictionary<int, List<float[]>> _byGroup = [];

    public int Missing { get; private set; }

    public void Add(int group, float[] embedding)
    {
        if (embedding.AsSpan().Contains(float.NaN))
        {
            Missing++;
            _items.Add((group, null));
            return;
        }
        float length = TensorPrimitives.Norm<float>(embedding);
        if (length > 0) TensorPrimitives.Divide(embedding, length, embedding);
        if (!_byGroup.TryGetValue(group, out List<float[]>? known)) _byGroup.Add(group, known = []);
        if (known.Any(k => k.AsSpan().SequenceEqual(embedding))) return;
        known.Add(embedding);
        _items.Add((group, embedding));
    }

    /// <summary>Every item of this side searches among the items of the other.</summary>
    public RetrievalDirection Search(RetrievalSide others)
    {
        (int Group, float[] Embedding)[] candidates = [.. others._items.Where(i => i.Embedding is not null)
            .Select(i => (i.Group, i.Embedding!))];
        var ranks = new double[_items.Count];
        Parallel.For(0, ranks.Length, () => new float[candidates.Length], (i, _, scores) =>
        {
            ranks[i] = Rank(_items[i], candidates, scores);
            return scores;
        }, _ => { });
        return RetrievalDirection.From(ranks, candidates.Length);
    }

    static double Rank((int Group, float[]? Embedding) query, (int Group, float[] Embedding)[] candidates, float[] scores)
    {
        if (query.Embedding is not { } embedding) return double.PositiveInfinity;
        float best = float.NegativeInfinity;
        for (int i = 0; i < scores.Length; i++)
        {
            scores[i] = TensorPrimitives.Dot(embedding, candidates[i].Embedding);
            if (candidates[i].Group == query.Group) best = Math.Max(best, scores[i]);
        }
        if (float.IsNegativeInfinity(best)) return double.PositiveInfinity; // its match is missing
        int before = 0;
        for (int i = 0; i < scores.Length; i++)
            if (candidates[i].Group != query.Group && scores[i] >= best) before++;
        return 1 + before;
    }
}
