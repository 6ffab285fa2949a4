using System.CommandLine;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>run</c>: raw tensors through a model, in either engine.</summary>
static class RunCommand
{
    const string Input = "in.", Output = "out.", Onnx = "onnx", Torch = "torch";

    sealed record Row(string Name, string Type, IReadOnlyList<long> Shape);

    public static Command Create()
    {
        Option<string> model = ToolOptions.Model();
        Option<string> inputs =
            ToolOptions.Required<string>("--inputs", "F", "A safetensors file; its tensors in.* are the inputs.");
        Option<string> outputs =
            ToolOptions.Required<string>("--outputs", "F", "The safetensors file to write, outputs named out.*");
        Option<string> backend = ToolOptions.Defaulting("--backend", "The engine.", Onnx).AcceptOnlyFromAmong(Onnx, Torch);
        Option<string?> weights = new("--weights") { HelpName = "F", Description = "Another file of weights, in the model folder or elsewhere." };
        Option<string?> adapter = ToolOptions.Adapter();
        Option<string> format = ToolOptions.Format(ResultWriter.Table, ResultWriter.Json);
        var command = new Command("run", "Run raw tensors through a model.")
        {
            model, inputs, outputs, backend, weights, adapter, format,
        };
        command.SetAction(parsed =>
        {
            IReadOnlyList<Row> rows = Run(ModelFiles.FromFolder(parsed.GetRequiredValue(model)), parsed.GetValue(weights),
                parsed.GetValue(adapter), parsed.GetRequiredValue(inputs), parsed.GetRequiredValue(outputs),
                parsed.GetRequiredValue(backend));
            ResultWriter.Write(parsed.GetValue(format), rows, ["output", "type", "shape"],
                r => [r.Name, r.Type, ResultWriter.Shape(r.Shape)]);
            return ExitCode.Done;
        });
        return command;
    }

    static IReadOnlyList<Row> Run(
        ModelFiles files, string? weightsFile, string? adapter, string inputsFile, string outputsFile, string backend)
    {
        using Safetensors io = Safetensors.Open(inputsFile);
        Dictionary<string, TensorData> inputs = io.Where(t => t.Key.StartsWith(Input, StringComparison.Ordinal))
            .ToDictionary(t => t.Key[Input.Length..], t => t.Value);
        bool graphs = weightsFile is null && backend == Onnx && !ModelWeights.Exist(files) && files.Contains("config.json");
        Dictionary<string, TensorData> outputs = graphs ? RunGraphs(files, adapter, inputs, inputsFile)
            : RunPrograms(files, weightsFile, adapter, inputs, inputsFile, backend);
        Safetensors.Write(outputsFile, outputs);
        return [.. outputs.Select(o => new Row(o.Key, o.Value.Type.ToString(), o.Value.Shape))];
    }

    static Dictionary<string, TensorData> RunGraphs(
        ModelFiles files, string? adapter, Dictionary<string, TensorData> inputs, string inputsFile)
    {
        using MultimodalModel model = ToolOptions.Load(files.Name, adapter);
        Dictionary<string, TensorData> fitting = new(inputs, StringComparer.Ordinal);
        foreach (TensorSpec spec in Programs(model.Definition, inputs, inputsFile).SelectMany(p => p.Inputs))
            fitting[spec.Name] = Fit(spec, inputs[spec.Name]);
        return model.Run(fitting).ToDictionary(o => Output + o.Key, o => o.Value, StringComparer.Ordinal);
    }

    static Dictionary<string, TensorData> RunPrograms(ModelFiles files, string? weightsFile, string? adapter,
        Dictionary<string, TensorData> inputs, string inputsFile, string backend)
    {
        IModelDefinition definition = ModelFamilies.Create(files);
        using Safetensors? elsewhere =
            weightsFile is not null && !files.Contains(weightsFile) && File.Exists(weightsFile) ? Safetensors.Open(weightsFile) : null;
        using ModelWeights? stored = elsewhere is null ? files.OpenWeights(weightsFile) : null;
        IReadOnlyDictionary<string, TensorData> weights =
            CheckpointWeights.For(definition, elsewhere ?? (IReadOnlyDictionary<string, TensorData>)stored!, weightsFile ?? files.Name);
        if (adapter is not null) weights = LoraAdapter.Load(adapter).Merge(weights);
        var outputs = new Dictionary<string, TensorData>(StringComparer.Ordinal);
        foreach (IProgram program in Programs(definition, inputs, inputsFile))
        {
            Dictionary<string, TensorData> fitting =
                program.Inputs.ToDictionary(spec => spec.Name, spec => Fit(spec, inputs[spec.Name]));
            var results = backend == Torch ? RunTorch(program, weights, fitting) : RunOnnx(program, weights, fitting);
            foreach (var (name, value) in results) outputs[Output + name] = value;
        }
        return outputs;
    }

    /// <summary>The whole model where all its inputs are there, else the encoders whose inputs are there.</summary>
    static IReadOnlyList<IProgram> Programs(IModelDefinition definition, Dictionary<string, TensorData> inputs, string inputsFile)
    {
        bool Given(IProgram program) => program.Inputs.All(i => inputs.ContainsKey(i.Name));
        if (Given(definition.Full)) return [definition.Full];
        IProgram[] encoders = [.. definition.Encoders.Values.Where(Given)];
        if (encoders.Length > 0) return encoders;
        string wanted = string.Join(", ", definition.Full.Inputs.Select(i => Input + i));
        string found = inputs.Count > 0 ? string.Join(", ", inputs.Keys.Select(k => Input + k)) : "none";
        throw new InvalidDataException($"the model takes the inputs {wanted}; '{inputsFile}' has {found}.");
    }

    /// <summary>The input in the type that the program takes, its shape checked.</summary>
    static TensorData Fit(TensorSpec spec, TensorData data)
    {
        TensorData fitting = (spec.Type, data.Type) switch
        {
            (ElementType.Float32, DType.F64 or DType.F16 or DType.BF16) => TensorData.From(data.ToSingles(), data.Shape),
            (ElementType.Int64, DType.I32 or DType.I16 or DType.I8 or DType.U8) => TensorData.From(data.ToInt64s(), data.Shape),
            _ => data,
        };
        DType wanted = spec.Type switch { ElementType.Float32 => DType.F32, ElementType.Int64 => DType.I64, _ => DType.BOOL };
        bool fits = fitting.Type == wanted && data.Shape.Count == spec.Shape.Length
            && spec.Shape.Zip(data.Shape).All(d => d.First.IsKnown ? d.First.Size == d.Second : d.Second > 0);
        return fits ? fitting : throw new InvalidDataException(
            $"the input must be {Input}{spec}, but is {data.Type} {ResultWriter.Shape(data.Shape)}.");
    }

    static IReadOnlyDictionary<string, TensorData> RunOnnx(
        IProgram program, IReadOnlyDictionary<string, TensorData> weights, IReadOnlyDictionary<string, TensorData> inputs)
    {
        using var session = OnnxSession.Open(program, weights);
        return session.Run(inputs);
    }

    static IReadOnlyDictionary<string, TensorData> RunTorch(
        IProgram program, IReadOnlyDictionary<string, TensorData> weights, IReadOnlyDictionary<string, TensorData> inputs)
    {
        using TorchModel model = TorchModel.Load(program, weights);
        return model.Run(program, inputs);
    }
}
