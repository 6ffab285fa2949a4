using System.Text;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training.Native;
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

    /// <summary>Makes torch ready as the options say.</summary>
    public static void Prepare(TrainingOptions options)
    {
        TorchNative.EnsureLoaded();
        if (options.Threads > 0) set_num_threads(options.Threads);
    }

    /// <summary>A model of pictures, with its preprocessing.</summary>
    /// <param name="initialize">The folder to go on from; null for random weights.</param>
    /// <param name="random">The model that random weights are for.</param>
    /// <param name="imageSize">Edge of its pictures in pixels.</param>
    /// <param name="known">The folder's model as one that is trained here; null where it is none.</param>
    /// <exception cref="NotSupportedException">The folder holds another model.</exception>
    public static (PretrainingStart<TDefinition> Start, ImagePreprocessing Images) Pictures(
        string? initialize, TDefinition random, Func<TDefinition, int> imageSize, Func<IModelDefinition, TDefinition?> known)
    {
        if (initialize is null)
        {
            ImagePreprocessing images = ImagePreprocessing.Clip(imageSize(random));
            return (new(random, [(PreprocessorFile, Encoding.UTF8.GetBytes(images.ToJson()))], null, null), images);
        }
        ModelFiles files = ModelFiles.FromFolder(initialize);
        ImagePreprocessing preprocessing = ImagePreprocessing.TryLoad(files.TryRead)
            ?? throw new FileNotFoundException($"'{initialize}' has no {PreprocessorFile}; training wants one.");
        TDefinition definition = Known(files, initialize, known);
        int size = imageSize(definition);
        if (preprocessing.Height != size || preprocessing.Width != size)
            throw new InvalidDataException($"{PreprocessorFile} of '{initialize}' makes pictures of {preprocessing.Width}x{preprocessing.Height}, "
                + $"but its config.json wants {size}x{size}.");
        return (new(definition, [(PreprocessorFile, files.Read(PreprocessorFile))], WeightsOf(files, definition, initialize), initialize), preprocessing);
    }

    static TDefinition Known(ModelFiles files, string folder, Func<IModelDefinition, TDefinition?> known)
    {
        IModelDefinition found = ModelFamilies.Create(files);
        return known(found) ?? throw new NotSupportedException($"'{folder}' is '{found.ModelType}', which this training does not go on from.");
    }

    static Dictionary<string, TensorData> WeightsOf(ModelFiles files, IModelDefinition definition, string folder)
    {
        using ModelWeights stored = files.OpenWeights();
        return CheckpointWeights.For(definition, stored, folder) // copies: the file is closed again
            .ToDictionary(w => w.Key, w => TensorData.From(w.Value.ToSingles(), w.Value.Shape), StringComparer.Ordinal);
    }

    /// <summary>The program's weights: those of the start, and random ones where it has none, such as heads.</summary>
    public TorchModel NewModel(IProgram program, TrainingOptions options)
    {
        TorchModel model = TorchModel.Create(program, options.Seed, device(options.Device));
        foreach (var (name, weight) in Weights ?? new Dictionary<string, TensorData>())
            if (model.Parameters.TryGetValue(name, out Parameter? parameter)) StoredState.CopyTo(weight, parameter);
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
        ModelFiles files = TrainedModel.ToFiles(options.Output, Definition, result,
            TrainedModel.Card(how, options, Definition, task.Rows, result, metric, Initialize), Files);
        if (options.Output is { } folder) TrainedModel.Write(files, folder);
        return new(env, embed, MultimodalModel.Load(files, new() { Mode = InferenceMode.Throughput }));
    }
}
