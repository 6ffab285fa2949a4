using System.Text;
using System.Text.Json.Nodes;
using Microsoft.ML;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training;

/// <summary>Adds the trainer to <c>ml.Multimodal.Trainers</c>.</summary>
public static class FrameSoundCatalog
{
    extension(MultimodalTrainers trainers)
    {
        /// <summary>Trains the frames of videos to listen to their soundtracks (<see cref="FrameSoundFusion"/>), from nothing but
        /// videos: the fusion learns which soundtrack of a batch belongs to which frames, and with it which moment each frame has to
        /// listen to.</summary>
        /// <param name="options">Column, model and training.</param>
        public FrameSoundTrainer FrameSoundFusion(FrameSoundOptions options) => new(trainers.Environment, options);
    }
}

/// <summary>Training of the fusion of frames and soundtracks. Clips are decoded once and kept in memory: 3 T H W bytes and a spectrogram
/// each. One fit at a time: torch uses all cores of the machine.</summary>
public sealed class FrameSoundTrainer : IEstimator<FrameSoundTransformer>
{
    readonly IHostEnvironment _env;
    readonly FrameSoundOptions _options;

    internal FrameSoundTrainer(IHostEnvironment env, FrameSoundOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_env, _options) = (env, options);
    }

    VideoColumn Column => new(_options.Video, _options.VideoFolder, takesFrames: false);

    FuseFramesAndSoundOptions Fused => new() { Video = _options.Video, VideoFolder = _options.VideoFolder };

    /// <summary>Trains on all videos; nothing is held back.</summary>
    /// <param name="input">Videos with sound, at least 2.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type, or there are fewer than 2 rows.</exception>
    /// <exception cref="InvalidDataException">A video cannot be read or has no sound, or a file of a tower or a checkpoint is not
    /// sound.</exception>
    /// <exception cref="NotSupportedException">A tower is of another family.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public FrameSoundTransformer Fit(IDataView input) => Fit(input, null);

    /// <summary>Trains on <paramref name="train"/> and keeps the weights that are best on <paramref name="validation"/>, which is looked
    /// at after each epoch: the share of its videos that find their own soundtrack among 16.</summary>
    /// <param name="train">Videos with sound, at least 2.</param>
    /// <param name="validation">The same column, at least 2 rows; null keeps the last weights.</param>
    /// <inheritdoc cref="Fit(IDataView)" path="/exception"/>
    public FrameSoundTransformer Fit(IDataView train, IDataView? validation)
    {
        _options.Begin(shape => GetOutputSchema(shape), train, validation);
        var (definition, clip, towers) = Start();
        using TorchModel model = TorchModel.Create(definition.Full, _options.Seed, device(_options.Device));
        foreach (var (name, value) in towers.SelectMany(t => t.Weights)) StoredState.CopyTo(value, model.Parameters[name]);
        IReadOnlyList<FrameSoundItem> clips = FrameSoundSet.Read(train, Column, clip, _options.Cancellation);
        IReadOnlyList<FrameSoundItem>? held =
            validation is null ? null : FrameSoundSet.Read(validation, Column, clip, _options.Cancellation);
        using IChannel log = _env.Register("FrameSoundFusion").Start("Fit");
        FrameSoundOptions logged = _options with { Progress = new EpochLog(log, _options.Progress) };
        string[] frozen = _options.FreezeTowers ? [.. towers.Select(t => t.Prefix)] : [];
        var task = new FrameSoundTask(logged, definition, model, clip, frozen, clips, held);
        using var loop = new TrainingLoop<FrameSoundClips>(logged, task);
        TrainingResult result = loop.Run();
        string card = TrainedModel.Card("to match frames with their soundtracks", _options, definition, clips.Count, result,
            "own soundtrack among 16", null);
        var hearing = new JsonObject { ["feature_extractor"] = JsonNode.Parse(clip.Sounds.ToJson()) };
        ModelFiles files = TrainedModel.Finish(_options, definition, result, card,
        [
            ("preprocessor_config.json", Encoding.UTF8.GetBytes(clip.Images.ToJson())),
            ("processor_config.json", Encoding.UTF8.GetBytes(hearing.ToJsonString())),
        ]);
        return new(_env, Fused, SharedModel.Of(MultimodalModel.Load(files, Fused.Inference), owned: true));
    }

    sealed record Tower(string Prefix, IReadOnlyDictionary<string, TensorData> Weights);

    (FrameSoundFusionModel, FrameSoundClip, IReadOnlyList<Tower>) Start()
    {
        FrameSoundFusionConfig config = _options.Model;
        var towers = new List<Tower>();
        ImagePreprocessing? images = null;
        AudioPreprocessing? sounds = null;
        if (_options.PictureTower is { } pictures)
        {
            ModelFiles files = ModelFiles.FromFolder(pictures);
            ClipModel clip = Known<ClipModel>(files, "a clip");
            config = config with { Vision = clip.Config.Vision };
            images = ImagePreprocessing.TryLoad(files.TryRead);
            towers.Add(Read(files, clip, "vision_model.", name => name));
        }
        if (_options.SoundTower is { } heard)
        {
            ModelFiles files = ModelFiles.FromFolder(heard);
            AstModel ast = Known<AstModel>(files, "an audio-spectrogram-transformer");
            config = config with { Audio = ast.Config };
            sounds = AudioPreprocessing.TryLoad(files.TryRead);
            towers.Add(Read(files, ast, "audio_model.", name => $"audio_model.{name}"));
        }
        SpectrogramPreprocessing spectrogram = _options.Spectrogram ?? SpectrogramPreprocessing.Ast(config.Audio.Frames) with
        {
            LogMel = LogMelConfig.Kaldi(16_000, config.Audio.MelBins),
        };
        return (new(config), new(config, images ?? ImagePreprocessing.Clip(config.Vision.ImageSize),
            sounds ?? AudioPreprocessing.FromSpectrogram(spectrogram), "the model to be trained"), towers);
    }

    static TModel Known<TModel>(ModelFiles files, string wanted) where TModel : class, IModelDefinition =>
        ModelFamilies.Create(files) is var definition && definition is TModel known ? known
            : throw new NotSupportedException($"'{files.Name}' is a '{definition.ModelType}'; the tower is taken from {wanted}.");

    static Tower Read(ModelFiles files, IModelDefinition definition, string prefix, Func<string, string> rename)
    {
        using ModelWeights stored = files.OpenWeights();
        var weights = new Dictionary<string, TensorData>(StringComparer.Ordinal);
        HashSet<string> known = [.. Models.Ops.ModelSummary.Of(definition.Full).Parameters.Select(p => p.Name)];
        foreach (var (name, value) in CheckpointWeights.For(definition, stored, files.Name))
            if (known.Contains(name) && rename(name) is var own && own.StartsWith(prefix, StringComparison.Ordinal))
                weights[own] = TensorData.From(value.ToSingles(), [.. value.Shape]); // a copy: the file is closed
        return new(prefix, weights);
    }

    /// <summary>The columns after the fitted transformer.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema) => Fused.After(inputSchema);
}
