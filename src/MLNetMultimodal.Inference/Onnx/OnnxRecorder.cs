using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>Writes a program down as an ONNX graph.</summary>
public static class OnnxRecorder
{
    /// <summary>Interprets a program once and records what it does. Batches and lengths stay open; sizes of the config become
    /// constants. Only standard operators are used (operator set 17), so that any ONNX runtime reads the result.</summary>
    /// <param name="program">The program. Input dimensions with the same symbol have the same size whenever the graph
    /// runs.</param>
    /// <param name="weights">Floating-point weights by name. 32-bit floats are not copied: they must stay readable as long as the
    /// result is used.</param>
    /// <exception cref="InvalidDataException">A weight is missing or of another shape.</exception>
    /// <exception cref="ArgumentException">Shapes of the program do not fit together.</exception>
    public static OnnxModel Record(IProgram program, IReadOnlyDictionary<string, TensorData> weights)
    {
        var (graph, values) = Interpret(program, weights, OnnxDtype.Fp32, GraphTarget.Portable);
        return new(program.Name, program.Inputs, [.. values.Select(v => graph.Output(v.Key, v.Value))], graph.Build());
    }

    /// <summary>Records a program for a session of this process: what ONNX Runtime runs fastest, and weights that stay in their
    /// file.</summary>
    /// <param name="program">The program.</param>
    /// <param name="weights">Floating-point weights by name; they must stay readable until the session is opened.</param>
    /// <param name="dtype">How weights are stored.</param>
    /// <param name="maps">False copies weights into the graph even where they lie in a file.</param>
    /// <param name="fusesAttention">True makes one operator of self-attention.</param>
    internal static OnnxModel RecordFastest(
        IProgram program, IReadOnlyDictionary<string, TensorData> weights, OnnxDtype dtype, bool maps, bool fusesAttention = false)
    {
        var (graph, values) = Interpret(program, weights, dtype, GraphTarget.Fastest, maps, fusesAttention);
        TensorSpec[] outputs = [.. values.Select(v => graph.Output(v.Key, v.Value))];
        return new(program.Name, program.Inputs, outputs, graph.Build()) { Mapped = graph.Mapped };
    }

    /// <summary>Records a part of a program under other names: some of its outputs, and the inputs that these need.</summary>
    /// <param name="name">Name of the graph.</param>
    /// <param name="program">The program.</param>
    /// <param name="outputs">Outputs of the program by the name that each gets in the graph; null for all by their own.</param>
    /// <param name="weights">Floating-point weights by name.</param>
    /// <param name="dtype">How weights are stored.</param>
    internal static OnnxModel Record(string name, IProgram program, IReadOnlyDictionary<string, string>? outputs,
        IReadOnlyDictionary<string, TensorData> weights, OnnxDtype dtype)
    {
        var (graph, values) = Interpret(program, weights, dtype, GraphTarget.Portable);
        outputs ??= values.Keys.ToDictionary(name => name, StringComparer.Ordinal);
        TensorSpec[] specs = [.. outputs.Select(o => graph.Output(o.Key, values[o.Value]))];
        ModelProto proto = graph.Build(onlyUsedInputs: true);
        HashSet<string> inputs = [.. proto.Graph.Input.Select(i => i.Name)];
        return new(name, [.. program.Inputs.Where(i => inputs.Contains(i.Name))], specs, proto);
    }

    static (OnnxGraph Graph, Dictionary<string, OnnxValue> Outputs) Interpret(
        IProgram program, IReadOnlyDictionary<string, TensorData> weights, OnnxDtype dtype, GraphTarget target,
        bool maps = false, bool fusesAttention = false)
    {
        var graph = new OnnxGraph(program.Name, weights, target, halves: dtype == OnnxDtype.Fp16, maps);
        Dictionary<string, OnnxValue> inputs = program.Inputs.ToDictionary(i => i.Name, graph.Input, StringComparer.Ordinal);
        var linear = new OnnxLinear(graph, dtype);
        var outputs = program.Run(new OnnxOps(graph, linear, fusesAttention ? new(graph, linear) : null), inputs);
        return (graph, outputs.ToDictionary(o => o.Item1, o => o.Item2, StringComparer.Ordinal));
    }
}
