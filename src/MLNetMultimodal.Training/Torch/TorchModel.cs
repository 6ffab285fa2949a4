using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;
using TorchSharp;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>The weights of a model as trainable tensors. Not thread-safe.</summary>
public sealed class TorchModel : IDisposable
{
    readonly Dictionary<string, Parameter> _parameters;

    TorchModel(IReadOnlyList<ParameterSpec> specs, Dictionary<string, Parameter> parameters, Device device) =>
        (Specs, _parameters, Device) = (specs, parameters, device);

    /// <summary>What the weights are, in the order of the program.</summary>
    public IReadOnlyList<ParameterSpec> Specs { get; }

    /// <summary>The weights by name: float32 leaves that ask for gradients.</summary>
    public IReadOnlyDictionary<string, Parameter> Parameters => _parameters;

    /// <summary>Where they lie.</summary>
    public Device Device { get; }

    /// <summary>Weights drawn from their specs' distributions.</summary>
    /// <param name="program">The whole model.</param>
    /// <param name="seed">One seed gives one result, on every machine with the same libtorch.</param>
    /// <param name="device">Where to; null for the CPU.</param>
    public static TorchModel Create(IProgram program, int seed, Device? device = null)
    {
        using var generator = new Generator(unchecked((ulong)seed), CPU);
        return Build(ModelSummary.Of(program).Parameters, device, spec =>
        {
            Tensor weight = empty([.. spec.Shape.Select(d => (long)d)], ScalarType.Float32);
            return spec.Init.Kind == InitKind.Constant ? weight.fill_(spec.Init.Value) : weight.normal_(0, spec.Init.Value, generator);
        });
    }

    /// <summary>Weights of a checkpoint.</summary>
    /// <param name="program">The whole model.</param>
    /// <param name="weights">What the program asks for, in any float type; more is left aside, so that the encoders of a model
    /// can be loaded alone.
    /// <see cref="CheckpointWeights.For"/> refuses surplus weights.</param>
    /// <param name="device">Where to; null for the CPU.</param>
    /// <exception cref="InvalidDataException">Weights are missing or of another shape or type; one message names them
    /// all.</exception>
    public static TorchModel Load(IProgram program, IReadOnlyDictionary<string, TensorData> weights, Device? device = null)
    {
        IReadOnlyList<ParameterSpec> specs = ModelSummary.Of(program).Parameters;
        CheckpointWeights.Check(specs, weights, [.. weights.Keys], program.Name);
        return Build(specs, device, spec => tensor(weights[spec.Name].ToSingles(), [.. weights[spec.Name].Shape]));
    }

    static TorchModel Build(IReadOnlyList<ParameterSpec> specs, Device? device, Func<ParameterSpec, Tensor> make)
    {
        device ??= CPU;
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        var parameters = new Dictionary<string, Parameter>(StringComparer.Ordinal);
        foreach (ParameterSpec spec in specs)
            parameters[spec.Name] = (Parameter)new Parameter(make(spec).to(device), requires_grad: true).DetachFromDisposeScope();
        return new(specs, parameters, device);
    }

    /// <summary>Runs a program once, without gradients.</summary>
    /// <param name="program">A program of this model.</param>
    /// <param name="inputs">Its inputs by name; F32, I64 or BOOL.</param>
    /// <returns>The outputs by name.</returns>
    public IReadOnlyDictionary<string, TensorData> Run(IProgram program, IReadOnlyDictionary<string, TensorData> inputs)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        var tensors = program.Inputs.ToDictionary(i => i.Name, i => inputs[i.Name].ToTensor().to(Device));
        return program.Run(new TorchOps(_parameters), tensors).ToDictionary(o => o.Name, o => o.Value.ToTensorData());
    }

    /// <summary>A copy of the weights as they are now.</summary>
    public IReadOnlyDictionary<string, TensorData> ToWeights() => Specs.ToDictionary(s => s.Name, s => _parameters[s.Name].ToTensorData());

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        foreach (Tensor parameter in _parameters.Values) parameter.Dispose();
        _parameters.Clear();
    }
}
