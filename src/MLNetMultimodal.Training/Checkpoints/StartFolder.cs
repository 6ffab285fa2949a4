using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training;

/// <summary>A model folder that a training goes on from: its model, weights, preprocessing and tokenizer.</summary>
sealed class StartFolder : IDisposable
{
    const string PreprocessorFile = "preprocessor_config.json";

    readonly string _folder;

    /// <exception cref="IOException">The folder or one of its files is missing.</exception>
    /// <exception cref="InvalidDataException">A file is not sound.</exception>
    public StartFolder(string folder)
    {
        (_folder, Files) = (folder, ModelFiles.FromFolder(folder));
        Stored = Files.OpenWeights(); // first: where there are none, nothing else matters
        try
        {
            Definition = ModelFamilies.Create(Files);
        }
        catch
        {
            Stored.Dispose();
            throw;
        }
    }

    public ModelFiles Files { get; }

    public IModelDefinition Definition { get; }

    /// <summary>The weights as they are stored, mapped until this is disposed.</summary>
    public ModelWeights Stored { get; }

    public ImagePreprocessing Images => ImagePreprocessing.TryLoad(Files.TryRead) ?? throw NoPreprocessing();

    public AudioPreprocessing Sounds => AudioPreprocessing.TryLoad(Files.TryRead) ?? throw NoPreprocessing();

    public TextTokenizer Texts => TextTokenizer.Load(Files.TryRead, _folder);

    public ReadOnlyMemory<byte> Preprocessor => Files.Read(PreprocessorFile);

    FileNotFoundException NoPreprocessing() => new($"'{_folder}' has no {PreprocessorFile}; training wants one.");

    /// <summary>The preprocessing of square pictures of a known size.</summary>
    /// <exception cref="InvalidDataException">It makes other pictures.</exception>
    public ImagePreprocessing ImagesOf(int size) => Images is var images && images.Height == size && images.Width == size ? images
        : throw new InvalidDataException($"{PreprocessorFile} of '{_folder}' makes pictures of {images.Width}x{images.Height}, "
            + $"but its config.json wants {size}x{size}.");

    /// <summary>The stored weights under the names of a definition.</summary>
    /// <exception cref="InvalidDataException">They are not those of the definition.</exception>
    public IReadOnlyDictionary<string, TensorData> Weights(IModelDefinition definition) => CheckpointWeights.For(definition, Stored, _folder);

    /// <summary>The model to go on with, and what tells it from others where checkpoints are kept.</summary>
    /// <param name="definition">What is trained.</param>
    /// <param name="files">Preprocessing and tokenizer that it is trained with.</param>
    /// <param name="options">Device, checkpoints.</param>
    public (TorchModel Model, string? Fingerprint) Load(IModelDefinition definition, IReadOnlyList<(string Name, ReadOnlyMemory<byte> Content)> files,
        TrainingOptions options)
    {
        IReadOnlyDictionary<string, TensorData> weights = Weights(definition);
        return (TorchModel.Load(definition.Full, weights, device(options.Device)),
            options.Checkpoints is null ? null : BaseFingerprint.Of(definition, files, weights));
    }

    /// <summary>Closes the weights.</summary>
    public void Dispose() => Stored.Dispose();
}
