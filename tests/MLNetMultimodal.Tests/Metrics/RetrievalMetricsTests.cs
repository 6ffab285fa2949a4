using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Tests.Metrics;

public sealed class RetrievalMetricsTests
{
    readonly MLContext _ml = new(1);

    [Fact]
    public void Hand_made_example()
    {
        RetrievalMetrics m = Evaluate(null,
            new() { ImageEmbedding = [1, 0], TextEmbedding = [1, 0] },        // cosines 1, 0.995, 0: rank 1
            new() { ImageEmbedding = [0, 1], TextEmbedding = [1, 0.1f] },     // cosines 0, 0.0995, 1: rank 2
            new() { ImageEmbedding = [0.6f, 0.8f], TextEmbedding = [0, 2] }); // cosines 0.6, 0.677, 0.8: rank 1, whatever the length
        Assert.Equal((2.0 / 3, 1, 1), (m.ImageToText.RecallAt1, m.ImageToText.RecallAt5, m.ImageToText.RecallAt10));
        Assert.Equal((1, 3, 3), (m.ImageToText.MedianRank, m.ImageToText.Queries, m.ImageToText.Candidates));
    }

    [Fact]
    public void Plain_loops_agree()
    {
        var random = new Random(3);
        Row[] rows = [.. Enumerable.Range(0, 60)
            .Select(_ => new Row { ImageEmbedding = [Next(), Next(), Next()], TextEmbedding = [Next(), Next(), Next()] })];
        foreach (Row row in rows) row.TextEmbedding = [.. row.TextEmbedding.Zip(row.ImageEmbedding, (t, i) => t + 2 * i)];
        RetrievalMetrics m = Evaluate(null, rows);
        Compare(m.ImageToText, r => r.ImageEmbedding, r => r.TextEmbedding);
        Compare(m.TextToImage, r => r.TextEmbedding, r => r.ImageEmbedding);

        float Next() => (float)(2 * random.NextDouble() - 1);

        void Compare(RetrievalDirection found, Func<Row, float[]> query, Func<Row, float[]> candidate)
        {
            int[] ranks = [.. rows.Select(r => 1 + rows.Count(o => o != r
                && Cosine(query(r), candidate(o)) >= Cosine(query(r), candidate(r)))).Order()];
            Assert.Equal(ranks.Count(r => r <= 1) / 60.0, found.RecallAt1, 1e-12);
            Assert.Equal(ranks.Count(r => r <= 5) / 60.0, found.RecallAt5, 1e-12);
            Assert.Equal(ranks.Count(r => r <= 10) / 60.0, found.RecallAt10, 1e-12);
            Assert.Equal((ranks[29] + ranks[30]) / 2.0, found.MedianRank);
        }
    }

    [Fact]
    public void Embeddings_that_are_all_the_same_find_nothing()
    {
        RetrievalMetrics m = Evaluate(null,
            [.. Enumerable.Range(0, 20).Select(_ => new Row { ImageEmbedding = [1, 0], TextEmbedding = [1, 0] })]);
        Assert.Equal((0, 0, 20), (m.ImageToText.RecallAt1, m.TextToImage.RecallAt10, m.ImageToText.MedianRank));
    }

    [Fact]
    public void Equal_captions_cost_recall_unless_a_group_declares_them()
    {
        Row[] rows =
        [
            new() { Group = "cat", ImageEmbedding = [1, 0], TextEmbedding = [1, 0] },
            new() { Group = "cat", ImageEmbedding = [0.9f, 0.1f], TextEmbedding = [1, 0] },
            new() { Group = "dog", ImageEmbedding = [0, 1], TextEmbedding = [0, 1] },
        ];
        Assert.Equal(1.0 / 3, Evaluate(null, rows).ImageToText.RecallAt1, 1e-12);
        RetrievalMetrics grouped = Evaluate("Group", rows);
        Assert.Equal((1, 3, 2), (grouped.ImageToText.RecallAt1, grouped.ImageToText.Queries, grouped.ImageToText.Candidates));
        Assert.Equal((1, 2, 3), (grouped.TextToImage.RecallAt1, grouped.TextToImage.Queries, grouped.TextToImage.Candidates));
    }

    [Fact]
    public void Missing_embeddings_find_nothing_and_are_no_candidates()
    {
        RetrievalMetrics m = Evaluate(null,
            new() { ImageEmbedding = [1, 0], TextEmbedding = [1, 0] },
            new() { ImageEmbedding = [float.NaN, float.NaN], TextEmbedding = [0, 1] });
        Assert.Equal((2, 1, 0), (m.Rows, m.MissingImages, m.MissingTexts));
        Assert.Equal((0.5, 0.5, 1), (m.ImageToText.RecallAt1, m.TextToImage.RecallAt10, m.TextToImage.Candidates));
    }

    [Fact]
    public void Empty_data_gives_NaN()
    {
        RetrievalMetrics m = Evaluate(null);
        Assert.Equal((0, double.NaN), (m.Rows, m.ImageToText.RecallAt1));
        Assert.Contains("\"NaN\"", m.ToJson());
        Assert.Contains("image to text", m.ToString());
    }

    [Fact]
    public void Missing_column_is_named() =>
        Assert.Contains("'X'", Assert.Throws<ArgumentException>(() => _ml.Multimodal.EvaluateRetrieval(_ml.Data.LoadFromEnumerable<Row>([]), new() { ImageEmbedding = "X" })).Message);

    RetrievalMetrics Evaluate(string? group, params Row[] rows) =>
        _ml.Multimodal.EvaluateRetrieval(_ml.Data.LoadFromEnumerable(rows, Schema(rows)), new() { Group = group });

    static SchemaDefinition Schema(Row[] rows)
    {
        SchemaDefinition schema = SchemaDefinition.Create(typeof(Row));
        int width = rows.Length == 0 ? 2 : rows[0].ImageEmbedding.Length;
        foreach (string name in (string[])["ImageEmbedding", "TextEmbedding"]) schema[name]
            .ColumnType = new VectorDataViewType(NumberDataViewType.Single, width);
        return schema;
    }

    static double Cosine(float[] a, float[] b) => Dot(a, b) / Math.Sqrt(Dot(a, a) * Dot(b, b));

    static double Dot(float[] a, float[] b) => a.Zip(b, (x, y) => (double)x * y).Sum();

    sealed class Row
    {
        public string Group { get; set; } = "";

        [VectorType(2)]
        public float[] ImageEmbedding { get; set; } = [];

        [VectorType(2)]
        public float[] TextEmbedding { get; set; } = [];
    }
}
