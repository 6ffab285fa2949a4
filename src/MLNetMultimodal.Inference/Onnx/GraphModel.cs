using System.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>What can be said of a model that is only there as recorded graphs: its inputs and sizes, but no programs.</summary>
sealed class GraphModel(ModelFiles files, string modelType, Lazy<int> width, IReadOnlyDictionary<Modality, IProgram> encoders,
    IProgram full) : IModelDefinition
{
    public string ModelType => modelType;

    public int EmbeddingWidth => width.Value;

    public IReadOnlyDictionary<Modality, IProgram> Encoders => encoders;

    public IProgram Full => full;

    public string? LogitScale => null;

    public IReadOnlyList<string> IgnoredWeights => [];

    public string? TextPrompt => files.Contains(SentenceTransformer.ModulesFile) ? SentenceTransformer.ReadPrompt(files) : null;

    public string ToConfigJson() => Encoding.UTF8.GetString(files.Read("config.json").Span);

    /// <summary>Why such a model is neither trained nor recorded.</summary>
    public static NotSupportedException NoProgram(string name) => new($"'{name}' holds recorded graphs only, which run as they are, "
        + "but cannot be trained, adapted or recorded again; take the folder that has the weights.");

    /// <summary>A graph as a program that only says what it takes.</summary>
    public sealed class Program(string folder, string name, Lazy<IReadOnlyList<TensorSpec>> inputs) : IProgram
    {
        public string Name => name;

        public IReadOnlyList<TensorSpec> Inputs => inputs.Value;

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> values) where T : class =>
            throw NoProgram(folder);
    }
}
