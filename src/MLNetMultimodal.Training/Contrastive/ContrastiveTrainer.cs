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
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training.Native;
using MLNetMultimodal.Transforms;
using TorchSharp;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training;

/// <summary>Adds the trainer to <c>ml.Multimodal.Trainers</c>.</summary>
public static class ContrastiveCatalog
{
    extension(MultimodalTrainers trainers)
    {
        /// <summary>Trains a dual encoder, from pictures and captions, to put what belongs together close to each other
        /// (CLIP: Radford et al. 2021, arXiv:2103.00020).</summary>
        /// <param name="options">Columns, model and training.</param>
        public ContrastiveTrainer Contrastive(ContrastiveOptions options) => new(trainers.Environment, options);
    }
}

/// <summary>Contrastive training of pictures and texts. Its transformer embeds the picture column and, where it is a single text,
/// the text column.
/// One fit at a time: torch uses all cores of the machine.</summary>
public sealed class ContrastiveTrainer : IEstimator<MultimodalTransformer>
{
    readonly IHostEnvironment _env;
    readonly ContrastiveOptions _options;

    internal ContrastiveTrainer(IHostEnvironment env, ContrastiveOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_env, _options) = (env, options);
    }

    /// <summary>Trains on all rows; nothing is held back.</summary>
    /// <param name="input">Pictures and captions, at least 2 rows; pictures are read once and kept at the model's size, in
    /// memory or in <see cref="ContrastiveOptions.Cache"/>.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, or there are fewer than 2 rows.</exception>
    /// <exception cref="InvalidDataException">A picture cannot be read, a row has no caption or no group, or a file of
    /// <see cref="ContrastiveOptions.Initialize"/> or of a checkpoint is not sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public MultimodalTransformer Fit(IDataView input) => Fit(input, null);

    /// <summary>Trains on <paramref name="train"/> and keeps the weights that are best on <paramref name="validation"/>, which is
    /// looked at after each epoch:
    /// the share of its pictures for which the captions of their own group score highest.</summary>
    /// <param name="train">Pictures and captions, at least 2 rows.</param>
    /// <param name="validation">The same columns; null keeps the last weights.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, or there are too few rows.</exception>
    /// <exception cref="InvalidDataException">A picture cannot be read, a row has no caption or no group, or a file of
    /// <see cref="ContrastiveOptions.Initialize"/> or of a checkpoint is not sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public MultimodalTransformer Fit(IDataView train, IDataView? validation)
    {
        Check(MlNet.ShapeOf(train.Schema));
        if (validation is not null) Check(MlNet.ShapeOf(validation.Schema));
        else if (_options.EarlyStoppingPatience is not null)
            throw new ArgumentException("EarlyStoppingPatience needs validation data: use Fit(train, validation).", nameof(validation));
        TorchNative.EnsureLoaded();
        if (_options.Threads > 0) set_num_threads(_options.Threads);
        var reader = new PairReader(_options);
        (IModelDefinition definition, ImagePreprocessing images, TextTokenizer texts, TorchModel model, string? fingerprint) =
            Start(reader, train);
        using (model)
        {
            if (_options.FineTuning.Lora is { } lora) model.AddLora(lora, _options.Seed);
            using PairSet pairs = reader.Read(train, images);
            using PairSet? held = validation is null ? null : reader.Read(validation, images);
            using IChannel log = _env.Register("Contrastive").Start("Fit");
            ContrastiveOptions logged = _options with { Progress = new EpochLog(log, _options.Progress) };
            using var task = new ContrastiveTask(logged, definition, model, images, texts, pairs, held);
            using var loop = new TrainingLoop<PairBatch>(logged, task, _options.Initialize, fingerprint);
            TrainingResult result = loop.Run();
            ModelFiles files = TrainedModel.ToFiles(_options.Output, definition, result, Card(definition, pairs.Count, result),
                [.. texts.Files.Select(f => (f.Key, f.Value)), ("preprocessor_config.json", Encoding.UTF8.GetBytes(images.ToJson()))]);
            if (_options.Output is { } folder) TrainedModel.Write(files, folder);
            return new(_env, EmbedOptions(train.Schema[_options.Text].Type is TextDataViewType), MultimodalModel.Load(files, new() { Mode = InferenceMode.Throughput }));
        }
    }

    (IModelDefinition, ImagePreprocessing, TextTokenizer, TorchModel, string? Fingerprint) Start(
        PairReader reader, IDataView train)
    {
        Device device = torch.device(_options.Device);
        if (_options.Initialize is { } folder)
        {
            ModelFiles files = ModelFiles.FromFolder(folder);
            using ModelWeights weights = files.OpenWeights(); // first: where there are none, nothing else matters
            ImagePreprocessing preprocessing = ImagePreprocessing.TryLoad(files.TryRead)
                ?? throw new FileNotFoundException($"'{folder}' has no preprocessor_config.json; training wants one.");
            IModelDefinition known = ModelFamilies.Create(files);
            if (preprocessing.Height == preprocessing.Width) known = known.WithImageSize(preprocessing.Height);
            if (!known.Encoders.ContainsKey(Modality.Image) || !known.Encoders.ContainsKey(Modality.Text))
                throw new NotSupportedException($"'{folder}' is '{known.ModelType}' and has no encoders for pictures and texts; contrastive training wants both.");
            CheckSize(known.Encoders[Modality.Image].Inputs[0], preprocessing, folder);
            IReadOnlyDictionary<string, TensorData> named = CheckpointWeights.For(known, weights, folder);
            TextTokenizer tokenizer = TextTokenizer.Load(files.TryRead, folder);
            return (known, preprocessing, tokenizer, TorchModel.Load(known.Full, named, device),
                _options.Checkpoints is null ? null : BaseFingerprint.Of(known, preprocessing, tokenizer, named));
        }
        if (_options.FineTuning != new FineTuningOptions())
            throw new ArgumentException("FineTuning needs Initialize: random weights must all be trained.");
        TextTokenizer texts = ByteLevelBpeTrainer.Train(PairBatcher.Texts(reader.Captions(train), _options.Templates).Distinct(),
            new() { VocabularySize = _options.VocabularySize });
        ClipConfig config = _options.Model(texts.VocabularySize);
        if (config.Text.VocabularySize != texts.VocabularySize || config.Text.EndTokenId != texts.EndId)
            throw new ArgumentException($"Model must make a config for the tokenizer's {texts.VocabularySize} tokens with the end token {texts.EndId}, "
                + $"but made one for {config.Text.VocabularySize} and {config.Text.EndTokenId}.");
        var definition = new ClipModel(config);
        return (definition, ImagePreprocessing.Clip(config.Vision.ImageSize), texts.WithContextLength(config.Text.ContextLength),
            TorchModel.Create(definition.Full, _options.Seed, device), null);
    }

    string Card(IModelDefinition definition, int rows, TrainingResult result) =>
        TrainedModel.Card($"contrastively ({_options.Objective})", _options, definition, rows, result, "zero-shot top-1", _options.Initialize)
            + $"Templates: {string.Join(" ", _options.Templates.Select(t => $"`{t}`"))}\n";

    static void CheckSize(TensorSpec pixels, ImagePreprocessing preprocessing, string folder)
    {
        (int height, int width) = (pixels.Shape[2].Size, pixels.Shape[3].Size);
        if (preprocessing.Height != height || preprocessing.Width != width)
            throw new InvalidDataException($"preprocessor_config.json of '{folder}' makes pictures of {preprocessing.Width}x{preprocessing.Height}, "
                + $"but its config.json wants {width}x{height}.");
    }

    MultimodalEmbedOptions EmbedOptions(bool singleText) =>
        new() { Image = _options.Image, Text = singleText ? _options.Text : null, ImageFolder = _options.ImageFolder };

    /// <summary>The columns after the fitted transformer.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        Check(inputSchema);
        return MultimodalEmbedEstimator.OutputSchema(EmbedOptions(!Columns.IsVector(Columns.Find(inputSchema, _options.Text))), inputSchema);
    }

    void Check(SchemaShape schema)
    {
        SchemaShape.Column image = Columns.Find(schema, _options.Image), text = Columns.Find(schema, _options.Text);
        Columns.CheckImages(_options.Image, image.ItemType, Columns.IsVector(image));
        if (text.ItemType is not TextDataViewType)
            throw new ArgumentException($"column '{_options.Text}' must be text or a vector of texts, but is {text.ItemType}.");
        if (_options.Group is not { } name) return;
        SchemaShape.Column group = Columns.Find(schema, name);
        bool fits = group.ItemType is TextDataViewType || group.IsKey && group.ItemType == NumberDataViewType.UInt32;
        if (!fits || Columns.IsVector(group))
            throw new ArgumentException($"column '{name}' must be text or a key of UInt32, but is {(Columns.IsVector(group) ? "a vector of " : "")}{group.ItemType}; "
                + "Conversion.MapValueToKey makes a key.");
    }
}
