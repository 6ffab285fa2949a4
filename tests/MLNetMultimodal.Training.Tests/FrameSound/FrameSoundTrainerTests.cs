using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Tests.Audio;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Training.Tests;

public sealed class FrameSoundTrainerTests : IDisposable
{
    /// <summary>Torch and ONNX Runtime sum in another order.</summary>
    const double AcrossEngines = 1e-4;

    static readonly FrameSoundFusionConfig Tiny = FrameSoundFusionConfig.Tiny;
    static readonly FrameSoundOptions Short = new() { Video = "Path", Epochs = 2, BatchSize = 3, Threads = 1, EmaDecay = 0 };

    readonly MLContext _ml = new(1);
    readonly TestMedia _media = new();

    public void Dispose() => _media.Dispose();

    sealed class ClipRow
    {
        public string Path { get; set; } = "";

        public byte[] Bytes { get; set; } = [];
    }

    static FrameSoundClip Clip => new(Tiny, ImagePreprocessing.Clip(Tiny.Vision.ImageSize), AudioPreprocessing.FromSpectrogram(
        SpectrogramPreprocessing.Ast(Tiny.Audio.Frames) with { LogMel = LogMelConfig.Kaldi(16_000, Tiny.Audio.MelBins) }), "tiny");

    IDataView View(IEnumerable<string> paths) => _ml.Data.LoadFromEnumerable(paths.Select(path => new ClipRow { Path = path }));

    string[] Videos(int count) => [.. FlashClips.Make(count, seed: 7).Select((clip, i) => clip.Save(_media, $"clip{i}"))];

    static float[][] Values(IDataView view, string column) => [.. view.GetColumn<float[]>(column)];

    /// <summary>The attention map of a clip, [T][S].</summary>
    static float[][] Map(TorchModel model, FrameSoundFusionModel definition, FrameSoundItem item)
    {
        var pixels = new float[Tiny.Frames * 3 * Tiny.Vision.ImageSize * Tiny.Vision.ImageSize];
        Clip.Normalize(item.Frames, pixels);
        return [.. model.Run(definition.Full, new Dictionary<string, TensorData>
        {
            ["pixel_values"] = TensorData.From(pixels, 1, Tiny.Frames, 3, Tiny.Vision.ImageSize, Tiny.Vision.ImageSize),
            ["input_values"] = TensorData.From(item.Spectrogram, 1, Tiny.Audio.Frames, Tiny.Audio.MelBins),
        })["attention_map"].ToSingles().Chunk(FlashClips.Moments)];
    }

    /// <summary>What it reaches who hears only that there is a tone, and not which: another one sounds elsewhere. Guessing reaches an
    /// eighth.</summary>
    const double AnyTone = 0.5;

    /// <summary>How often the frame of a flash listens most to the moment of its own tone.</summary>
    static double Pointing(IEnumerable<FlashClip> clips, Func<FlashClip, float[][]> map) =>
        clips.Average(clip => map(clip) is var rows ? clip.Moments.Average(m => Array.IndexOf(rows[m], rows[m].Max()) == m ? 1.0 : 0) : 0);

    [Fact]
    public void After_training_on_which_sounds_belong_to_which_frames_a_flash_listens_to_its_own_tone()
    {
        FlashClip[] train = FlashClips.Make(384, seed: 1), test = FlashClips.Make(64, seed: 2);
        var definition = new FrameSoundFusionModel(Tiny);
        using TorchModel model = TorchModel.Create(definition.Full, seed: 1);
        double before = Pointing(test, clip => Map(model, definition, clip.Item(Clip)));
        FrameSoundOptions options = Short with { Epochs = 24, BatchSize = 16, LearningRate = 3e-3, EmaDecay = 0.95 };
        var task = new FrameSoundTask(options, definition, model, Clip, [], [.. train.Select(c => c.Item(Clip))], [.. test.Select(c => c.Item(Clip))]);
        using var loop = new TrainingLoop<FrameSoundClips>(options, task);
        TrainingResult result = loop.Run();
        using TorchModel trained = TorchModel.Load(definition.Full, result.Weights.Values);
        double after = Pointing(test, clip => Map(trained, definition, clip.Item(Clip)));
        string seen = $"before {before:p1}, after {after:p1} of the flashes listen to their tone; own soundtrack among 16: {result.Validation:p1}";
        Assert.True(before <= AnyTone, seen);
        Assert.True(after >= AnyTone + 0.1 && after >= before + 0.15, seen); // 128 flashes: 0.1 is more than two standard errors
        Assert.True(result.Validation >= 0.6, seen); // clips of the same two colours may be mistaken for each other
    }

    [Fact]
    public void A_trained_model_fuses_videos_and_survives_its_zip_and_its_folder()
    {
        string[] videos = Videos(5);
        string folder = _media.PathOf("model"), zip = _media.PathOf("fused.zip");
        if (!FFmpegProgram.Default.IsAvailable)
        {
            Assert.Contains("apt-get install ffmpeg", Assert.Throws<InvalidDataException>(() =>
                _ml.Multimodal.Trainers.FrameSoundFusion(Short).Fit(View(videos))).Message);
            return;
        }
        IDataView data = View(videos);
        FrameSoundTrainer trainer = _ml.Multimodal.Trainers.FrameSoundFusion(Short with { Output = folder });
        using FrameSoundTransformer fitted = trainer.Fit(data, data);
        IDataView view = fitted.Transform(data);
        Assert.Equal([8, 8], ((VectorDataViewType)view.Schema["AttentionMap"].Type).Dimensions.ToArray());
        float seconds = 0;
        view.Schema["AttentionMap"].Annotations.GetValue("MomentSeconds", ref seconds);
        Assert.Equal(0.16f, seconds, 1e-6f);
        float[][] maps = Values(view, "AttentionMap"), embeddings = Values(view, "Embedding");
        Assert.All(maps.SelectMany(m => m.Chunk(8)), row => Assert.Equal(1, row.Sum(), 1e-5f));
        Assert.All(embeddings, e => Assert.Equal(1, e.Sum(v => v * v), 1e-4f));
        // What the trainer saw in torch is what the transform sees in the videos.
        using (TorchModel torch = TorchModel.Load(fitted.Model.Definition.Full, fitted.Model.Files.OpenWeights()))
            for (int i = 0; i < videos.Length; i++)
                foreach (var (expected, got) in Map(torch, (FrameSoundFusionModel)fitted.Model.Definition, FlashClips.Make(5, seed: 7)[i].Item(Clip))
                    .SelectMany(r => r).Zip(maps[i])) Assert.Equal(expected, got, AcrossEngines);
        _ml.Model.Save(fitted, data.Schema, zip);
        ITransformer loaded = new MLContext().Model.Load(zip, out _);
        Assert.Equal(maps.SelectMany(m => m), Values(loaded.Transform(data), "AttentionMap").SelectMany(m => m));
        (loaded as IDisposable)!.Dispose();
        using FrameSoundTransformer opened = _ml.Transforms.FuseFramesAndSound(new() { Video = "Bytes", Model = folder }).Fit(data);
        IDataView bytes = _ml.Data.LoadFromEnumerable(videos.Select(v => new ClipRow { Bytes = File.ReadAllBytes(v) }));
        Assert.Equal(embeddings.SelectMany(m => m), Values(opened.Transform(bytes), "Embedding").SelectMany(m => m));
    }

    [Fact]
    public void Videos_without_sound_are_named_or_missing()
    {
        if (!FFmpegProgram.Default.IsAvailable) return; // said by the test above
        string[] videos = Videos(2);
        string silent = _media.Make("silent.mkv", "-f", "lavfi", "-i", "color=s=16x16:r=10:d=2", "-c:v", "ffv1");
        string error = Assert.Throws<InvalidDataException>(() =>
            _ml.Multimodal.Trainers.FrameSoundFusion(Short).Fit(View([.. videos, silent]))).Message;
        Assert.Contains($"row 2, column 'Path': the video '{silent}' cannot be read", error);
        Assert.Contains("there is no sound in it", error);
        using FrameSoundTransformer fitted = _ml.Multimodal.Trainers.FrameSoundFusion(Short).Fit(View(videos));
        using var lenient = new FrameSoundTransformer(MlNet.Environment(_ml.Transforms), fitted.Options with { OnError = OnError.Missing },
            SharedModel.Of(fitted.Model, owned: false));
        float[][] maps = Values(lenient.Transform(View([silent, videos[0]])), "AttentionMap");
        Assert.All(maps[0], v => Assert.True(float.IsNaN(v)));
        Assert.Equal(Values(fitted.Transform(View(videos)), "AttentionMap")[0], maps[1]);
    }

    [Fact]
    public void Towers_that_are_given_stay_as_they_are()
    {
        if (!FFmpegProgram.Default.IsAvailable) return; // said by the test above
        ClipModel clip = new(ClipConfig.Tiny with { Vision = Tiny.Vision });
        AstModel ast = new(Tiny.Audio);
        string pictures = Folder("clip", clip, Clip.Images.ToJson()), sounds = Folder("ast", ast, Clip.Sounds.ToJson());
        FrameSoundOptions options = Short with { PictureTower = pictures, SoundTower = sounds };
        using FrameSoundTransformer fitted = _ml.Multimodal.Trainers.FrameSoundFusion(options).Fit(View(Videos(3)));
        using ModelWeights trained = fitted.Model.Files.OpenWeights(), seen = ModelFiles.FromFolder(pictures).OpenWeights(),
            heard = ModelFiles.FromFolder(sounds).OpenWeights();
        foreach (var (name, value) in trained)
            if (name.StartsWith("vision_model.", StringComparison.Ordinal)) Assert.Equal(seen[name].ToSingles(), value.ToSingles());
            else if (name.StartsWith("audio_model.", StringComparison.Ordinal))
                Assert.Equal(heard[name["audio_model.".Length..]].ToSingles(), value.ToSingles());
        Assert.Contains("the tower is taken from a clip", Assert.Throws<NotSupportedException>(() =>
            _ml.Multimodal.Trainers.FrameSoundFusion(options with { PictureTower = sounds }).Fit(View(Videos(2)))).Message);
        using MultimodalModel other = MultimodalModel.Load(pictures);
        Assert.Contains("does not fuse frames and sound", Assert.Throws<NotSupportedException>(() =>
            _ml.Transforms.FuseFramesAndSound(new() { Video = "Path", LoadedModel = other }).Fit(View([]))).Message);
    }

    string Folder(string name, IModelDefinition definition, string preprocessor)
    {
        using TorchModel model = TorchModel.Create(definition.Full, seed: 3);
        var result = new TrainingResult(new(model.ToWeights()), 0, true, null, null, default);
        TrainedModel.Write(TrainedModel.ToFiles(name, definition, result, "random",
            [("preprocessor_config.json", System.Text.Encoding.UTF8.GetBytes(preprocessor))]), _media.PathOf(name));
        return _media.PathOf(name);
    }

    [Fact]
    public void Fewer_than_two_videos_and_early_stopping_without_validation_are_refused()
    {
        Assert.Contains("at least 2", Assert.Throws<ArgumentException>(() => new FrameSoundTask(Short, new(Tiny), TorchModel.Create(
            new FrameSoundFusionModel(Tiny).Full, 1), Clip, [], [FlashClips.Make(1, 1)[0].Item(Clip)], null)).Message);
        Assert.Contains("needs validation data", Assert.Throws<ArgumentException>(() =>
            _ml.Multimodal.Trainers.FrameSoundFusion(Short with { EarlyStoppingPatience = 1 }).Fit(View([]))).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => Short with { BatchSize = 1 });
    }
}
