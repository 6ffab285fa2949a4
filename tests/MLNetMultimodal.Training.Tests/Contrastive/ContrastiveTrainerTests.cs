using System.Runtime.CompilerServices;
using System.Text;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Training.Native;
using TorchSharp;

namespace MLNetMultimodal.Training.Tests;

public sealed class ContrastiveTrainerTests : IDisposable
{
    /// <summary>Runs of one network in batches of different sizes round differently.</summary>
    const double AcrossBatchSizes = 1e-5;

    static readonly ContrastiveOptions s_short = TrainerFolder.Short;
    static readonly ContrastiveOptions s_learning = s_short with { Epochs = 40, BatchSize = 16, LearningRate = 5e-3, EmaDecay = 0.95 };

    readonly TrainerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    double Accuracy(MultimodalTransformer model, IDataView pictures, string template = "a {} pattern")
    {
        using var zeroShot = _folder.Ml.Transforms.ZeroShotClassify(new()
        {
            LoadedModel = model.Model,
            Image = "Image",
            Labels = StripedPictures.Classes,
            Templates = [template],
        }).Fit(pictures);
        return _folder.Ml.Multimodal.EvaluateZeroShot(zeroShot.Transform(pictures)).Top1;
    }

    // The class whose training pictures have the nearest mean colour.
    static double MeanColourAccuracy(PictureRow[] train, PictureRow[] test)
    {
        static double[] Colour(PictureRow row)
        {
            byte[] pixels = ImageDecoder.Decode(row.Image, "picture").Pixels;
            return [.. Enumerable.Range(0, 3).Select(c => pixels.Where((_, i) => i % 3 == c).Average(v => (double)v))];
        }
        var means = train.GroupBy(r => r.Label).ToDictionary(g => g.Key, g => (double[])[.. Enumerable.Range(0, 3).Select(c => g.Average(r => Colour(r)[c]))]);
        return test.Average(r => means.MinBy(m => m.Value.Zip(Colour(r)).Sum(p => Math.Pow(p.First - p.Second, 2))).Key == r.Label ? 1.0 : 0);
    }

    [Theory]
    [InlineData(ContrastiveObjective.MultiPositive, false, 40, 5e-3)]
    [InlineData(ContrastiveObjective.InfoNce, false, 40, 5e-3)]
    [InlineData(ContrastiveObjective.Sigmoid, false, 100, 2e-3)] // takes longer: its bias starts where few pairs of a batch belong together, not a quarter
    [InlineData(ContrastiveObjective.MultiPositive, true, 40, 5e-3)]
    public void It_learns_what_mean_colours_do_not_tell(ContrastiveObjective objective, bool bfloat16, int epochs, double learningRate)
    {
        PictureRow[] train = StripedPictures.Rows(128, seed: 1), test = StripedPictures.Rows(100, seed: 2);
        ContrastiveOptions options = s_learning with { Objective = objective, BFloat16 = bfloat16, Epochs = epochs, LearningRate = learningRate };
        using MultimodalTransformer model = _folder.Fit(options, _folder.Ml.Data.LoadFromEnumerable(train));
        double learned = Accuracy(model, _folder.Ml.Data.LoadFromEnumerable(test)), baseline = MeanColourAccuracy(train, test);
        Assert.InRange(baseline, 0.3, 0.7); // chance is 0.25
        Assert.True(learned >= 0.9, $"top-1 is {learned}, of mean colours {baseline}");
    }

    [Fact]
    public void Same_seed_same_weights_and_another_seed_others()
    {
        ContrastiveOptions options = s_short with { PatchDropout = 0.5, Augmentation = new() { HorizontalFlip = 0.5f, Erase = 0.5f }, Templates = ["{}", "my {}"] };
        IDataView train = _folder.View(26, seed: 3);
        byte[] first = _folder.Weights(options, train);
        Assert.Equal(first, _folder.Weights(options, train));
        Assert.NotEqual(first, _folder.Weights(options with { Seed = 2 }, train));
    }

    [Fact]
    public void A_training_leaves_no_tensor_behind()
    {
        TorchNative.EnsureLoaded();
        ContrastiveOptions options = s_short with { Objective = ContrastiveObjective.Sigmoid, MicroBatchSize = 3, PatchDropout = 0.5, Checkpoints = _folder.At("c") };
        _folder.Weights(options, _folder.View(26, seed: 3), _folder.View(8, seed: 4));
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        _folder.Weights(options with { Checkpoints = _folder.At("d") }, _folder.View(26, seed: 3), _folder.View(8, seed: 4));
        _folder.Weights(options with { Checkpoints = _folder.At("d") }, _folder.View(26, seed: 3), _folder.View(8, seed: 4));
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [UnsafeAccessor(UnsafeAccessorKind.StaticMethod, Name = "Create")]
    internal static extern SchemaShape ShapeOf(SchemaShape? type, DataViewSchema schema);

    [Theory]
    [InlineData("Caption")]
    [InlineData("Captions")]
    public void The_schema_that_is_promised_is_the_real_one(string text)
    {
        IDataView train = _folder.View(8, seed: 3);
        ContrastiveTrainer trainer = _folder.Ml.Multimodal.Trainers.Contrastive(s_short with { Text = text, Epochs = 1 });
        using MultimodalTransformer model = trainer.Fit(train);
        string Describe(SchemaShape.Column c) => $"{c.Name} {c.Kind} {c.ItemType} {c.IsKey} {string.Join(",", c.Annotations.Select(a => a.Name).Order())}";
        IEnumerable<string> promised = trainer.GetOutputSchema(ShapeOf(null, train.Schema)).Select(Describe);
        DataViewSchema real = model.Transform(train).Schema;
        Assert.Equal(ShapeOf(null, real).Select(Describe).Order(), promised.Order());
        Assert.Equal(model.GetOutputSchema(train.Schema).Select(c => $"{c.Name} {c.Type}"), real.Select(c => $"{c.Name} {c.Type}"));
        Assert.Equal(text == "Caption", real.GetColumnOrNull("TextEmbedding") is not null);
        Assert.NotNull(real.GetColumnOrNull("Embedding"));
    }

    [Fact]
    public void It_stands_in_a_pipeline()
    {
        IDataView train = _folder.View(16, seed: 3);
        var pipeline = _folder.Ml.Transforms.CopyColumns("Picture", "Image")
            .Append(_folder.Ml.Multimodal.Trainers.Contrastive(s_short with { Image = "Picture" }))
            .Append(_folder.Ml.Transforms.Conversion.MapValueToKey("Label"));
        using var model = pipeline.Fit(train);
        Assert.Equal(16, model.Transform(train).GetColumn<float[]>("ImageEmbedding").Count());
    }

    [Fact]
    public void A_vector_of_captions_is_learned()
    {
        using MultimodalTransformer model = _folder.Fit(s_learning with { Text = "Captions", Group = "Label", Epochs = 40 }, _folder.View(128, seed: 1));
        IDataView test = _folder.View(100, seed: 2);
        Assert.All(["a {} pattern", "{} lines"], template =>
        {
            double top1 = Accuracy(model, test, template);
            Assert.True(top1 >= 0.9, $"top-1 with '{template}' is {top1}");
        });
    }

    [Fact]
    public void A_group_may_be_a_text_or_a_key()
    {
        ContrastiveOptions options = s_short with { Text = "Captions", Epochs = 1, Group = "Label" };
        IDataView train = _folder.View(26, seed: 3);
        IDataView keyed = _folder.Ml.Transforms.Conversion.MapValueToKey("Key", "Label").Fit(train).Transform(train);
        byte[] byText = _folder.Weights(options, train);
        Assert.Equal(byText, _folder.Weights(options with { Group = "Key" }, keyed));
        IDataView alone = _folder.Ml.Transforms.Conversion.ConvertType("Own", "Number", DataKind.String).Fit(train).Transform(train);
        Assert.NotEqual(byText, _folder.Weights(options with { Group = "Own" }, alone));
    }

    [Fact]
    public void A_row_without_a_group_is_refused_by_its_number()
    {
        IDataView train = _folder.View(16, seed: 3);
        IDataView keyed = _folder.Ml.Transforms.Conversion.MapValueToKey("Key", "Label").Fit(_folder.View(3, seed: 3)).Transform(train); // knows three of four
        var e = Assert.Throws<InvalidDataException>(() => _folder.Fit(s_short with { Group = "Key" }, keyed));
        Assert.Contains("row 3", e.Message);
        Assert.Contains("Key", e.Message);
    }

    [Fact]
    public void Pictures_may_be_images_or_paths()
    {
        PictureRow[] rows = StripedPictures.Rows(16, seed: 3);
        byte[] fromFiles = _folder.Weights(s_short, _folder.Ml.Data.LoadFromEnumerable(rows));
        for (int i = 0; i < rows.Length; i++) File.WriteAllBytes(_folder.At($"{i}.png"), rows[i].Image);
        IDataView paths = _folder.Ml.Data.LoadFromEnumerable(rows.Select((r, i) => new PathRow { Image = $"{i}.png", Caption = r.Caption }).ToArray());
        Assert.Equal(fromFiles, _folder.Weights(s_short with { ImageFolder = _folder.Root }, paths));
        IDataView images = _folder.Ml.Data.LoadFromEnumerable(rows.Select(r => new ImageRow { Image = ToImage(r), Caption = r.Caption }).ToArray());
        Assert.Equal(fromFiles, _folder.Weights(s_short, images));
    }

    static MLImage ToImage(PictureRow row)
    {
        byte[] rgb = ImageDecoder.Decode(row.Image, "picture").Pixels;
        byte[] rgba = [.. rgb.Chunk(3).SelectMany(p => (byte[])[p[0], p[1], p[2], 255])];
        return MLImage.CreateFromPixels(8, 8, MLPixelFormat.Rgba32, rgba);
    }

    sealed class PathRow
    {
        public string Image { get; set; } = "";

        public string Caption { get; set; } = "";
    }

    sealed class ImageRow
    {
        [ImageType(8, 8)]
        public MLImage? Image { get; set; }

        public string Caption { get; set; } = "";
    }

    [Fact]
    public void Validation_keeps_the_best_weights()
    {
        var metrics = new List<double>();
        ContrastiveOptions options = s_short with
        {
            Epochs = 20,
            Progress = new OnStep(s => metrics.AddRange(s.ValidationMetric is { } m ? [m] : Array.Empty<double>())),
        };
        IDataView validation = StripedPictures.Swapped(_folder.Ml, 40, seed: 2);
        using MultimodalTransformer model = _folder.Fit(options, _folder.View(26, seed: 1), validation);
        Assert.Equal(20, metrics.Count);
        Assert.True(metrics.Max() > metrics[^1] + 0.1, string.Join(" ", metrics));
        Assert.Equal(metrics.Max(), Accuracy(model, validation), tolerance: 0.5 / 40);
    }

    [Fact]
    public void Training_stops_where_validation_no_longer_gains()
    {
        var steps = new List<TrainingStep>();
        ContrastiveOptions options = s_short with
        {
            Epochs = 50,
            LearningRate = 1e-9, // nothing is ever gained
            EarlyStoppingPatience = 3,
            Progress = new OnStep(steps.Add),
        };
        _folder.Weights(options, _folder.View(16, seed: 1), _folder.View(8, seed: 2));
        Assert.Equal(4 * 2, steps.Count);
        Assert.Equal(4, steps.Count(s => s.ValidationMetric is not null));
    }

    [Fact]
    public void The_output_folder_holds_the_fitted_model()
    {
        IDataView test = _folder.View(12, seed: 2);
        using MultimodalTransformer fitted = _folder.Fit(s_short with { Output = _folder.At("model") }, _folder.View(26, seed: 1));
        using var loaded = MultimodalModel.Load(_folder.At("model"));
        Assert.Equal(fitted.Model.EmbedTexts(StripedPictures.Classes), loaded.EmbedTexts(StripedPictures.Classes));
        float[][] expected = [.. fitted.Transform(test).GetColumn<float[]>("ImageEmbedding")];
        float[][] got = loaded.EmbedImages([.. StripedPictures.Rows(12, seed: 2).Select(r => ImageDecoder.Decode(r.Image, "picture"))]);
        Difference.Check("embeddings", [.. expected.SelectMany(e => e)], [.. got.SelectMany(e => e)], AcrossBatchSizes);
        Assert.Equal(TrainerFolder.Weights(fitted), File.ReadAllBytes(Path.Combine(_folder.At("model"), "model.safetensors")));
        Assert.Contains("steps of 8 rows | 6 of 2 epochs", File.ReadAllText(Path.Combine(_folder.At("model"), "README.md")));
    }

    [Fact]
    public void A_training_may_begin_with_a_stored_model()
    {
        double First(ContrastiveOptions options, out MultimodalTransformer model)
        {
            double? first = null;
            model = _folder.Fit(options with { Progress = new OnStep(s => first ??= s.Loss) }, _folder.View(128, seed: 1));
            return first!.Value;
        }
        double scratch = First(s_learning with { Output = _folder.At("first") }, out MultimodalTransformer one);
        ContrastiveOptions tuning = s_short with { Initialize = _folder.At("first"), Epochs = 1, LearningRate = 1e-4, Output = _folder.At("second") };
        double continued = First(tuning, out MultimodalTransformer two);
        using (one)
        using (two)
        {
            Assert.True(continued < scratch / 2, $"the first loss is {continued}, from random weights {scratch}");
            Assert.NotEqual(TrainerFolder.Weights(one), TrainerFolder.Weights(two));
            Assert.Equal(one.Model.Files.Read("tokenizer.json").ToArray(), two.Model.Files.Read("tokenizer.json").ToArray());
            Assert.True(Accuracy(two, _folder.View(100, seed: 2)) >= 0.9);
        }
    }

    [Fact]
    public void A_stored_model_whose_preprocessing_makes_other_pictures_is_refused()
    {
        using MultimodalTransformer fitted = _folder.Fit(s_short with { Output = _folder.At("model") }, _folder.View(8, seed: 1));
        File.WriteAllText(Path.Combine(_folder.At("model"), "preprocessor_config.json"), ImagePreprocessing.Clip(16).ToJson());
        var e = Assert.Throws<InvalidDataException>(() => _folder.Fit(s_short with { Initialize = _folder.At("model") }, _folder.View(8, seed: 1)));
        Assert.Contains("makes pictures of 16x16, but its config.json wants 8x8", e.Message);
    }

    [Fact]
    public void Each_epoch_is_told_to_the_log_of_the_context()
    {
        var lines = new List<string>();
        _folder.Ml.Log += (_, e) => lines.Add(e.Message);
        _folder.Weights(s_short with { Epochs = 3 }, _folder.View(26, seed: 1), _folder.View(8, seed: 2));
        foreach (int epoch in (int[])[1, 2, 3])
            Assert.Contains(lines, l => l.Contains($"epoch {epoch}, step ") && l.Contains("validation"));
    }

    [Fact]
    public void Steps_are_reported_and_logged()
    {
        var steps = new List<TrainingStep>();
        ContrastiveOptions options = s_short with { Epochs = 3, Logs = _folder.At("logs"), Progress = new OnStep(steps.Add), WarmupShare = 0.3 };
        _folder.Weights(options, _folder.View(26, seed: 1), _folder.View(8, seed: 2));
        Assert.Equal(Enumerable.Range(1, 9).Select(i => (long)i), steps.Select(s => s.Step));
        Assert.All(steps, s => Assert.Equal((9L, (s.Step - 1) / 3 + 1), (s.Steps, s.Epoch)));
        Assert.All(steps, s => Assert.Equal(s.Step % 3 == 0, s.ValidationMetric is not null));
        Assert.All(steps, s => Assert.True(double.IsFinite(s.Loss) && s.GradientNorm > 0 && s.SamplesPerSecond > 0 && s.Remaining >= TimeSpan.Zero, $"{s}"));
        Assert.Equal(options.LearningRate, steps.Max(s => s.LearningRate));
        Assert.Equal(steps.Select(s => s.Elapsed).Order(), steps.Select(s => s.Elapsed));

        string events = Encoding.Latin1.GetString(File.ReadAllBytes(Assert.Single(Directory.GetFiles(_folder.At("logs"), "events.out.tfevents.*"))));
        Assert.All(["train/loss", "train/learning_rate", "train/gradient_norm", "validation/top1"], tag => Assert.Contains(tag, events));
    }

    [Theory]
    [InlineData("Missing", "Caption", null, "no column 'Missing'", "Number")]
    [InlineData("Image", "Missing", null, "no column 'Missing'", "Number")]
    [InlineData("Image", "Caption", "Missing", "no column 'Missing'", "Number")]
    [InlineData("Number", "Caption", null, "column 'Number' must hold pictures", "Single")]
    [InlineData("Image", "Number", null, "column 'Number' must be text", "Single")]
    [InlineData("Image", "Caption", "Number", "column 'Number' must be text or a key", "Single")]
    [InlineData("Image", "Caption", "Captions", "column 'Captions' must be text or a key", "vector")]
    public void Columns_that_do_not_fit_are_refused_at_once(string image, string text, string? group, string message, string detail)
    {
        ContrastiveTrainer trainer = _folder.Ml.Multimodal.Trainers.Contrastive(s_short with { Image = image, Text = text, Group = group });
        IDataView data = _folder.View(8, seed: 1);
        foreach (Action refused in (Action[])[() => trainer.Fit(data), () => trainer.GetOutputSchema(ShapeOf(null, data.Schema))])
        {
            var e = Assert.Throws<ArgumentException>(refused);
            Assert.Contains(message, e.Message);
            Assert.Contains(detail, e.Message, StringComparison.OrdinalIgnoreCase);
        }
    }

    [Fact]
    public void Columns_of_the_validation_data_are_checked_before_training()
    {
        IDataView train = _folder.View(8, seed: 1), validation = _folder.Ml.Transforms.DropColumns("Caption").Fit(train).Transform(train);
        var e = Assert.Throws<ArgumentException>(() => _folder.Fit(s_short, train, validation));
        Assert.Contains("no column 'Caption'; the columns are Image", e.Message);
    }

    ContrastiveOptions Writing => s_short with { Output = _folder.At("output"), Checkpoints = _folder.At("checkpoints"), Logs = _folder.At("logs") };

    void AssertNothingWritten() => Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Root));

    [Fact]
    public void An_unreadable_picture_is_named_by_its_row()
    {
        PictureRow[] rows = StripedPictures.Rows(8, seed: 1);
        rows[5].Image = [1, 2, 3];
        IDataView broken = _folder.Ml.Data.LoadFromEnumerable(rows), whole = _folder.View(8, seed: 1);
        foreach (Action refused in (Action[])[() => _folder.Fit(Writing, broken), () => _folder.Fit(Writing, whole, broken)])
        {
            var e = Assert.Throws<InvalidDataException>(refused);
            Assert.Contains("row 5, column 'Image'", e.Message);
        }
        AssertNothingWritten();
    }

    [Fact]
    public void A_row_without_a_caption_is_named()
    {
        PictureRow[] rows = StripedPictures.Rows(8, seed: 1);
        (rows[6].Caption, rows[6].Captions) = ("", [""]);
        foreach (string text in (string[])["Caption", "Captions"])
        {
            var e = Assert.Throws<InvalidDataException>(() => _folder.Fit(Writing with { Text = text }, _folder.Ml.Data.LoadFromEnumerable(rows)));
            Assert.Contains($"row 6, column '{text}'", e.Message);
        }
        AssertNothingWritten();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Too_few_rows_are_refused(int count)
    {
        var e = Assert.Throws<ArgumentException>(() => _folder.Fit(Writing, _folder.View(count, seed: 1)));
        Assert.Contains($"at least 2 rows, but the data has {count}", e.Message);
        AssertNothingWritten();
    }

    [Fact]
    public void Validation_data_without_rows_is_refused()
    {
        var e = Assert.Throws<ArgumentException>(() => _folder.Fit(Writing, _folder.View(8, seed: 1), _folder.View(0, seed: 1)));
        Assert.Contains("validation", e.Message);
        AssertNothingWritten();
    }

    [Fact]
    public void Early_stopping_without_validation_data_is_refused()
    {
        var e = Assert.Throws<ArgumentException>(() => _folder.Fit(Writing with { EarlyStoppingPatience = 2 }, _folder.View(8, seed: 1)));
        Assert.Contains("EarlyStoppingPatience", e.Message);
        AssertNothingWritten();
    }

    [Fact]
    public void A_model_for_another_vocabulary_is_refused()
    {
        var e = Assert.Throws<ArgumentException>(() => _folder.Fit(Writing with { Model = _ => StripedPictures.Model(50) }, _folder.View(8, seed: 1)));
        Assert.Contains("50", e.Message);
        AssertNothingWritten();
    }

    [Fact]
    public void A_loss_that_is_no_number_ends_the_training()
    {
        ContrastiveOptions options = Writing with { LearningRate = 1e30, GradientClip = 1e30, WarmupShare = 0, Epochs = 20 };
        var e = Assert.Throws<InvalidOperationException>(() => _folder.Fit(options, _folder.View(16, seed: 1)));
        Assert.Contains("LearningRate", e.Message);
        Assert.False(_folder.Has("output"));
    }

    [Fact]
    public void Options_out_of_range_are_refused_by_name()
    {
        Assert.All(new (string, Func<ContrastiveOptions>)[]
        {
            ("BatchSize", () => s_short with { BatchSize = 1 }), ("MicroBatchSize", () => s_short with { MicroBatchSize = 0 }),
            ("Epochs", () => s_short with { Epochs = 0 }), ("LearningRate", () => s_short with { LearningRate = double.NaN }),
            ("WarmupShare", () => s_short with { WarmupShare = 1.1 }), ("Beta2", () => s_short with { Beta2 = 1 }),
            ("EmaDecay", () => s_short with { EmaDecay = 1 }), ("PatchDropout", () => s_short with { PatchDropout = 1 }),
            ("VocabularySize", () => s_short with { VocabularySize = 513 }), ("WeightDecay", () => s_short with { WeightDecay = -1 }),
            ("GradientClip", () => s_short with { GradientClip = 0 }), ("CheckpointSteps", () => s_short with { CheckpointSteps = 0 }),
            ("EarlyStoppingPatience", () => s_short with { EarlyStoppingPatience = 0 }),
        }, option => Assert.Contains(option.Item1, Assert.Throws<ArgumentOutOfRangeException>(option.Item2).Message));
        Assert.Contains("{}", Assert.Throws<ArgumentException>(() => s_short with { Templates = ["a photo"] }).Message);
    }
}
