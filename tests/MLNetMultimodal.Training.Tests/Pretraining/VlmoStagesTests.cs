using Microsoft.ML;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using TorchSharp;

namespace MLNetMultimodal.Training.Tests;

/// <summary>A VLMo that learns from pictures, then from texts, then from pairs.</summary>
public sealed class VlmoStagesTests : IDisposable
{
    static readonly VlmoConfig s_vlmo = new()
    {
        ImageSize = 8,
        PatchSize = 2,
        ContextLength = 12,
        ProjectionWidth = 8,
        FusedLayers = 1,
        Blocks = new(2, 16, 32, 2, Activation.Gelu, 1e-6f),
    };

    readonly TrainerFolder _folder = new();

    public VlmoStagesTests()
    {
        using var tokenizer = _folder.Ml.Multimodal.Trainers.ImageTokenizer(new()
        {
            Image = "Image",
            Model = new() { ImageSize = 8, PatchSize = 2, Width = 16, ResidualBlocks = 1, LatentWidth = 4, CodebookSize = 16 },
            Epochs = 10,
            BatchSize = 8,
            LearningRate = 3e-3,
            EmaDecay = 0.5,
            Threads = 1,
            Output = _folder.At("tokenizer"),
        }).Fit(Train);
    }

    public void Dispose() => _folder.Dispose();

    IDataView Train => _folder.View(48, seed: 1);

    MaskedModelingOptions Stage(string name, string? after) => new()
    {
        Image = name is "pictures" or "pairs" ? "Image" : null,
        Text = name is "texts" or "pairs" ? "Caption" : null,
        Tokenizer = name is "pictures" ? _folder.At("tokenizer") : null,
        Vlmo = after is null ? s_vlmo : null,
        Frozen = name is "texts" ? Vlmo.SharedWeights : [],
        Initialize = after is null ? null : _folder.At(after),
        Output = _folder.At(name),
        VocabularySize = 600,
        Epochs = 3,
        BatchSize = 8,
        LearningRate = 3e-3,
        EmaDecay = 0.5,
        Threads = 1,
    };

    void Run(MaskedModelingOptions options, IDataView? train = null, IDataView? validation = null) =>
        _folder.Ml.Multimodal.Trainers.MaskedModeling(options).Fit(train ?? Train, validation).Dispose();

    Dictionary<string, byte[]> Weights(string name)
    {
        using Safetensors file = Safetensors.Open(_folder.At($"{name}/model.safetensors"));
        return file.Keys.ToDictionary(k => k, k => file[k].Bytes.ToArray());
    }

    float[] Embedded(string name)
    {
        using MultimodalModel model = MultimodalModel.Load(_folder.At(name));
        return model.EmbedImages([ImageDecoder.Decode(StripedPictures.Rows(1, seed: 3)[0].Image, "row")])[0];
    }

    static bool IsOf(string weight, params string[] parts) => parts.Any(p => weight.Contains(p, StringComparison.Ordinal));

    [Fact]
    public void Each_stage_trains_what_it_is_for_and_leaves_the_rest_bit_for_bit()
    {
        Run(Stage("pictures", null) with { Epochs = 1, LearningRate = 1e-12, WeightDecay = 0, EmaDecay = 0, Output = _folder.At("start") });
        Run(Stage("pictures", "start"));
        Dictionary<string, byte[]> start = Weights("start"), pictures = Weights("pictures");
        Assert.Equal(start.Keys.Order(), pictures.Keys.Order());
        foreach (string name in start.Keys)
        {
            bool stays = IsOf(name, "language_expert", "fusion_expert", "text_", "_projection", "word_head", "match_head", "logit_scale");
            Assert.True(start[name].SequenceEqual(pictures[name]) == stays, $"{name} {(stays ? "moved" : "stayed")} while the model saw pictures");
        }

        Run(Stage("texts", "pictures"));
        Dictionary<string, byte[]> texts = Weights("texts");
        Assert.Contains("tokenizer.json", Directory.GetFiles(_folder.At("texts")).Select(Path.GetFileName));
        foreach (string name in pictures.Keys.Where(n => !IsOf(n, "word_embeddings", "word_head.bias"))) // those have as many rows as the texts' tokenizer has words
        {
            bool moves = IsOf(name, "language_expert", "text_embeddings", "word_head");
            Assert.True(pictures[name].SequenceEqual(texts[name]) != moves, $"{name} {(moves ? "stayed" : "moved")} while the model read texts");
        }
        Assert.Equal(Embedded("pictures"), Embedded("texts"));

        Run(Stage("pairs", "texts"));
        Dictionary<string, byte[]> pairs = Weights("pairs");
        foreach (string name in texts.Keys)
        {
            bool stays = IsOf(name, "visual_head", "mask_token");
            Assert.True(texts[name].SequenceEqual(pairs[name]) == stays, $"{name} {(stays ? "moved" : "stayed")} while the model saw pairs");
        }
        Assert.Equal(File.ReadAllBytes(_folder.At("texts/tokenizer.json")), File.ReadAllBytes(_folder.At("pairs/tokenizer.json")));
        using MultimodalModel model = MultimodalModel.Load(_folder.At("pairs"));
        Assert.Equal([Modality.Image, Modality.Text], model.Modalities);
        Assert.Equal(8, model.EmbedTexts(["a red across pattern"])[0].Length);
    }

    [Fact]
    public void Pictures_help_to_tell_hidden_words()
    {
        // Of "a red across pattern" the colour and the direction are told from the text alone in half of all cases, the others always.
        double? metric = null;
        IDataView train = _folder.View(160, seed: 1), held = _folder.View(80, seed: 2);
        Run(Stage("pictures", null) with { Epochs = 10 }, train);
        Run(Stage("texts", "pictures") with { Epochs = 20, LearningRate = 1e-2, Progress = new OnStep(s => metric = s.ValidationMetric ?? metric) }, train, held);
        double alone = metric!.Value;
        Run(Stage("pairs", "texts") with { Epochs = 40, LearningRate = 5e-3, EmaDecay = 0.9, Progress = new OnStep(s => metric = s.ValidationMetric ?? metric) }, train, held);
        Assert.True(metric > alone + 0.1, $"{metric:p1} of hidden words are told with pictures, {alone:p1} without");
    }

    [Fact]
    public void A_resumed_stage_ends_with_the_weights_of_an_undisturbed_one()
    {
        Run(Stage("pictures", null));
        Run(Stage("texts", "pictures"));
        byte[] undisturbed = File.ReadAllBytes(_folder.At("texts/model.safetensors"));
        using var cancellation = new CancellationTokenSource();
        MaskedModelingOptions options = Stage("texts", "pictures") with { Checkpoints = _folder.At("checkpoints"), CheckpointSteps = 4 };
        Run(options with
        {
            Cancellation = cancellation.Token,
            Progress = new OnStep(s =>
            {
                if (s.Step == 5) cancellation.Cancel();
            }),
        });
        Assert.NotEqual(undisturbed, File.ReadAllBytes(_folder.At("texts/model.safetensors")));
        Run(options);
        Assert.Equal(undisturbed, File.ReadAllBytes(_folder.At("texts/model.safetensors")));
        Assert.Contains("Frozen", Assert.Throws<InvalidOperationException>(() => Run(options with { Frozen = [] })).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("pictures")]
    [InlineData("pairs")]
    public void No_tensor_is_left_alive(string stage)
    {
        Run(Stage(stage, null) with { Epochs = 1 });
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        Run(Stage(stage, null) with { Epochs = 1 });
        Run(Stage(stage, stage) with { Epochs = 1 });
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void What_makes_no_sense_is_refused()
    {
        string Message(MaskedModelingOptions options) => Assert.Throws<ArgumentException>(() => Run(options)).Message;
        Assert.Contains("Tokenizer", Message(Stage("pictures", null) with { Tokenizer = null }), StringComparison.Ordinal);
        Assert.Contains("encoder.layer.*", Message(Stage("texts", null) with { Frozen = ["encoder.layer.*"] }), StringComparison.Ordinal);
        Assert.Contains("nothing to train", Message(Stage("texts", null) with { Frozen = ["*"] }), StringComparison.Ordinal);
        Assert.Contains("just one column", Message(Stage("pairs", null) with { Vlmo = null }), StringComparison.Ordinal);
        Assert.Contains("Number", Message(Stage("pairs", null) with { Text = "Number" }), StringComparison.Ordinal);
        Assert.Contains("16 of patches of 2", Message(Stage("pictures", null) with { Vlmo = s_vlmo with { PatchSize = 4 } }), StringComparison.Ordinal);
    }
}
