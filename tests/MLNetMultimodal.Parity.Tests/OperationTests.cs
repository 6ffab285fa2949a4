using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests;

/// <summary>Every operation on every engine against plain loops in double precision, for several batches and lengths.</summary>
public sealed class OperationTests
{
    /// <summary>Values are of order 1 and sums have at most 54 terms, so float32 is off by a few 1e-6.</summary>
    const double AbsoluteTolerance = 1e-5, RelativeTolerance = 1e-5;

    static readonly (int Batch, int Length, int Keys)[] Sizes = [(1, 1, 1), (2, 5, 3), (3, 4, 7)];

    public static TheoryData<string, string> Cases
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (string engine in Engines.All)
                foreach (string operation in Operation.Names) data.Add(engine, operation);
            return data;
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Operation_gives_what_plain_loops_give(string engine, string operation)
    {
        var program = new Operation(operation);
        var random = new Random(7);
        Dictionary<string, TensorData> weights = ModelSummary.Of(program).Parameters
            .ToDictionary(p => p.Name, p => TensorData.From(Normal(random, (int)p.Count), [.. p.Shape.Select(d => (long)d)]));
        foreach (var (batch, length, keys) in Sizes)
        {
            Dictionary<string, TensorData> inputs = program.Inputs.ToDictionary(i => i.Name, i => Random(i, random, batch, length, keys));
            var expected = program.Run(new Oracle(weights), inputs.ToDictionary(i => i.Key, i => OracleTensor.From(i.Value)));
            var got = Engines.Get(engine).Run(program, weights, inputs);
            foreach (var (name, value) in expected)
            {
                OracleTensor result = OracleTensor.From(got[name]);
                Assert.Equal(value.Shape, result.Shape);
                Difference.Check($"{operation} [{batch}, {length}, {keys}]", [.. value.Values.Select(v => (float)v)], [.. result.Values.Select(v => (float)v)],
                    AbsoluteTolerance, RelativeTolerance);
            }
        }
    }

    static TensorData Random(TensorSpec spec, Random random, int batch, int length, int keys)
    {
        long[] shape = [.. spec.Shape.Select(d => d.Symbol switch { "batch" => batch, "length" => length, "keys" => keys, _ => (long)d.Size })];
        int count = (int)shape.Aggregate(1L, (n, d) => n * d);
        switch (spec.Type)
        {
            case ElementType.Float32: return TensorData.From(Normal(random, count), shape);
            case ElementType.Bool:
                byte[] keep = [.. Enumerable.Range(0, count).Select(_ => (byte)random.Next(2))];
                keep.AsSpan(0, (int)shape[^1]).Clear(); // the first row keeps nothing
                return new(DType.BOOL, shape, keep);
            default:
                int below = spec.Name is "index" or "indices" ? length : Operation.Vocabulary; // few enough that equal ids occur
                return TensorData.From(Enumerable.Range(0, count).Select(_ => (long)random.Next(below)).ToArray(), shape);
        }
    }

    static float[] Normal(Random random, int count) =>
        [.. Enumerable.Range(0, count).Select(_ => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))];
}

/// <summary>A program of one operation.</summary>
public sealed class Operation(string name) : IProgram
{
    internal const int Vocabulary = 4;

    const int Width = 6, Heads = 2, Channels = 4, Edge = 5;

    static readonly Dim Batch = Dim.Dynamic("batch", 2), Length = Dim.Dynamic("length", 5), Keys = Dim.Dynamic("keys", 3);

    static readonly Dictionary<string, TensorSpec> Known = new TensorSpec[]
    {
        new("x", ElementType.Float32, Batch, Length, Width), new("y", ElementType.Float32, Batch, Length, Width),
        new("row", ElementType.Float32, Width), new("one", ElementType.Float32, Batch, 1, Width),
        new("open", ElementType.Float32, Batch, Keys, Length, Width),
        new("image", ElementType.Float32, Batch, Channels, Edge, Edge), new("signal", ElementType.Float32, Batch, Channels, Length),
        new("wide", ElementType.Float32, Batch, Channels, Keys, Length), new("ids", ElementType.Int64, Batch, Length),
        new("index", ElementType.Int64, Batch), new("indices", ElementType.Int64, Batch, Keys), new("places", ElementType.Int64, Batch, Length), new("q", ElementType.Float32, Batch, Heads, Length, 3),
        new("k", ElementType.Float32, Batch, Heads, Keys, 3), new("v", ElementType.Float32, Batch, Heads, Keys, 5),
        new("keep", ElementType.Bool, Batch, Keys), new("keepPairs", ElementType.Bool, Batch, 1, Length, Keys),
        new("keepHeads", ElementType.Bool, Batch, Heads, Length, Keys), new("flags", ElementType.Bool, Batch, Length),
        new("condition", ElementType.Bool, Batch, Length, 1), new("bias", ElementType.Float32, Length, Keys),
        new("biasHeads", ElementType.Float32, Batch, Heads, Length, Keys),
    }.ToDictionary(s => s.Name);

    /// <summary>The cases: an operation and, after a colon, the inputs it takes.</summary>
    static readonly Dictionary<string, string> InputsOf = new[]
    {
        "Parameter:x", "Linear:x", "Linear without bias:x", "Linear, weights given:x", "Linear, packed weights:x",
        "Embedding:ids", "LayerNorm:x", "LayerNorm without weights:x", "RmsNorm:x", "GroupNorm:image", "GroupNorm, open size:wide", "Conv2d:image",
        "Conv2d, stride and padding:image", "Conv2d, groups without bias:image", "Attention:q k v",
        "Attention, causal:q k v", "Attention, causal places:q k v places", "Attention, causal places and keep:q k v places keep", "Attention, keep:q k v keep", "Attention, keep pairs:q k v keepPairs",
        "Attention, keep heads:q k v keepHeads", "Attention, bias:q k v bias", "Attention, bias of heads:q k v biasHeads",
        "Attention, causal keep:q k v keep", "Attention, causal keep pairs:q k v keepPairs",
        "Attention, causal bias:q k v bias", "Attention, keep and bias:q k v keep bias",
        "Attention, all:q k v keepHeads bias", "Attention twice, all:q k v keep bias", "AttentionWeights:q k",
        "AttentionWeights, causal keep:q k keep", "AttentionWeights, all:q k keepPairs biasHeads", "SplitHeads:x",
        "MergeHeads:q", "Gelu:x", "GeluTanh:x", "QuickGelu:x", "Relu:x", "Silu:x", "Tanh:x", "Sigmoid:x", "Elu:x", "Add:x y",
        "Add, broadcast:x row", "Add number:x", "Subtract:x y", "Subtract, broadcast:one x", "Multiply:x y",
        "Multiply number:x", "Divide:x y", "Exp:x", "Equal:ids", "Not:condition", "Where:condition x y", "Where, broadcast:condition x row",
        "MatMul:k v", "MatMul, broadcast:x", "Softmax:x", "Softmax, middle:x", "L2Normalize:x", "L2Normalize zeros:x",
        "Mean:x", "Mean, kept:x", "Sum:x", "Sum, kept:x", "Max:x", "CumulativeSum:x", "ArgMax ids:ids", "ArgMax flags:flags", "ArgMax floats:x",
        "ArgMax none:ids", "Rearrange, merge:image", "Rearrange, split:x", "Rearrange, transpose:x",
        "Rearrange, two open merges:open", "Rearrange, open merge in front:open", "Rearrange, split batch:ids",
        "Rearrange, split and merge open:open", "Rearrange, nothing:x", "Concat:x y", "Concat last:x y",
        "Concat lengths:x one", "Slice:x", "Slice, open end:x", "Slice, from the end:x", "SliceLike:x",
        "SliceLike, same:x y", "RepeatBatch:x", "RepeatBatch, open:x ids", "RepeatBatch, number:x", "PickToken:x index", "PickTokens:x indices",
        "PatchDropout:x", "Embedding, table given:ids", "Conv1d:signal", "Conv1d, groups and dilation:signal",
        "Conv1d, strides without bias:signal", "ConvTranspose1d:signal", "ConvTranspose1d, gaps without bias:signal",
        "Pad with zeros:signal", "Pad to a multiple:signal", "Pad by reflection:signal", "Pad by reflection, to a multiple:signal",
        "Pad by nothing:signal", "Lstm:x", "Lstm, two layers:x",
        "Largest:x", "Largest, equals:x", "TakeTokens:x flags", "TakeTokens, none:x ids", "PutTokens:x flags", "PutTokens, none:x ids",
    }.Select(c => c.Split(':')).ToDictionary(c => c[0], c => c[1]);

    public static IEnumerable<string> Names => InputsOf.Keys;

    public string Name => "operation";

    public IReadOnlyList<TensorSpec> Inputs => [.. InputsOf[name].Split(' ').Select(i => Known[i])];

    public IReadOnlyList<(string Name, T Value)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
    {
        T first = inputs[Inputs[0].Name];
        T result = name.StartsWith("Attention", StringComparison.Ordinal) ? Attend(ops, inputs)
            : name.StartsWith("Rearrange", StringComparison.Ordinal) ? Rearrange(ops, first)
            : Enum.TryParse(name, out Activation activation) ? ops.Activate(first, activation)
            : OverTime(ops, first) ?? WithWeights(ops, first) ?? OverAxes(ops, first, inputs.GetValueOrDefault(Inputs[^1].Name)!) ?? ElementByElement(ops, first, inputs);
        return [("result", result)];
    }

    T Attend<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
    {
        T? Find(string start) => Inputs.Where(i => i.Name.StartsWith(start, StringComparison.Ordinal)).Select(i => inputs[i.Name]).FirstOrDefault();
        bool causal = name.Contains("causal", StringComparison.Ordinal) || name.EndsWith("all", StringComparison.Ordinal);
        var mask = new Mask<T>(Find("keep"), causal, Find("bias"), Find("places"));
        if (name.StartsWith("AttentionWeights", StringComparison.Ordinal)) return ops.AttentionWeights(inputs["q"], inputs["k"], mask);
        T y = ops.Attention(inputs["q"], inputs["k"], inputs["v"], mask);
        return name.Contains("twice", StringComparison.Ordinal) ? ops.Add(y, ops.Attention(inputs["q"], inputs["k"], inputs["v"], mask with { Bias = null })) : y;
    }

    T Rearrange<T>(ITensorOps<T> ops, T x) where T : class => name switch
    {
        "Rearrange, merge" => ops.Rearrange(x, "b c h w -> b (h w) c"),
        "Rearrange, split" => ops.Rearrange(x, "b l (a d) -> b a l d", ("a", 3)),
        "Rearrange, transpose" => ops.Rearrange(x, "b l d -> d l b"),
        "Rearrange, two open merges" => ops.Rearrange(x, "b k l (a d) -> (b a) (l k) d", ("a", 2)),
        "Rearrange, open merge in front" => ops.Rearrange(x, "b k l d -> (b k) l d"),
        "Rearrange, split batch" => ops.Rearrange(x, "(b o) l -> l b o", ("o", 1)),
        "Rearrange, split and merge open" => ops.Rearrange(ops.Rearrange(x, "b k l d -> (b k l) d"), "(n a) (c d) -> a (n c) d", ("a", 1), ("c", 2)),
        _ => ops.Rearrange(x, "b l d -> b l d"),
    };

    T? WithWeights<T>(ITensorOps<T> ops, T x) where T : class => name switch
    {
        "Parameter" => ops.Add(x, ops.Parameter("scalar", default)),
        "Linear" => ops.Linear(x, "layer", Width, 4),
        "Linear without bias" => ops.Linear(x, "layer", Width, 4, bias: false),
        "Linear, weights given" => ops.Linear(x, ops.Parameter("matrix", default, 3, Width), ops.Parameter("offset", default, 3)),
        "Linear, packed weights" => ops.Linear(x, ops.Slice(ops.Parameter("matrix", default, 9, Width), 0, 3, 6), null),
        "Embedding" => ops.Embedding(x, "table", Vocabulary, 3),
        "Embedding, table given" => ops.Embedding(x, ops.Parameter("matrix", default, Vocabulary, 3)),
        "LayerNorm" => ops.LayerNorm(x, "norm", 1e-5f),
        "LayerNorm without weights" => ops.LayerNorm(x, 1e-5f),
        "RmsNorm" => ops.RmsNorm(x, "norm", 1e-6f),
        "GroupNorm" or "GroupNorm, open size" => ops.GroupNorm(x, "norm", 2, 1e-5f),
        "Conv2d" => ops.Conv2d(x, "conv", new(Channels, 6, 3)),
        "Conv2d, stride and padding" => ops.Conv2d(x, "conv", new(Channels, 6, 3, Stride: 2, Padding: 1)),
        "Conv2d, groups without bias" => ops.Conv2d(x, "conv", new(Channels, 6, 2, Groups: 2, Bias: false)),
        "RepeatBatch" => ops.RepeatBatch(ops.Parameter("matrix", default, 3, 2), x),
        "RepeatBatch, number" => ops.RepeatBatch(ops.Parameter("scalar", default), x),
        "SliceLike" => ops.SliceLike(ops.Parameter("positions", default, 8, 3), 0, x, 1),
        "MatMul, broadcast" => ops.MatMul(x, ops.Parameter("matrix", default, Width, 3)),
        _ => null,
    };

    T? OverTime<T>(ITensorOps<T> ops, T x) where T : class
    {
        T Kernel(params ReadOnlySpan<int> shape) => ops.Parameter("kernel", default, shape);
        T Offset(int width) => ops.Parameter("offset", default, width);
        return name switch
        {
            "Conv1d" => ops.Conv1d(x, Kernel(6, Channels, 3), Offset(6), new(Channels, 6, 3, Padding: 1)),
            "Conv1d, groups and dilation" => ops.Conv1d(x, Kernel(6, 2, 3), Offset(6), new(Channels, 6, 3, Dilation: 2, Groups: 2, Padding: 3)),
            "Conv1d, strides without bias" => ops.Conv1d(x, Kernel(3, Channels, 4), null, new(Channels, 3, 4, Stride: 2, Padding: 2)),
            "ConvTranspose1d" => ops.ConvTranspose1d(x, Kernel(Channels, 3, 4), Offset(3), 2),
            "ConvTranspose1d, gaps without bias" => ops.ConvTranspose1d(x, Kernel(Channels, 2, 2), null, 3),
            "Pad with zeros" => ops.Pad(x, new(2, 1)),
            "Pad to a multiple" => ops.Pad(x, new(1, 2, Multiple: 3)),
            "Pad by reflection" => ops.Pad(x, new(3, 2, Reflects: true)),
            "Pad by reflection, to a multiple" => ops.Pad(x, new(4, 0, 3, Reflects: true)),
            "Pad by nothing" => ops.Pad(x, default(Padding1d) with { Multiple = 1 }),
            "Lstm" => ops.Lstm(x, "lstm", Width, 3, 1),
            "Lstm, two layers" => ops.Lstm(x, "lstm", Width, 4, 2),
            _ => null,
        };
    }

    T? OverAxes<T>(ITensorOps<T> ops, T x, T last) where T : class => name switch
    {
        "SplitHeads" => ops.SplitHeads(x, 3),
        "MergeHeads" => ops.MergeHeads(x),
        "Softmax" => ops.Softmax(x, -1),
        "Softmax, middle" => ops.Softmax(x, 1),
        "L2Normalize" => ops.L2Normalize(x),
        "L2Normalize zeros" => ops.L2Normalize(ops.Multiply(x, 0)),
        "Mean" => ops.Mean(x, 1),
        "Mean, kept" => ops.Mean(x, -1, keepDims: true),
        "Sum" => ops.Sum(x, -1),
        "Sum, kept" => ops.Sum(x, 1, keepDims: true),
        "Max" => ops.Max(x, 1),
        "CumulativeSum" => ops.CumulativeSum(x, 1),
        "ArgMax ids" or "ArgMax flags" => ops.ArgMax(x, 1),
        "ArgMax floats" => ops.ArgMax(x, -1),
        "ArgMax none" => ops.ArgMax(ops.Equal(x, -1), 1),
        "Concat" => ops.Concat(1, x, last, x),
        "Concat last" => ops.Concat(-1, x, last),
        "Concat lengths" => ops.Concat(1, x, last),
        "Slice" => ops.Slice(x, -1, 1, 4),
        "Slice, open end" => ops.Slice(ops.Concat(1, x, x), 1, 1, int.MaxValue),
        "Slice, from the end" => ops.Slice(ops.Concat(1, x, x), 1, 0, -1),
        "SliceLike, same" => ops.SliceLike(ops.Concat(1, x, last), 1, x, -2),
        "RepeatBatch, open" => ops.RepeatBatch(x, last),
        "PickToken" => ops.PickToken(x, last),
        "PickTokens" => ops.PickTokens(x, last),
        "PatchDropout" => ops.PatchDropout(x, 1),
        "Largest" => Numbers(ops, x, ops.Largest(x, 2)),
        "Largest, equals" => Numbers(ops, x, ops.Largest(ops.Multiply(x, 0), 4)),
        "TakeTokens" => ops.TakeTokens(x, last, 0.5),
        "TakeTokens, none" => ops.TakeTokens(x, ops.Equal(last, -1), 0.5),
        "PutTokens" => ops.PutTokens(ops.Multiply(ops.TakeTokens(x, last, 0.5), 2), last),
        "PutTokens, none" => ops.PutTokens(ops.TakeTokens(x, ops.Equal(last, -1), 0.5), ops.Equal(last, -1)),
        "MatMul" => ops.MatMul(ops.Rearrange(x, "b n k d -> b n d k"), last),
        _ => null,
    };

    /// <summary>Bool as 0 and 1 of the type of <paramref name="x"/>.</summary>
    static T Numbers<T>(ITensorOps<T> ops, T x, T flags) where T : class
    {
        T zeros = ops.Multiply(x, 0);
        return ops.Where(flags, ops.Add(zeros, 1), zeros);
    }

    T ElementByElement<T>(ITensorOps<T> ops, T x, IReadOnlyDictionary<string, T> inputs) where T : class
    {
        T Second() => inputs[Inputs[1].Name];
        return name.Split(',')[0] switch
        {
            "Add" => ops.Add(x, Second()),
            "Add number" => ops.Add(x, 0.7f),
            "Subtract" => ops.Subtract(x, Second()),
            "Multiply" => ops.Multiply(x, Second()),
            "Multiply number" => ops.Multiply(x, -1.3f),
            "Divide" => ops.Divide(x, ops.Add(ops.Multiply(Second(), Second()), 1)),
            "Exp" => ops.Exp(x),
            "Equal" => ops.Equal(x, 2),
            "Not" => ops.Not(x),
            "Where" => ops.Where(x, Second(), inputs[Inputs[2].Name]),
            _ => throw new NotSupportedException(name),
        };
    }
}
