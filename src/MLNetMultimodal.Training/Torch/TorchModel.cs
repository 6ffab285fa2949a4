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
    readonly IProgram _program;
    LoraConfig? _lora;

    TorchModel(IProgram program, IReadOnlyList<ParameterSpec> specs, Dictionary<string, Parameter> parameters, Device device) =>
        (_program, Specs, _parameters, Device) = (program, specs, parameters, device);

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
        return Build(program, ModelSummary.Of(program).Parameters, device, spec =>
        {
            Tensor weight = empty([.. spec.Shape.Select(d => (long)d)], ScalarType.Float32);
            return spec.Init.Kind switch
            {
                InitKind.Constant => weight.With(spec.Init.Value, (w, value) => w.fill_(value)),
                InitKind.Grid => weight.copy_(tensor(GridPositions(spec.Shape, spec.Init), [.. spec.Shape.Select(d => (long)d)])),
                _ => weight.normal_(0, spec.Init.Value, generator),
            };
        });
    }

    /// <summary>Row-major [.., prefix + side * side, D], see <see cref="Init.Grid"/>.</summary>
    static float[] GridPositions(IReadOnlyList<int> shape, Init init)
    {
        int prefix = (int)init.Value, width = shape[^1], quarter = width / 4, side = (int)Math.Round(Math.Sqrt(shape[^2] - prefix));
        var positions = new float[shape[^2] * width];
        for (int row = 0; row < side; row++)
            for (int column = 0; column < side; column++)
                for (int i = 0; i < quarter; i++)
                {
                    int at = (prefix + row * side + column) * width + i;
                    double frequency = Math.Pow(init.Range, -(double)i / quarter);
                    (positions[at], positions[at + quarter]) = ((float)Math.Sin(column * frequency), (float)Math.Cos(column * frequency));
                    (positions[at + 2 * quarter], positions[at + 3 * quarter]) = ((float)Math.Sin(row * frequency), (float)Math.Cos(row * frequency));
                }
        return positions;
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
        // A copy in torch's own, aligned memory: the order of sums, and with it the last bits, must not depend on where .NET put the array.
        return Build(program, specs, device, spec => tensor(weights[spec.Name].ToSingles(), [.. weights[spec.Name].Shape]).clone());
    }

    static TorchModel Build(IProgram program, IReadOnlyList<ParameterSpec> specs, Device? device, Func<ParameterSpec, Tensor> make)
    {
        device ??= CPU;
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        var parameters = new Dictionary<string, Parameter>(StringComparer.Ordinal);
        foreach (ParameterSpec spec in specs)
            parameters[spec.Name] = (Parameter)new Parameter(make(spec).to(device), requires_grad: true).DetachFromDisposeScope();
        return new(program, specs, parameters, device);
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
        return program.Run(Ops(), tensors).ToDictionary(o => o.Name, o => o.Value.ToTensorData());
    }

    /// <summary>A copy of the weights as they are now, adapters merged into them.</summary>
    public IReadOnlyDictionary<string, TensorData> ToWeights()
    {
        Dictionary<string, TensorData> weights = Specs.ToDictionary(s => s.Name, s => _parameters[s.Name].ToTensorData());
        return Adapter()?.Merge(weights) ?? weights;
    }

    /// <summary>Full names of the linear layers and convolutions that have adapters; empty without <see cref="AddLora"/>.</summary>
    public IReadOnlyList<string> AdaptedLayers { get; private set; } = [];

    /// <summary>Puts low-rank adapters beside linear layers and convolutions: A drawn as PEFT does it, B of zeros, so that nothing
    /// changes until they are trained. The adapters are <see cref="Parameters"/> under the names that <see cref="LoraAdapter.NameOfA"/> gives.</summary>
    /// <param name="config">Rank, strength, layers.</param>
    /// <param name="seed">One seed gives one result.</param>
    /// <exception cref="ArgumentException">No such layer is meant; the message lists what there is.</exception>
    /// <exception cref="InvalidOperationException">The model has adapters already.</exception>
    public void AddLora(LoraConfig config, int seed)
    {
        if (_lora is not null) throw new InvalidOperationException("the model has adapters already.");
        string[] layers = [.. ModelSummary.Of(_program).Layers.Where(l => l.Operation is "Linear" or "Conv2d").Select(l => l.Layer).Distinct()];
        string[] adapted = [.. layers.Where(config.Adapts)];
        if (adapted.Length == 0)
            throw new ArgumentException($"no linear layer or convolution is named {string.Join(", ", config.Targets)}; there are "
                + $"{string.Join(", ", layers.Select(l => l[(l.LastIndexOf('.') + 1)..]).Distinct())}.", nameof(config));
        using var generator = new Generator(unchecked((ulong)seed), CPU);
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        foreach (string layer in adapted)
        {
            Parameter weight = _parameters[layer + ".weight"]; // [out, in] or [out, in, k, k]
            double bound = 1 / Math.Sqrt(weight.numel() / weight.shape[0]);
            Add(LoraAdapter.NameOfA(layer), rand([config.Rank, .. weight.shape[1..]], generator: generator).Times(2).Plus(-1).Times(bound));
            Add(LoraAdapter.NameOfB(layer), zeros([weight.shape[0], config.Rank, .. weight.shape[2..].Select(_ => 1L)]));
        }
        (_lora, AdaptedLayers) = (config, adapted);

        void Add(string name, Tensor value) =>
            _parameters.Add(name, (Parameter)new Parameter(value.to(Device), requires_grad: true).DetachFromDisposeScope());
    }

    /// <summary>A copy of the adapters as they are now; null where there are none.</summary>
    /// <param name="baseModel">The model they belong to, for PEFT; null where it has no name.</param>
    public LoraAdapter? Adapter(string? baseModel = null) => _lora is null ? null : new(_lora, AdaptedLayers.ToDictionary(l => l,
        l => (_parameters[LoraAdapter.NameOfA(l)].ToTensorData(), _parameters[LoraAdapter.NameOfB(l)].ToTensorData()), StringComparer.Ordinal), baseModel);

    /// <summary>All weights of the program, as they are trained.</summary>
    internal IReadOnlyList<NamedParameter> Trained() => [.. Specs.Select(s => new NamedParameter(s.Name, _parameters[s.Name], s.Decays))];

    /// <summary>The engine over these weights.</summary>
    internal TorchOps Ops(TorchOpsOptions? options = null) => new(_parameters, (options ?? new()) with { Lora = _lora });

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        foreach (Tensor parameter in _parameters.Values) parameter.Dispose();
        _parameters.Clear();
    }
}
