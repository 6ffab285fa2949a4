using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests;

/// <summary>The blocks that models of several senses are made of, alone, in every engine.</summary>
public sealed class FusionBlockTests
{
    const double Tolerance = 2e-5; // float32 against double, over values of order 1
    const int Width = 8, Context = 6, Batch = 3, Length = 5, Keys = 4;

    public static TheoryData<string, string> Cases => Of(BlockProgram.Names);

    /// <summary>Blocks whose masked tokens are seen by others only: they do not ask themselves.</summary>
    public static TheoryData<string, string> MaskedCases => Of(BlockProgram.Names.Where(block =>
        !block.StartsWith("self", StringComparison.Ordinal) && new BlockProgram(block).Inputs.Any(i => i.Name == "keep")));

    static TheoryData<string, string> Of(IEnumerable<string> blocks)
    {
        var data = new TheoryData<string, string>();
        foreach (string block in blocks)
            foreach (string engine in Engines.All) data.Add(engine, block);
        return data;
    }

    static TensorData Random(int seed, params long[] shape)
    {
        var random = new Random(seed);
        return TensorData.From([.. Enumerable.Range(0, (int)shape.Aggregate(1L, (n, d) => n * d)).Select(_ => random.NextSingle() * 2 - 1)], shape);
    }

    static Dictionary<string, TensorData> Weights(IProgram program) => ModelSummary.Of(program).Parameters
        .Select((p, i) => (p.Name, Value: Random(100 + i, [.. p.Shape.Select(d => (long)d)]))).ToDictionary(p => p.Name, p => p.Value);

    static Dictionary<string, TensorData> Inputs() => new()
    {
        ["x"] = Random(1, Batch, Length, Width),
        ["context"] = Random(2, Batch, Keys, Context),
        ["keep"] = new(DType.BOOL, [Batch, Keys], new byte[] { 1, 1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 0 }),
    };

    static float[] Run(string engine, IProgram program, Dictionary<string, TensorData> weights, Dictionary<string, TensorData> inputs) =>
        Engines.Get(engine).Run(program, weights, inputs.Where(i => program.Inputs.Any(p => p.Name == i.Key)).ToDictionary())["result"].ToSingles();

    [Theory, MemberData(nameof(Cases))]
    public void Block_gives_what_plain_loops_give(string engine, string block)
    {
        var program = new BlockProgram(block);
        Dictionary<string, TensorData> weights = Weights(program), inputs = Inputs();
        OracleTensor expected = program.Run(new Oracle(weights), inputs.ToDictionary(i => i.Key, i => OracleTensor.From(i.Value)))[0].Value;
        Difference.Check(block, [.. expected.Values.Select(v => (float)v)], Run(engine, program, weights, inputs), Tolerance, Tolerance);
    }

    [Theory, MemberData(nameof(MaskedCases))]
    public void Tokens_that_are_masked_change_nothing(string engine, string block)
    {
        var program = new BlockProgram(block);
        Dictionary<string, TensorData> weights = Weights(program), inputs = Inputs();
        float[] before = Run(engine, program, weights, inputs), context = inputs["context"].ToSingles();
        context.AsSpan(Context * (Keys + 1), 2 * Context).Fill(9); // keep is false for the second row's tokens 1 and 2
        inputs["context"] = TensorData.From(context, Batch, Keys, Context);
        Difference.Check(block, before, Run(engine, program, weights, inputs), 1e-6, 0);
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Every_expert_chosen_is_their_weighted_sum(string engine)
    {
        // With k = E the gates are the softmax itself; the experts one by one, each with the router of all.
        var all = new BlockProgram("experts, all");
        Dictionary<string, TensorData> weights = Weights(all), inputs = Inputs();
        OracleTensor x = OracleTensor.From(inputs["x"]);
        var oracle = new Oracle(weights);
        OracleTensor gates = oracle.Softmax(oracle.Linear(x, "block.router", Width, 3, bias: false), -1);
        OracleTensor sum = Enumerable.Range(0, 3).Select(e =>
        {
            Name expert = (Name)"block" / "experts" / e;
            OracleTensor h = oracle.Activate(oracle.Linear(x, expert / "fc1", Width, 10), Activation.Gelu);
            return oracle.Multiply(oracle.Linear(h, expert / "fc2", 10, Width), oracle.Slice(gates, -1, e, e + 1));
        }).Aggregate(oracle.Add);
        Difference.Check("experts", [.. sum.Values.Select(v => (float)v)], Run(engine, all, weights, inputs), Tolerance, Tolerance);
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void An_expert_that_no_token_chooses_computes_nothing(string engine)
    {
        var program = new BlockProgram("experts, one");
        Dictionary<string, TensorData> weights = Weights(program), inputs = Inputs();
        // Positive inputs, and a router whose first row wins everywhere: the others get no token at all.
        inputs["x"] = TensorData.From([.. inputs["x"].ToSingles().Select(v => Math.Abs(v) + 0.1f)], Batch, Length, Width);
        weights["block.router.weight"] = TensorData.From([.. Enumerable.Range(0, 3 * Width).Select(i => i < Width ? 5f : -5f)], 3, Width);
        float[] before = Run(engine, program, weights, inputs);
        weights["block.experts.2.fc1.weight"] = Random(77, 10, Width);
        weights["block.experts.1.fc2.bias"] = Random(78, Width);
        Assert.Equal(before, Run(engine, program, weights, inputs));
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void A_gate_is_shut_at_first(string engine)
    {
        var program = new BlockProgram("gated adapter");
        Dictionary<string, TensorData> weights = Weights(program), inputs = Inputs();
        weights["block.gate"] = TensorData.From([0f], 1);
        Assert.Equal(inputs["x"].ToSingles(), Run(engine, program, weights, inputs));
        Assert.Equal(Init.Zeros, ModelSummary.Of(program).Parameters.Single(p => p.Name == "block.gate").Init);
    }

    public static TheoryData<string> EngineNames => Engines.Names;

    [Fact]
    public void Experts_cost_what_is_chosen_of_them()
    {
        ModelSummary one = ModelSummary.Of(new BlockProgram("experts, one")), all = ModelSummary.Of(new BlockProgram("experts, all"));
        Assert.Equal(one.ParameterCount, all.ParameterCount);
        long Products(ModelSummary s) => s.Layers.Where(l => l.Layer.Contains("experts", StringComparison.Ordinal)).Sum(l => l.Flops);
        Assert.Equal(Products(all), 3 * Products(one), 0.35 * Products(all)); // 5 tokens do not divide by 3
    }

    /// <summary>A block as a program.</summary>
    sealed class BlockProgram(string block) : IProgram
    {
        public static IReadOnlyList<string> Names { get; } =
        [
            "self-attention", "self-attention, low-rank", "self-attention, no key bias", "self-attention, no bias", "self-attention, causal",
            "self-attention, keep", "self-attention, keep none", "self-attention, causal keep", "self-attention, narrow values",
            "cross-attention", "low-rank cross-attention", "attention weights", "attention pooling", "gated adapter", "experts, one",
            "experts, two", "experts, all", "latent bottleneck", "latent bottleneck of experts",
        ];

        public string Name => "block";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
        [
            new("x", ElementType.Float32, Dim.Dynamic("batch"), Dim.Dynamic("length", Length), Width),
            .. block is "gated adapter" || block.StartsWith("experts", StringComparison.Ordinal) ? Array.Empty<TensorSpec>() :
            [
                new("context", ElementType.Float32, Dim.Dynamic("batch"), Dim.Dynamic("keys", Keys), Context),
                new("keep", ElementType.Bool, Dim.Dynamic("batch"), Dim.Dynamic("keys", Keys)),
            ],
        ];

        public IReadOnlyList<(string Name, T Value)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T x = inputs["x"];
            T Context() => inputs["context"];
            Mask<T> Keep() => new(inputs["keep"]);
            var attention = new AttentionConfig(Width, FusionBlockTests.Context, 2);
            T Self(AttentionConfig c, Mask<T> mask) => Attention.Self(ops, "block", c with { ContextWidth = Width }, x, mask);
            T SelfKeep(Mask<T> mask) => Attention.Self(ops, "block", attention with { Width = FusionBlockTests.Context }, Context(), mask);
            T Heads(string name, int width) => ops.SplitHeads(ops.Linear(x, (Name)"block" / name, Width, width), 2);
            var bottleneck = new LatentBottleneckConfig(2, 3, Width, FusionBlockTests.Context, 10, 2) { Rank = 4, Gated = true };
            T Experts(int chosen) => MixtureOfExperts.FeedForward(ops, "block", new(Width, 10, 3, chosen), x).Result;
            return [("result", block switch
            {
                "self-attention" => Self(attention, default),
                "self-attention, low-rank" => Self(attention with { InnerWidth = 4 }, default),
                "self-attention, no key bias" => Self(attention with { KeyBias = false }, default),
                "self-attention, no bias" => Self(attention with { QkvBias = false }, default),
                "self-attention, causal" => Self(attention, new(Causal: true)),
                "self-attention, keep" => SelfKeep(Keep()),
                "self-attention, keep none" => SelfKeep(new(ops.Not(inputs["keep"]))), // nothing of the first row
                "self-attention, causal keep" => SelfKeep(Keep() with { Causal = true }),
                "self-attention, narrow values" => ops.MergeHeads(ops.Attention(Heads("q", Width), Heads("k", Width), Heads("v", 4))),
                "cross-attention" => Attention.Cross(ops, "block", attention, x, Context(), Keep()),
                "low-rank cross-attention" => Attention.Cross(ops, "block", attention with { InnerWidth = 4 }, x, Context(), Keep()),
                "attention weights" => Attention.Weights(ops, "block", attention with { InnerWidth = 4 }, x, Context(), Keep()),
                "attention pooling" => AttentionPooling.Pool(ops, "block", new(Width, FusionBlockTests.Context, 2, 3), Context(), Keep()),
                "gated adapter" => GatedAdapter.Apply(ops, "block", new(Width, 3), x),
                "experts, one" => Experts(1),
                "experts, two" => Experts(2),
                "experts, all" => Experts(3),
                "latent bottleneck" => LatentBottleneck.Encode(ops, "block", bottleneck, Context(), Keep()).Latents,
                "latent bottleneck of experts" => LatentBottleneck.Encode(ops, "block", bottleneck with { Experts = 4 }, Context(), Keep()).Latents,
                _ => throw new NotSupportedException(block),
            })];
        }
    }
}
