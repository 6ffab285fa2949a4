using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Training.Native;
using TorchSharp;

namespace MLNetMultimodal.Training.Tests;

public sealed class CrossModalFusionTrainerTests : IDisposable
{
    static readonly CrossModalFusionOptions s_pictureAndText = MixedRows.Options with { Image = "Image", Text = "Text" };
    static readonly CrossModalFusionOptions s_all = s_pictureAndText with { Audio = "Sound", Features = "Numbers" };
    static readonly CrossModalFusionOptions s_quick = s_all with { Epochs = 1 };

    readonly MLContext _ml = new(seed: 1);
    readonly string _root = Directory.CreateTempSubdirectory("fusion-tests-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    FusionTransformer Fit(CrossModalFusionOptions options, int rows = 96) =>
        _ml.MulticlassClassification.Trainers.CrossModalFusion(options).Fit(MixedRows.Keyed(_ml, MixedRows.Make(rows, seed: 1)));

    double Accuracy(FusionTransformer model, IEnumerable<MixedRow> rows) =>
        _ml.MulticlassClassification.Evaluate(model.Transform(MixedRows.Keyed(_ml, rows))).MicroAccuracy;

    [Fact]
    public void It_learns_what_no_single_sense_tells_and_survives_what_is_missing()
    {
        MixedRow[] test = MixedRows.Make(80, seed: 2);
        using FusionTransformer both = Fit(s_pictureAndText);
        using FusionTransformer picture = Fit(s_pictureAndText with { Text = null, ModalityDropout = 0 });
        using FusionTransformer text = Fit(s_pictureAndText with { Image = null, ModalityDropout = 0 });
        double fused = Accuracy(both, test), best = Math.Max(Accuracy(picture, test), Accuracy(text, test));
        Assert.InRange(best, 0.3, 0.65); // each sense tells one half: 0.5
        Assert.True(fused >= 0.95, $"accuracy is {fused}, of the better sense {best}");
        // Without one of them it does what the other can do: 0.5 of four classes.
        double withoutText = Accuracy(both, MixedRows.Make(80, seed: 2).Select(r => { r.Text = ""; return r; }));
        double withoutPicture = Accuracy(both, MixedRows.Make(80, seed: 2).Select(r => { r.Image = []; return r; }));
        Assert.True(Math.Min(withoutText, withoutPicture) >= 0.4, $"without text {withoutText}, without picture {withoutPicture}");
    }

    [Fact]
    public void Columns_are_those_of_trainers_of_ML_NET()
    {
        IDataView data = MixedRows.Keyed(_ml, MixedRows.Make(16, seed: 1));
        IEstimator<FusionTransformer> trainer = _ml.MulticlassClassification.Trainers.CrossModalFusion(s_quick with { Attention = "Looked" });
        using FusionTransformer model = trainer.Fit(data);
        DataViewSchema schema = model.GetOutputSchema(data.Schema);
        IDataView theirs = _ml.MulticlassClassification.Trainers.SdcaMaximumEntropy("Label", "Numbers").Fit(data).Transform(data);
        foreach (string column in new[] { "PredictedLabel", "Score" })
        {
            Assert.Equal(theirs.Schema[column].Type, schema[column].Type);
            Assert.Equal(theirs.Schema[column].Annotations.Schema.Select(a => $"{a.Name} {a.Type}").Order(),
                schema[column].Annotations.Schema.Select(a => $"{a.Name} {a.Type}").Order());
        }
        VBuffer<ReadOnlyMemory<char>> names = default;
        schema["Score"].GetSlotNames(ref names);
        Assert.Equal(["red across", "red down", "blue across", "blue down"], names.DenseValues().Select(n => n.ToString()));
        schema["PredictedLabel"].GetKeyValues(ref names);
        Assert.Equal(4, names.Length);
        SchemaShape promised = trainer.GetOutputSchema(Interop.MlNet.ShapeOf(data.Schema)), real = Interop.MlNet.ShapeOf(schema);
        foreach (SchemaShape.Column column in real)
        {
            SchemaShape.Column own = promised.Single(c => c.Name == column.Name);
            Assert.Equal((column.Kind, column.ItemType, column.IsKey), (own.Kind, own.ItemType, own.IsKey));
            Assert.Equal(column.Annotations.Select(a => $"{a.Name} {a.Kind} {a.ItemType} {a.IsKey}").Order(),
                own.Annotations.Select(a => $"{a.Name} {a.Kind} {a.ItemType} {a.IsKey}").Order());
        }
    }

    [Fact]
    public void Evaluation_cross_validation_and_permutation_work()
    {
        IDataView data = MixedRows.Keyed(_ml, MixedRows.Make(96, seed: 1));
        CrossModalFusionOptions numbersAndText = MixedRows.Options with { Text = "Text", Features = "Numbers", Epochs = 40 };
        var trainer = _ml.MulticlassClassification.Trainers.CrossModalFusion(numbersAndText);
        foreach (var fold in _ml.MulticlassClassification.CrossValidate(data, trainer, numberOfFolds: 2))
            Assert.True(fold.Metrics.MicroAccuracy >= 0.9, $"a fold's accuracy is {fold.Metrics.MicroAccuracy}");
        using FusionTransformer model = trainer.Fit(data);
        var importance = _ml.MulticlassClassification.PermutationFeatureImportance(model, data, permutationCount: 3);
        double[] lost = [.. importance.Select(i => -i.MicroAccuracy.Mean)];
        Assert.Equal(3, lost.Length);
        Assert.True(lost[0] >= 0.3 && Math.Abs(lost[1]) <= 0.1 && lost[2] == 0, $"accuracy lost: {string.Join(", ", lost)}");
        Assert.Equal("Numbers", model.FeatureColumnName);
        Assert.Equal(data.Schema["Numbers"].Type, model.FeatureColumnType);
    }

    [Fact]
    public void Without_numbers_there_is_nothing_to_permute()
    {
        using FusionTransformer model = Fit(s_pictureAndText with { Epochs = 1 }, rows: 8);
        Assert.Contains("takes no column of numbers", Assert.Throws<InvalidOperationException>(() => model.FeatureColumnName).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Yes_or_no_and_numbers_are_predicted_too()
    {
        IDataView train = _ml.Data.LoadFromEnumerable(MixedRows.Make(96, seed: 1)), test = _ml.Data.LoadFromEnumerable(MixedRows.Make(60, seed: 2));
        CrossModalFusionOptions options = MixedRows.Options with { Audio = "Sound", Features = "Numbers", Epochs = 20 };
        using FusionTransformer binary = _ml.BinaryClassification.Trainers.CrossModalFusion(options with { Label = "IsRed" }).Fit(train);
        CalibratedBinaryClassificationMetrics metrics = _ml.BinaryClassification.Evaluate(binary.Transform(test), "IsRed");
        Assert.True(metrics.Accuracy >= 0.95, $"accuracy is {metrics.Accuracy}");
        Assert.True(metrics.AreaUnderRocCurve >= 0.98, $"AUC is {metrics.AreaUnderRocCurve}");
        Assert.NotEmpty(_ml.BinaryClassification.PermutationFeatureImportance(binary, train, "IsRed"));
        CrossModalFusionOptions regression = options with { Label = "Value", Epochs = 60 };
        using FusionTransformer numbers = _ml.Regression.Trainers.CrossModalFusion(regression).Fit(train);
        double rSquared = _ml.Regression.Evaluate(numbers.Transform(test), "Value").RSquared;
        Assert.True(rSquared >= 0.9, $"R squared is {rSquared}");
        foreach (var (model, theirs) in new (FusionTransformer, IDataView)[]
        {
            (binary, _ml.BinaryClassification.Trainers.SdcaLogisticRegression("IsRed", "Numbers").Fit(train).Transform(train)),
            (numbers, _ml.Regression.Trainers.Sdca("Value", "Numbers").Fit(train).Transform(train)),
        })
            foreach (DataViewSchema.Column column in model.GetOutputSchema(train.Schema).Where(c => c.Name is "Score" or "Probability" or "PredictedLabel"))
            {
                Assert.Equal(theirs.Schema[column.Name].Type, column.Type);
                Assert.Equal(theirs.Schema[column.Name].Annotations.Schema.Select(a => $"{a.Name} {a.Type}").Order(),
                    column.Annotations.Schema.Select(a => $"{a.Name} {a.Type}").Order());
            }
    }

    sealed class Prediction
    {
        public uint PredictedLabel { get; set; }

        public float[] Score { get; set; } = [];

        public float[] Looked { get; set; } = [];
    }

    [Fact]
    public void A_zip_and_a_folder_predict_as_the_model_does()
    {
        MixedRow[] rows = MixedRows.Make(10, seed: 3);
        (rows[1].Image, rows[2].Text, rows[3].Sound) = ([], "", []);
        rows[4].Numbers[1] = float.NaN;
        IDataView data = MixedRows.Keyed(_ml, rows);
        using FusionTransformer model = Fit(s_quick with { Attention = "Looked", Experts = 2 });
        Prediction[] Predict(ITransformer t) => [.. _ml.Data.CreateEnumerable<Prediction>(t.Transform(data), reuseRowObject: false)];
        Prediction[] expected = Predict(model);
        foreach (Prediction p in expected)
        {
            Assert.Equal(1, p.Score.Sum(), 1e-5);
            Assert.Equal(1, p.Looked.Sum(), 1e-5);
            Assert.Equal(p.Score.Max(), p.Score[(int)p.PredictedLabel - 1]);
        }
        string zip = Path.Combine(_root, "model.zip"), folder = Path.Combine(_root, "folder");
        _ml.Model.Save(model, data.Schema, zip);
        model.SaveModelFolder(folder);
        Assert.Equal(["config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"],
            Directory.GetFiles(folder).Select(f => Path.GetFileName(f)).Order(StringComparer.Ordinal));
        using var loaded = (FusionTransformer)new MLContext().Model.Load(zip, out _);
        using FusionTransformer opened = _ml.Transforms.CrossModalPredict(new()
        {
            Model = folder,
            Image = "Image",
            Text = "Text",
            Audio = "Sound",
            Features = "Numbers",
            AudioSampleRateHz = 16_000,
            Attention = "Looked",
        }).Fit(data);
        foreach (FusionTransformer other in new[] { loaded, opened })
        {
            Prediction[] got = Predict(other);
            for (int i = 0; i < rows.Length; i++) Assert.Equal(expected[i].Score, got[i].Score);
            Assert.Equal(model.GetOutputSchema(data.Schema)["PredictedLabel"].Annotations.Schema.Count, other.GetOutputSchema(data.Schema)["PredictedLabel"].Annotations.Schema.Count);
        }
        using var engine = _ml.Model.CreatePredictionEngine<MixedRow, Prediction>(loaded);
        for (int i = 0; i < rows.Length; i++) Difference.Check("one by one", expected[i].Score, engine.Predict(rows[i]).Score, 1e-5, 1e-5);
        using FusionPredictor predictor = FusionPredictor.Load(folder);
        FusionExplanation explained = predictor.Explain([predictor.Preprocessing.Row(text: "it is red")])[0];
        Assert.Equal(predictor.TokenNames.Count, explained.TokenAttention.Count);
        Assert.All(explained.TokenAttention, row => Assert.Equal(1, row.Sum(), 1e-5));
    }

    [Fact]
    public void Key_values_of_other_types_come_back()
    {
        var rows = MixedRows.Make(12, seed: 1).Select((r, i) => new { r.Text, Year = 1990 + i % 3 });
        IDataView data = _ml.Transforms.Conversion.MapValueToKey("Label", "Year").Fit(_ml.Data.LoadFromEnumerable(rows)).Transform(_ml.Data.LoadFromEnumerable(rows));
        var pipeline = _ml.MulticlassClassification.Trainers.CrossModalFusion(MixedRows.Options with { Text = "Text", Epochs = 1 })
            .Append(_ml.Transforms.Conversion.MapKeyToValue("Predicted", "PredictedLabel"));
        string zip = Path.Combine(_root, "years.zip");
        _ml.Model.Save(pipeline.Fit(data), data.Schema, zip);
        IDataView predicted = new MLContext().Model.Load(zip, out _).Transform(data);
        Assert.Equal(NumberDataViewType.Int32, predicted.Schema["Predicted"].Type);
        Assert.All(predicted.GetColumn<int>("Predicted"), year => Assert.InRange(year, 1990, 1992));
    }

    [Fact]
    public void Same_seed_same_weights_and_another_seed_others()
    {
        byte[] Weights(int seed)
        {
            using FusionTransformer model = Fit(s_quick with { Seed = seed, Augmentation = new() { HorizontalFlip = 0.5f } }, rows: 20);
            return model.Model.Files.Read("model.safetensors").ToArray();
        }
        byte[] first = Weights(1);
        Assert.Equal(first, Weights(1));
        Assert.NotEqual(first, Weights(2));
    }

    [Fact]
    public void A_training_leaves_no_tensor_behind()
    {
        TorchNative.EnsureLoaded();
        CrossModalFusionOptions options = s_quick with { Experts = 3, ValidationShare = 0.3, Checkpoints = Path.Combine(_root, "c") };
        Fit(options, rows: 20).Dispose();
        Directory.Delete(options.Checkpoints, recursive: true);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        Fit(options, rows: 20).Dispose();
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void A_training_that_is_interrupted_goes_on_to_the_same_weights()
    {
        CrossModalFusionOptions options = s_all with { Epochs = 3, ValidationShare = 0.25, EarlyStoppingPatience = 3 };
        byte[] Weights(CrossModalFusionOptions o)
        {
            using FusionTransformer model = Fit(o, rows: 40);
            return model.Model.Files.Read("model.safetensors").ToArray();
        }
        byte[] whole = Weights(options);
        using var stop = new CancellationTokenSource();
        string checkpoints = Path.Combine(_root, "checkpoints");
        var stopping = new OnStep(step =>
        {
            if (step.Step == 2) stop.Cancel();
        });
        Fit(options with { Checkpoints = checkpoints, Cancellation = stop.Token, Progress = stopping }, rows: 40).Dispose();
        Assert.Equal(whole, Weights(options with { Checkpoints = checkpoints }));
    }

    [Fact]
    public void Classes_count_as_the_options_say()
    {
        // Nothing tells the classes apart: what is predicted is what is frequent, unless rare ones count more.
        var rows = Enumerable.Range(0, 60).Select(i => new { Text = "the same", IsRed = i % 6 == 0 });
        IDataView data = _ml.Data.LoadFromEnumerable(rows);
        CrossModalFusionOptions options = MixedRows.Options with { Text = "Text", Label = "IsRed", Epochs = 20, ModalityDropout = 0 };
        float Yes(CrossModalFusionOptions o)
        {
            using FusionTransformer model = _ml.BinaryClassification.Trainers.CrossModalFusion(o).Fit(data);
            return model.Transform(data).GetColumn<float>("Probability").First();
        }
        Assert.Equal(1 / 6.0, Yes(options), 0.05);
        Assert.Equal(0.5, Yes(options with { BalanceClasses = true }), 0.08);
        Assert.Equal(5 / 10.0, Yes(options with { ClassWeights = new Dictionary<string, double> { ["True"] = 5 } }), 0.08);
        var wrong = options with { ClassWeights = new Dictionary<string, double> { ["yes"] = 5 } };
        Assert.Contains("the class 'yes'; the classes are False, True", Assert.Throws<ArgumentException>(() => Yes(wrong)).Message, StringComparison.Ordinal);
    }
}
