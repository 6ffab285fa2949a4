using Microsoft.ML;

namespace MLNetMultimodal.Training.Tests;

/// <summary>A folder for what one test writes, and trainings of striped pictures in it.</summary>
public sealed class TrainerFolder : IDisposable
{
    public MLContext Ml { get; } = new(seed: 1);

    public string Root { get; } = Directory.CreateTempSubdirectory("contrastive-tests-").FullName;

    /// <summary>A training of a few small steps.</summary>
    public static ContrastiveOptions Short { get; } = new()
    {
        Image = "Image",
        Text = "Caption",
        Model = StripedPictures.Model,
        VocabularySize = 600,
        Epochs = 2,
        BatchSize = 8,
        LearningRate = 3e-3,
        EmaDecay = 0.9,
        Threads = 1,
    };

    public string At(string name) => Path.Combine(Root, name);

    public bool Has(string name) => Path.Exists(At(name));

    public IDataView View(int count, int seed) => StripedPictures.View(Ml, count, seed);

    public MultimodalTransformer Fit(ContrastiveOptions options, IDataView train, IDataView? validation = null) =>
        Ml.Multimodal.Trainers.Contrastive(options).Fit(train, validation);

    /// <summary>Trains and throws all away but the weights' file.</summary>
    public byte[] Weights(ContrastiveOptions options, IDataView train, IDataView? validation = null)
    {
        using MultimodalTransformer model = Fit(options, train, validation);
        return Weights(model);
    }

    public static byte[] Weights(MultimodalTransformer model) => model.Model.Files.Read("model.safetensors").ToArray();

    public void Dispose() => Directory.Delete(Root, recursive: true);
}

/// <summary>Calls back at each step, on the thread that trains.</summary>
sealed class OnStep(Action<TrainingStep> action) : IProgress<TrainingStep>
{
    public void Report(TrainingStep value) => action(value);
}
