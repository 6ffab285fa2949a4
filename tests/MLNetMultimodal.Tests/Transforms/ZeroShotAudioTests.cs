using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Tests.Transforms;

/// <summary>Sounds classified by the names of classes.</summary>
public sealed class ZeroShotAudioTests : IClassFixture<TinySound>, IDisposable
{
    static readonly string[] s_labels = ["low", "high", "noisy"];

    readonly MLContext _ml = new(1);
    readonly TinySound _tiny;
    readonly MultimodalModel _model = TinySound.WithTexts();

    public ZeroShotAudioTests(TinySound tiny) => _tiny = tiny;

    public void Dispose() => _model.Dispose();

    IDataView Data => _ml.Data.LoadFromEnumerable(_tiny.Rows);

    ZeroShotClassifyOptions Options =>
        new() { LoadedModel = _model, Audio = "Path", Labels = s_labels, Templates = ["a {} sound", "the {}"], TopK = 2 };

    ZeroShotTransformer Fit(ZeroShotClassifyOptions options, IDataView? data = null) => _ml.Transforms.ZeroShotClassify(options).Fit(data ?? Data);

    static float[][] Scores(IDataView scored) => [.. scored.GetColumn<float[]>("Score")];

    [Fact]
    public void Scores_are_the_softmax_of_scaled_cosines_with_the_mean_prompts()
    {
        float[][] sounds = _model.EmbedAudio([.. _tiny.Rows.Select(r => r.Path)]);
        double[][] classes = [.. s_labels.Select(label =>
        {
            float[][] prompts = _model.EmbedTexts([$"a {label} sound", $"the {label}"]);
            double[] sum = [.. prompts[0].Zip(prompts[1], (a, b) => (double)a + b)];
            double length = Math.Sqrt(sum.Sum(v => v * v));
            return (double[])[.. sum.Select(v => v / length)];
        })];
        float[][] expected = [.. sounds.Select(sound =>
        {
            double[] powers = [.. classes.Select(c => Math.Exp(_model.LogitScale * sound.Zip(c, (a, b) => a * b).Sum()))];
            return powers.Select(p => (float)(p / powers.Sum())).ToArray();
        })];
        using ZeroShotTransformer transformer = Fit(Options);
        Tolerance.Equal(expected, Scores(transformer.Transform(Data)));
    }

    [Theory]
    [InlineData("Name")]
    [InlineData("Bytes")]
    [InlineData("Samples")]
    public void Files_bytes_and_samples_are_classified_alike(string column)
    {
        using ZeroShotTransformer paths = Fit(Options);
        using ZeroShotTransformer other = Fit(Options with
        {
            Audio = column,
            AudioFolder = column == "Name" ? _tiny.Root : null,
            AudioSampleRateHz = column == "Samples" ? TinySound.SampleRateHz : null,
        });
        Tolerance.Equal(Scores(paths.Transform(Data)), Scores(other.Transform(Data)));
    }

    [Fact]
    public void Evaluation_counts_sounds_by_their_predicted_label()
    {
        using ZeroShotTransformer transformer = Fit(Options);
        IDataView scored = transformer.Transform(Data);
        uint[] keys = [.. scored.GetColumn<uint>("PredictedLabel")];
        var rows = _tiny.Rows.Select((r, i) => new Labelled { Path = r.Path, Label = s_labels[i % 3] }).ToArray();
        ZeroShotMetrics metrics = _ml.Multimodal.EvaluateZeroShot(transformer.Transform(_ml.Data.LoadFromEnumerable(rows)));
        Assert.Equal(keys.Where((key, i) => key == i % 3 + 1).Count() / (double)TinySound.Sounds, metrics.Top1, 1e-12);
        Assert.Equal(TinySound.Sounds, metrics.Rows);
    }

    [Fact]
    public void A_sound_that_cannot_be_read_is_an_error_or_missing()
    {
        SoundRow[] rows = [.. _tiny.Rows.Take(3).Append(new() { Path = Path.Combine(_tiny.Root, "nowhere.wav") })];
        IDataView data = _ml.Data.LoadFromEnumerable(rows);
        using ZeroShotTransformer strict = Fit(Options, data), lenient = Fit(Options with { OnError = OnError.Missing }, data);
        Assert.Contains("nowhere.wav", Assert.Throws<InvalidDataException>(() => Scores(strict.Transform(data))).Message, StringComparison.Ordinal);
        float[][] scores = Scores(lenient.Transform(data));
        Assert.All(scores[3], s => Assert.True(float.IsNaN(s)));
        Assert.All(scores[..3], row => Assert.Equal(1, row.Sum(), 1e-5));
    }

    [Fact]
    public void A_saved_model_classifies_alike()
    {
        using ZeroShotTransformer transformer = Fit(Options);
        string file = Path.Combine(_tiny.Root, $"{Guid.NewGuid():N}.zip");
        _ml.Model.Save(transformer, Data.Schema, file);
        ITransformer loaded = new MLContext(2).Model.Load(file, out _);
        Assert.Equal(Scores(transformer.Transform(Data)), Scores(loaded.Transform(Data)));
        (loaded as IDisposable)?.Dispose();
    }

    [Fact]
    public void Columns_that_hold_no_sounds_and_two_columns_are_refused()
    {
        Assert.Contains("Number", Assert.Throws<ArgumentException>(() => Fit(Options with { Audio = "Number" })).Message, StringComparison.Ordinal);
        Assert.Contains("exactly one of Image, Audio and Video",
            Assert.Throws<ArgumentException>(() => Fit(Options with { Image = "Path" })).Message, StringComparison.Ordinal);
        Assert.ThrowsAny<ArgumentException>(() => Fit(Options with { Audio = "Samples" }).GetOutputSchema(Data.Schema));
    }

    sealed class Labelled
    {
        public string Path { get; set; } = "";

        public string Label { get; set; } = "";
    }
}
