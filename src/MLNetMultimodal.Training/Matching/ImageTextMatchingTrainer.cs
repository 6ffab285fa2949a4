using System.Text;
using Microsoft.ML;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;
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
        _options.Begin(Check, train, validation);
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
            ModelFiles files = TrainedModel.Finish(_options, definition, result, card,
                Files(texts, images));
            return new(_env, TransformOptions, MultimodalModel.Load(files, new() { Mode = InferenceMode.Throughput }));
        }
    }

    (AlbefModel, ImagePreprocessing, TextTokenizer, TorchModel, string? Fingerprint) Start(MatchingReader reader, IDataView train)
    {
        if (_options.Initialize is { } folder)
        {
            using var start = new StartFolder(folder);
            if (start.Definition is not AlbefModel known)
                throw new NotSupportedException($"'{folder}' is '{start.Definition.ModelType}'; image-text matching starts from an albef model.");
            ImagePreprocessing preprocessing = start.ImagesOf(known.Config.Vision.ImageSize);
            TextTokenizer tokenizer = start.Texts;
            var (model, fingerprint) = start.Load(known, [.. Files(tokenizer, preprocessing)], _options);
            return (known, preprocessing, tokenizer.WithContextLength(Math.Min(tokenizer.ContextLength, known.Config.Text.ContextLength)), model, fingerprint);
        }
        TextTokenizer texts = ByteLevelBpeTrainer.Train(reader.Texts(train).Distinct(), new() { VocabularySize = _options.VocabularySize });
        AlbefConfig config = _options.Model(texts.VocabularySize);
        if (config.Text.VocabularySize <= texts.VocabularySize || config.Text.PadId != texts.EndId || config.MaskTokenId < texts.VocabularySize)
            throw new ArgumentException($"Model must make a config for the tokenizer's {texts.VocabularySize} tokens and one more for masked words, whose padding is "
                + $"the end token {texts.EndId}, but made one for {config.Text.VocabularySize}, with padding {config.Text.PadId} and mask {config.MaskTokenId}.");
        var definition = new AlbefModel(config);
        return (definition, ImagePreprocessing.Clip(config.Vision.ImageSize), texts.WithContextLength(config.Text.ContextLength),
            TorchModel.Create(definition.Full, _options.Seed, device(_options.Device)), null);
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
        PairReader.CheckTexts(schema, _options.Text);
        PairReader.CheckTexts(schema, _options.NegativeText);
        PairReader.CheckGroups(schema, _options.Together);
    }
}
