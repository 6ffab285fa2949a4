using System.Text;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Training.Native;
using MLNetMultimodal.Transforms;
using TorchSharp;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training;

/// <summary>Adds the trainer to <c>ml.Multimodal.Trainers</c>.</summary>
public static class ImageTextMatchingCatalog
{
    extension(MultimodalTrainers trainers)
    {
        /// <summary>Trains a model that looks at a picture and a text together, word by word and patch by patch, and says whether they
        /// belong together (ALBEF: Li et al. 2021, arXiv:2107.07651). It can tell "a red circle and a blue square" from its swap,
        /// which embeddings of whole pictures and whole texts cannot.</summary>
        /// <param name="options">Columns, model and training.</param>
        public ImageTextMatchingTrainer ImageTextMatching(ImageTextMatchingOptions options) => new(trainers.Environment, options);
    }
}

/// <summary>Training by image-text contrast, matching and masked words. Its transformer scores pairs of the picture column and the text
/// column. One fit at a time: torch uses all cores of the machine.</summary>
public sealed class ImageTextMatchingTrainer : IEstimator<ImageTextMatchTransformer>
{
    readonly IHostEnvironment _env;
    readonly ImageTextMatchingOptions _options;

    internal ImageTextMatchingTrainer(IHostEnvironment env, ImageTextMatchingOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_env, _options) = (env, options);
    }

    /// <summary>Trains on all rows; nothing is held back.</summary>
    /// <param name="input">Pictures and captions, at least 2 rows; pictures are read once and kept at the model's size, in memory or in
    /// <see cref="ImageTextMatchingOptions.Cache"/>.</param>
    /// <inheritdoc cref="Fit(IDataView, IDataView?)" path="/exception"/>
    public ImageTextMatchTransformer Fit(IDataView input) => Fit(input, null);

    /// <summary>Trains on <paramref name="train"/> and keeps the weights that are best on <paramref name="validation"/>, which is
    /// looked at after each epoch: the share of its pictures whose caption scores highest among the captions and hard negatives of
    /// 16 rows.</summary>
    /// <param name="train">Pictures and captions, at least 2 rows.</param>
    /// <param name="validation">The same columns; null keeps the last weights.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, or there are too few rows.</exception>
    /// <exception cref="InvalidDataException">A picture cannot be read, a row has no caption, or a file of
    /// <see cref="ImageTextMatchingOptions.Initialize"/> or of a checkpoint is not sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="NotSupportedException">The model to start from is of another family.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public ImageTextMatchTransformer Fit(IDataView train, IDataView? validation)
    {
        Check(MlNet.ShapeOf(train.Schema));
        if (validation is not null) Check(MlNet.ShapeOf(validation.Schema));
        else if (_options.EarlyStoppingPatience is not null)
            throw new ArgumentException("EarlyStoppingPatience needs validation data: use Fit(train, validation).", nameof(validation));
        TorchNative.EnsureLoaded();
        if (_options.Threads > 0) set_num_threads(_options.Threads);
        var reader = new MatchingReader(_options);
        (AlbefModel definition, ImagePreprocessing images, TextTokenizer texts, TorchModel model, string? fingerprint) = Start(reader, train);
        using (model)
        {
            using MatchingSet pairs = reader.Read(train, images);
            using MatchingSet? held = validation is null ? null : reader.Read(validation, images);
            using IChannel log = _env.Register("ImageTextMatching").Start("Fit");
            ImageTextMatchingOptions logged = _options with { Progress = new EpochLog(log, _options.Progress) };
            using var task = new MatchingTask(logged, definition, model, images, texts, pairs, held);
            using var loop = new TrainingLoop<MatchingBatch>(logged, task, _options.Initialize, fingerprint);
            TrainingResult result = loop.Run();
            string card = TrainedModel.Card($"by contrast, matching and masked words, fusion {definition.Config.Fusion}", _options, definition, pairs.Count,
                result, "caption among those of 16 rows", _options.Initialize);
            ModelFiles files = TrainedModel.ToFiles(_options.Output, definition, result, card,
                Files(texts, images));
            if (_options.Output is { } folder) TrainedModel.Write(files, folder);
            return new(_env, TransformOptions, MultimodalModel.Load(files, new() { Mode = InferenceMode.Throughput }));
        }
    }

    (AlbefModel, ImagePreprocessing, TextTokenizer, TorchModel, string? Fingerprint) Start(MatchingReader reader, IDataView train)
    {
        Device device = torch.device(_options.Device);
        if (_options.Initialize is { } folder)
        {
            ModelFiles files = ModelFiles.FromFolder(folder);
            using ModelWeights weights = files.OpenWeights();
            if (ModelFamilies.Create(files) is not AlbefModel known)
                throw new NotSupportedException($"'{folder}' is '{ModelFamilies.Create(files).ModelType}'; image-text matching starts from an albef model.");
            int edge = known.Config.Vision.ImageSize;
            ImagePreprocessing preprocessing = ImagePreprocessing.TryLoad(files.TryRead)
                ?? throw new FileNotFoundException($"'{folder}' has no preprocessor_config.json; training wants one.");
            if (preprocessing.Height != edge || preprocessing.Width != edge)
                throw new InvalidDataException($"preprocessor_config.json of '{folder}' makes pictures of {preprocessing.Width}x{preprocessing.Height}, "
                    + $"but its config.json wants {edge}x{edge}.");
            IReadOnlyDictionary<string, TensorData> named = CheckpointWeights.For(known, weights, folder);
            TextTokenizer tokenizer = TextTokenizer.Load(files.TryRead, folder);
            return (known, preprocessing, tokenizer.WithContextLength(Math.Min(tokenizer.ContextLength, known.Config.Text.ContextLength)),
                TorchModel.Load(known.Full, named, device),
                _options.Checkpoints is null ? null : BaseFingerprint.Of(known, [.. Files(tokenizer, preprocessing)], named));
        }
        TextTokenizer texts = ByteLevelBpeTrainer.Train(reader.Texts(train).Distinct(), new() { VocabularySize = _options.VocabularySize });
        AlbefConfig config = _options.Model(texts.VocabularySize);
        if (config.Text.VocabularySize <= texts.VocabularySize || config.Text.PadId != texts.EndId || config.MaskTokenId < texts.VocabularySize)
            throw new ArgumentException($"Model must make a config for the tokenizer's {texts.VocabularySize} tokens and one more for masked words, whose padding is "
                + $"the end token {texts.EndId}, but made one for {config.Text.VocabularySize}, with padding {config.Text.PadId} and mask {config.MaskTokenId}.");
        var definition = new AlbefModel(config);
        return (definition, ImagePreprocessing.Clip(config.Vision.ImageSize), texts.WithContextLength(config.Text.ContextLength),
            TorchModel.Create(definition.Full, _options.Seed, device), null);
    }

    static IEnumerable<(string, ReadOnlyMemory<byte>)> Files(TextTokenizer texts, ImagePreprocessing images) =>
        [.. texts.Files.Select(f => (f.Key, f.Value)), ("preprocessor_config.json", Encoding.UTF8.GetBytes(images.ToJson()))];

    ImageTextMatchOptions TransformOptions => new() { Image = _options.Image, Text = _options.Text, ImageFolder = _options.ImageFolder };

    /// <summary>The columns after the fitted transformer.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        Check(inputSchema);
        return TransformOptions.After(inputSchema);
    }

    void Check(SchemaShape schema)
    {
        Columns.CheckImages(schema, _options.Image);
        foreach (string name in new[] { _options.Text, _options.NegativeText }.OfType<string>())
            if (Columns.Find(schema, name) is { ItemType: not TextDataViewType } text)
                throw new ArgumentException($"column '{name}' must be text or a vector of texts, but is {text.ItemType}.");
        if (_options.Together is not { } together) return;
        SchemaShape.Column key = Columns.Find(schema, together);
        bool fits = key.ItemType is TextDataViewType || key.IsKey && key.ItemType == NumberDataViewType.UInt32;
        if (!fits || Columns.IsVector(key))
            throw new ArgumentException($"column '{together}' must be text or a key of UInt32, but is {Columns.Describe(key.ItemType, Columns.IsVector(key))}; "
                + "Conversion.MapValueToKey makes a key.");
    }
}
