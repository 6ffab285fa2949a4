using Microsoft.ML;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Adds the trainer to <c>ml.Multimodal.Trainers</c>.</summary>
public static class MaskedModelingCatalog
{
    extension(MultimodalTrainers trainers)
    {
        /// <summary>Trains an encoder without labels, on pictures or texts of which a part is hidden: pixels are to be painted (masked
        /// autoencoder: He et al. 2022, arXiv:2111.06377) or their codes told (BEiT: Bao et al. 2022, arXiv:2106.08254), words are to be told
        /// (BERT: Devlin et al. 2019, arXiv:1810.04805). A VLMo learns from both, in stages (<see cref="MaskedModelingOptions.Vlmo"/>).</summary>
        /// <param name="options">Column, model and training.</param>
        public MaskedModelingTrainer MaskedModeling(MaskedModelingOptions options) => new(trainers.Environment, options);
    }
}

/// <summary>Masked modelling of pictures or texts. Its transformer embeds the column with the encoder. One fit at a time: torch uses all cores
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
    /// looked at after each epoch: the share of the variance of its hidden pixels that is painted right, or the share of its hidden
    /// codes or words that are told; 1 at best.</summary>
    /// <param name="train">At least 1 row.</param>
    /// <param name="validation">The same column; null keeps the last weights.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, not just one column is named for a model of one
    /// sense, there are no rows, <see cref="MaskedModelingOptions.Frozen"/> means no weight or all, or
    /// <see cref="MaskedModelingOptions.TextModel"/> or <see cref="MaskedModelingOptions.TokenModel"/> does not fit the
    /// tokenizer.</exception>
    /// <exception cref="InvalidDataException">A row cannot be read, or a file of <see cref="MaskedModelingOptions.Initialize"/> or of
    /// a checkpoint is not sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public MultimodalTransformer Fit(IDataView train, IDataView? validation)
    {
        _options.Begin(Check, train, validation);
        if (IsVlmo) return new VlmoStages(_env, _options, EmbedOptions).Fit(train, validation);
        return _options.Image is null ? FitTexts(train, validation)
            : _options.Tokenizer is { } folder ? FitCodes(folder, train, validation) : FitPictures(train, validation);
    }

    MultimodalTransformer FitPictures(IDataView train, IDataView? validation)
    {
        var (start, images) = PretrainingStart<MaeModel>.Pictures(
            _options.Initialize, new(_options.ImageModel), m => m.Config.Encoder.ImageSize, known => known as MaeModel);
        MaeConfig c = start.Definition.Config;
        using TorchModel model = start.NewModel(start.Definition.Full, _options);
        int side = c.Encoder.ImageSize / c.Encoder.PatchSize, hidden = c.Patches - c.KeptPatches;
        using MaskedPictures rows = Read(train, images, side, hidden, inBlocks: false);
        using MaskedPictures? held = validation is null ? null : Read(validation, images, side, hidden, inBlocks: false);
        var task = new MaskedModelingTask(_options, start.Definition, start.Definition.Full, model, rows, Checked(held), "explained_variance",
            (outputs, batch, counts) => Score(outputs[0], batch, c.NormalizedPixels, counts));
        return start.Run(_env, Name, _options, task, "by masked modelling of pixels", "variance of hidden pixels explained", EmbedOptions);
    }

    MultimodalTransformer FitCodes(string tokenizer, IDataView train, IDataView? validation)
    {
        using VisualTokens tokens = VisualTokens.Load(tokenizer, torch.device(_options.Device));
        var (start, images) = PretrainingStart<BeitModel>.Pictures(_options.Initialize, new(_options.TokenModel(tokens.Config)), m => m.Config.ImageSize,
            known => known is BeitModel { Config.Head: BeitHead.VisualTokens } beit ? beit : null, tokens.Images);
        BeitConfig c = start.Definition.Config;
        if (c.Head != BeitHead.VisualTokens)
            throw new ArgumentException($"TokenModel must make a config with the head {nameof(BeitHead.VisualTokens)}, but made one with {c.Head}.");
        tokens.CheckFits(images, c.ImageSize, c.PatchSize, c.VocabularySize);
        using TorchModel model = start.NewModel(start.Definition.Full, _options);
        int hidden = Math.Max(1, (int)Math.Round(_options.PatchShare * c.Patches));
        using MaskedPictures rows = Read(train, images, c.Side, hidden, inBlocks: true);
        using MaskedPictures? held = validation is null ? null : Read(validation, images, c.Side, hidden, inBlocks: true);
        var task = new MaskedModelingTask(_options, start.Definition, start.Definition.Full, model, rows, Checked(held), "accuracy", tokens.Score, tokens.Fingerprint);
        return start.Run(_env, Name, _options, task, "by masked modelling of visual tokens", "hidden tokens told", EmbedOptions);
    }

    MultimodalTransformer FitTexts(IDataView train, IDataView? validation)
    {
        var (start, tokenizer) = PretrainingStart<BertModel>.Texts(_options.Initialize, _options.VocabularySize, _options.TextModel, () => Texts(train));
        IProgram program = start.Definition.MaskedLm;
        using TorchModel model = start.NewModel(program, _options);
        MaskedTexts Rows(IDataView data) => new([.. Texts(data).Select(tokenizer.Encode)], tokenizer, start.Definition.Config, _options.WordShare, _options.Seed);
        var task = new MaskedModelingTask(_options, start.Definition, program, model, Rows(train), Checked(validation is null ? null : Rows(validation)), "accuracy",
            MaskedModelingTask.Words);
        return start.Run(_env, Name, _options, task, "by masked language modelling", "hidden words told", EmbedOptions);
    }

    internal const string Name = "MaskedModeling";

    static IMaskedRows? Checked(IMaskedRows? held) => held is not { Count: 0 } ? held : throw new ArgumentException("the validation data has no rows.", "validation");

    IEnumerable<string> Texts(IDataView data) => MaskedTexts.Read(data, _options.Text!, _options.Cancellation);

    MaskedPictures Read(IDataView data, ImagePreprocessing images, int side, int hidden, bool inBlocks) => new(
        new PictureReader(_options.Image!, _options.ImageFolder, _options.Cancellation).Read(data, images, _options.Cache), images, _options.Augmentation, side, hidden,
        inBlocks, _options.Seed);

    static MaskedScore Score(Tensor painted, MaskedTensors batch, bool normalized, bool counts)
    {
        Tensor pixels = batch.Whole["pixel_values"], loss = MaskedLoss.Pixels(painted, pixels, batch.Masked, normalized);
        if (!counts) return new(loss, 0, 0);
        Tensor mean = MaskedLoss.PixelMean(pixels, batch.Masked, normalized);
        double spread = MaskedLoss.Pixels(mean.expand(painted.shape), pixels, batch.Masked, normalized).item<float>(), hidden = batch.Masked.sum().item<long>();
        return new(loss, (spread - loss.item<float>()) * hidden, spread * hidden);
    }

    MultimodalEmbedOptions EmbedOptions => new() { Image = _options.Image, Text = _options.Text, ImageFolder = _options.ImageFolder };

    /// <summary>The columns after the fitted transformer.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        Check(inputSchema);
        return EmbedOptions.After(inputSchema);
    }

    bool IsVlmo => _options.Initialize is { } folder ? ModelFamilies.Create(ModelFiles.FromFolder(folder)) is VlmoModel : _options.Vlmo is not null;

    void Check(SchemaShape schema)
    {
        bool pairs = _options is { Image: not null, Text: not null } && IsVlmo;
        if (pairs) PretrainingColumns.Check(schema, _options.Image, null, null);
        PretrainingColumns.Check(schema, pairs ? null : _options.Image, _options.Text, null);
    }
}
