using System.Buffers;
using System.Runtime.Intrinsics.X86;
using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>A recorded model in ONNX Runtime. Thread-safe: several threads may run one session at once. Inputs and outputs are
/// the caller's memory.</summary>
public sealed class OnnxSession : IEncoder, IDisposable
{
    readonly InferenceSession _session;
    readonly string _name;
    readonly string? _folder;

    /// <summary>Runs that may be under way at once where each has one thread.</summary>
    static readonly SemaphoreSlim Cores = new(Environment.ProcessorCount);

    readonly bool _gated;

    /// <summary>Records a program for this process and opens it: ONNX Runtime's fastest operators, and weights that it maps from
    /// their file where they lie in one, without a copy before.</summary>
    /// <param name="program">The program.</param>
    /// <param name="weights">Floating-point weights by name; they must stay readable until this returns.</param>
    /// <param name="options">Mode, threads, dtype, cache; null for the defaults.</param>
    /// <exception cref="InvalidDataException">A weight is missing or of another shape.</exception>
    /// <exception cref="IOException">The graph cache cannot be written.</exception>
    /// <exception cref="NotSupportedException">The dtype is for folders of graphs only.</exception>
    /// <exception cref="OnnxRuntimeException">ONNX Runtime refuses the graph.</exception>
    public static OnnxSession Open(
        IProgram program, IReadOnlyDictionary<string, TensorData> weights, InferenceOptions? options = null)
    {
        options ??= new();
        if (GraphCache.Of(options) is not { } cache) return Record(program, weights, options);
        OnnxModel plain = OnnxRecorder.RecordFastest(program, weights, OnnxDtype.Fp32, maps: true, options.FusesAttention);
        string key = GraphKey.Of(plain, options);
        using SessionOptions settings = Options(options);
        // Where a file was replaced meanwhile, the key may be that of other weights.
        InferenceSession? session = !IsUnchanged(plain) ? null : cache.Open(key, settings, keepIn =>
        {
            Record(program, weights, options, keepIn).Dispose();
            return IsUnchanged(plain);
        });
        return session is null ? Record(program, weights, options) : new(plain.Name, plain.Inputs, plain.Outputs, options, session);
    }

    static OnnxSession Record(
        IProgram program, IReadOnlyDictionary<string, TensorData> weights, InferenceOptions options, string? keepIn = null)
    {
        OnnxDtype dtype = options.Dtype ?? OnnxDtype.Fp32;
        OnnxModel model = OnnxRecorder.RecordFastest(program, weights, dtype, maps: true, options.FusesAttention);
        if (model.Mapped.Count > 0 && model.WeightBytes <= OnnxModel.MaxEmbeddedBytes
            && TryOpen(model, options, keepIn) is { } session)
            return session;
        if (model.Mapped.Count > 0) model = OnnxRecorder.RecordFastest(program, weights, dtype, maps: false, options.FusesAttention);
        return new(model, options, OnnxModel.MaxEmbeddedBytes, keepIn);
    }

    /// <summary>Null where a file of weights was replaced since it was opened: the weights that belong to the model are still in
    /// the map, but no longer under the file's name.</summary>
    static OnnxSession? TryOpen(OnnxModel model, InferenceOptions options, string? keepIn)
    {
        try
        {
            var session = new OnnxSession(model, options, OnnxModel.MaxEmbeddedBytes, keepIn);
            if (IsUnchanged(model)) return session;
            session.Dispose();
            return null;
        }
        catch (OnnxRuntimeException) when (!IsUnchanged(model))
        {
            return null;
        }
    }

    static bool IsUnchanged(OnnxModel model) =>
        model.Mapped.All(file => file.Value.TryGetFile(out string? path, out _) && path == file.Key);

    /// <summary>Opens a session; weights are copied into it.</summary>
    /// <param name="model">The recorded model.</param>
    /// <param name="threads">Threads that one run uses; 0 for one per core.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="threads"/> is negative.</exception>
    /// <exception cref="OnnxRuntimeException">ONNX Runtime refuses the graph.</exception>
    public OnnxSession(OnnxModel model, int threads = 0) : this(model, new() { Threads = threads }, OnnxModel.MaxEmbeddedBytes) { }

    internal OnnxSession(OnnxModel model, InferenceOptions settings, long maxEmbeddedBytes, string? keepIn = null)
    {
        (_name, Inputs, Outputs, _gated) = (model.Name, model.Inputs, model.Outputs, settings.Mode == InferenceMode.Throughput);
        using SessionOptions options = Options(settings);
        if (keepIn is not null) GraphCache.KeepLaidOutIn(keepIn, options);
        if (model.Mapped.Count > 0)
            options.AddSessionConfigEntry(
                "session.model_external_initializers_file_folder_path", Path.GetDirectoryName(model.Mapped.First().Key)!);
        if (model.WeightBytes <= maxEmbeddedBytes)
        {
            _session = new(model.Proto.ToByteArray(), options);
            return;
        }
        // Too large for one message: by way of external data.
        _folder = Directory.CreateTempSubdirectory("mlnet-multimodal-session-").FullName;
        try
        {
            string path = Path.Combine(_folder, "model.onnx");
            model.SaveTo(path, maxEmbeddedBytes);
            _session = new(path, options);
        }
        catch
        {
            Directory.Delete(_folder, recursive: true);
            throw;
        }
    }

    /// <summary>Opens a graph that lies in a model folder.</summary>
    internal static OnnxSession Open(OnnxFile file, ModelFiles files, InferenceOptions options)
    {
        if (GraphCache.Of(options) is not { } cache) return new(file, files, options, keepIn: null);
        string[] paths = [file.Path, .. file.External];
        string Times() => files.Folder is not { } folder ? "" : string.Join(' ', paths
            .Select(path => new FileInfo(Path.Combine(folder, path)))
            .Select(info => $"{info.Length} {info.LastWriteTimeUtc.Ticks} {info.CreationTimeUtc.Ticks}"));
        string before = Times(), key = GraphKey.Of(files, paths, options);
        using SessionOptions settings = Options(options);
        InferenceSession? session = Times() != before ? null : cache.Open(key, settings, keepIn =>
        {
            new OnnxSession(file, files, options, keepIn).Dispose();
            return Times() == before;
        });
        return session is null ? new(file, files, options, keepIn: null)
            : new(file.FullName, file.Inputs, file.Outputs, options, session);
    }

    /// <summary>Opens a graph of a folder; from files in memory by way of a temporary folder where its weights lie beside
    /// it.</summary>
    OnnxSession(OnnxFile file, ModelFiles files, InferenceOptions settings, string? keepIn)
    {
        (_name, Inputs, Outputs, _gated) = (file.FullName, file.Inputs, file.Outputs, settings.Mode == InferenceMode.Throughput);
        using SessionOptions options = Options(settings);
        if (keepIn is not null) GraphCache.KeepIn(keepIn, options);
        if (files.Folder is { } folder) _session = new(Path.Combine(folder, file.Path), options);
        else if (file.External.Count == 0) _session = new(files.Read(file.Path).ToArray(), options);
        else
        {
            _folder = Directory.CreateTempSubdirectory("mlnet-multimodal-graph-").FullName;
            try
            {
                foreach (string name in file.External.Append(file.Path))
                    AtomicFile.Write(Path.Combine(_folder, name), stream => stream.Write(files.Read(name).Span));
                _session = new(Path.Combine(_folder, file.Path), options);
            }
            catch
            {
                Directory.Delete(_folder, recursive: true);
                throw;
            }
        }
    }

    OnnxSession(string name, IReadOnlyList<TensorSpec> inputs, IReadOnlyList<TensorSpec> outputs, InferenceOptions settings,
        InferenceSession session) =>
        (_name, Inputs, Outputs, _gated, _session) = (name, inputs, outputs, settings.Mode == InferenceMode.Throughput, session);

    static SessionOptions Options(InferenceOptions settings)
    {
        var options = new SessionOptions
        {
            IntraOpNumThreads = settings.RunThreads,
            GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_ALL,
            LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR,
        };
        // Threads wait for each other within a run by spinning; between runs they leave the cores to others.
        options.AddSessionConfigEntry("session.force_spinning_stop", "1");
        // Sums of products of unsigned and signed bytes would saturate in the graphs of others; the way around it is slow.
        if (LacksVnni) options.AddSessionConfigEntry("session.x64quantprecision", "1");
        if (settings.ShareWeights) options.AddSessionConfigEntry("session.disable_prepacking", "1");
        return options;
    }

    /// <summary>True on x86 processors without AVX512_VNNI and AVX_VNNI.</summary>
    internal static bool LacksVnni => X86Base.IsSupported
        && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) == 0 && (X86Base.CpuId(7, 1).Eax & (1 << 4)) == 0;

    /// <summary>What it takes.</summary>
    public IReadOnlyList<TensorSpec> Inputs { get; }

    /// <summary>What it gives.</summary>
    public IReadOnlyList<TensorSpec> Outputs { get; }

    string[] InputNames => field ??= [.. Inputs.Select(i => i.Name)];

    /// <summary>Runs the model and gives all outputs.</summary>
    /// <param name="inputs">One tensor per input, by name: F32, I64 or BOOL as <see cref="Inputs"/> say; others are left
    /// aside.</param>
    /// <returns>The outputs by name.</returns>
    /// <exception cref="ArgumentException">An input is missing, or of another type or shape.</exception>
    /// <exception cref="InvalidOperationException">The values do not suit the model: a length beyond its positions, an id beyond
    /// its table.</exception>
    public IReadOnlyDictionary<string, TensorData> Run(IReadOnlyDictionary<string, TensorData> inputs) => Run(inputs, Outputs);

    internal IReadOnlyDictionary<string, TensorData> Run(
        IReadOnlyDictionary<string, TensorData> inputs, IReadOnlyList<TensorSpec> outputs)
    {
        using var bound = new Bound();
        foreach (TensorSpec spec in Inputs)
        {
            if (!inputs.TryGetValue(spec.Name, out TensorData? data))
                throw new ArgumentException(
                    $"the input {spec} is missing; given are {string.Join(", ", inputs.Keys)}.", nameof(inputs));
            Check(spec, data.Type, data.Shape);
            bound.Add(data.Bytes, spec.Type, [.. data.Shape]);
        }
        using IDisposableReadOnlyCollection<OrtValue> results = Guard(bound.Shapes, options =>
            _session.Run(options, InputNames, bound.Values, [.. outputs.Select(o => o.Name)]));
        return outputs.Zip(results).ToDictionary(o => o.First.Name, o => Read(o.First, o.Second), StringComparer.Ordinal);
    }

    /// <summary>Runs a model of one input and writes its first output into the caller's memory.</summary>
    /// <param name="input">The input's elements, row-major.</param>
    /// <param name="shape">The input's sizes.</param>
    /// <param name="output">The first output's elements, row-major.</param>
    /// <exception cref="ArgumentException">Type, shape or number of elements do not fit.</exception>
    /// <exception cref="InvalidOperationException">The values do not suit the model: a length beyond its positions, an id beyond
    /// its table.</exception>
    public void Run<T>(ReadOnlyMemory<T> input, ReadOnlySpan<long> shape, Span<float> output) where T : unmanaged
    {
        DType type = typeof(T) == typeof(float) ? DType.F32 : typeof(T) == typeof(long) ? DType.I64
            : throw new ArgumentException($"the input must be float or long, but is {typeof(T).Name}.", nameof(input));
        using var bound = new Bound();
        Bind(bound, 0, input, type, shape.ToArray());
        Run(bound, output);
    }

    /// <summary>Runs a model whose inputs are all integers and writes its first output into the caller's memory.</summary>
    internal void Run(ReadOnlySpan<(ReadOnlyMemory<long> Values, long[] Shape)> inputs, Span<float> output)
    {
        using var bound = new Bound();
        for (int i = 0; i < inputs.Length; i++) Bind(bound, i, inputs[i].Values, DType.I64, inputs[i].Shape);
        Run(bound, output);
    }

    void Bind<T>(Bound bound, int index, ReadOnlyMemory<T> input, DType type, long[] shape) where T : unmanaged
    {
        Check(Inputs[index], type, shape);
        long count = shape.Aggregate(1L, (n, size) => n * size);
        if (input.Length != count)
            throw new ArgumentException($"the input must have {count} elements, but has {input.Length}.", nameof(input));
        bound.Add(input, Inputs[index].Type, shape);
    }

    unsafe void Run(Bound inputs, Span<float> output)
    {
        long[] shape = [inputs.Shapes[0][0], .. Outputs[0].Shape[1..].Select(d => (long)d.Size)];
        if (output.Length != shape.Aggregate(1L, (n, d) => n * d))
            throw new ArgumentException(
                $"the output must have room for [{string.Join(", ", shape)}], but has {output.Length} elements.", nameof(output));
        fixed (float* target = output)
        {
            using OrtValue to = Wrap((nint)target, ElementType.Float32, shape, (long)output.Length * sizeof(float));
            Guard(inputs.Shapes, options =>
            {
                _session.Run(options, InputNames, inputs.Values, [Outputs[0].Name], [to]);
                return true;
            });
        }
    }

    T Guard<T>(IReadOnlyList<long[]> shapes, Func<RunOptions, T> run)
    {
        // Errors are thrown, not printed.
        using var options = new RunOptions { LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL };
        if (_gated) Cores.Wait();
        try
        {
            return run(options);
        }
        catch (OnnxRuntimeException e)
        {
            string inputs = string.Join(", ", Inputs.Select((spec, i) => $"{spec.Name} [{string.Join(", ", shapes[i])}]"));
            throw new InvalidOperationException($"the model '{_name}' failed on {inputs}: {e.Message}", e);
        }
        finally
        {
            if (_gated) Cores.Release();
        }
    }

    static void Check(TensorSpec spec, DType type, IReadOnlyList<long> shape)
    {
        bool fits = type == Stored(spec.Type) && shape.Count == spec.Shape.Length;
        for (int i = 0; fits && i < spec.Shape.Length; i++)
            fits = spec.Shape[i].IsKnown ? shape[i] == spec.Shape[i].Size : shape[i] > 0;
        if (!fits) throw new ArgumentException($"the input must be {spec}, but is {type} [{string.Join(", ", shape)}].");
    }

    static OrtValue Wrap(nint memory, ElementType type, long[] shape, long bytes) => OrtValue.CreateTensorValueWithData(
        OrtMemoryInfo.DefaultInstance, (TensorElementType)OnnxGraph.OnnxType(type), shape, memory, bytes);

    static DType Stored(ElementType type) => type switch
    {
        ElementType.Float32 => DType.F32,
        ElementType.Int64 => DType.I64,
        _ => DType.BOOL,
    };

    static TensorData Read(TensorSpec spec, OrtValue value) =>
        new(Stored(spec.Type), value.GetTensorTypeAndShape().Shape, value.GetTensorMutableRawData().ToArray());

    /// <summary>Closes the session. No run may be under way.</summary>
    public void Dispose()
    {
        _session.Dispose();
        if (_folder is not null && Directory.Exists(_folder)) Directory.Delete(_folder, recursive: true);
    }

    /// <summary>Values over pinned memory of the caller.</summary>
    sealed unsafe class Bound : IDisposable
    {
        readonly List<MemoryHandle> _pins = [];
        readonly List<OrtValue> _values = [];

        public IReadOnlyCollection<OrtValue> Values => _values;

        public List<long[]> Shapes { get; } = [];

        public void Add<T>(ReadOnlyMemory<T> elements, ElementType type, long[] shape) where T : unmanaged
        {
            MemoryHandle pin = elements.Pin();
            _pins.Add(pin);
            Shapes.Add(shape);
            _values.Add(Wrap((nint)pin.Pointer, type, shape, (long)elements.Length * sizeof(T)));
        }

        public void Dispose()
        {
            foreach (OrtValue value in _values) value.Dispose();
            foreach (MemoryHandle pin in _pins) pin.Dispose();
        }
    }
}
