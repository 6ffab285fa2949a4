using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Training.Tests;

/// <summary>Tables that are not as they should be.</summary>
public sealed class CrossModalFusionInputTests
{
    static readonly CrossModalFusionOptions s_quick = MixedRows.Options with { Image = "Image", Text = "Text", Audio = "Sound", Features = "Numbers", Epochs = 1 };

    readonly MLContext _ml = new(seed: 1);

    FusionTransformer Fit(CrossModalFusionOptions options, IDataView data) => _ml.MulticlassClassification.Trainers.CrossModalFusion(options).Fit(data);

    static float[][] Scores(FusionTransformer model, IDataView data) => [.. model.Transform(data).GetColumn<float[]>("Score")];

    [Fact]
    public void One_row_trains_and_predicts()
    {
        IDataView one = MixedRows.Keyed(_ml, MixedRows.Make(1, seed: 1));
        using FusionTransformer model = Fit(s_quick, one);
        Assert.Equal(1, Assert.Single(Scores(model, one)).Sum(), 1e-5);
    }

    [Fact]
    public void Rows_without_anything_get_what_is_usual()
    {
        MixedRow[] rows = MixedRows.Make(64, seed: 1);
        MixedRow[] three = [.. rows.Where((r, i) => i % 4 != 3 || i < 8)]; // the fourth class is rare
        using FusionTransformer model = Fit(s_quick with { Epochs = 30, ModalityDropout = 0.4 }, MixedRows.Keyed(_ml, three));
        MixedRow[] empty = [.. Enumerable.Range(0, 3).Select(_ => new MixedRow { Class = "red down", Numbers = [float.NaN, float.NaN, float.PositiveInfinity] })];
        float[][] scores = Scores(model, MixedRows.Keyed(_ml, empty));
        Assert.All(scores, s => Assert.Equal(scores[0], s));
        Assert.All(scores[0], s => Assert.InRange(s, 0, 0.7f)); // no class is certain
        Assert.True(scores[0][3] < scores[0].Max(), $"scores are {string.Join(", ", scores[0])}");
    }

    [Fact]
    public void Labels_never_seen_and_missing_ones_are_no_harm()
    {
        MixedRow[] rows = MixedRows.Make(24, seed: 1);
        MixedRow[] seen = [.. rows.Where(r => r.Class != "blue down")];
        seen[0].Class = "unknown"; // no key: a missing label
        using FusionTransformer model = Fit(s_quick with { Epochs = 15 }, MixedRows.Keyed(_ml, seen));
        IDataView test = MixedRows.Keyed(_ml, rows);
        MulticlassClassificationMetrics metrics = _ml.MulticlassClassification.Evaluate(model.Transform(test));
        Assert.Equal(4, metrics.ConfusionMatrix.NumberOfClasses);
        Assert.All(Scores(model, test), s => Assert.True(s[3] < 0.5, $"a class that was never seen gets {s[3]}"));
    }

    [Fact]
    public void More_classes_at_test_time_count_as_wrong()
    {
        MixedRow[] rows = MixedRows.Make(24, seed: 1), two = [.. rows.Where(r => r.Class.EndsWith("across", StringComparison.Ordinal))];
        var keys = _ml.Transforms.Conversion.MapValueToKey("Label", "Class");
        using FusionTransformer model = Fit(s_quick with { Epochs = 30 }, keys.Fit(_ml.Data.LoadFromEnumerable(two)).Transform(_ml.Data.LoadFromEnumerable(two)));
        MulticlassClassificationMetrics metrics = _ml.MulticlassClassification.Evaluate(
            model.Transform(keys.Fit(_ml.Data.LoadFromEnumerable(rows)).Transform(_ml.Data.LoadFromEnumerable(rows))));
        Assert.InRange(metrics.MicroAccuracy, 0, 0.5); // two of four classes cannot be right
    }

    [Fact]
    public void Numbers_that_are_missing_or_always_the_same_do_no_harm()
    {
        MixedRow[] Rows(int seed)
        {
            MixedRow[] rows = MixedRows.Make(80, seed);
            foreach (MixedRow row in rows) row.Numbers[1] = float.NaN; // never there
            for (int i = 0; i < rows.Length; i += 3) rows[i].Numbers[0] = float.NaN; // at times; the picture says it too
            return rows;
        }
        using FusionTransformer model = Fit(s_quick with { Audio = null, Epochs = 40 }, MixedRows.Keyed(_ml, Rows(1)));
        double accuracy = _ml.MulticlassClassification.Evaluate(model.Transform(MixedRows.Keyed(_ml, Rows(2)))).MicroAccuracy;
        Assert.True(accuracy >= 0.9, $"accuracy is {accuracy}");
        Assert.All(Scores(model, MixedRows.Keyed(_ml, Rows(2))), s => Assert.True(s.All(float.IsFinite)));
    }

    [Fact]
    public void What_cannot_be_read_is_named_or_missing()
    {
        MixedRow[] rows = MixedRows.Make(8, seed: 1);
        rows[5].Image = [1, 2, 3];
        IDataView data = MixedRows.Keyed(_ml, rows);
        var e = Assert.Throws<InvalidDataException>(() => Fit(s_quick, data));
        Assert.StartsWith("row 5, column 'Image': the picture cannot be read", e.Message, StringComparison.Ordinal);
        using FusionTransformer model = Fit(s_quick with { OnError = OnError.Missing }, data);
        float[][] scores = Scores(model, data);
        rows[5].Image = [];
        Assert.Equal(scores[5], Scores(model, MixedRows.Keyed(_ml, rows))[5]);
    }

    [Fact]
    public void Columns_that_do_not_fit_are_refused_by_name()
    {
        IDataView data = MixedRows.Keyed(_ml, MixedRows.Make(8, seed: 1));
        Assert.Contains("the label 'Class' must be a key of UInt32; Conversion.MapValueToKey makes one, but is String",
            Assert.Throws<ArgumentException>(() => Fit(s_quick with { Label = "Class" }, data)).Message, StringComparison.Ordinal);
        Assert.Contains("the label 'Label' must be Boolean", Assert.Throws<ArgumentException>(() =>
            _ml.BinaryClassification.Trainers.CrossModalFusion(s_quick).Fit(data)).Message, StringComparison.Ordinal);
        Assert.Contains("the label 'IsRed' must be Single", Assert.Throws<ArgumentException>(() =>
            _ml.Regression.Trainers.CrossModalFusion(s_quick with { Label = "IsRed" }).Fit(data)).Message, StringComparison.Ordinal);
        Assert.Contains("there is no column 'Nothing'; the columns are Image, Text", Assert.Throws<ArgumentException>(() =>
            Fit(s_quick with { Image = "Nothing" }, data)).Message, StringComparison.Ordinal);
        Assert.Contains("column 'Text' must hold numbers", Assert.Throws<ArgumentException>(() => Fit(s_quick with { Features = "Text" }, data)).Message, StringComparison.Ordinal);
        Assert.Contains("set Image, Text, Audio, Features", Assert.Throws<ArgumentException>(() => Fit(MixedRows.Options, data)).Message, StringComparison.Ordinal);
        Assert.Contains("no row of the training data has a label", Assert.Throws<ArgumentException>(() =>
            Fit(s_quick, MixedRows.Keyed(_ml, MixedRows.Make(2, 1).Select(r => { r.Class = "?"; return r; })))).Message, StringComparison.Ordinal);
        Assert.Contains("EarlyStoppingPatience needs validation data", Assert.Throws<ArgumentException>(() =>
            Fit(s_quick with { EarlyStoppingPatience = 1 }, data)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_model_is_given_the_senses_that_it_has()
    {
        IDataView data = MixedRows.Keyed(_ml, MixedRows.Make(8, seed: 1));
        using FusionTransformer model = Fit(s_quick, data);
        var e = Assert.Throws<ArgumentException>(() => _ml.Transforms.CrossModalPredict(new() { LoadedModel = model.Model, Image = "Image" }).Fit(data));
        Assert.Contains("takes Text, but the option Text is not set", e.Message, StringComparison.Ordinal);
        var fewer = _ml.Transforms.Concatenate("Numbers", "Value").Fit(data).Transform(data);
        Assert.Contains("column 'Numbers' has 1 numbers, but the model takes 3", Assert.Throws<ArgumentException>(() => model.Transform(fewer)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Validation_data_has_the_same_classes()
    {
        IDataView data = MixedRows.Keyed(_ml, MixedRows.Make(8, seed: 1));
        IDataView others = _ml.Transforms.Conversion.MapValueToKey("Label", "Class").Fit(_ml.Data.LoadFromEnumerable(MixedRows.Make(2, seed: 1)))
            .Transform(_ml.Data.LoadFromEnumerable(MixedRows.Make(8, seed: 1)));
        var e = Assert.Throws<ArgumentException>(() => _ml.MulticlassClassification.Trainers.CrossModalFusion(s_quick).Fit(data, others));
        Assert.Contains("stands for 4 classes (red across, red down, blue across, blue down) in the training data, but for 2 classes", e.Message, StringComparison.Ordinal);
    }
}
