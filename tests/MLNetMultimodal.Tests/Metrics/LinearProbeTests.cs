using System.Text.Json;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Data;
using MLNetMultimodal.Metrics;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Tests.Metrics;

public sealed class LinearProbeTests(TinyModel tiny) : IClassFixture<TinyModel>
{
    const int Width = 8;

    static readonly string[] Classes = ["a", "b", "c", "d"];

    readonly MLContext _ml = new(1);

    [Fact]
    public void Separable_classes_are_told_apart()
    {
        LinearProbeMetrics m = Evaluate(Gaussians(seed: 1, perClass: 30, noise: 0.3), Gaussians(seed: 2, perClass: 50, noise: 0.3));
        Assert.True(m.Top1 >= 0.99, $"top-1 is {m.Top1}");
        Assert.Equal((120, 200, null), (m.Train.Rows, m.Test.Rows, m.Top5));
        Assert.Equal((double.NaN, 120), (m.Top1Deviation, Assert.Single(m.Runs).TrainRows));
        Assert.Equal(m.Top1, m.MacroAccuracy, 1e-12);
        Assert.Equal(m.Top1 * 200, m.Confusion.Select((row, i) => row[i]).Sum(), 1e-9);
    }

    [Fact]
    public void Shuffled_labels_are_at_chance()
    {
        var random = new Random(3);
        Row[] Shuffled(int seed) => [.. Gaussians(seed, 100, 0.3).Select(r => r with { Label = Classes[random.Next(4)] })];
        double top1 = Evaluate(Shuffled(1), Shuffled(2)).Top1;
        Assert.True(top1 is > 0.15 and < 0.35, $"top-1 is {top1}; chance is 0.25 with a standard deviation of 0.022");
    }

    [Fact]
    public void Few_shot_draws_k_of_each_class_whatever_the_order_of_the_view()
    {
        IDataView data = View(Gaussians(1, 20, 0.3));
        LabelledRow[] Drawn(IDataView view, int seed) => LabelledFeatures.Read(view, new(), known: null).Draw(3, seed);
        LabelledRow[] drawn = Drawn(data, 1);
        Assert.Equal([3, 3, 3, 3], Enumerable.Range(0, 4).Select(c => drawn.Count(r => r.Label == c)));
        Assert.Equal(12, drawn.Select(r => r.Id).Distinct().Count());
        Assert.Equal(drawn.Select(r => r.Id), Drawn(_ml.Data.ShuffleRows(data, seed: 5), 1).Select(r => r.Id));
        Assert.NotEqual(drawn.Select(r => r.Id), Drawn(data, 2).Select(r => r.Id));
        LinearProbeMetrics m = Evaluate(Gaussians(1, 20, 0.3), Gaussians(2, 5, 0.3), new() { ShotsPerClass = 3 });
        Assert.Equal([(1, 12), (2, 12), (3, 12)], m.Runs.Select(r => (r.Seed, r.TrainRows)));
    }

    [Fact]
    public void Seeds_reproduce_the_result_and_a_shuffled_view_does_not_change_it()
    {
        IDataView train = View(Gaussians(1, 20, 1.5)), test = View(Gaussians(2, 20, 1.5));
        var options = new LinearProbeOptions { ShotsPerClass = 4, Seeds = [7, 8] };
        string first = _ml.Multimodal.EvaluateLinearProbe(train, test, options).ToJson();
        Assert.Equal(first, _ml.Multimodal.EvaluateLinearProbe(train, test, options).ToJson());
        Assert.Equal(first, _ml.Multimodal.EvaluateLinearProbe(_ml.Data.ShuffleRows(train, seed: 3), test, options).ToJson());
    }

    [Fact]
    public void More_shots_do_not_hurt_where_classes_are_separable()
    {
        Row[] train = Gaussians(1, 40, 0.5), test = Gaussians(2, 100, 0.5);
        double[] top1 = [.. new[] { 1, 4, 16 }.Select(k => Evaluate(train, test, new() { ShotsPerClass = k }).Top1)];
        Assert.True(top1[0] > 0.4 && top1[1] > top1[0] && top1[2] >= top1[1] && top1[2] > 0.9, string.Join(", ", top1));
    }

    [Theory]
    [InlineData(0.1)]
    [InlineData(10)]
    public void The_probe_is_the_minimum_of_the_objective_that_the_options_promise(double l2)
    {
        const double LargestSlope = 0.02; // per weight, of a sum over 80 rows; without a penalty it is 1 to 20
        LabelledFeatures rows = LabelledFeatures.Read(View(Gaussians(1, 20, 1)), new(), known: null);
        (float[][] weights, float[] biases) = new ProbeFitter(Width, rows.Classes, new(), seed: 1).Fit(rows.Rows, l2);
        double largest = 0, largestWithout = 0;
        for (int c = 0; c < 4; c++)
        {
            for (int d = 0; d <= Width; d++) // the last is the bias
            {
                double slope = 0;
                foreach (LabelledRow row in rows.Rows)
                {
                    double[] powers = [.. weights.Select((w, k) => Math.Exp(biases[k] + w.Zip(row.Features!, (a, b) => (double)a * b).Sum()))];
                    double error = powers[c] / powers.Sum() - (row.Label == c ? 1 : 0);
                    slope += error * (d < Width ? row.Features![d] : 1);
                }
                largestWithout = Math.Max(largestWithout, Math.Abs(slope));
                largest = Math.Max(largest, Math.Abs(slope + (d < Width ? l2 * weights[c][d] : 0)));
            }
        }
        Assert.True(largest < LargestSlope, $"the largest slope is {largest}");
        Assert.True(largestWithout > 5 * LargestSlope, $"without the penalty it is {largestWithout}");
    }

    [Fact]
    public void The_sweep_is_no_worse_than_any_strength_it_starts_with()
    {
        LabelledRow[] rows = LabelledFeatures.Read(View(Gaussians(1, 15, 2.5)), new(), known: null).Draw(null, 1);
        var fitter = new ProbeFitter(Width, Classes, new(), seed: 1);
        (double l2, double? best) = fitter.Sweep(rows);
        (LabelledRow[] held, LabelledRow[] fit) = LabelledFeatures.TakePerClass(rows, (_, n) => n / 5);
        double Accuracy(double strength) => fitter.Score(fit, strength, held)
            .Where((scores, i) => Array.IndexOf(scores, scores.Max()) == held[i].Label).Count() / (double)held.Length;
        Assert.Equal(12, held.Length);
        Assert.Equal(best!.Value, Accuracy(l2), 1e-12);
        foreach (int exponent in (int[])[-6, -4, -2, 0, 2, 4, 6]) Assert.True(best >= Accuracy(Math.Pow(10, exponent)), $"1e{exponent} is better");
        Assert.InRange(l2, 1e-6, 1e6);
    }

    [Fact]
    public void One_row_of_a_class_is_not_swept()
    {
        LinearProbeRun run = Evaluate(Gaussians(1, 4, 0.3), Gaussians(2, 4, 0.3), new() { ShotsPerClass = 1, Seeds = [1] }).Runs[0];
        Assert.Equal((1, null, 4), (run.L2, run.ValidationTop1, run.TrainRows));
        Assert.Equal(3, Evaluate(Gaussians(1, 4, 0.3), Gaussians(2, 4, 0.3), new() { L2 = 3 }).Runs[0].L2);
    }

    [Fact]
    public void Rows_without_features_are_left_out_of_training_and_wrong_in_the_test()
    {
        Row[] train = Gaussians(1, 10, 0.1), test = Gaussians(2, 10, 0.1);
        LinearProbeMetrics m = Evaluate([.. train, Missing("a"), Missing("nowhere else"), new("", train[0].Features)], [.. test, Missing("a"), Missing("b")]);
        Assert.Equal((40, 2, 1), (m.Train.Rows, m.Train.Missing, m.Train.Unlabelled));
        Assert.Equal((42, 2, 40 / 42.0), (m.Test.Rows, m.Test.Missing, m.Top1));
        Assert.Contains("missing 2", m.ToString());
        Assert.Equal(Classes, m.Classes.Select(c => c.Label));
    }

    [Fact]
    public void What_cannot_be_probed_is_refused_with_the_reason()
    {
        Row[] train = Gaussians(1, 5, 0.3), test = Gaussians(2, 5, 0.3);
        string few = Assert.Throws<ArgumentException>(() => Evaluate(train[..^2], test, new() { ShotsPerClass = 5 })).Message;
        Assert.Contains("'d' has 3 rows", few);
        Assert.Contains("at most 3", few);
        string strange = Assert.Throws<InvalidDataException>(() => Evaluate(train, [test[0], test[1] with { Label = "zebra" }])).Message;
        Assert.Contains("row 1", strange);
        Assert.Contains("'zebra'", strange);
        Assert.Contains("at least two", Assert.Throws<InvalidDataException>(() => Evaluate(train[..5], test[..5])).Message);
        Assert.Contains("8 values", Assert.Throws<ArgumentException>(() => Evaluate(train, [new("a", [1, 2])])).Message);
        Assert.Contains("Image", Assert.Throws<ArgumentException>(() => Evaluate(train, test, new() { Model = "folder" })).Message);
        Assert.Throws<ArgumentException>(() => Evaluate(train, test, new() { Features = "Nothing" }));
        Assert.Throws<ArgumentException>(() => new LinearProbeOptions { Seeds = [1, 1] });
        Assert.Throws<ArgumentOutOfRangeException>(() => new LinearProbeOptions { ShotsPerClass = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() => new LinearProbeOptions { L2 = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() => new LinearProbeOptions { ValidationShare = 1 });
    }

    [Fact]
    public void A_model_and_pictures_give_what_its_embeddings_give()
    {
        IDataView data = _ml.Data.LoadFromEnumerable(tiny.Rows);
        IDataView embedded = _ml.Transforms.MultimodalEmbed(new() { LoadedModel = tiny.Model, Image = "ImagePath" }).Fit(data).Transform(data);
        LinearProbeMetrics expected = _ml.Multimodal.EvaluateLinearProbe(embedded, embedded, new() { L2 = 1e-3 }),
            actual = _ml.Multimodal.EvaluateLinearProbe(data, data, new() { L2 = 1e-3, Image = "ImagePath", LoadedModel = tiny.Model });
        Assert.Equal(expected.ToJson(), actual.ToJson());
        Assert.Equal("tiny", actual.Model);
        Assert.Contains("linear probe of Embedding (tiny), all rows", actual.ToString());
    }

    [Fact]
    public void Text_and_json_hold_the_numbers()
    {
        LinearProbeMetrics m = Evaluate(Gaussians(1, 4, 0.01), Gaussians(2, 4, 0.01), new() { ShotsPerClass = 2, UnitLength = true });
        Assert.StartsWith("top-1 100.00 % ± 0.00  macro", m.ToString());
        Assert.Contains("2 of each class", m.ToString());
        Assert.Contains("seed 3: top-1 100.00 %, learned from 8, L2 ", m.ToString());
        JsonElement json = JsonDocument.Parse(m.ToJson()).RootElement;
        Assert.Equal((1, 0, 3), (json.GetProperty("top1").GetDouble(), json.GetProperty("top1Deviation").GetDouble(), json.GetProperty("runs").GetArrayLength()));
    }

    LinearProbeMetrics Evaluate(Row[] train, Row[] test, LinearProbeOptions? options = null) =>
        _ml.Multimodal.EvaluateLinearProbe(View(train), View(test), options);

    sealed record Row(string Label, float[] Features);

    static Row Missing(string label) => new(label, [.. Enumerable.Repeat(float.NaN, Width)]);

    /// <summary>Class n lies around a corner of its own, one unit from the origin.</summary>
    static Row[] Gaussians(int seed, int perClass, double noise)
    {
        var random = new Random(seed);
        double Normal() => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
        return [.. Enumerable.Range(0, 4 * perClass).Select(i => new Row(Classes[i / perClass],
            [.. Enumerable.Range(0, Width).Select(d => (float)((d == i / perClass ? 1 : 0) + noise * Normal() / Math.Sqrt(2)))]))];
    }

    static IDataView View(Row[] rows)
    {
        Func<Func<int>, Delegate> features = row =>
            (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) => Columns.Fill<float>(ref value, rows[row()].Features));
        return new RowsDataView(rows.Length, [RowsDataView.Text("Label", row => rows[row].Label),
            new("Embedding", new VectorDataViewType(NumberDataViewType.Single, rows[0].Features.Length), features)]);
    }
}
