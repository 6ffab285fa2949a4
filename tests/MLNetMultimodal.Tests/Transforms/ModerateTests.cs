using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Starter;

namespace MLNetMultimodal.Tests.Transforms;

/// <summary>Policies on the starter model and real pictures of clothing.</summary>
public sealed class ModerateTests : IDisposable
{
    static readonly string[] s_classes = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];

    static readonly ModerationPolicy s_footwear = new()
    {
        Name = "footwear",
        Texts = ["a photo of a sneaker.", "a photo of a sandal.", "a photo of an ankle boot."],
        Neutral = ["a photo of a shirt.", "a photo of a trouser.", "a photo of a bag.", "a photo of a dress."],
        Label = "IsFootwear",
    };

    readonly MLContext _ml = new(seed: 1);
    readonly string _root = Directory.CreateTempSubdirectory("moderate-tests-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    sealed class Item
    {
        [VectorType]
        public byte[] Image { get; set; } = [];

        public string Text { get; set; } = "";

        public bool IsFootwear { get; set; }

        public bool IsBag { get; set; }
    }

    /// <summary>Pictures with captions, of which a part name another class.</summary>
    Item[] Items(string split, double wrongCaptions, int most = 400)
    {
        string folder = Path.Combine(AppContext.BaseDirectory, "fashion-mnist");
        IDataView pictures = _ml.Data.LoadIdx(Path.Combine(folder, split + "-images-idx3-ubyte.gz"), Path.Combine(folder, split + "-labels-idx1-ubyte.gz"),
            new() { ClassNames = s_classes, MaxRows = most });
        var random = new Random(2);
        return [.. pictures.GetColumn<MLImage>("Image").Zip(pictures.GetColumn<string>("LabelText"), (image, label) =>
        {
            var rgb = new byte[3 * image.Width * image.Height];
            for (int i = 0; i < rgb.Length; i++) rgb[i] = image.Pixels[4 * (i / 3)];
            string named = random.NextDouble() < wrongCaptions ? s_classes[random.Next(10)] : label;
            return new Item
            {
                Image = ImageEncoder.EncodePng(new(image.Width, image.Height, rgb)),
                Text = $"a photo of a {named}.",
                IsFootwear = label is "sandal" or "sneaker" or "ankle boot",
                IsBag = label == "bag",
            };
        })];
    }

    ModerateOptions Options(bool image, bool text, params ModerationPolicy[] policies) => new()
    {
        Model = StarterModel.Folder,
        Image = image ? "Image" : null,
        Text = text ? "Text" : null,
        Policies = policies,
    };

    CalibratedBinaryClassificationMetrics Evaluate(ModerateOptions options, IDataView train, IDataView test, string policy = "footwear", string label = "IsFootwear")
    {
        using ModerationTransformer judge = _ml.Transforms.Moderate(options).Fit(train);
        return _ml.BinaryClassification.Evaluate(judge.Transform(test), label, $"{policy}.Score", $"{policy}.Probability", $"{policy}.PredictedLabel");
    }

    [Fact]
    public void A_policy_in_words_finds_footwear_and_calibration_makes_probabilities_of_it()
    {
        IDataView train = _ml.Data.LoadFromEnumerable(Items("train", 0.3)), test = _ml.Data.LoadFromEnumerable(Items("t10k", 0.3));
        var calibrated = Evaluate(Options(true, false, s_footwear), train, test);
        Assert.True(calibrated.AreaUnderRocCurve >= 0.98 && calibrated.AreaUnderPrecisionRecallCurve >= 0.95,
            $"areas under the ROC and PR curves are {calibrated.AreaUnderRocCurve}, {calibrated.AreaUnderPrecisionRecallCurve}");
        Assert.True(calibrated.Accuracy >= 0.95, $"accuracy is {calibrated.Accuracy}");
        var raw = Evaluate(Options(true, false, s_footwear with { Label = null }), train, test);
        Assert.Equal(raw.AreaUnderRocCurve, calibrated.AreaUnderRocCurve, 1e-6); // calibration changes no order
        Assert.True(calibrated.LogLoss <= raw.LogLoss + 1e-9, $"log loss is {calibrated.LogLoss}, before {raw.LogLoss}");
    }

    [Fact]
    public void Picture_and_text_together_are_no_worse_than_the_better_of_them()
    {
        IDataView train = _ml.Data.LoadFromEnumerable(Items("train", 0.4)), test = _ml.Data.LoadFromEnumerable(Items("t10k", 0.4));
        double both = Evaluate(Options(true, true, s_footwear), train, test).LogLoss, picture = Evaluate(Options(true, false, s_footwear), train, test).LogLoss,
            text = Evaluate(Options(false, true, s_footwear), train, test).LogLoss;
        Assert.True(both <= Math.Min(picture, text) + 0.02, $"log loss of both is {both}, of the picture {picture}, of the text {text}");
        Assert.True(text < 0.9, $"log loss of the text is {text}; guessing has 0.88"); // 30 % are footwear
    }

    sealed class Verdicts
    {
        [ColumnName("footwear.Probability")]
        public float Footwear { get; set; }

        [ColumnName("footwear.Score")]
        public float Score { get; set; }

        [ColumnName("bags.PredictedLabel")]
        public bool IsBag { get; set; }

        public bool Flagged { get; set; }

        public string Reason { get; set; } = "";
    }

    [Fact]
    public void Reasons_name_the_policies_and_what_each_sense_says()
    {
        ModerationPolicy bags = new() { Name = "bags", Texts = ["a photo of a bag."], Neutral = s_footwear.Texts, Label = "IsBag", Threshold = 0.6f };
        ModerateOptions options = Options(true, true, s_footwear, bags) with { OnError = OnError.Missing };
        Item[] items = Items("t10k", 0);
        Item shoe = items.First(i => i.IsFootwear), bag = items.First(i => i.IsBag), dress = items.First(i => i.Text.Contains("dress", StringComparison.Ordinal));
        Item[] rows = [shoe, bag, dress, new() { Image = shoe.Image }, new() { Text = "a photo of a sneaker." }, new()];
        using ModerationTransformer judge = _ml.Transforms.Moderate(options).Fit(_ml.Data.LoadFromEnumerable(Items("train", 0.2)));
        IDataView data = _ml.Data.LoadFromEnumerable(rows);
        Verdicts[] verdicts = [.. _ml.Data.CreateEnumerable<Verdicts>(judge.Transform(data), reuseRowObject: false)];
        Assert.Matches(@"^footwear [01]\.\d\d \(picture [01]\.\d\d, text [01]\.\d\d\)", verdicts[0].Reason);
        Assert.StartsWith("bags ", verdicts[1].Reason, StringComparison.Ordinal);
        Assert.Equal((false, ""), (verdicts[2].Flagged, verdicts[2].Reason));
        Assert.Matches(@"^footwear [01]\.\d\d \(picture [01]\.\d\d\)$", verdicts[3].Reason);
        Assert.Matches(@"^footwear [01]\.\d\d \(text [01]\.\d\d\)$", verdicts[4].Reason);
        Assert.True(float.IsNaN(verdicts[5].Score) && !verdicts[5].Flagged); // nothing to judge by
        Assert.All(verdicts.Take(5), v => Assert.Equal(v.Reason.Length > 0, v.Flagged));

        string zip = Path.Combine(_root, "judge.zip");
        _ml.Model.Save(judge, data.Schema, zip);
        using var loaded = (ModerationTransformer)new MLContext().Model.Load(zip, out _);
        Assert.Equal(verdicts.Select(v => (v.Footwear, v.Reason)), _ml.Data.CreateEnumerable<Verdicts>(loaded.Transform(data), reuseRowObject: false).Select(v => (v.Footwear, v.Reason)));
        using var engine = _ml.Model.CreatePredictionEngine<Item, Verdicts>(loaded);
        Assert.Equal(verdicts[0].Footwear, engine.Predict(shoe).Footwear, 1e-5);
    }

    [Fact]
    public void What_does_not_fit_is_refused_by_name()
    {
        IDataView data = _ml.Data.LoadFromEnumerable(Items("train", 0, most: 40));
        string Message<TError>(ModerateOptions options) where TError : Exception => Assert.Throws<TError>(() => _ml.Transforms.Moderate(options).Fit(data)).Message;
        Assert.Contains("set Image, Text or both", Message<ArgumentException>(Options(false, false, s_footwear)), StringComparison.Ordinal);
        Assert.Contains("at least one policy", Message<ArgumentException>(Options(true, false)), StringComparison.Ordinal);
        Assert.Contains("distinct names", Message<ArgumentException>(Options(true, false, s_footwear, s_footwear)), StringComparison.Ordinal);
        Assert.Contains("the label 'Text' must be Boolean", Message<ArgumentException>(Options(true, false, s_footwear with { Label = "Text" })), StringComparison.Ordinal);
        IDataView onlyShoes = _ml.Data.LoadFromEnumerable(Items("train", 0, most: 40).Where(i => i.IsFootwear));
        var e = Assert.Throws<InvalidDataException>(() => _ml.Transforms.Moderate(Options(true, false, s_footwear)).Fit(onlyShoes));
        Assert.Contains("policy 'footwear' cannot be calibrated for pictures", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_schema_is_as_promised()
    {
        IDataView data = _ml.Data.LoadFromEnumerable(Items("train", 0, most: 40));
        ModerateEstimator estimator = _ml.Transforms.Moderate(Options(true, true, s_footwear));
        using ModerationTransformer judge = estimator.Fit(data);
        SchemaShape promised = estimator.GetOutputSchema(MlNet.ShapeOf(data.Schema)), real = MlNet.ShapeOf(judge.GetOutputSchema(data.Schema));
        Assert.Equal(real.Select(c => $"{c.Name} {c.Kind} {c.ItemType} {c.IsKey}").Order(), promised.Select(c => $"{c.Name} {c.Kind} {c.ItemType} {c.IsKey}").Order());
    }
}
