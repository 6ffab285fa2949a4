using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class ZeroShotClassifyTests(TinyModel tiny) : IClassFixture<TinyModel>
{
    readonly MLContext _ml = new(1);

    IDataView Data => _ml.Data.LoadFromEnumerable(tiny.Rows);

    ZeroShotClassifyOptions Options =>
        new() { LoadedModel = tiny.Model, Image = "ImagePath", Labels = TinyModel.Colors, Templates = ["a {} cat", "the {}"], TopK = 2 };

    [Fact]
    public void Scores_are_the_softmax_of_scaled_cosines_with_the_mean_prompts()
    {
        float[][] images = tiny.Model.EmbedImages([.. tiny.Rows.Select(r => ImageDecoder.Decode(r.ImagePath))]);
        double[][] classes = [.. TinyModel.Colors.Select(color => Unit([.. tiny.Model.EmbedTexts([$"a {color} cat"])[0].Zip(tiny.Model.EmbedTexts([$"the {color}"])[0], (a, b) => (double)a + b)]))];
        float[][] expected = [.. images.Select(image =>
        {
            double[] powers = [.. classes.Select(c => Math.Exp(tiny.Model.LogitScale * image.Zip(c, (a, b) => a * b).Sum()))];
            return powers.Select(p => (float)(p / powers.Sum())).ToArray();
        })];
        Tolerance.Equal(expected, [.. Fit(Options).Transform(Data).GetColumn<float[]>("Score")]);
    }

    [Fact]
    public void Predicted_label_and_top_labels_follow_the_scores()
    {
        IDataView scored = Fit(Options).Transform(Data);
        float[][] scores = [.. scored.GetColumn<float[]>("Score")];
        uint[] keys = [.. scored.GetColumn<uint>("PredictedLabel")];
        string[][] top = [.. scored.GetColumn<ReadOnlyMemory<char>[]>("TopLabels")
            .Select(r => r.Select(v => v.ToString()).ToArray())];
        float[][] topScores = [.. scored.GetColumn<float[]>("TopScores")];
        for (int i = 0; i < scores.Length; i++)
        {
            int[] order = [.. Enumerable.Range(0, 3).OrderByDescending(c => scores[i][c]).Take(2)];
            Assert.Equal((uint)order[0] + 1, keys[i]);
            Assert.Equal(order.Select(c => TinyModel.Colors[c]), top[i]);
            Assert.Equal(order.Select(c => scores[i][c]), topScores[i]);
        }
    }

    [Fact]
    public void Key_values_and_slot_names_are_the_labels()
    {
        DataViewSchema schema = Fit(Options).GetOutputSchema(Data.Schema);
        VBuffer<ReadOnlyMemory<char>> names = default;
        schema["PredictedLabel"].GetKeyValues(ref names);
        Assert.Equal(TinyModel.Colors, names.DenseValues().Select(v => v.ToString()));
        schema["Score"].GetSlotNames(ref names);
        Assert.Equal(TinyModel.Colors, names.DenseValues().Select(v => v.ToString()));
    }

    [Fact]
    public void MulticlassEvaluate_agrees_with_EvaluateZeroShot()
    {
        IDataView keys = _ml.Data.LoadFromEnumerable(TinyModel.Colors.Select(c => new PairRow { Label = c }));
        IDataView labelled = _ml.Transforms.Conversion.MapValueToKey("Label",
            keyData: _ml.Transforms.SelectColumns("Label").Fit(keys).Transform(keys)).Fit(Data).Transform(Data);
        IDataView scored = Fit(Options).Transform(labelled);
        ZeroShotMetrics ours = _ml.Multimodal.EvaluateZeroShot(scored);
        MulticlassClassificationMetrics theirs = _ml.MulticlassClassification.Evaluate(scored);
        Assert.Equal(theirs.MicroAccuracy, ours.Top1, 1e-12);
        Assert.Equal(theirs.MacroAccuracy, ours.MacroAccuracy, 1e-12);
        Assert.Equal(theirs.ConfusionMatrix.Counts.Select(r => r.Select(v => (long)v)), ours.Confusion);
        Assert.Equal(Options.Templates, ours.Templates);
    }

    [Fact]
    public void Missing_pictures_have_missing_labels_and_scores()
    {
        IDataView data = _ml.Data.LoadFromEnumerable(tiny.Rows.Select((r,
            i) => new PairRow { ImagePath = i == 2 ? "" : r.ImagePath, Label = r.Label }));
        IDataView scored = Fit(Options with { OnError = OnError.Missing }, data).Transform(data);
        Assert.Equal([2], scored.GetColumn<uint>("PredictedLabel").Select((key, i) => (key, i)).Where(p => p.key == 0)
            .Select(p => p.i));
        Assert.All(scored.GetColumn<float[]>("Score").ElementAt(2), v => Assert.Equal(float.NaN, v));
        Assert.All(scored.GetColumn<float[]>("TopScores").ElementAt(2), v => Assert.Equal(float.NaN, v));
        Assert.All(scored.GetColumn<ReadOnlyMemory<char>[]>("TopLabels").ElementAt(2), v => Assert.Equal(0, v.Length));
        ZeroShotMetrics metrics = _ml.Multimodal.EvaluateZeroShot(scored);
        Assert.Equal((21, 1), (metrics.Rows, metrics.Missing));
        Assert.Throws<InvalidDataException>(() => Fit(Options, data).Transform(data).GetColumn<uint>("PredictedLabel").Count());
    }

    [Fact]
    public void PredictionEngine_agrees_with_the_pass()
    {
        ITransformer model = Fit(Options);
        using var engine = _ml.Model.CreatePredictionEngine<PairRow, ScoreRow>(model);
        ScoreRow[] rows = [.. tiny.Rows.Select(engine.Predict)];
        Tolerance.Equal([.. model.Transform(Data).GetColumn<float[]>("Score")], [.. rows.Select(r => r.Score)]);
        Assert.All(rows, r => Assert.Equal(r.TopScores[0], r.Score[(int)r.PredictedLabel - 1]));
    }

    [Fact]
    public void Promised_schema_is_the_real_one()
    {
        var estimator = _ml.Transforms.ZeroShotClassify(Options);
        MultimodalEmbedTests.AssertCompatible(estimator.GetOutputSchema(MlNet.ShapeOf(Data.Schema)),
            MlNet.ShapeOf(estimator.Fit(Data).GetOutputSchema(Data.Schema)));
    }

    [Fact]
    public void Without_top_k_there_are_two_columns()
    {
        DataViewSchema schema = Fit(Options with { TopK = 0 }).GetOutputSchema(Data.Schema);
        Assert.Equal(["PredictedLabel", "Score"], schema.Skip(Data.Schema.Count).Select(c => c.Name));
    }

    [Fact]
    public void Labels_and_templates_that_make_no_sense_are_refused()
    {
        Assert.Throws<ArgumentException>(() => Fit(Options with { Labels = [] }));
        Assert.Contains("'red'", Assert.Throws<ArgumentException>(() => Fit(Options with { Labels = ["red", "blue", "red"] }))
            .Message);
        Assert.Throws<ArgumentException>(() => Fit(Options with { Labels = ["red", " "] }));
        Assert.Throws<ArgumentException>(() => Fit(Options with { Templates = ["a photo"] }));
        Assert.Throws<ArgumentException>(() => Fit(Options with { Image = "Number" }));
        Assert.Throws<ArgumentException>(() => _ml.Transforms.ZeroShotClassify(Options with { Score = "PredictedLabel" }));
    }

    ZeroShotTransformer Fit(ZeroShotClassifyOptions options, IDataView? data = null) =>
        _ml.Transforms.ZeroShotClassify(options).Fit(data ?? Data);

    static double[] Unit(double[] v) => [.. v.Select(x => x / Math.Sqrt(v.Sum(y => y * y)))];

    sealed class ScoreRow
    {
        public uint PredictedLabel { get; set; }

        public float[] Score { get; set; } = [];

        public float[] TopScores { get; set; } = [];
    }
}
