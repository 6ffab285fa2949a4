using Microsoft.ML;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>Adds the trainer to <c>ml.Multimodal.Trainers</c>.</summary>
public static class SelfDistillationCatalog
{
    extension(MultimodalTrainers trainers)
    {
        /// <summary>Trains an encoder of pictures, texts or sounds without labels: a student that sees a part of the input predicts what a moving average of itself
        /// makes of the whole (data2vec: Baevski et al. 2022, arXiv:2202.03555).</summary>
        /// <param name="options">Column, model and training.</param>
        public SelfDistillationTrainer SelfDistillation(SelfDistillationOptions options) => new(trainers.Environment, options);
    }
}

/// <summary>Self-distillation. Its transformer embeds the column with the student, averaged over the last steps
/// (<see cref="TrainingOptions.EmaDecay"/>). One fit at a time: torch uses all cores of the machine.</summary>
public sealed class SelfDistillationTrainer : IEstimator<MultimodalTransformer>
{
    readonly IHostEnvironment _env;
    readonly SelfDistillationOptions _options;

    internal SelfDistillationTrainer(IHostEnvironment env, SelfDistillationOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_env, _options) = (env, options);
    }

    /// <summary>Trains on all rows. There is no validation: without labels nothing but the loss would be measured, whose target moves
    /// with the model.</summary>
    /// <param name="input">At least 1 row; pictures are read once and kept at the model's size, in memory or in
    /// <see cref="SelfDistillationOptions.Cache"/>.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, not just one column is named, there are no rows,
    /// <see cref="SelfDistillationOptions.TextModel"/> does not fit the tokenizer, or an early stopping is wanted, which needs
    /// validation.</exception>
    /// <exception cref="InvalidDataException">A row cannot be read, or a file of <see cref="SelfDistillationOptions.Initialize"/> or
    /// of a checkpoint is not sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public MultimodalTransformer Fit(IDataView input)
    {
        _options.Begin(Check, input, null);
        return _options.Image is not null ? FitPictures(input) : _options.Text is not null ? FitTexts(input) : FitSounds(input);
    }

    MultimodalTransformer FitPictures(IDataView input)
    {
        var (start, images) = PretrainingStart<VitModel>.Pictures(_options.Initialize, new(_options.ImageModel with { MeanPooling = true }), v => v.Config.ImageSize,
            known => (known is MaeModel mae ? mae.Vision : known as VitModel) is { } vit ? new(vit.Config with { MeanPooling = true }) : null);
        VitConfig c = start.Definition.Config;
        MaeConfig? sparse = _options.Decoder is { } decoder ? new() { Encoder = c, Decoder = decoder, MaskRatio = (float)(_options.MaskShare ?? 0.75) } : null;
        int side = c.ImageSize / c.PatchSize, hidden = sparse is null ? Math.Max(1, (int)Math.Round((_options.MaskShare ?? 0.6) * side * side)) : sparse.Patches - sparse.KeptPatches;
        if (sparse is not null && (hidden == 0 || hidden == sparse.Patches))
            throw new ArgumentException($"MaskShare {_options.MaskShare} must hide some of the {sparse.Patches} patches and leave some to see.");
        using var rows = new MaskedPictures(new PictureReader(_options.Image!, _options.ImageFolder, _options.Cancellation).Read(input, images, _options.Cache),
            images, _options.Augmentation, side, hidden, inBlocks: sparse is null, _options.Seed, _options.MasksPerTarget);
        if (sparse is null) return Run(start, Data2Vec.Pictures(c), Data2VecLoss.Pictures, rows);
        var weights = start.Weights?.ToDictionary(w => w.Key.StartsWith("decoder.", StringComparison.Ordinal) ? w.Key : $"vit.{w.Key}", w => w.Value, StringComparer.Ordinal);
        return Run(start with { Weights = weights }, Data2Vec.Pictures(sparse), Data2VecLoss.SparsePictures, rows);
    }

    MultimodalTransformer FitTexts(IDataView input)
    {
        IEnumerable<string> Texts() => MaskedTexts.Read(input, _options.Text!, _options.Cancellation);
        var (start, tokenizer) = PretrainingStart<BertModel>.Texts(_options.Initialize, _options.VocabularySize, _options.TextModel, Texts);
        using var rows = new MaskedTexts([.. Texts().Select(tokenizer.Encode)], tokenizer, start.Definition.Config, _options.MaskShare ?? 0.15, _options.Seed);
        return Run(start, Data2Vec.Texts(start.Definition.Config), Data2VecLoss.Texts, rows);
    }

    MultimodalTransformer FitSounds(IDataView input)
    {
        var (start, heard) = PretrainingStart<Data2VecAudioModel>.Sounds(_options.Initialize, _options.AudioModel);
        Data2VecAudioConfig c = start.Definition.Config;
        int most = Math.Max(c.MinSamples, (int)(_options.MaxSeconds * heard.SampleRateHz));
        List<float[]> sounds = MaskedSounds.Read(input, new(_options.Audio!, _options.AudioFolder, _options.AudioSampleRateHz), heard, c.MinSamples, _options.Cancellation);
        using var rows = new MaskedSounds(sounds, most, c.Tokens, _options.MaskShare ?? 0.65, _options.SpanTokens, _options.Seed);
        return Run(start, Data2Vec.Sounds(c), Data2VecLoss.Sounds, rows);
    }

    MultimodalTransformer Run<TDefinition>(PretrainingStart<TDefinition> start, DistillationPair pair, Data2VecLoss objective, IMaskedRows rows)
        where TDefinition : IModelDefinition
    {
        using TorchModel student = start.NewModel(pair.Student, _options);
        using var task = new DistillationTask(_options, _options.Objective ?? objective, start.Definition, pair, student, rows);
        return start.Run(_env, "SelfDistillation", _options, task, "by self-distillation (data2vec)", "none", EmbedOptions);
    }

    MultimodalEmbedOptions EmbedOptions => new()
    {
        Image = _options.Image,
        Text = _options.Text,
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
        return EmbedOptions.After(inputSchema);
    }

    void Check(SchemaShape schema) => PretrainingColumns.Check(schema, _options.Image, _options.Text, _options.Audio);
}
