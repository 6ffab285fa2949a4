using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training.Tests;

/// <summary>Masked modelling and self-distillation of pictures, as trainers.</summary>
public sealed class PretrainingTests : IDisposable
{
    static readonly VitConfig s_vit = new()
    {
        ImageSize = 8,
        PatchSize = 2,
        MeanPooling = true,
        Blocks = new(2, 16, 32, 2, Activation.Gelu, 1e-6f) { Names = BlockNames.Vit },
    };

    static readonly MaeConfig s_mae = new()
    {
        Encoder = s_vit,
        Decoder = new(1, 8, 16, 2, Activation.Gelu, 1e-6f) { Names = BlockNames.Vit },
        MaskRatio = 0.5f,
    };

    static readonly MaskedModelingOptions s_masked = new()
    {
        Image = "Image",
        ImageModel = s_mae,
        Epochs = 3,
        BatchSize = 8,
        LearningRate = 3e-3,
        EmaDecay = 0.9,
        Threads = 1,
        Augmentation = new() { HorizontalFlip = 0.5f },
    };

    static readonly SelfDistillationOptions s_distilled = new()
    {
        Image = "Image",
        ImageModel = s_vit,
        Objective = Data2VecLoss.Pictures with { TopLayers = 2 },
        Epochs = 3,
        BatchSize = 8,
        LearningRate = 3e-3,
        EmaDecay = 0.9,
        Threads = 1,
        Augmentation = new() { HorizontalFlip = 0.5f },
    };

    static readonly SelfDistillationOptions s_sparse = s_distilled with { Decoder = s_mae.Decoder, MasksPerTarget = 3, Objective = null };

    readonly TrainerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    IDataView Train => View(26, seed: 1);

    byte[] Weights(TrainingOptions options, IDataView? train = null, IDataView? validation = null)
    {
        using MultimodalTransformer model = Fit(options, train ?? Train, validation);
        return TrainerFolder.Weights(model);
    }

    MultimodalTransformer Fit(TrainingOptions options, IDataView train, IDataView? validation = null) => options switch
    {
        MaskedModelingOptions masked => _folder.Ml.Multimodal.Trainers.MaskedModeling(masked).Fit(train, validation),
        _ => _folder.Ml.Multimodal.Trainers.SelfDistillation((SelfDistillationOptions)options).Fit(train),
    };

    static BertConfig Words(int vocabulary, int pad) => BertConfig.Small(vocabulary, pad) with
    {
        MaxPositions = 16,
        Blocks = new BertConfig().Blocks with { Layers = 2, Width = 16, MlpWidth = 32, Heads = 2 },
    };

    static readonly Data2VecAudioConfig s_sounds = new()
    {
        ConvChannels = [8, 8],
        ConvKernels = [10, 8],
        ConvStrides = [5, 4],
        PositionLayers = 1,
        PositionKernel = 3,
        PositionGroups = 2,
        Blocks = new Data2VecAudioConfig().Blocks with { Layers = 2, Width = 16, MlpWidth = 32, Heads = 2 },
    };

    static TrainingOptions Options(string trainer) => trainer switch
    {
        "masked" => s_masked,
        "masked words" => s_masked with { Image = null, Text = "Caption", VocabularySize = 600, TextModel = Words },
        "distilled" => s_distilled,
        "distilled with a decoder" => s_sparse,
        "distilled words" => s_distilled with { Image = null, Text = "Caption", VocabularySize = 600, TextModel = Words, Objective = null },
        _ => s_distilled with { Image = null, Audio = "Sound", AudioSampleRateHz = 16_000, AudioModel = s_sounds, MaxSeconds = 0.02, Objective = null },
    };

    /// <summary>A picture, a caption, and a tone of a pitch that its class has.</summary>
    sealed class Row
    {
        [VectorType]
        public byte[] Image { get; set; } = [];

        public string Caption { get; set; } = "";

        [VectorType]
        public float[] Sound { get; set; } = [];

        public float Number { get; set; }
    }

    IDataView View(int count, int seed) => _folder.Ml.Data.LoadFromEnumerable(StripedPictures.Rows(count, seed).Select((r, i) => new Row
    {
        Image = r.Image,
        Caption = r.Caption,
        Sound = [.. Enumerable.Range(0, 400 + 10 * i).Select(t => (float)Math.Sin(t * (1 + i % 4) * 0.1 + seed))],
        Number = i,
    }));

    [Theory]
    [InlineData("masked", 1)]
    [InlineData("masked", 5)]
    [InlineData("masked words", 5)]
    [InlineData("distilled words", 5)]
    [InlineData("distilled sounds", 5)]
    [InlineData("distilled", 1)]
    [InlineData("distilled", 5)]
    [InlineData("distilled with a decoder", 5)]
    public void A_resumed_training_ends_with_the_weights_of_an_undisturbed_one(string trainer, int cancelAt)
    {
        TrainingOptions options = Options(trainer);
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
    }

    [Theory]
    [InlineData("masked")]
    [InlineData("distilled")]
    public void A_checkpoint_of_another_model_is_refused(string trainer)
    {
        TrainingOptions options = Options(trainer) with { Checkpoints = _folder.At("checkpoints"), Epochs = 1 };
        Weights(options);
        TrainingOptions other = options is MaskedModelingOptions masked ? masked with { ImageModel = s_mae with { MaskRatio = 0.75f } }
            : (SelfDistillationOptions)options with { TeacherDecay = 0.5 };
        var e = Assert.Throws<InvalidOperationException>(() => Weights(other));
        Assert.Contains(trainer == "masked" ? "mask_ratio" : "TeacherDecay", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("masked")]
    [InlineData("masked words")]
    [InlineData("distilled")]
    [InlineData("distilled with a decoder")]
    [InlineData("distilled words")]
    [InlineData("distilled sounds")]
    public void One_row_is_enough_and_none_are_refused(string trainer)
    {
        TrainingOptions options = Options(trainer);
        Assert.NotEmpty(Weights(options, View(1, seed: 1)));
        var e = Assert.Throws<ArgumentException>(() => Weights(options, View(0, seed: 1)));
        Assert.Contains("no rows", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("masked")]
    [InlineData("masked words")]
    [InlineData("distilled")]
    [InlineData("distilled with a decoder")]
    [InlineData("distilled words")]
    [InlineData("distilled sounds")]
    public void The_transformer_embeds_and_is_saved_and_loaded(string trainer)
    {
        TrainingOptions options = Options(trainer) with { Output = _folder.At("model"), Epochs = 1 };
        using MultimodalTransformer model = Fit(options, Train);
        float[][] Embeddings(ITransformer transformer) =>
            [.. transformer.Transform(View(5, seed: 2)).GetColumn<VBuffer<float>>("Embedding").Select(v => v.DenseValues().ToArray())];
        float[][] expected = Embeddings(model);
        Assert.All(expected, e => Assert.True(Math.Abs(Math.Sqrt(e.Sum(v => (double)v * v)) - 1) < 1e-5));
        _folder.Ml.Model.Save(model, Train.Schema, _folder.At("model.zip"));
        ITransformer loaded = _folder.Ml.Model.Load(_folder.At("model.zip"), out _);
        Assert.Equal(expected.SelectMany(e => e), Embeddings(loaded).SelectMany(e => e));
        (loaded as IDisposable)?.Dispose();
        using MultimodalModel folder = MultimodalModel.Load(_folder.At("model"));
        Assert.Equal(trainer switch { "masked" => "vit_mae", "distilled" or "distilled with a decoder" => "vit", "distilled sounds" => "data2vec-audio", _ => "bert" }, folder.Definition.ModelType);
        Assert.Contains("random weights", File.ReadAllText(_folder.At("model/README.md")), StringComparison.Ordinal);
        SchemaShapeMatches(options, Train, model);
    }

    void SchemaShapeMatches(TrainingOptions options, IDataView data, MultimodalTransformer model)
    {
        SchemaShape before = ContrastiveTrainerTests.ShapeOf(null, data.Schema);
        SchemaShape promised = options is MaskedModelingOptions masked ? _folder.Ml.Multimodal.Trainers.MaskedModeling(masked).GetOutputSchema(before)
            : _folder.Ml.Multimodal.Trainers.SelfDistillation((SelfDistillationOptions)options).GetOutputSchema(before);
        Assert.Equal(promised.Select(c => c.Name), model.GetOutputSchema(data.Schema).Select(c => c.Name));
    }

    [Theory]
    [InlineData("masked")]
    [InlineData("masked words")]
    [InlineData("distilled")]
    [InlineData("distilled with a decoder")]
    [InlineData("distilled words")]
    [InlineData("distilled sounds")]
    public void A_training_goes_on_from_a_folder(string trainer)
    {
        TrainingOptions options = Options(trainer) with { Output = _folder.At("model"), Epochs = 2 };
        double[] Losses(TrainingOptions o)
        {
            var losses = new List<double>();
            Weights(o with { Progress = new OnStep(s => losses.Add(s.Loss)) });
            return [.. losses];
        }
        double[] first = Losses(options);
        options = options is MaskedModelingOptions masked ? masked with { Initialize = _folder.At("model"), Output = null, EmaDecay = 0, LearningRate = 1e-9 }
            : (SelfDistillationOptions)options with { Initialize = _folder.At("model"), Output = null, EmaDecay = 0, LearningRate = 1e-9 };
        byte[] start = File.ReadAllBytes(_folder.At("model/model.safetensors")), again = Weights(options with { Epochs = 1 });
        using Safetensors a = Safetensors.Parse(start, "start"), b = Safetensors.Parse(again, "again");
        Assert.Equal(a.Keys.Order(), b.Keys.Order());
        Assert.All(a.Keys, k => Assert.True(Difference.Max(a[k].ToSingles(), b[k].ToSingles()) < 1e-6, k)); // but for the steps of 1e-9
        Assert.NotEmpty(first);
    }

    [Theory]
    [InlineData("distilled", "")]
    [InlineData("distilled with a decoder", "vit.")]
    public void The_encoder_of_a_masked_autoencoder_may_go_on_as_a_student(string trainer, string prefix)
    {
        Weights(s_masked with { Output = _folder.At("model"), Epochs = 1 });
        byte[] student = Weights((SelfDistillationOptions)Options(trainer) with { Initialize = _folder.At("model"), EmaDecay = 0, LearningRate = 1e-9, Epochs = 1 });
        using Safetensors weights = Safetensors.Parse(student, "student"), encoder = Safetensors.Open(_folder.At("model/model.safetensors"));
        foreach (string name in encoder.Keys.Where(k => k.StartsWith("vit.", StringComparison.Ordinal)))
            Assert.True(Difference.Max(encoder[name].ToSingles(), weights[prefix + name[4..]].ToSingles()) < 1e-6, name);
    }

    [Fact]
    public void Other_models_are_no_start()
    {
        ModelFiles clip = ClipFiles();
        TrainedModel.Write(clip, _folder.At("clip"));
        foreach (TrainingOptions options in new TrainingOptions[] { s_masked with { Initialize = _folder.At("clip") }, s_distilled with { Initialize = _folder.At("clip") } })
        {
            var e = Assert.Throws<NotSupportedException>(() => Weights(options));
            Assert.Contains("'clip'", e.Message, StringComparison.Ordinal);
        }
    }

    ModelFiles ClipFiles()
    {
        using MultimodalTransformer clip = _folder.Fit(TrainerFolder.Short with { Epochs = 1 }, Train);
        return clip.Model.Files;
    }

    [Fact]
    public void Hidden_pixels_are_painted_better_than_by_their_mean()
    {
        double? metric = null;
        Weights(s_masked with { Epochs = 25, Progress = new OnStep(s => metric = s.ValidationMetric ?? metric) }, View(160, seed: 1), View(40, seed: 2));
        Assert.True(metric > 0.3, $"{metric:p1} of the variance is explained; the mean of all pixels explains 0 %");
    }

    [Theory]
    [InlineData(0, 0.9)]
    [InlineData(25, 0.925)]
    [InlineData(50, 0.95)]
    [InlineData(99, 0.95)]
    public void The_teacher_follows_ever_slower(int step, double expected)
    {
        var options = s_distilled with { TeacherDecay = 0.9, TeacherDecayEnd = 0.95, TeacherRampShare = 0.5 };
        Assert.Equal(expected, options.TeacherDecayAt(new(step, 100)), 6);
        Assert.Equal(0.95, (options with { TeacherRampShare = 0 }).TeacherDecayAt(new(step, 100)));
    }

    [Fact]
    public void The_teacher_is_the_average_of_students()
    {
        TorchNative.EnsureLoaded();
        DistillationPair pair = Data2Vec.Pictures(s_vit);
        using TorchModel student = TorchModel.Create(pair.Student, 1);
        using var task = new DistillationTask(s_distilled with { TeacherDecay = 0.75, TeacherDecayEnd = 0.75 }, Data2VecLoss.Pictures, new VitModel(s_vit), pair, student, NoRows());
        const string name = "embeddings.cls_token";
        float[] before = student.Parameters[name].ToSingles();
        Assert.Equal(before, task.State["teacher." + name].ToSingles());
        using (no_grad())
        {
            student.Parameters[name].add_(1);
            task.AfterStep(new(0, 10));
        }
        Difference.Check("teacher", [.. before.Select(v => v + 0.25f)], task.State["teacher." + name].ToSingles(), 1e-6);
        Assert.All(task.State.Values, t => Assert.False(t.requires_grad));
    }

    static MaskedPictures NoRows()
    {
        var images = Media.Images.ImagePreprocessing.Clip(8);
        return new(PictureStore.InMemory(images, []), images, new(), 4, 8, inBlocks: true, 1);
    }

    [Theory]
    [InlineData("masked")]
    [InlineData("distilled")]
    public void The_gradient_reaches_every_weight(string trainer)
    {
        TorchNative.EnsureLoaded();
        var images = Media.Images.ImagePreprocessing.Clip(8);
        var pictures = PictureStore.InMemory(images, StripedPictures.Rows(6, 3).Select(r => images.ResizeAndCrop(Media.Images.ImageDecoder.Decode(r.Image, "row"))));
        using var rows = new MaskedPictures(pictures, images, new(), side: 4, hidden: 8, inBlocks: trainer != "masked", 1);
        MaskedBatch batch = rows.Make(new[] { 0, 1, 2, 3, 4, 5 }, 0);
        IProgram program = trainer == "masked" ? new MaeModel(s_mae).Full : Data2Vec.Pictures(s_vit).Student;
        using TorchModel model = TorchModel.Create(program, 1);
        using DisposeScope scope = NewDisposeScope();
        if (trainer == "masked") Mae().Backward(batch, new(0, 1));
        else
        {
            using var task = new DistillationTask(s_distilled, Data2VecLoss.Pictures, new VitModel(s_vit), Data2Vec.Pictures(s_vit), model, rows);
            task.Backward(batch, new(0, 1));
        }
        foreach (var (name, weight) in model.Parameters)
        {
            bool seesNothing = name.EndsWith("attention.key.bias", StringComparison.Ordinal); // a softmax does not see what its scores share
            Assert.True(seesNothing || weight.grad is not null && weight.grad.abs().max().item<float>() > 0, $"{name} has no gradient");
        }

        MaskedModelingTask Mae() => new(s_masked, new MaeModel(s_mae), new MaeModel(s_mae).Full, model, rows, null, "none",
            (outputs, tensors, _) => new(MaskedLoss.Pixels(outputs[0], tensors.Whole["pixel_values"], tensors.Masked, normalized: true), 0, 0));
    }

    [Fact]
    public void The_gradient_of_pairs_reaches_every_expert()
    {
        TorchNative.EnsureLoaded();
        var config = new VlmoConfig
        {
            ImageSize = 8,
            PatchSize = 4,
            VocabularySize = 20,
            ContextLength = 6,
            ProjectionWidth = 8,
            FusedLayers = 1,
            Blocks = new(2, 16, 32, 2, Activation.Gelu, 1e-6f),
        };
        IProgram program = new VlmoModel(config).Full;
        using TorchModel model = TorchModel.Create(program, 1);
        using DisposeScope scope = NewDisposeScope();
        var inputs = new Dictionary<string, Tensor> { ["pixel_values"] = rand(2, 3, 8, 8), ["input_ids"] = tensor(new long[] { 3, 7, 5, 9, 2, 0 }, [2, 3]) };
        var outputs = program.Run(model.Ops(), inputs);
        outputs.Select(o => (o.Value * rand_like(o.Value)).sum()).Aggregate((a, b) => a + b).backward();
        foreach (var (name, weight) in model.Parameters)
            Assert.True(name.EndsWith("k_proj.bias", StringComparison.Ordinal) || weight.grad is not null && weight.grad.abs().max().item<float>() > 0, $"{name} has no gradient");
    }

    [Theory]
    [InlineData("masked")]
    [InlineData("masked words")]
    [InlineData("distilled")]
    [InlineData("distilled sounds")]
    public void No_tensor_is_left_alive(string trainer)
    {
        TrainingOptions options = Options(trainer) with { Checkpoints = _folder.At("c"), Epochs = 1 };
        IDataView? validation = options is MaskedModelingOptions ? View(5, seed: 2) : null;
        Weights(options, validation: validation);
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        Weights(options with { Checkpoints = _folder.At("d") }, validation: validation);
        Weights(options with { Checkpoints = _folder.At("d") }, validation: validation);
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }

    [Fact]
    public void Early_stopping_needs_a_validation()
    {
        Assert.Throws<ArgumentException>(() => Weights(s_masked with { EarlyStoppingPatience = 1 }));
        Assert.Throws<ArgumentException>(() => Weights(s_distilled with { EarlyStoppingPatience = 1 }));
        Assert.Throws<ArgumentException>(() => Weights(s_masked, Train, View(0, seed: 1)));
    }

    [Fact]
    public void Hidden_words_are_told_better_than_by_chance()
    {
        // "a red across pattern" and three others: a hidden colour is told right in half of all cases, all other words in all.
        double? metric = null;
        Weights(Options("masked words") with { Epochs = 40, LearningRate = 1e-2, Progress = new OnStep(s => metric = s.ValidationMetric ?? metric) }, View(160, seed: 1), View(40, seed: 2));
        Assert.True(metric > 0.6, $"{metric:p1} of hidden words are told");
    }

    [Fact]
    public void Just_one_column_is_trained_on()
    {
        foreach (TrainingOptions options in new TrainingOptions[] { s_masked with { Image = null }, s_masked with { Text = "Caption" }, s_distilled with { Audio = "Sound" } })
            Assert.Contains("just one column", Assert.Throws<ArgumentException>(() => Weights(options)).Message, StringComparison.Ordinal);
        Assert.Contains("Number", Assert.Throws<ArgumentException>(() => Weights(s_masked with { Image = null, Text = "Number" })).Message, StringComparison.Ordinal);
        Assert.Contains("Number", Assert.Throws<ArgumentException>(() => Weights(s_distilled with { Image = null, Audio = "Number" })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_model_that_does_not_fit_the_tokenizer_is_refused()
    {
        var options = (MaskedModelingOptions)Options("masked words");
        var e = Assert.Throws<ArgumentException>(() => Weights(options with { TextModel = (v, pad) => Words(v, pad) with { MaskId = null } }));
        Assert.Contains("mask none", e.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Weights(options with { TextModel = (v, pad) => Words(v, pad) with { VocabularySize = v } }));
        Assert.Throws<ArgumentException>(() => Weights(options with { TextModel = (v, pad) => Words(v, pad) with { PadId = 0 } }));
    }

    [Fact]
    public void A_sound_that_is_too_short_is_named()
    {
        IDataView rows = _folder.Ml.Data.LoadFromEnumerable(new[] { new Row { Sound = new float[500] }, new Row { Sound = new float[20] } });
        var e = Assert.Throws<InvalidDataException>(() => Weights(Options("distilled sounds"), rows));
        Assert.Contains("row 1", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_column_is_named()
    {
        Assert.Contains("Picture", Assert.Throws<ArgumentException>(() => Weights(s_masked with { Image = "Picture" })).Message, StringComparison.Ordinal);
        Assert.Contains("Number", Assert.Throws<ArgumentException>(() => Weights(s_distilled with { Image = "Number" })).Message, StringComparison.Ordinal);
    }
}
