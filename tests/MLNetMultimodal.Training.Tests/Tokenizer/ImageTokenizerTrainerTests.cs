using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training.Tests;

/// <summary>A tokenizer of pictures, and a model that tells its codes.</summary>
public sealed class ImageTokenizerTrainerTests : IDisposable
{
    static readonly VqTokenizerConfig s_config = new() { ImageSize = 8, PatchSize = 2, Width = 16, ResidualBlocks = 1, LatentWidth = 4, CodebookSize = 16 };

    static readonly ImageTokenizerOptions s_short = new()
    {
        Image = "Image",
        Model = s_config,
        Epochs = 3,
        BatchSize = 8,
        LearningRate = 3e-3,
        EmaDecay = 0.5,
        Threads = 1,
        Augmentation = new() { HorizontalFlip = 0.5f },
    };

    readonly TrainerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    IDataView Train => _folder.View(26, seed: 1);

    byte[] Weights(ImageTokenizerOptions options, IDataView? train = null, IDataView? validation = null)
    {
        using ImageTokensTransformer model = _folder.Ml.Multimodal.Trainers.ImageTokenizer(options).Fit(train ?? Train, validation);
        return model.Model.Files.Read("model.safetensors").ToArray();
    }

    static uint[][] Tokens(ITransformer model, IDataView data) =>
        [.. model.Transform(data).GetColumn<VBuffer<uint>>("Tokens").Select(v => v.DenseValues().ToArray())];

    [Fact]
    public void Pictures_are_painted_from_their_codes()
    {
        double? metric = null;
        ImageTokenizerOptions options = s_short with { Epochs = 25, Output = _folder.At("tokenizer"), Progress = new OnStep(s => metric = s.ValidationMetric ?? metric) };
        using ImageTokensTransformer model = _folder.Ml.Multimodal.Trainers.ImageTokenizer(options).Fit(_folder.View(160, seed: 1), _folder.View(40, seed: 2));
        // A fifth of the variance is noise, which no code of 4 bits for 12 numbers holds.
        Assert.True(metric > 0.6, $"{metric:p1} of the variance is explained");
        uint[][] tokens = Tokens(model, _folder.View(40, seed: 3));
        int used = tokens.SelectMany(t => t).Distinct().Count();
        Assert.True(used >= 8, $"{used} of 16 codes are used");

        using var loaded = ImageTokenizer.Load(_folder.At("tokenizer"));
        RgbImage picture = ImageDecoder.Decode(StripedPictures.Rows(1, seed: 3)[0].Image, "row");
        long[] codes = loaded.Encode(picture);
        Assert.Equal(tokens[0], codes.Select(c => (uint)c + 1));
        double error = picture.Pixels.Zip(loaded.Decode(codes).Pixels, (a, b) => Math.Pow(a - b, 2)).Average(), mean = picture.Pixels.Average(v => v);
        double spread = picture.Pixels.Average(v => Math.Pow(v - mean, 2));
        Assert.True(error < 0.5 * spread, $"the picture's error is {error:f0}, that of its mean {spread:f0}");
        Assert.Contains("of 16", File.ReadAllText(_folder.At("tokenizer/README.md")), StringComparison.Ordinal);
    }

    [Fact]
    public void The_transformer_is_saved_and_loaded()
    {
        using ImageTokensTransformer model = _folder.Ml.Multimodal.Trainers.ImageTokenizer(s_short).Fit(Train);
        uint[][] expected = Tokens(model, Train);
        Assert.All(expected, t => Assert.Equal(16, t.Length));
        Assert.All(expected.SelectMany(t => t), t => Assert.InRange(t, 1u, 16u));
        _folder.Ml.Model.Save(model, Train.Schema, _folder.At("model.zip"));
        ITransformer loaded = _folder.Ml.Model.Load(_folder.At("model.zip"), out _);
        Assert.Equal(expected, Tokens(loaded, Train));
        (loaded as IDisposable)?.Dispose();
        SchemaShape before = ContrastiveTrainerTests.ShapeOf(null, Train.Schema);
        SchemaShape promised = _folder.Ml.Multimodal.Trainers.ImageTokenizer(s_short).GetOutputSchema(before);
        Assert.Equal(promised.Select(c => c.Name), model.GetOutputSchema(Train.Schema).Select(c => c.Name));
    }

    [Theory]
    [InlineData(1)] // before there are codes
    [InlineData(5)]
    public void A_resumed_training_ends_with_the_weights_of_an_undisturbed_one(int cancelAt)
    {
        ImageTokenizerOptions options = s_short with { UnquantizedShare = 0.3 };
        byte[] undisturbed = Weights(options);
        Assert.Equal(undisturbed, Weights(options));
        Assert.NotEqual(undisturbed, Weights(options with { Seed = 2 }));
        using var cancellation = new CancellationTokenSource();
        options = options with { Checkpoints = _folder.At("checkpoints"), CheckpointSteps = 4 };
        byte[] cancelled = Weights(options with
        {
            Cancellation = cancellation.Token,
            Progress = new OnStep(s =>
            {
                if (s.Step == cancelAt) cancellation.Cancel();
            }),
        });
        Assert.NotEqual(undisturbed, cancelled);
        Assert.Equal(undisturbed, Weights(options));
        var e = Assert.Throws<InvalidOperationException>(() => Weights(options with { CodebookDecay = 0.5 }));
        Assert.Contains("CodebookDecay", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_training_goes_on_from_a_folder()
    {
        Weights(s_short with { Output = _folder.At("tokenizer") });
        byte[] start = File.ReadAllBytes(_folder.At("tokenizer/model.safetensors"));
        byte[] again = Weights(s_short with { Initialize = _folder.At("tokenizer"), EmaDecay = 0, LearningRate = 1e-9, CodebookDecay = 0.999999, ExpireBelow = 0, Epochs = 1 });
        using Safetensors a = Safetensors.Parse(start, "start"), b = Safetensors.Parse(again, "again");
        foreach (string name in a.Keys.Where(k => !k.StartsWith("quantizer.", StringComparison.Ordinal)))
            Assert.True(Difference.Max(a[name].ToSingles(), b[name].ToSingles()) < 1e-6, name);
    }

    [Fact]
    public void The_gradient_reaches_every_weight_but_the_codes()
    {
        TorchNative.EnsureLoaded();
        var images = ImagePreprocessing.Clip(8);
        using var pictures = PictureStore.InMemory(images, StripedPictures.Rows(6, 3).Select(r => images.ResizeAndCrop(ImageDecoder.Decode(r.Image, "row"))));
        var definition = new VqTokenizerModel(s_config);
        using TorchModel model = TorchModel.Create(definition.Full, 1);
        using var task = new TokenizerTask(s_short with { UnquantizedShare = 0 }, definition, model, images, pictures, null);
        using DisposeScope scope = NewDisposeScope();
        float[] before = model.Parameters[VqTokenizer.CodebookName].ToSingles();
        task.Backward(task.Make(new[] { 0, 1, 2, 3, 4, 5 }, 0), new(0, 1));
        foreach (NamedParameter weight in task.Parameters)
            Assert.True(weight.Value.grad is not null && weight.Value.grad.abs().max().item<float>() > 0, $"{weight.Name} has no gradient");
        Assert.NotEqual(before, model.Parameters[VqTokenizer.CodebookName].ToSingles());
    }

    [Fact]
    public void No_tensor_is_left_alive()
    {
        Weights(s_short with { Epochs = 1 }, validation: Train);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        Weights(s_short with { Epochs = 1, Checkpoints = _folder.At("d") }, validation: Train);
        Weights(s_short with { Epochs = 1, Checkpoints = _folder.At("d") }, validation: Train);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Bad_input_is_refused()
    {
        Assert.Contains("no rows", Assert.Throws<ArgumentException>(() => Weights(s_short, _folder.View(0, 1))).Message, StringComparison.Ordinal);
        Assert.Contains("no rows", Assert.Throws<ArgumentException>(() => Weights(s_short, Train, _folder.View(0, 1))).Message, StringComparison.Ordinal);
        Assert.Contains("Number", Assert.Throws<ArgumentException>(() => Weights(s_short with { Image = "Number" })).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Weights(s_short with { EarlyStoppingPatience = 1 }));
        Assert.Contains("patch_size 3", Assert.Throws<InvalidDataException>(() => Weights(s_short with { Model = s_config with { PatchSize = 3 } })).Message, StringComparison.Ordinal);
        Assert.NotEmpty(Weights(s_short, _folder.View(1, 1)));
    }

    // ---- BEiT ----

    static BeitConfig Small(VqTokenizerConfig c)
    {
        BeitConfig small = BeitConfig.Small(c.ImageSize, c.PatchSize, c.CodebookSize);
        return small with { Blocks = small.Blocks with { Layers = 2, Width = 16, MlpWidth = 32, Heads = 2 } };
    }

    MaskedModelingOptions Masked(string tokenizer = "tokenizer") => new()
    {
        Image = "Image",
        Tokenizer = _folder.At(tokenizer),
        TokenModel = Small,
        Epochs = 3,
        BatchSize = 8,
        LearningRate = 3e-3,
        EmaDecay = 0.9,
        Threads = 1,
        Augmentation = new() { HorizontalFlip = 0.5f },
    };

    byte[] Weights(MaskedModelingOptions options, IDataView? train = null, IDataView? validation = null)
    {
        using MultimodalTransformer model = _folder.Ml.Multimodal.Trainers.MaskedModeling(options).Fit(train ?? Train, validation);
        return TrainerFolder.Weights(model);
    }

    [Fact]
    public void Codes_of_hidden_patches_are_told_better_than_by_the_commonest()
    {
        using ImageTokensTransformer tokenizer = _folder.Ml.Multimodal.Trainers.ImageTokenizer(s_short with { Epochs = 20, Output = _folder.At("tokenizer") }).Fit(_folder.View(160, seed: 1));
        IDataView held = _folder.View(80, seed: 2);
        uint[] codes = [.. Tokens(tokenizer, held).SelectMany(t => t)];
        double commonest = codes.CountBy(c => c).Max(c => c.Value) / (double)codes.Length;
        double? metric = null;
        MaskedModelingOptions options = Masked() with { Epochs = 40, LearningRate = 1e-2, Output = _folder.At("beit"), Progress = new OnStep(s => metric = s.ValidationMetric ?? metric) };
        Weights(options, _folder.View(160, seed: 1), held);
        Assert.True(metric > commonest + 0.15, $"{metric:p1} of hidden codes are told; the commonest is {commonest:p1} of all");

        using MultimodalModel model = MultimodalModel.Load(_folder.At("beit"));
        Assert.Equal("beit", model.Definition.ModelType);
        float[] embedding = model.EmbedImages([ImageDecoder.Decode(StripedPictures.Rows(1, seed: 3)[0].Image, "row")])[0];
        Assert.Equal(1, embedding.Sum(v => (double)v * v), 1e-5);
    }

    [Fact]
    public void Masked_codes_resume_and_refuse_what_does_not_fit()
    {
        Weights(s_short with { Output = _folder.At("tokenizer") });
        Weights(s_short with { Output = _folder.At("other"), Seed = 2 });
        Weights(s_short with { Output = _folder.At("finer"), Model = s_config with { CodebookSize = 32 } });
        byte[] undisturbed = Weights(Masked());
        using var cancellation = new CancellationTokenSource();
        MaskedModelingOptions options = Masked() with { Checkpoints = _folder.At("checkpoints") };
        Weights(options with
        {
            Cancellation = cancellation.Token,
            Progress = new OnStep(s =>
            {
                if (s.Step == 4) cancellation.Cancel();
            }),
        });
        Assert.Equal(undisturbed, Weights(options));
        string Message<T>(MaskedModelingOptions wrong) where T : Exception => Assert.Throws<T>(() => Weights(wrong)).Message;
        Assert.Contains("tokenizer", Message<InvalidOperationException>(options with { Tokenizer = _folder.At("other") }), StringComparison.Ordinal);
        Weights(Masked() with { Output = _folder.At("beit"), Epochs = 1 });
        Assert.Contains("32", Message<ArgumentException>(Masked("finer") with { Initialize = _folder.At("beit") }), StringComparison.Ordinal);
        Assert.Contains("'beit'", Message<NotSupportedException>(Masked("beit")), StringComparison.Ordinal);
        Assert.Contains("VisualTokens", Message<ArgumentException>(Masked() with { TokenModel = c => Small(c) with { Head = BeitHead.None } }), StringComparison.Ordinal);
        Assert.Contains("vq-tokenizer", Message<NotSupportedException>(Masked() with { Initialize = _folder.At("tokenizer") }), StringComparison.Ordinal);
    }

    [Fact]
    public void The_gradient_of_hidden_codes_reaches_every_weight()
    {
        TorchNative.EnsureLoaded();
        BeitConfig config = Small(s_config) with { RelativePositions = true, AbsolutePositions = true };
        IProgram program = new BeitModel(config).Full;
        using TorchModel model = TorchModel.Create(program, 1);
        using DisposeScope scope = NewDisposeScope();
        bool[] masked = [.. Enumerable.Range(0, 32).Select(i => i % 3 == 0)];
        Tensor logits = program.Run(model.Ops(), new Dictionary<string, Tensor> { ["pixel_values"] = rand(2, 3, 8, 8), ["bool_masked_pos"] = tensor(masked, [2, 16]) })[0].Value;
        MaskedLoss.Codes(logits, zeros([2, 16], ScalarType.Int64), tensor(masked, [2, 16])).backward();
        foreach (var (name, weight) in model.Parameters)
            Assert.True(weight.grad is not null && weight.grad.abs().max().item<float>() > 0, $"{name} has no gradient");
    }
}
