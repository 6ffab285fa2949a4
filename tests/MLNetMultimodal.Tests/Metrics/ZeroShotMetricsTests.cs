using System.Text.Json;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Data;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Tests.Metrics;

public sealed class ZeroShotMetricsTests
{
    static readonly string[] Classes = ["a", "b", "c", "d", "e", "f", "g"];

    readonly MLContext _ml = new(1);

    [Fact]
    public void Hand_made_example()
    {
        ZeroShotMetrics m = Evaluate(("a", [9, 0, 0, 0, 0, 0, 0]), ("a", [5, 6, 0, 0, 0, 0, 0]), ("b", [0, 7, 0, 0, 0, 0, 0]),
            ("g", [6, 5, 4, 3, 2, 1, 0]));
        Assert.Equal((4, 0.5, 0.75), (m.Rows, m.Top1, m.Top5));
        Assert.Equal(new ClassMetrics("a", 2, 0.5, 0.5, 0.5, 0.5), m.Classes[0]);
        Assert.Equal((0.5, 1, 2 / 3.0), (m.Classes[1].Precision, m.Classes[1].Recall, m.Classes[1].F1));
        Assert.Equal((double.NaN, 0), (m.Classes[2].Accuracy, m.Classes[2].Rows));
        Assert.Equal(0.5, m.MacroAccuracy, 1e-12);
        Assert.Equal((1, 1, 1), (m.Confusion[0][0], m.Confusion[0][1], m.Confusion[6][0]));
    }

    [Fact]
    public void Plain_loops_agree()
    {
        var random = new Random(8);
        (string Label, float[] Scores)[] rows = [.. Enumerable.Range(0, 200)
            .Select(_ => (Classes[random.Next(7)], Enumerable.Range(0, 7).Select(_ => random.NextSingle()).ToArray()))];
        ZeroShotMetrics m = Evaluate(rows);
        int Place(string label, float[] scores) =>
            Array.IndexOf([.. Enumerable.Range(0, 7).OrderByDescending(i => scores[i])], Array.IndexOf(Classes, label));
        Assert.Equal(rows.Count(r => Place(r.Label, r.Scores) == 0) / 200.0, m.Top1, 1e-12);
        Assert.Equal(rows.Count(r => Place(r.Label, r.Scores) < 5) / 200.0, m.Top5, 1e-12);
        foreach (ClassMetrics c in m.Classes)
        {
            double right = rows.Count(r => r.Label == c.Label && Place(c.Label, r.Scores) == 0),
                predicted = rows.Count(r => Place(c.Label, r.Scores) == 0);
            Assert.Equal((right / predicted, right / rows.Count(r => r.Label == c.Label)), (c.Precision, c.Recall));
        }
    }

    [Fact]
    public void Scores_that_are_all_the_same_are_at_chance() =>
        Assert.Equal(1.0 / 7, Evaluate([.. Classes.Select(c => (c, new float[7]))]).Top1, 1e-12);

    [Fact]
    public void Missing_scores_count_as_wrong_and_missing_labels_not_at_all()
    {
        float[] missing = [.. Enumerable.Repeat(float.NaN, 7)];
        ZeroShotMetrics m = Evaluate(("a", [1, 0, 0, 0, 0, 0, 0]), ("a", missing), ("", [1, 0, 0, 0, 0, 0, 0]));
        Assert.Equal((2, 1, 1, 0.5, 0.5), (m.Rows, m.Missing, m.Unlabelled, m.Top1, m.Top5));
        Assert.Equal(1, m.Confusion.Sum(r => r.Sum()));
    }

    [Fact]
    public void Unknown_label_is_named_with_its_row()
    {
        string message = Assert.Throws<InvalidDataException>(() => Evaluate(("a", new float[7]), ("zebra", new float[7])))
            .Message;
        Assert.Contains("row 1", message);
        Assert.Contains("'zebra'", message);
    }

    [Fact]
    public void Empty_data_gives_NaN() => Assert.Equal((0, double.NaN), (Evaluate().Rows, Evaluate().Top1));

    [Fact]
    public void Table_and_json_hold_the_numbers()
    {
        ZeroShotMetrics m = Evaluate(("a", [1, 0, 0, 0, 0, 0, 0]));
        Assert.Contains("top-1 100.00", m.ToString());
        Assert.Equal(1, JsonDocument.Parse(m.ToJson()).RootElement.GetProperty("top1").GetDouble());
    }

    ZeroShotMetrics Evaluate(params (string Label, float[] Scores)[] rows)
    {
        var names = new DataViewSchema.Annotations.Builder();
        names.Add(Columns.SlotNames, Columns.Names(7), Columns.Constant(Classes));
        Func<Func<int>, Delegate> scores = row =>
            (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) => Columns.Fill<float>(ref value, rows[row()].Scores));
        return _ml.Multimodal.EvaluateZeroShot(new RowsDataView(rows.Length,
            [RowsDataView.Text("Label", row => rows[row].Label),
                new("Score", new VectorDataViewType(NumberDataViewType.Single, 7), scores, names.ToAnnotations())]));
    }
}
