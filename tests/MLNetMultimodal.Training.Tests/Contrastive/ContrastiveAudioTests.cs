using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training.Tests;

/// <summary>Contrastive training of sounds, with captions and with pictures.</summary>
public sealed class ContrastiveAudioTests : IDisposable
{
    /// <summary>All that varies a sound.</summary>
    static readonly AudioAugmentationOptions s_varied = new()
    {
        Speed = 0.1f,
        ShiftMs = 100,
        GainDb = 6,
        Noise = 0.5f,
        FrequencyWarp = 0.1f,
        TimeStretch = 0.1f,
        Filter = 3,
        TimeMasks = 1,
        FrequencyMasks = 1,
        FrequencyMaskBins = 2,
    };

    static readonly ContrastiveOptions s_short = SweptSounds.Short;

    readonly TrainerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    IDataView View(int count, int seed) => SweptSounds.View(_folder.Ml, count, seed);

    IDataView Of(IEnumerable<SoundRow> rows) => _folder.Ml.Data.LoadFromEnumerable(rows);

    static ContrastiveOptions WithPictures(ContrastiveOptions options) => options with { Text = null, Image = "Image", Group = "Label" };

    static Waveform[] Waves(SoundRow[] rows) => [.. rows.Select(r => new Waveform(r.Samples, SweptSounds.SampleRateHz))];

    static double Accuracy(MultimodalModel model, SoundRow[] test)
    {
        ZeroShotClassifier classifier = ZeroShotClassifier.Create(model, SweptSounds.Classes, ["a {} tone"]);
        return model.EmbedAudio(Waves(test)).Zip(test).Average(p =>
            classifier.Labels[classifier.Probabilities(p.First) is var scores ? Array.IndexOf(scores, scores.Max()) : 0] == p.Second.Label ? 1.0 : 0);
    }

    // The class whose training sounds have the nearest mean spectrum, each brought to mean 0.
    static double MeanSpectrumAccuracy(SoundRow[] train, SoundRow[] test)
    {
        AudioPreprocessing heard = AudioPreprocessing.FromSpectrogram(SweptSounds.Preprocessing);
        double[] Spectrum(SoundRow row)
        {
            float[][] frames = [.. heard.Apply(new(row.Samples, SweptSounds.SampleRateHz)).Chunk(16)];
            double[] mean = [.. Enumerable.Range(0, 16).Select(f => frames.Average(t => (double)t[f]))];
            return [.. mean.Select(v => v - mean.Average())];
        }
        var means = train.GroupBy(r => r.Label).ToDictionary(g => g.Key, g =>
        {
            double[][] all = [.. g.Select(Spectrum)];
            return (double[])[.. Enumerable.Range(0, 16).Select(f => all.Average(s => s[f]))];
        });
        return test.Average(r => means.MinBy(m => m.Value.Zip(Spectrum(r)).Sum(p => Math.Pow(p.First - p.Second, 2))).Key == r.Label ? 1.0 : 0);
    }

    [Fact, Trait("Speed", "Slow")]
    public void It_learns_what_mean_spectra_do_not_tell()
    {
        SoundRow[] train = SweptSounds.Rows(128, seed: 1), test = SweptSounds.Rows(100, seed: 2);
        ContrastiveOptions options = s_short with
        {
            Epochs = 40,
            BatchSize = 16,
            LearningRate = 5e-3,
            EmaDecay = 0.95,
            AudioAugmentation = new() { ShiftMs = 200, Noise = 0.5f, TimeStretch = 0.1f },
        };
        using MultimodalTransformer model = _folder.Fit(options, Of(train));
        double learned = Accuracy(model.Model, test), baseline = MeanSpectrumAccuracy(train, test);
        Assert.InRange(baseline, 0.3, 0.75); // chance is 0.25
        Assert.True(learned >= 0.9, $"top-1 is {learned}, of mean spectra {baseline}");
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(false, 7)]
    [InlineData(true, 7)]
    public void A_resumed_training_ends_with_the_weights_of_an_undisturbed_one(bool pictures, int cancelAt)
    {
        ContrastiveOptions options = s_short with { Epochs = 5, MicroBatchSize = 3, PatchDropout = 0.5, AudioAugmentation = s_varied };
        if (pictures) options = WithPictures(options) with { Augmentation = new() { HorizontalFlip = 0.5f } };
        IDataView train = View(26, seed: 1), validation = View(12, seed: 2);
        byte[] undisturbed = _folder.Weights(options, train, validation);

        options = options with { Checkpoints = _folder.At("checkpoints"), CheckpointSteps = 4 };
        using var cancellation = new CancellationTokenSource();
        byte[] cancelled = _folder.Weights(options with
        {
            Cancellation = cancellation.Token,
            Progress = new OnStep(s =>
            {
                if (s.Step == cancelAt) cancellation.Cancel();
            }),
        }, train, validation);
        Assert.NotEqual(undisturbed, cancelled);
        int steps = 0;
        Assert.Equal(undisturbed, _folder.Weights(options with { Progress = new OnStep(_ => steps++) }, train, validation));
        Assert.Equal(15 - cancelAt, steps);
    }

    [Fact]
    public void Same_seed_same_weights_and_another_seed_others()
    {
        ContrastiveOptions options = s_short with { AudioAugmentation = s_varied };
        IDataView train = View(26, seed: 3);
        byte[] first = _folder.Weights(options, train);
        Assert.Equal(first, _folder.Weights(options, train));
        Assert.NotEqual(first, _folder.Weights(options with { Seed = 2 }, train));
        Assert.NotEqual(first, _folder.Weights(options with { AudioAugmentation = new() }, train));
    }

    [Fact]
    public void The_folder_of_sounds_and_texts_embeds_what_the_transformer_embeds()
    {
        SoundRow[] rows = SweptSounds.Rows(6, seed: 4);
        using MultimodalTransformer model = _folder.Fit(s_short with { Output = _folder.At("output") }, View(26, seed: 1));
        using MultimodalModel loaded = MultimodalModel.Load(_folder.At("output"));
        Assert.Equal("audio-dual-encoder", loaded.Definition.ModelType);
        Assert.Equal([Modality.Text, Modality.Audio], loaded.Modalities);
        IDataView embedded = model.Transform(Of(rows));
        AssertClose(loaded.EmbedAudio(Waves(rows)), [.. embedded.GetColumn<float[]>("AudioEmbedding")]);
        AssertClose(loaded.EmbedTexts([.. rows.Select(r => r.Caption)]), [.. embedded.GetColumn<float[]>("TextEmbedding")]);
    }

    [Fact]
    public void The_folder_of_sounds_and_pictures_embeds_both()
    {
        SoundRow[] rows = SweptSounds.Rows(6, seed: 4);
        ContrastiveOptions options = WithPictures(s_short) with { Output = _folder.At("output") };
        using MultimodalTransformer model = _folder.Fit(options, View(26, seed: 1), View(8, seed: 2));
        using MultimodalModel loaded = MultimodalModel.Load(_folder.At("output"));
        Assert.Equal([Modality.Image, Modality.Audio], loaded.Modalities);
        IDataView embedded = model.Transform(Of(rows));
        AssertClose(loaded.EmbedAudio(Waves(rows)), [.. embedded.GetColumn<float[]>("AudioEmbedding")]);
        Assert.Equal(6, embedded.GetColumn<float[]>("ImageEmbedding").Count());
        Assert.Contains("among groups of pictures", File.ReadAllText(_folder.At("output/README.md")), StringComparison.Ordinal);
    }

    [Fact]
    public void A_trained_folder_is_trained_on_with_a_tower_frozen()
    {
        _folder.Weights(s_short with { Output = _folder.At("first") }, View(26, seed: 1));
        ContrastiveOptions options = s_short with { Initialize = _folder.At("first"), FineTuning = new() { Frozen = FrozenTowers.Audio }, EmaDecay = 0 };
        using MultimodalTransformer model = _folder.Fit(options, View(26, seed: 2));
        using MultimodalModel first = MultimodalModel.Load(_folder.At("first"));
        Assert.All(first.Definition.Encoders[Modality.Audio].Inputs, i => Assert.Equal("input_values", i.Name));
        SoundRow[] rows = SweptSounds.Rows(4, seed: 5);
        AssertClose(first.EmbedAudio(Waves(rows)), model.Model.EmbedAudio(Waves(rows)));
        Assert.NotEqual(first.EmbedTexts([rows[0].Caption])[0], model.Model.EmbedTexts([rows[0].Caption])[0]);
    }

    [Fact]
    public void Silence_among_the_sounds_is_a_sound_like_others()
    {
        SoundRow[] rows = SweptSounds.Rows(10, seed: 1);
        rows[3].Samples = new float[3000];
        using MultimodalTransformer model = _folder.Fit(s_short with { AudioAugmentation = s_varied with { Noise = 1 } }, Of(rows));
        Assert.All(model.Model.EmbedAudio(Waves(rows)), e => Assert.Equal(1, e.Sum(v => (double)v * v), 1e-4));
    }

    [Fact]
    public void Files_and_samples_of_other_rates_are_brought_to_the_rate_of_the_model()
    {
        SoundRow[] rows = SweptSounds.Rows(10, seed: 1);
        string folder = _folder.At("sounds");
        Directory.CreateDirectory(folder);
        for (int i = 0; i < rows.Length; i++)
        {
            Waveform sound = new(rows[i].Samples, SweptSounds.SampleRateHz);
            WavWriter.Save(i % 2 == 0 ? sound : sound.Resample(16_000), Path.Combine(folder, $"{i}.wav"), WavEncoding.Float32);
        }
        IDataView files = _folder.Ml.Data.LoadFromEnumerable(rows.Select((r, i) => new FileRow { Sound = $"{i}.wav", Caption = r.Caption }).ToArray());
        using MultimodalTransformer model = _folder.Fit(s_short with { Audio = "Sound", AudioFolder = folder, AudioSampleRateHz = null }, files);
        float[][] expected = model.Model.EmbedAudio([.. Enumerable.Range(0, rows.Length).Select(i => Path.Combine(folder, $"{i}.wav"))]);
        AssertClose(expected, [.. model.Transform(files).GetColumn<float[]>("AudioEmbedding")]);
    }

    [Theory]
    [InlineData(null, null, null, "none does")]
    [InlineData(null, null, "Samples", "Audio does")]
    [InlineData("Image", "Caption", "Samples", "Image, Text, Audio do")]
    public void Not_two_columns_are_refused(string? image, string? text, string? audio, string named)
    {
        var e = Assert.Throws<ArgumentException>(() =>
            _folder.Ml.Multimodal.Trainers.Contrastive(s_short with { Image = image, Text = text, Audio = audio }));
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sounds_that_cannot_be_heard_are_named_by_their_row()
    {
        SoundRow[] rows = SweptSounds.Rows(70, seed: 1);
        rows[67].Samples = [];
        var e = Assert.Throws<InvalidDataException>(() => _folder.Fit(s_short, Of(rows)));
        Assert.Contains("row 67, column 'Samples'", e.Message, StringComparison.Ordinal);
        rows[66].Caption = "";
        e = Assert.Throws<InvalidDataException>(() => _folder.Fit(s_short, Of(rows)));
        Assert.Contains("row 66, column 'Caption'", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Columns_options_and_models_that_do_not_fit_are_refused()
    {
        IDataView train = View(10, seed: 1);
        void Refused<T>(ContrastiveOptions options, string named) where T : Exception =>
            Assert.Contains(named, Assert.Throws<T>(() => _folder.Fit(options, train)).Message, StringComparison.Ordinal);
        Refused<ArgumentException>(s_short with { Audio = "Caption", Text = "Samples" }, "must be text");
        Refused<ArgumentException>(s_short with { Audio = "Nothing" }, "Nothing");
        Refused<ArgumentException>(s_short with { AudioSampleRateHz = null }, "AudioSampleRateHz");
        Refused<ArgumentException>(s_short with { AudioModel = _ => SweptSounds.Model(0) }, "tower for texts");
        Refused<ArgumentException>(s_short with { AudioModel = _ => SweptSounds.Model(50) }, "50");
        Refused<ArgumentException>(s_short with { Sounds = SpectrogramPreprocessing.Clap(8000, 1, melBins: 32) }, "[101, 16]");
        Refused<InvalidOperationException>(s_short with { Sounds = SweptSounds.Preprocessing with { Mean = 1 } }, "preprocessor_config.json");
        ContrastiveOptions clip = TrainerFolder.Short with { Output = _folder.At("clip") };
        _folder.Weights(clip, _folder.View(16, seed: 1));
        Refused<NotSupportedException>(s_short with { Initialize = _folder.At("clip") }, "texts and sounds");
    }

    static void AssertClose(float[][] expected, float[][] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Difference.Check($"row {i}", expected[i], actual[i], AcrossBatchSizes);
    }

    /// <summary>Runs of one network in batches of different sizes round differently.</summary>
    const double AcrossBatchSizes = 1e-5;

    sealed class FileRow
    {
        public string Sound { get; set; } = "";

        public string Caption { get; set; } = "";
    }
}
