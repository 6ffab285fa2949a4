using System.Globalization;
using System.Text;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;

namespace MLNetMultimodal.Training;

/// <summary>Where a training without labels begins, and how it ends: a model, its first weights, and the files that stand beside them.</summary>
/// <param name="Definition">The model that comes out.</param>
/// <param name="Files">Preprocessing and tokenizer, as they stand in the model's folder.</param>
/// <param name="Weights">Weights to go on from; null for random ones.</param>
/// <param name="Initialize">The folder that they are from; null for none.</param>
sealed record PretrainingStart<TDefinition>(TDefinition Definition, IReadOnlyList<(string Name, ReadOnlyMemory<byte> Content)> Files,
    IReadOnlyDictionary<string, TensorData>? Weights, string? Initialize) where TDefinition : IModelDefinition
{
    const string PreprocessorFile = "preprocessor_config.json";

    /// <summary>A model of pictures, with its preprocessing.</summary>
    /// <param name="initialize">The folder to go on from; null for random weights.</param>
    /// <param name="random">The model that random weights are for.</param>
    /// <param name="imageSize">Edge of its pictures in pixels.</param>
    /// <param name="known">The folder's model as one that is trained here; null where it is none.</param>
    /// <param name="seen">How a model from random weights sees pictures; null for <see cref="ImagePreprocessing.Clip"/>.</param>
    /// <exception cref="NotSupportedException">The folder holds another model.</exception>
    public static (PretrainingStart<TDefinition> Start, ImagePreprocessing Images) Pictures(string? initialize, TDefinition random, Func<TDefinition, int> imageSize,
        Func<IModelDefinition, TDefinition?> known, ImagePreprocessing? seen = null)
    {
        if (initialize is null)
        {
            ImagePreprocessing images = seen ?? ImagePreprocessing.Clip(imageSize(random));
            return (new(random, [(PreprocessorFile, Encoding.UTF8.GetBytes(images.ToJson()))], null, null), images);
        }
        using var start = new StartFolder(initialize);
        TDefinition definition = Known(start, initialize, known);
        ImagePreprocessing preprocessing = start.ImagesOf(imageSize(definition));
        return (new(definition, [(PreprocessorFile, start.Preprocessor)], Copied(start.Weights(definition)), initialize), preprocessing);
    }

    /// <summary>A model of texts, with its tokenizer.</summary>
    /// <param name="initialize">The folder to go on from; null for random weights and a tokenizer of the texts' own.</param>
    /// <param name="vocabularySize">Largest vocabulary of that tokenizer.</param>
    /// <param name="random">The model that random weights are for, of a vocabulary and its padding.</param>
    /// <param name="texts">Reads all texts.</param>
    /// <exception cref="ArgumentException">The model that was made does not fit the tokenizer.</exception>
    /// <exception cref="NotSupportedException">The folder holds another model.</exception>
    public static (PretrainingStart<BertModel> Start, TextTokenizer Tokenizer) Texts(
        string? initialize, int vocabularySize, Func<int, int, BertConfig> random, Func<IEnumerable<string>> texts)
    {
        if (initialize is { } folder)
        {
            using var start = new StartFolder(folder);
            BertModel definition = PretrainingStart<BertModel>.Known(start, folder, m => m as BertModel);
            TextTokenizer known = start.Texts.WithContextLength(definition.Config.ContextLength);
            start.Weights(definition); // checks them
            return (new(definition, [.. known.Files.Select(f => (f.Key, f.Value))], Copied(definition.RenameMaskedLm(start.Stored)), folder), known);
        }
        TextTokenizer tokenizer = ByteLevelBpeTrainer.Train(texts().Distinct(), new() { VocabularySize = vocabularySize });
        BertConfig config = random(tokenizer.VocabularySize, tokenizer.PadId);
        if (config.VocabularySize <= tokenizer.VocabularySize || config.PadId != tokenizer.PadId || !(config.MaskId >= tokenizer.VocabularySize))
            throw new ArgumentException($"TextModel must make a config for the tokenizer's {tokenizer.VocabularySize} tokens and one more for what is hidden, with "
                + $"padding {tokenizer.PadId}, but made one for {config.VocabularySize}, with padding {config.PadId} and mask {config.MaskId?.ToString(CultureInfo.InvariantCulture) ?? "none"}.");
        tokenizer = tokenizer.WithContextLength(Math.Min(tokenizer.ContextLength, config.ContextLength));
        return (new(new(config, BertPooling.Mean), [.. tokenizer.Files.Select(f => (f.Key, f.Value))], null, null), tokenizer);
    }

    /// <summary>A model of sounds, with its preprocessing.</summary>
    /// <param name="initialize">The folder to go on from; null for random weights.</param>
    /// <param name="random">The model that random weights are for.</param>
    /// <exception cref="NotSupportedException">The folder holds another model.</exception>
    public static (PretrainingStart<Data2VecAudioModel> Start, AudioPreprocessing Sounds) Sounds(string? initialize, Data2VecAudioConfig random)
    {
        if (initialize is null)
        {
            var heard = AudioPreprocessing.FromSamples();
            return (new(new(random), [(PreprocessorFile, Encoding.UTF8.GetBytes(heard.ToJson()))], null, null), heard);
        }
        using var start = new StartFolder(initialize);
        Data2VecAudioModel definition = PretrainingStart<Data2VecAudioModel>.Known(start, initialize, m => m as Data2VecAudioModel);
        return (new(definition, [(PreprocessorFile, start.Preprocessor)], Copied(start.Weights(definition)), initialize), start.Sounds);
    }

    /// <summary>The folder's model as one that is trained here.</summary>
    /// <exception cref="NotSupportedException">It is another.</exception>
    public static TDefinition Known(StartFolder start, string folder, Func<IModelDefinition, TDefinition?> known) => known(start.Definition)
        ?? throw new NotSupportedException($"'{folder}' is '{start.Definition.ModelType}', which this training does not go on from.");

    /// <summary>Copies, so that the file can be closed again.</summary>
    public static Dictionary<string, TensorData> Copied(IReadOnlyDictionary<string, TensorData> weights) => weights
        .Where(w => w.Value.Type is DType.F32 or DType.F16 or DType.BF16 or DType.F64)
        .ToDictionary(w => w.Key, w => TensorData.From(w.Value.ToSingles(), w.Value.Shape), StringComparer.Ordinal);

    /// <summary>The program's weights: those of the start, and random ones where it has none, such as heads.</summary>
    public TorchModel NewModel(IProgram program, TrainingOptions options)
    {
        TorchModel model = TorchModel.Create(program, options.Seed, device(options.Device));
        foreach (var (name, weight) in Weights ?? new Dictionary<string, TensorData>())
            if (model.Parameters.TryGetValue(name, out Parameter? parameter) && weight.Shape.SequenceEqual(parameter.shape)) StoredState.CopyTo(weight, parameter);
        return model;
    }

    /// <summary>Trains, and makes a transformer of the result; its folder is written where the options name one.</summary>
    /// <param name="env">ML.NET's environment.</param>
    /// <param name="name">Name of the trainer in the log.</param>
    /// <param name="options">Length, schedule, files.</param>
    /// <param name="task">What is trained.</param>
    /// <param name="how">The objective, for the model card.</param>
    /// <param name="metric">What the validation measures, for the model card.</param>
    /// <param name="embed">Columns of the transformer.</param>
    public MultimodalTransformer Run(IHostEnvironment env, string name, TrainingOptions options, ITrainingTask<MaskedBatch> task, string how, string metric,
        MultimodalEmbedOptions embed)
    {
        if (task.Rows == 0) throw new ArgumentException("the data has no rows.");
        using IChannel log = env.Register(name).Start("Fit");
        string? fingerprint = Weights is null || options.Checkpoints is null ? null : BaseFingerprint.Of(Definition, Files, Weights);
        using var loop = new TrainingLoop<MaskedBatch>(options with { Progress = new EpochLog(log, options.Progress) }, task, Initialize, fingerprint);
        TrainingResult result = loop.Run();
        ModelFiles files = TrainedModel.Finish(options, Definition, result,
            TrainedModel.Card(how, options, Definition, task.Rows, result, metric, Initialize), Files);
        return new(env, embed, MultimodalModel.Load(files, new() { Mode = InferenceMode.Throughput }));
    }
}
