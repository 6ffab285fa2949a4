using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Tests.Transforms;

/// <summary>A tiny ALBEF with random weights.</summary>
public sealed class TinyMatcher : IDisposable
{
    readonly TinyModel _pictures = new();

    public TinyMatcher()
    {
        TextTokenizer tokenizer = ByteLevelBpeTrainer.Train(["a red cat", "a blue dog", "a green bird"], new() { VocabularySize = 520, ContextLength = 8 });
        AlbefConfig config = AlbefConfig.Tiny;
        config = config with
        {
            Text = config.Text with { VocabularySize = tokenizer.VocabularySize + 1, PadId = tokenizer.EndId },
            MaskTokenId = tokenizer.VocabularySize,
        };
        Model = Load(config, tokenizer);
        Dual = Load(config with { Fusion = AlbefFusion.None }, tokenizer);
        Late = Load(config with { Fusion = AlbefFusion.Late }, tokenizer);
    }

    static MultimodalModel Load(AlbefConfig config, TextTokenizer tokenizer)
    {
        var definition = new AlbefModel(config);
        var random = new Random(5);
        var weights = new MemoryStream();
        Safetensors.Write(weights, ModelSummary.Of(definition.Full).Parameters.Select(p => KeyValuePair.Create(p.Name, TinyModel.Draw(p, random))));
        var files = new Dictionary<string, ReadOnlyMemory<byte>>(tokenizer.Files)
        {
            ["model.safetensors"] = weights.ToArray(),
            ["config.json"] = System.Text.Encoding.UTF8.GetBytes(definition.ToConfigJson()),
            ["preprocessor_config.json"] = System.Text.Encoding.UTF8.GetBytes(ImagePreprocessing.Clip(config.Vision.ImageSize).ToJson()),
        };
        return MultimodalModel.Load(ModelFiles.FromMemory("tiny matcher", files), new() { Threads = 1 });
    }

    public MultimodalModel Model { get; }

    public MultimodalModel Dual { get; }

    public MultimodalModel Late { get; }

    public PairRow[] Rows => _pictures.Rows;

    public string Root => _pictures.Root;

    public RgbImage[] Pictures => [.. Rows.Select(r => ImageDecoder.Decode(r.ImagePath))];

    public void Dispose()
    {
        Model.Dispose();
        Dual.Dispose();
        Late.Dispose();
        _pictures.Dispose();
    }
}

public sealed class ImageTextMatchTests(TinyMatcher tiny) : IClassFixture<TinyMatcher>
{
    readonly MLContext _ml = new(1);

    IDataView Data => _ml.Data.LoadFromEnumerable(tiny.Rows);

    ImageTextMatchOptions Options => new() { LoadedModel = tiny.Model, Image = "ImagePath", Text = "Caption", BatchSize = 4 };

    static float Probability(float logOdds) => 1 / (1 + MathF.Exp(-logOdds));

    [Fact]
    public void Each_row_has_the_probability_and_embeddings_of_its_pair()
    {
        RgbImage[] pictures = tiny.Pictures;
        string[] texts = [.. tiny.Rows.Select(r => r.Caption)];
        IDataView matched = _ml.Transforms.MatchImageText(Options).Fit(Data).Transform(Data);
        float[][] expected = [.. pictures.Zip(texts, (p, t) => new[] { Probability(tiny.Model.ScorePairs([p], [t])[0]) })];
        Tolerance.Equal(expected, [.. matched.GetColumn<float>("MatchProbability").Select(v => new[] { v })]);
        Assert.All(matched.GetColumn<float>("Score").Zip(expected), p => Assert.Equal(p.Second[0], Probability(p.First), 1e-5));
        Tolerance.Equal(tiny.Model.EmbedImages(pictures), [.. matched.GetColumn<float[]>("ImageEmbedding")]);
        Tolerance.Equal(tiny.Model.EmbedTexts(texts), [.. matched.GetColumn<float[]>("TextEmbedding")]);
        Assert.True(expected.Select(e => e[0]).Distinct().Count() > 10, "the pairs' scores hardly differ");
    }

    [Fact]
    public void A_saved_transformer_gives_the_same_bits_and_works_row_by_row()
    {
        using ImageTextMatchTransformer fitted = _ml.Transforms.MatchImageText(Options).Fit(Data);
        string path = Path.Combine(tiny.Root, "match.zip");
        _ml.Model.Save(fitted, Data.Schema, path);
        ITransformer loaded = new MLContext(2).Model.Load(path, out _);
        float[] before = [.. fitted.Transform(Data).GetColumn<float>("MatchProbability")];
        Assert.Equal(before, loaded.Transform(Data).GetColumn<float>("MatchProbability"));
        using var engine = _ml.Model.CreatePredictionEngine<PairRow, Matched>(loaded);
        Tolerance.Equal([.. before.Select(v => new[] { v })], [.. tiny.Rows.Select(r => new[] { engine.Predict(r).MatchProbability })]);
    }

    [Fact]
    public void Attention_says_for_each_token_how_much_it_looks_at_each_patch()
    {
        IDataView matched = _ml.Transforms.MatchImageText(Options with { Attention = "Attention" }).Fit(Data).Transform(Data);
        int patches = 0;
        matched.Schema["Attention"].Annotations.GetValue("Patches", ref patches);
        Assert.Equal(4, patches);
        string[][] tokens = [.. matched.GetColumn<ReadOnlyMemory<char>[]>("AttentionTokens").Select(r => r.Select(t => t.ToString()).ToArray())];
        float[][] maps = [.. matched.GetColumn<float[]>("Attention")];
        for (int row = 0; row < maps.Length; row++)
        {
            Assert.Equal(tokens[row].Length * patches, maps[row].Length);
            Assert.Contains("red", string.Concat(tokens[0]));
            Assert.All(maps[row].Chunk(patches), m => Assert.InRange(m.Sum(), 0.1f, 1f)); // the class token has the rest
        }
        // Batches are filled up to their longest text; a row's map must not depend on its neighbours.
        Tolerance.Equal(maps, [.. _ml.Transforms.MatchImageText(Options with { Attention = "Attention", BatchSize = 1 }).Fit(Data).Transform(Data).GetColumn<float[]>("Attention")]);
    }

    [Fact]
    public void Missing_pictures_have_missing_matches_and_others_are_untouched()
    {
        IDataView data = _ml.Data.LoadFromEnumerable(tiny.Rows.Select((r, i) => new PairRow { ImagePath = i == 2 ? "" : r.ImagePath, Caption = r.Caption }));
        float[] all = [.. _ml.Transforms.MatchImageText(Options).Fit(Data).Transform(Data).GetColumn<float>("MatchProbability")];
        float[] some = [.. _ml.Transforms.MatchImageText(Options with { OnError = OnError.Missing }).Fit(data).Transform(data).GetColumn<float>("MatchProbability")];
        Assert.True(float.IsNaN(some[2]));
        Assert.Equal(all.Where((_, i) => i != 2), some.Where((_, i) => i != 2));
        var e = Assert.Throws<InvalidDataException>(() => _ml.Transforms.MatchImageText(Options).Fit(data).Transform(data).GetColumn<float>("MatchProbability").Count());
        Assert.Contains("row 2, column 'ImagePath'", e.Message);
    }

    [Fact]
    public void A_dual_encoder_scores_by_cosine_and_has_no_probability()
    {
        IDataView matched = _ml.Transforms.MatchImageText(Options with { LoadedModel = tiny.Dual }).Fit(Data).Transform(Data);
        Assert.All(matched.GetColumn<float>("MatchProbability"), p => Assert.True(float.IsNaN(p)));
        float[] expected = tiny.Dual.ScorePairs(tiny.Pictures, [.. tiny.Rows.Select(r => r.Caption)]);
        Tolerance.Equal([expected], [[.. matched.GetColumn<float>("Score")]]);
        Assert.Contains("compares embeddings", Assert.Throws<NotSupportedException>(() => tiny.Dual.MatchPairs(new float[3 * 8 * 8], new long[1], 1, 1)).Message);
    }

    [Fact]
    public void A_model_without_attention_maps_is_refused_only_where_they_are_asked_for()
    {
        Assert.Contains("no attention maps",
            Assert.Throws<NotSupportedException>(() => _ml.Transforms.MatchImageText(Options with { LoadedModel = tiny.Late, Attention = "A" }).Fit(Data)).Message);
        Assert.Equal(tiny.Rows.Length, _ml.Transforms.MatchImageText(Options with { LoadedModel = tiny.Late }).Fit(Data).Transform(Data).GetColumn<float>("MatchProbability").Count());
    }

    [Fact]
    public void Schemas_are_promised_as_they_come()
    {
        ImageTextMatchEstimator estimator = _ml.Transforms.MatchImageText(Options with { Attention = "Attention" });
        MultimodalEmbedTests.AssertCompatible(estimator.GetOutputSchema(MlNet.ShapeOf(Data.Schema)), MlNet.ShapeOf(estimator.Fit(Data).GetOutputSchema(Data.Schema)));
    }

    [Fact]
    public void Pairs_of_a_dual_encoder_are_scored_by_cosine()
    {
        RgbImage[] pictures = tiny.Pictures[..3];
        string[] texts = ["a red cat", "a blue dog", "a red cat"];
        float[] expected = [.. tiny.Dual.EmbedImages(pictures).Zip(tiny.Dual.EmbedTexts(texts), (i, t) => i.Zip(t, (a, b) => a * b).Sum())];
        Tolerance.Equal([expected], [tiny.Dual.ScorePairs(pictures, texts)]);
        Assert.Contains("2 for 3", Assert.Throws<ArgumentException>(() => tiny.Dual.ScorePairs(pictures, texts[..2])).Message);
    }

    sealed class Matched
    {
        public float MatchProbability { get; set; }
    }
}
