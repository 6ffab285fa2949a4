using Microsoft.ML;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Training;

/// <summary>Adds the trainer to <c>ml.Multimodal.Trainers</c>.</summary>
public static class ImageTokenizerCatalog
{
    extension(MultimodalTrainers trainers)
    {
        /// <summary>Trains a tokenizer of pictures, which makes a code of each patch, to paint the pictures again from their codes (VQ-VAE:
        /// van den Oord et al. 2017, arXiv:1711.00937); the vectors of the codes follow the data as moving averages. Masked modelling
        /// can then tell codes in place of pixels (<see cref="MaskedModelingOptions.Tokenizer"/>).</summary>
        /// <param name="options">Column, model and training.</param>
        public ImageTokenizerTrainer ImageTokenizer(ImageTokenizerOptions options) => new(trainers.Environment, options);
    }
}

/// <summary>Training of a tokenizer of pictures. Its transformer adds a picture's codes, as <c>ImageTokens</c> does; the folder that it
/// writes is what <c>ImageTokens</c>, <see cref="ImageTokenizer"/> and <see cref="MaskedModelingOptions.Tokenizer"/> load. One fit at a
/// time: torch uses all cores of the machine.</summary>
public sealed class ImageTokenizerTrainer : IEstimator<ImageTokensTransformer>
{
    readonly IHostEnvironment _env;
    readonly ImageTokenizerOptions _options;

    internal ImageTokenizerTrainer(IHostEnvironment env, ImageTokenizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_env, _options) = (env, options);
    }

    /// <summary>Trains on all rows; nothing is held back.</summary>
    /// <param name="input">At least 1 row; pictures are read once and kept at the model's size, in memory or in
    /// <see cref="ImageTokenizerOptions.Cache"/>.</param>
    /// <inheritdoc cref="Fit(IDataView, IDataView?)" path="/exception"/>
    public ImageTokensTransformer Fit(IDataView input) => Fit(input, null);

    /// <summary>Trains on <paramref name="train"/> and keeps the weights that are best on <paramref name="validation"/>, which is looked
    /// at after each epoch: the share of the variance of its pixels that is painted right from their codes; 1 at best.</summary>
    /// <param name="train">At least 1 row.</param>
    /// <param name="validation">The same column; null keeps the last weights.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type, or there are no rows.</exception>
    /// <exception cref="InvalidDataException">A picture cannot be read, the sizes of the model do not fit each other, or a file of
    /// <see cref="ImageTokenizerOptions.Initialize"/> or of a checkpoint is not sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="NotSupportedException">The model to start from is no tokenizer of pictures.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public ImageTokensTransformer Fit(IDataView train, IDataView? validation)
    {
        _options.Begin(schema => GetOutputSchema(schema), train, validation);
        var (start, images) = PretrainingStart<VqTokenizerModel>.Pictures(
            _options.Initialize, new(_options.Model), m => m.Config.ImageSize, known => known as VqTokenizerModel);
        using TorchModel model = start.NewModel(start.Definition.Full, _options);
        using PictureStore rows = Read(train, images);
        using PictureStore? held = validation is null ? null : Read(validation, images);
        if (rows.Count == 0) throw new ArgumentException("the data has no rows.", nameof(train));
        if (held is { Count: 0 }) throw new ArgumentException("the validation data has no rows.", nameof(validation));
        using IChannel log = _env.Register("ImageTokenizer").Start("Fit");
        ImageTokenizerOptions logged = _options with { Progress = new EpochLog(log, _options.Progress) };
        using var task = new TokenizerTask(logged, start.Definition, model, images, rows, held);
        string? fingerprint = start.Weights is null || _options.Checkpoints is null ? null : BaseFingerprint.Of(start.Definition, start.Files, start.Weights);
        using var loop = new TrainingLoop<PixelBatch>(logged, task, _options.Initialize, fingerprint);
        TrainingResult result = loop.Run();
        VqTokenizerConfig c = start.Definition.Config;
        string card = TrainedModel.Card("to paint pictures from their codes", _options, start.Definition, rows.Count, result,
            "variance of pixels explained", _options.Initialize) + FormattableString.Invariant(
            $"{c.Tokens} codes a picture of {c.CodebookSize}; as many as {task.Perplexity():f0} equally frequent ones were in use.\n");
        ModelFiles files = TrainedModel.Finish(_options, start.Definition, result, card, start.Files);
        return new(_env, TransformOptions, SharedModel.Of(ImageTokenizer.Load(files, new() { Threads = TransformOptions.Threads }), owned: true));
    }

    PictureStore Read(IDataView data, ImagePreprocessing images) =>
        new PictureReader(_options.Image, _options.ImageFolder, _options.Cancellation).Read(data, images, _options.Cache);

    ImageTokensOptions TransformOptions => new() { Output = _options.Tokens, Image = _options.Image, ImageFolder = _options.ImageFolder };

    /// <summary>The columns after the fitted transformer.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema) => TransformOptions.After(inputSchema);
}
