using Microsoft.ML;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Adds the trainer to <c>ml.Multimodal.Trainers</c>.</summary>
public static class MaskedModelingCatalog
{
    extension(MultimodalTrainers trainers)
    {
        /// <summary>Trains a masked autoencoder on pictures without labels: most of each picture is hidden, and is to be painted from
        /// the rest (He et al. 2022, arXiv:2111.06377).</summary>
        /// <param name="options">Column, model and training.</param>
        public MaskedModelingTrainer MaskedModeling(MaskedModelingOptions options) => new(trainers.Environment, options);
    }
}

/// <summary>Masked modelling of pictures. Its transformer embeds the column with the encoder. One fit at a time: torch uses all cores
/// of the machine.</summary>
public sealed class MaskedModelingTrainer : IEstimator<MultimodalTransformer>
{
    readonly IHostEnvironment _env;
    readonly MaskedModelingOptions _options;

    internal MaskedModelingTrainer(IHostEnvironment env, MaskedModelingOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_env, _options) = (env, options);
    }

    /// <summary>Trains on all rows; nothing is held back.</summary>
    /// <param name="input">At least 1 row; pictures are read once and kept at the model's size, in memory or in
    /// <see cref="MaskedModelingOptions.Cache"/>.</param>
    /// <inheritdoc cref="Fit(IDataView, IDataView?)" path="/exception"/>
    public MultimodalTransformer Fit(IDataView input) => Fit(input, null);

    /// <summary>Trains on <paramref name="train"/> and keeps the weights that are best on <paramref name="validation"/>, which is
    /// looked at after each epoch: the share of the variance of its hidden pixels that is painted right, 1 at best.</summary>
    /// <param name="train">At least 1 row.</param>
    /// <param name="validation">The same column; null keeps the last weights.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, or there are no rows.</exception>
    /// <exception cref="InvalidDataException">A row cannot be read, or a file of <see cref="MaskedModelingOptions.Initialize"/> or of
    /// a checkpoint is not sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public MultimodalTransformer Fit(IDataView train, IDataView? validation)
    {
        Check(MlNet.ShapeOf(train.Schema));
        if (validation is not null) Check(MlNet.ShapeOf(validation.Schema));
        else if (_options.EarlyStoppingPatience is not null)
            throw new ArgumentException("EarlyStoppingPatience needs validation data: use Fit(train, validation).", nameof(validation));
        PretrainingStart<MaeModel>.Prepare(_options);
        var (start, images) = PretrainingStart<MaeModel>.Pictures(
            _options.Initialize, new(_options.Model), m => m.Config.Encoder.ImageSize, known => known as MaeModel);
        MaeConfig c = start.Definition.Config;
        using TorchModel model = start.NewModel(start.Definition.Full, _options);
        using MaskedPictures rows = Read(train, images, c);
        using MaskedPictures? held = validation is null ? null : Read(validation, images, c);
        if (held is { Count: 0 }) throw new ArgumentException("the validation data has no rows.", nameof(validation));
        var task = new MaskedModelingTask(_options, start.Definition, model, rows, held, "explained_variance",
            (painted, batch, counts) => Score(painted, batch, c.NormalizedPixels, counts));
        return start.Run(_env, "MaskedModeling", _options, task, "by masked modelling of pixels", "variance of hidden pixels explained", EmbedOptions);
    }

    MaskedPictures Read(IDataView data, ImagePreprocessing images, MaeConfig c) => new(
        new PictureReader(_options.Image, _options.ImageFolder, _options.Cancellation).Read(data, images, _options.Cache), images, _options.Augmentation,
        c.Encoder.ImageSize / c.Encoder.PatchSize, c.Patches - c.KeptPatches, inBlocks: false, _options.Seed);

    static MaskedScore Score(Tensor painted, MaskedTensors batch, bool normalized, bool counts)
    {
        Tensor pixels = batch.Whole["pixel_values"], loss = MaskedLoss.Pixels(painted, pixels, batch.Masked, normalized);
        if (!counts) return new(loss, 0, 0);
        Tensor mean = MaskedLoss.PixelMean(pixels, batch.Masked, normalized);
        double spread = MaskedLoss.Pixels(mean.expand(painted.shape), pixels, batch.Masked, normalized).item<float>(), hidden = batch.Masked.sum().item<long>();
        return new(loss, (spread - loss.item<float>()) * hidden, spread * hidden);
    }

    MultimodalEmbedOptions EmbedOptions => new() { Image = _options.Image, ImageFolder = _options.ImageFolder };

    /// <summary>The columns after the fitted transformer.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        Check(inputSchema);
        return MultimodalEmbedEstimator.OutputSchema(EmbedOptions, inputSchema);
    }

    void Check(SchemaShape schema)
    {
        SchemaShape.Column image = Columns.Find(schema, _options.Image);
        Columns.CheckImages(_options.Image, image.ItemType, Columns.IsVector(image));
    }
}
