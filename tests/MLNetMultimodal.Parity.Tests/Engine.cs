using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training;

namespace MLNetMultimodal.Parity.Tests;

/// <summary>Something that runs programs.</summary>
public interface IEngine
{
    IReadOnlyDictionary<string, TensorData> Run(
        IProgram program, IReadOnlyDictionary<string, TensorData> weights, IReadOnlyDictionary<string, TensorData> inputs);
}

/// <summary>The engines that every theory of this project runs over.</summary>
public static class Engines
{
    static readonly Dictionary<string, IEngine> ByName = new()
    {
        ["onnx"] = new OnnxEngine(InferenceMode.Throughput),
        ["onnx-latency"] = new OnnxEngine(InferenceMode.Latency),
        ["onnx-portable"] = new PortableEngine(),
        ["torch"] = new TorchEngine(),
    };

    public static IReadOnlyCollection<string> All => ByName.Keys;

    public static TheoryData<string> Names => [.. ByName.Keys];

    public static IEngine Get(string name) => ByName[name];

    sealed class OnnxEngine(InferenceMode mode) : IEngine
    {
        public IReadOnlyDictionary<string, TensorData> Run(
            IProgram program, IReadOnlyDictionary<string, TensorData> weights, IReadOnlyDictionary<string, TensorData> inputs)
        {
            using var session = OnnxSession.Open(program, weights, new() { Mode = mode, Threads = 1 });
            return session.Run(inputs);
        }
    }

    /// <summary>The graph that is exported.</summary>
    sealed class PortableEngine : IEngine
    {
        public IReadOnlyDictionary<string, TensorData> Run(
            IProgram program, IReadOnlyDictionary<string, TensorData> weights, IReadOnlyDictionary<string, TensorData> inputs)
        {
            using var session = new OnnxSession(OnnxRecorder.Record(program, weights), threads: 1);
            return session.Run(inputs);
        }
    }

    sealed class TorchEngine : IEngine
    {
        public IReadOnlyDictionary<string, TensorData> Run(
            IProgram program, IReadOnlyDictionary<string, TensorData> weights, IReadOnlyDictionary<string, TensorData> inputs)
        {
            using TorchModel model = TorchModel.Load(program, weights);
            return model.Run(program, inputs);
        }
    }
}
