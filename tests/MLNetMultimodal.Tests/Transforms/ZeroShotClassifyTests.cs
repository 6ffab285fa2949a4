using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
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

    [Fact]
    public void Prompts_of_a_folder_are_those_of_the_options_and_are_saved_with_their_source()
    {
        string folder = WritePrompts("prompts-of-cats", "red\ngreen\nblue\n", "a {c} cat\nthe {c}\n"), zip = Path.Combine(tiny.Root, "prompts.zip");
        using ZeroShotTransformer fitted = Fit(FromFolder(folder));
        IDataView scored = fitted.Transform(Data);
        Tolerance.Equal([.. Fit(Options).Transform(Data).GetColumn<float[]>("Score")], [.. scored.GetColumn<float[]>("Score")], 0);
        ZeroShotMetrics metrics = _ml.Multimodal.EvaluateZeroShot(scored);
        Assert.Equal((folder, 2), (metrics.PromptSource, metrics.Templates.Count));
        Assert.Contains($"prompts ({folder}): a {{}} cat | the {{}}", metrics.ToString());
        Assert.Equal("options", _ml.Multimodal.EvaluateZeroShot(Fit(Options).Transform(Data)).PromptSource);

        _ml.Model.Save(fitted, Data.Schema, zip);
        Directory.Delete(folder, recursive: true);
        ITransformer loaded = new MLContext().Model.Load(zip, out _);
        ZeroShotMetrics again = _ml.Multimodal.EvaluateZeroShot(loaded.Transform(Data));
        (loaded as IDisposable)?.Dispose();
        Assert.Equal("prompts-of-cats", again.PromptSource);
        Assert.Equal(metrics.Templates, again.Templates);
        Assert.Equal(metrics.Confusion, again.Confusion);
    }

    [Fact]
    public void Labels_choose_among_those_of_the_folder_or_name_them_where_it_does_not()
    {
        string both = WritePrompts("both", "red\ngreen\nblue\n", "a {c}"), templates = WritePrompts("templates", null, "a {c}");
        using ZeroShotTransformer some = Fit(FromFolder(both) with { Labels = ["blue", "red"] });
        using ZeroShotTransformer loaded = Fit(FromFolder(null) with { Labels = ["blue"], LoadedPrompts = ZeroShotPrompts.Load(templates) });
        Assert.Equal(["blue", "red"], some.Options.Labels);
        Assert.Equal((templates, "a {}"), (loaded.PromptSource, loaded.Options.Templates[0]));
        Assert.Contains("'zebra'", Error(FromFolder(both) with { Labels = ["red", "zebra"] }));
        Assert.Contains(ZeroShotPrompts.LabelsFile, Error(FromFolder(templates)));
        Assert.Contains("Templates and Prompts", Error(FromFolder(both) with { Templates = ["{}"] }));
        Assert.Contains("Prompts and LoadedPrompts", Error(FromFolder(both) with { LoadedPrompts = ZeroShotPrompts.Load(both) }));
        string Error(ZeroShotClassifyOptions options) => Assert.Throws<ArgumentException>(() => Fit(options)).Message;
    }

    ZeroShotClassifyOptions FromFolder(string? folder) =>
        new() { LoadedModel = tiny.Model, Image = "ImagePath", Prompts = folder, TopK = 2 };

    string WritePrompts(string name, string? labels, string templates)
    {
        string folder = Path.Combine(tiny.Root, name);
        Directory.CreateDirectory(folder);
        if (labels is not null) File.WriteAllText(Path.Combine(folder, ZeroShotPrompts.LabelsFile), labels);
        File.WriteAllText(Path.Combine(folder, ZeroShotPrompts.TemplatesFile), templates);
        return folder;
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
