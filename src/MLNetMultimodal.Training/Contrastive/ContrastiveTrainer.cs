using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;
using TorchSharp;

namespace MLNetMultimodal.Training;

/// <summary>Adds the trainer to <c>ml.Multimodal.Trainers</c>.</summary>
public static class ContrastiveCatalog
{
    extension(MultimodalTrainers trainers)
    {
        /// <summary>Trains a dual encoder, from pictures and captions, sounds and captions, or sounds and pictures, to put what belongs
        /// together close to each other (CLIP: Radford et al. 2021, arXiv:2103.00020; CLAP: Elizalde et al. 2022,
        /// arXiv:2206.04769).</summary>
        /// <param name="options">Columns, model and training.</param>
        /// <exception cref="ArgumentException">Not two columns are named.</exception>
        public ContrastiveTrainer Contrastive(ContrastiveOptions options) => new(trainers.Environment, options);
    }
}

/// <summary>Contrastive training of two of pictures, texts and sounds. Its transformer embeds the columns of both; of captions only where
/// they are a single text.
/// One fit at a time: torch uses all cores of the machine.</summary>
public sealed class ContrastiveTrainer : IEstimator<MultimodalTransformer>
{
    readonly IHostEnvironment _env;
    readonly ContrastiveOptions _options;

    internal ContrastiveTrainer(IHostEnvironment env, ContrastiveOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        (_env, _options) = (env, options);
    }

    /// <summary>Trains on all rows; nothing is held back.</summary>
    /// <param name="input">Pairs, at least 2 rows. Pictures are read once and kept at the model's size, in memory or in
    /// <see cref="ContrastiveOptions.Cache"/>; sounds are read once and kept at the model's rate, in memory.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, or there are fewer than 2 rows.</exception>
    /// <exception cref="InvalidDataException">A picture or sound cannot be read, a row has no caption or no group, or a file of
    /// <see cref="ContrastiveOptions.Initialize"/> or of a checkpoint is not sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public MultimodalTransformer Fit(IDataView input) => Fit(input, null);

    /// <summary>Trains on <paramref name="train"/> and keeps the weights that are best on <paramref name="validation"/>, which is
    /// looked at after each epoch:
    /// the share of its pictures or sounds for which the captions of their own group score highest; of sounds and pictures, the share of
    /// sounds for which the pictures of their group do.</summary>
    /// <param name="train">Pairs, at least 2 rows.</param>
    /// <param name="validation">The same columns; null keeps the last weights.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, or there are too few rows.</exception>
    /// <exception cref="InvalidDataException">A picture or sound cannot be read, a row has no caption or no group, or a file of
    /// <see cref="ContrastiveOptions.Initialize"/> or of a checkpoint is not sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public MultimodalTransformer Fit(IDataView train, IDataView? validation)
    {
        _options.Begin(Check, train, validation);
        var reader = new PairReader(_options);
        (IModelDefinition definition, PairSenses senses, TorchModel model, string? fingerprint) =
            _options.Initialize is { } known ? StartFrom(known) : StartNew(reader, train);
        using (model)
        {
            if (_options.FineTuning.Lora is { } lora) model.AddLora(lora, _options.Seed);
            using PairSet pairs = reader.Read(train, senses, definition);
            using PairSet? held = validation is null ? null : reader.Read(validation, senses, definition);
            using IChannel log = _env.Register("Contrastive").Start("Fit");
            ContrastiveOptions logged = _options with { Progress = new EpochLog(log, _options.Progress) };
            using var task = new ContrastiveTask(logged, definition, model, pairs, held);
            using var loop = new TrainingLoop<PairBatch>(logged, task, _options.Initialize, fingerprint);
            TrainingResult result = loop.Run();
            ModelFiles files = TrainedModel.Finish(_options, definition, result, Card(definition, pairs.Count, result), senses.Files);
            bool singleText = _options.Text is { } text && train.Schema[text].Type is TextDataViewType;
            return new(_env, EmbedOptions(singleText), MultimodalModel.Load(files, new() { Mode = InferenceMode.Throughput }));
        }
    }

    (IModelDefinition, PairSenses, TorchModel, string? Fingerprint) StartFrom(string folder)
    {
        using var start = new StartFolder(folder);
        IModelDefinition known = start.Definition;
        CheckSenses(known, folder);
        ImagePreprocessing? images = _options.Image is null ? null : start.Images;
        AudioPreprocessing? sounds = _options.Audio is null ? null : start.Sounds;
        if (images is not null && images.Height == images.Width) known = known.WithImageSize(images.Height);
        var senses = new PairSenses(images, sounds is null ? null : sounds with { MinSamples = known.MinSamples }, _options.Text is null ? null : start.Texts);
        senses.Check(known, folder);
        var (model, fingerprint) = start.Load(known, senses.Files, _options);
        return (known, senses, model, fingerprint);
    }

    void CheckSenses(IModelDefinition known, string folder)
    {
        (string? Column, Modality Sense, string Name)[] senses =
            [(_options.Image, Modality.Image, "pictures"), (_options.Text, Modality.Text, "texts"), (_options.Audio, Modality.Audio, "sounds")];
        (string? Column, Modality Sense, string Name)[] wanted = [.. senses.Where(s => s.Column is not null)];
        if (!wanted.All(w => known.Encoders.ContainsKey(w.Sense)))
            throw new NotSupportedException($"'{folder}' is '{known.ModelType}' and has no encoders for {string.Join(" and ", wanted.Select(w => w.Name))}; "
                + "contrastive training of these columns wants both.");
    }

    (IModelDefinition, PairSenses, TorchModel, string? Fingerprint) StartNew(PairReader reader, IDataView train)
    {
        if (_options.FineTuning != new FineTuningOptions())
            throw new ArgumentException("FineTuning needs Initialize: random weights must all be trained.");
        TextTokenizer? texts = _options.Text is null ? null
            : ByteLevelBpeTrainer.Train(PairTexts.InTemplates(reader.Captions(train), _options.Templates).Distinct(), new() { VocabularySize = _options.VocabularySize });
        (IModelDefinition definition, ClipTextConfig? text, VisionConfig? vision) = _options.Audio is null ? NewClip(texts!) : NewAudioModel(texts);
        if (texts is not null && (text!.VocabularySize != texts.VocabularySize || text.EndTokenId != texts.EndId))
            throw new ArgumentException($"Model must make a config for the tokenizer's {texts.VocabularySize} tokens with the end token {texts.EndId}, "
                + $"but made one for {text.VocabularySize} and {text.EndTokenId}.");
        var senses = new PairSenses(_options.Image is null ? null : ImagePreprocessing.Clip(vision!.ImageSize),
            _options.Audio is null ? null : AudioPreprocessing.FromSpectrogram(_options.Sounds), texts?.WithContextLength(text!.ContextLength));
        return (definition, senses, TorchModel.Create(definition.Full, _options.Seed, torch.device(_options.Device)), null);
    }

    (IModelDefinition, ClipTextConfig?, VisionConfig?) NewClip(TextTokenizer texts)
    {
        ClipConfig config = _options.Model(texts.VocabularySize);
        return (new ClipModel(config), config.Text, config.Vision);
    }

    (IModelDefinition, ClipTextConfig?, VisionConfig?) NewAudioModel(TextTokenizer? texts)
    {
        SpectrogramPreprocessing sounds = _options.Sounds;
        sounds.ToJson(); // what no file can say is refused before the training, not after it
        AudioDualEncoderConfig config = _options.AudioModel is { } make ? make(texts?.VocabularySize ?? 0)
            : texts is null ? AudioDualEncoderConfig.SmallWithImages(sounds.Frames, sounds.LogMel.MelBins)
            : AudioDualEncoderConfig.Small(texts.VocabularySize, sounds.Frames, sounds.LogMel.MelBins);
        if (config.Text is null != texts is null || config.Vision is null != _options.Image is null)
            throw new ArgumentException($"AudioModel must make a tower for {(texts is null ? "pictures" : "texts")} beside that for sounds, and no other.");
        if ((config.Audio.Frames, config.Audio.MelBins) != (sounds.Frames, sounds.LogMel.MelBins) || sounds.BinsFirst)
            throw new ArgumentException($"AudioModel must take what Sounds makes, but takes [{config.Audio.Frames}, {config.Audio.MelBins}], "
                + $"and Sounds makes [{(sounds.BinsFirst ? $"{sounds.LogMel.MelBins}, {sounds.Frames}" : $"{sounds.Frames}, {sounds.LogMel.MelBins}")}].");
        return (new AudioDualEncoderModel(config), config.Text, config.Vision);
    }

    string Card(IModelDefinition definition, int rows, TrainingResult result) =>
        TrainedModel.Card($"contrastively ({_options.Objective})", _options, definition, rows, result,
            _options.Text is null ? "top-1 of sounds among groups of pictures" : "zero-shot top-1", _options.Initialize)
            + (_options.Text is null ? "" : $"Templates: {string.Join(" ", _options.Templates.Select(t => $"`{t}`"))}\n");

    MultimodalEmbedOptions EmbedOptions(bool singleText) => new()
    {
        Image = _options.Image,
        Text = singleText ? _options.Text : null,
        Audio = _options.Audio,
        ImageFolder = _options.ImageFolder,
        AudioFolder = _options.AudioFolder,
        AudioSampleRateHz = _options.AudioSampleRateHz,
    };

    /// <summary>The columns after the fitted transformer.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        Check(inputSchema);
        bool singleText = _options.Text is { } text && !Columns.IsVector(Columns.Find(inputSchema, text));
        return EmbedOptions(singleText).After(inputSchema);
    }

    void Check(SchemaShape schema)
    {
        Columns.CheckImages(schema, _options.Image);
        if (_options.Audio is { } audio) new SoundColumn(audio, _options.AudioFolder, _options.AudioSampleRateHz).Check(schema);
        PairReader.CheckTexts(schema, _options.Text);
        PairReader.CheckGroups(schema, _options.Group);
    }
}
