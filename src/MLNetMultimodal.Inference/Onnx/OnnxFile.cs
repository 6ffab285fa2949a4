using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>A graph that lies in a model folder, whoever recorded it: what it takes and gives. Its weights are not read
/// here.</summary>
sealed class OnnxFile
{
    readonly ModelFiles _files;

    OnnxFile(ModelFiles files, string path, GraphHead graph, IReadOnlyList<string> external)
    {
        (_files, Path, External) = (files, path, external);
        HashSet<string> stored = [.. graph.Initializer.Select(i => i.Name)]; // old files list weights as inputs too
        Inputs = [.. graph.Input.Where(i => !stored.Contains(i.Name)).Select(i => Spec(i) ?? throw new NotSupportedException(
            $"'{FullName}' has the input '{i.Name}' of ONNX type {i.Type?.TensorType?.ElemType ?? 0}; floats of 32 bits, "
            + "integers of 64 bits and booleans can be given."))];
        Outputs = [.. graph.Output.Select(Spec).OfType<TensorSpec>()];
        OtherOutputs = [.. graph.Output.Where(o => Spec(o) is null).Select(o => o.Name)];
    }

    /// <summary>Where it lies in the folder, with <c>/</c>.</summary>
    public string Path { get; }

    /// <summary>Folder and file, for messages.</summary>
    public string FullName => $"{_files.Name}/{Path}";

    /// <summary>What it takes.</summary>
    public IReadOnlyList<TensorSpec> Inputs { get; }

    /// <summary>What it gives; outputs of other types than floats of 32 bits, integers of 64 bits and booleans are left
    /// out.</summary>
    public IReadOnlyList<TensorSpec> Outputs { get; }

    /// <summary>Names of the outputs that are left out of <see cref="Outputs"/>.</summary>
    public IReadOnlyList<string> OtherOutputs { get; }

    /// <summary>The files of weights beside it, as paths in the folder.</summary>
    public IReadOnlyList<string> External { get; }

    /// <summary>Reads inputs and outputs, and looks where the weights lie.</summary>
    /// <param name="files">The folder.</param>
    /// <param name="path">The graph in it.</param>
    /// <exception cref="InvalidDataException">It is no ONNX file, or its weights lie outside of its own folder or are
    /// missing.</exception>
    /// <exception cref="NotSupportedException">An input is of a type that cannot be given.</exception>
    public static OnnxFile Read(ModelFiles files, string path)
    {
        string name = $"{files.Name}/{path}";
        ModelHead head;
        try
        {
            using Stream stream = Stream(files, path);
            head = ModelHead.Parser.WithDiscardUnknownFields(true).ParseFrom(stream);
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new InvalidDataException($"'{name}' is damaged, or is no ONNX file: {e.Message}", e);
        }
        if (head.Graph is null || head.Graph.Output.Count == 0) throw new InvalidDataException($"'{name}' holds no graph.");
        string folder = path[..(path.LastIndexOf('/') + 1)];
        string[] external = [.. Locations(head).Distinct(StringComparer.Ordinal)];
        foreach (string location in external) Check(files, name, folder, location);
        return new(files, path, head.Graph, [.. external.Select(location => folder + location)]);
    }

    /// <summary>Opens a session.</summary>
    /// <param name="options">Mode, threads, cache.</param>
    /// <exception cref="InvalidDataException">ONNX Runtime refuses the graph.</exception>
    /// <exception cref="IOException">The graph cache cannot be written.</exception>
    public OnnxSession Open(InferenceOptions options)
    {
        try
        {
            return OnnxSession.Open(this, _files, options);
        }
        catch (OnnxRuntimeException e)
        {
            throw new InvalidDataException($"'{FullName}' cannot be run: {e.Message}", e);
        }
    }

    static Stream Stream(ModelFiles files, string path)
    {
        if (files.Folder is { } folder) return File.OpenRead(System.IO.Path.Combine(folder, path));
        return new MemoryStream(files.Read(path).ToArray(), writable: false);
    }

    static void Check(ModelFiles files, string name, string folder, string location)
    {
        bool leaves = location.Length == 0 || location.Contains('\\') || System.IO.Path.IsPathRooted(location)
            || location.Split('/').Any(part => part is "" or "." or ".." || part.Contains(':'));
        if (leaves)
            throw new InvalidDataException(
                $"'{name}' has its weights in '{location}', which is outside of its folder, and is refused.");
        if (!files.Contains(folder + location))
            throw new InvalidDataException($"'{name}' has its weights in '{folder}{location}', which is missing.");
    }

    static IEnumerable<string> Locations(ModelHead model) =>
        Tensors(model.Graph).Concat(model.Functions.SelectMany(f => f.Node).SelectMany(Tensors))
            .SelectMany(t => t.ExternalData).Where(e => e.Key == "location").Select(e => e.Value);

    static IEnumerable<TensorHead> Tensors(GraphHead graph) => graph.Initializer
        .Concat(graph.SparseInitializer.SelectMany(Tensors)).Concat(graph.Node.SelectMany(Tensors));

    static IEnumerable<TensorHead> Tensors(NodeHead node) => node.Attribute.SelectMany(a => One(a.T).Concat(a.Tensors)
        .Concat(One(a.SparseTensor).Concat(a.SparseTensors).SelectMany(Tensors))
        .Concat(One(a.G).Concat(a.Graphs).SelectMany(Tensors)));

    static IEnumerable<TensorHead> Tensors(SparseTensorHead tensor) => One(tensor.Values).Concat(One(tensor.Indices));

    static IEnumerable<T> One<T>(T? item) where T : class => item is null ? [] : [item];

    static TensorSpec? Spec(ValueInfoProto value)
    {
        TypeProto.Types.Tensor? tensor = value.Type?.TensorType;
        ElementType? type = Enum.GetValues<ElementType>().Cast<ElementType?>()
            .FirstOrDefault(t => OnnxGraph.OnnxType(t!.Value) == tensor?.ElemType);
        return type is null ? null : new(value.Name, type.Value, [.. (tensor!.Shape?.Dim ?? []).Select(Size)]);
    }

    static Dim Size(TensorShapeProto.Types.Dimension dim, int axis) => dim.DimValue is > 0 and <= int.MaxValue
        ? (int)dim.DimValue : Dim.Dynamic(dim.DimParam is { Length: > 0 } symbol ? symbol : $"axis {axis}");
}
