using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training.Tests;

public sealed class ImageTextMatchingTrainerTests : IDisposable
{
    readonly MLContext _ml = new(seed: 1);
    readonly string _root = Directory.CreateTempSubdirectory("matching-tests-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    static readonly string[] s_colors = ["red", "green", "blue"];

    sealed class MatchRow
    {
        [VectorType]
        public byte[] Image { get; set; } = [];

        public string Caption { get; set; } = "";

        public string Wrong { get; set; } = "";

        public string Item { get; set; } = "";
    }

    // Two squares side by side, with noise; a pair of rows differs only in which is left.
    static RgbImage Draw(int left, int right, Random random)
    {
        var pixels = new byte[3 * 8 * 8];
        for (int y = 0; y < 8; y++)
            for (int x = 0; x < 8; x++)
                for (int c = 0; c < 3; c++)
                    pixels[3 * (8 * y + x) + c] = (byte)(random.Next(60) + (c == (x < 4 ? left : right) ? 180 : 0));
        return new(8, 8, pixels);
    }

    static (int Left, int Right)[] Pairs => [(0, 1), (0, 2), (1, 2)];

    static string Caption(int left, int right) => $"{s_colors[left]} then {s_colors[right]}";

    static MatchRow[] Rows(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count / 2).SelectMany(i =>
        {
            var (a, b) = Pairs[i % Pairs.Length];
            return new[] { (a, b), (b, a) }.Select(p => new MatchRow
            {
                Image = ImageEncoder.EncodePng(Draw(p.Item1, p.Item2, random)),
                Caption = Caption(p.Item1, p.Item2),
                Wrong = Caption(p.Item2, p.Item1),
                Item = $"{i}",
            });
        })];
    }

    static CompositionItem[] Items(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i => Pairs[i % Pairs.Length] is var (a, b)
            ? new CompositionItem([Caption(a, b), Caption(b, a)], [new(Draw(a, b, random)), new(Draw(b, a, random))]) : null!)];
    }

    static AlbefConfig Model(int vocabulary) => AlbefConfig.Tiny with
    {
        Text = AlbefConfig.Tiny.Text with { VocabularySize = vocabulary + 1, PadId = vocabulary - 1 },
        MaskTokenId = vocabulary,
    };

    static ImageTextMatchingOptions Short { get; } = new()
    {
        Image = "Image",
        Text = "Caption",
        NegativeText = "Wrong",
        Together = "Item",
        Model = Model,
        VocabularySize = 600,
        Epochs = 2,
        BatchSize = 8,
        LearningRate = 3e-3,
        EmaDecay = 0.9,
        Threads = 1,
    };

    IDataView View(int count, int seed) => _ml.Data.LoadFromEnumerable(Rows(count, seed));

    byte[] Weights(ImageTextMatchingOptions options, IDataView data, IDataView? validation = null)
    {
        using ImageTextMatchTransformer model = _ml.Multimodal.Trainers.ImageTextMatching(options).Fit(data, validation);
        return model.Model.Files.Read("model.safetensors").ToArray();
    }

    [Fact]
    public void A_fitted_model_scores_pairs_and_comes_back_from_a_zip()
    {
        IDataView data = View(26, 3);
        ImageTextMatchingTrainer trainer = _ml.Multimodal.Trainers.ImageTextMatching(Short with { Output = Path.Combine(_root, "model") });
        using ImageTextMatchTransformer model = trainer.Fit(data);
        float[] scores = [.. model.Transform(data).GetColumn<float>("MatchProbability")];
        Assert.All(scores, s => Assert.InRange(s, 0, 1));
        string zip = Path.Combine(_root, "model.zip");
        _ml.Model.Save(model, data.Schema, zip);
        ITransformer loaded = new MLContext(2).Model.Load(zip, out _);
        Assert.Equal(scores, loaded.Transform(data).GetColumn<float>("MatchProbability"));
        using var engine = _ml.Model.CreatePredictionEngine<MatchRow, Matched>(loaded);
        Assert.Equal(scores[0], engine.Predict(Rows(26, 3)[0]).MatchProbability, 1e-5);
        // The folder is a model of its own, and training goes on from it.
        using var matched = _ml.Transforms.MatchImageText(new() { Model = Path.Combine(_root, "model"), Image = "Image", Text = "Caption" }).Fit(data);
        Assert.Equal(scores, matched.Transform(data).GetColumn<float>("MatchProbability"));
        Assert.NotEqual(model.Model.Files.Read("model.safetensors").ToArray(), Weights(Short with { Initialize = Path.Combine(_root, "model") }, data));
        Assert.Equal(["Score", "MatchProbability", "ImageEmbedding", "TextEmbedding"], model.GetOutputSchema(data.Schema).Skip(data.Schema.Count).Select(c => c.Name));
    }

    [Fact]
    public void Same_seed_same_weights_and_another_seed_others()
    {
        ImageTextMatchingOptions options = Short with { QueueSize = 16, Distillation = 0.4 };
        byte[] first = Weights(options, View(26, 3));
        Assert.Equal(first, Weights(options, View(26, 3)));
        Assert.NotEqual(first, Weights(options with { Seed = 2 }, View(26, 3)));
    }

    [Fact]
    public void A_resumed_training_ends_where_an_undisturbed_one_does()
    {
        ImageTextMatchingOptions options = Short with { QueueSize = 16 };
        byte[] whole = Weights(options, View(26, 3));
        using var stop = new CancellationTokenSource();
        ImageTextMatchingOptions kept = options with { Checkpoints = Path.Combine(_root, "checkpoints") };
        Weights(kept with { Cancellation = stop.Token, Progress = new OnStep(s => { if (s.Step == 3) stop.Cancel(); }) }, View(26, 3));
        Assert.Equal(whole, Weights(kept, View(26, 3)));
    }

    [Fact]
    public void Rows_of_one_item_come_in_one_batch()
    {
        MatchRow[] rows = Rows(24, 3);
        MatchRow[] shuffled = [.. rows.Where((_, i) => i % 2 == 0), .. rows.Where((_, i) => i % 2 == 1)];
        var reader = new MatchingReader(Short);
        using MatchingSet set = reader.Read(_ml.Data.LoadFromEnumerable(shuffled), ImagePreprocessing.Clip(8));
        Assert.Equal(12, set.Units.Count);
        Assert.All(set.Units, unit => Assert.Single(unit.Select(row => shuffled[row].Item).Distinct()));
        Assert.All(set.Units, unit => Assert.Equal(2, unit.Length));
        Assert.Equal(shuffled.Select(r => r.Wrong), set.Negatives.Select(n => Assert.Single(n)));
    }

    [Fact]
    public void The_best_weights_on_the_validation_data_are_kept()
    {
        var metrics = new List<double>();
        var options = Short with { Epochs = 3, Progress = new OnStep(s => { if (s.ValidationMetric is { } m) metrics.Add(m); }) };
        Weights(options, View(24, 3), View(16, 4));
        Assert.Equal(3, metrics.Count);
        Assert.All(metrics, m => Assert.InRange(m, 0, 1));
    }

    [Fact]
    public void Wrong_columns_and_models_are_refused_by_name()
    {
        void Refuses(string message, ImageTextMatchingOptions options) =>
            Assert.Contains(message, Assert.Throws<ArgumentException>(() => _ml.Multimodal.Trainers.ImageTextMatching(options).Fit(View(8, 1))).Message);
        Refuses("no column 'Captions'", Short with { Text = "Captions" });
        Refuses("column 'Image' must be text", Short with { NegativeText = "Image" });
        Refuses("column 'Image' must be text or a key", Short with { Together = "Image" });
        Refuses("Model must make a config", Short with { Model = _ => AlbefConfig.Tiny });
        Refuses("needs validation data", Short with { EarlyStoppingPatience = 1 });
        IDataView one = _ml.Data.TakeRows(View(8, 1), 1);
        Assert.Contains("at least 2 rows", Assert.Throws<ArgumentException>(() => _ml.Multimodal.Trainers.ImageTextMatching(Short).Fit(one)).Message);
    }

    /// <summary>The words of both captions are the same and so are the colours of both pictures: only their order tells.</summary>
    [Theory, Trait("Speed", "Slow")]
    [InlineData(AlbefFusion.CrossAttention)]
    [InlineData(AlbefFusion.CoAttention)]
    [InlineData(AlbefFusion.MergedAttention)]
    public void It_learns_which_comes_first(AlbefFusion fusion)
    {
        ImageTextMatchingOptions options = Short with { Epochs = 60, BatchSize = 16, LearningRate = 4e-3, EmaDecay = 0.95, Model = v => Model(v) with { Fusion = fusion } };
        using ImageTextMatchTransformer model = _ml.Multimodal.Trainers.ImageTextMatching(options).Fit(View(120, 1));
        CompositionMetrics metrics = _ml.Multimodal.EvaluateComposition(model.Model, Items(60, 2));
        Assert.True(metrics.GroupScore >= 0.8, $"the group score is {metrics.GroupScore}; by chance it is {metrics.GroupChance}");
    }

    sealed class Matched
    {
        public float MatchProbability { get; set; }
    }
}
