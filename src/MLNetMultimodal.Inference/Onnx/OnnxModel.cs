using Google.Protobuf;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>A recorded model in memory, ready for an <see cref="OnnxSession"/> or a file.</summary>
public sealed class OnnxModel
{
    /// <summary>What one protobuf message can hold, less room for the graph: weights beyond it are stored beside the
    /// model.</summary>
    public const long MaxEmbeddedBytes = int.MaxValue - (64L << 20);

    const int MinExternalBytes = 1024; // smaller tensors stay in the model file
    const int Alignment = 4096;        // so that runtimes can map the file

    internal OnnxModel(string name, IReadOnlyList<TensorSpec> inputs, IReadOnlyList<TensorSpec> outputs, ModelProto proto) =>
        (Name, Inputs, Outputs, Proto) = (name, inputs, outputs, proto);

    /// <summary>Name of the program: the usual file name without extension.</summary>
    public string Name { get; }

    /// <summary>What it takes.</summary>
    public IReadOnlyList<TensorSpec> Inputs { get; }

    /// <summary>What it gives.</summary>
    public IReadOnlyList<TensorSpec> Outputs { get; }

    /// <summary>Bytes of all weights and constants.</summary>
    public long WeightBytes => Proto.Graph.Initializer.Sum(i => (long)i.RawData.Length);

    internal ModelProto Proto { get; }

    /// <summary>Files that <see cref="Proto"/> takes weights from, and a tensor of each; none in a model that can be
    /// saved.</summary>
    internal IReadOnlyDictionary<string, TensorData> Mapped { get; init; } = new Dictionary<string, TensorData>();

    /// <summary>Writes the model; readers never see half of it.</summary>
    /// <param name="path">The file, for example <c>onnx/vision_model.onnx</c>; replaced where it exists.</param>
    /// <param name="maxEmbeddedBytes">With more weights than this many bytes, they go into <c>path_data</c> beside it, as ONNX's
    /// external data.</param>
    public void SaveTo(string path, long maxEmbeddedBytes = MaxEmbeddedBytes)
    {
        if (WeightBytes <= maxEmbeddedBytes)
        {
            AtomicFile.Write(path, Proto.WriteTo);
            return;
        }
        ModelProto slim = Proto.Clone(); // shares the bytes of the weights
        AtomicFile.Write($"{path}_data", stream => MoveWeights(slim, stream, $"{Path.GetFileName(path)}_data"));
        AtomicFile.Write(path, slim.WriteTo);
    }

    static void MoveWeights(ModelProto model, Stream stream, string fileName)
    {
        long offset = 0;
        foreach (TensorProto tensor in model.Graph.Initializer.Where(i => i.RawData.Length >= MinExternalBytes))
        {
            int padding = (int)((Alignment - offset % Alignment) % Alignment);
            stream.Write(new byte[padding]);
            offset += padding;
            stream.Write(tensor.RawData.Span);
            tensor.DataLocation = TensorProto.Types.DataLocation.External;
            tensor.ExternalData.Add(OnnxGraph.ExternalData(fileName, offset, tensor.RawData.Length));
            offset += tensor.RawData.Length;
            tensor.RawData = ByteString.Empty;
        }
    }
}
