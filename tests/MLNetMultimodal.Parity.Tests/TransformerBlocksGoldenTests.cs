using System.Text.Json;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Parity.Tests;

public sealed class TransformerBlocksGoldenTests
{
    const string Gradients = "decoder_pre.grad_";

    readonly Golden _golden = new("transformer-blocks");

    [Theory, MemberData(nameof(Engines.Names), MemberType = typeof(Engines))]
    public void All_outputs_are_those_of_PyTorch(string engine)
    {
        Assert.True(IsUpperTriangle(_golden.Inputs["causal"]), "in.causal must drop what comes later, and nothing else");
        var got = Engines.Get(engine).Run(new Blocks(_golden), _golden.Read("model.safetensors"), Inputs());
        string[] expected = [.. _golden.Outputs.Keys.Where(k => !k.StartsWith(Gradients, StringComparison.Ordinal))];
        Assert.Equal(expected.Order(), got.Keys.Order());
        foreach (string name in expected) _golden.Compare(name, got[name]);
    }

    [Fact]
    public void The_checkpoint_has_just_the_weights_that_the_blocks_ask_for() => CheckpointWeights.Check(
        ModelSummary.Of(new Blocks(_golden)).Parameters, _golden.Read("model.safetensors"), [], "transformer-blocks");

    [Fact]
    public void Gradients_of_a_decoder_layer_are_those_of_PyTorch()
    {
        using TorchModel model = TorchModel.Load(new Blocks(_golden), _golden.Read("model.safetensors"));
        using DisposeScope scope = torch.NewDisposeScope();
        Tensor x = Leaf("x"), memory = Leaf("memory");
        Tensor keep = Keep(_golden.Inputs["memory_padding"]);
        Tensor y = TorchTransformer.DecoderLayer(new TorchOps(model.Parameters), "decoder_pre", Blocks.Layer(_golden, "decoder_pre"), x, memory,
            new(Causal: true), new(keep));
        (y * Floats(_golden.Inputs["grad_weight"])).sum().backward();

        Check("x", x);
        Check("memory", memory);
        Check("self_in_proj", model.Parameters["decoder_pre.self_attn.in_proj_weight"]);
        Check("cross_in_proj", model.Parameters["decoder_pre.multihead_attn.in_proj_weight"]);
        Check("linear1", model.Parameters["decoder_pre.linear1.weight"]);
        Check("norm2", model.Parameters["decoder_pre.norm2.weight"]);

        Tensor Leaf(string input) => Floats(_golden.Inputs[input]).requires_grad_();
        void Check(string name, Tensor leaf) => _golden.Compare(Gradients + name, TensorData.From(leaf.grad!.contiguous().data<float>().ToArray(), leaf.shape));
        static Tensor Floats(TensorData data) => torch.tensor(data.ToSingles(), [.. data.Shape]);
        static Tensor Keep(TensorData drop) => torch.tensor(drop.ToInt64s(), [.. drop.Shape]).eq(0);
    }

    /// <summary>The inputs of the case with PyTorch's masks, whose true means drop, turned into ours, whose true means
    /// keep.</summary>
    Dictionary<string, TensorData> Inputs()
    {
        var inputs = new Dictionary<string, TensorData>(_golden.Inputs);
        foreach (string name in (string[])["x", "memory"])
        {
            TensorData drop = _golden.Inputs[$"{name}_padding"];
            inputs[$"{name}_keep"] = new(DType.BOOL, drop.Shape, drop.Bytes.ToArray().Select(b => (byte)(1 - b)).ToArray());
        }
        return inputs;
    }

    static bool IsUpperTriangle(TensorData mask)
    {
        long[] values = mask.ToInt64s();
        int length = (int)mask.Shape[0];
        return values.Select((drop, i) => drop == (i % length > i / length ? 1 : 0)).All(same => same);
    }

    /// <summary>Every block of the case, with the sizes of its config.json.</summary>
    sealed class Blocks(Golden golden) : IProgram
    {
        static readonly Dim Batch = Dim.Dynamic("batch"), Length = Dim.Dynamic("length", 6), Memory = Dim.Dynamic("memory", 9);

        readonly int _width = golden.Config.GetProperty("embed_dim").GetInt32();
        readonly int _heads = golden.Config.GetProperty("num_heads").GetInt32();

        public string Name => "blocks";

        public IReadOnlyList<TensorSpec> Inputs =>
        [
            new("x", ElementType.Float32, Batch, Length, _width), new("memory", ElementType.Float32, Batch, Memory, _width),
            new("key", ElementType.Float32, Batch, Memory, Cross.KeyWidth), new("value", ElementType.Float32, Batch, Memory, Cross.ValueWidth),
            new("x_keep", ElementType.Bool, Batch, Length), new("memory_keep", ElementType.Bool, Batch, Memory),
            new("float_mask", ElementType.Float32, Length, Length),
        ];

        MultiheadAttentionConfig Cross
        {
            get
            {
                JsonElement config = golden.Config.GetProperty("cross_attn");
                return new(_width, _heads) { KeyWidth = config.GetProperty("kdim").GetInt32(), ValueWidth = config.GetProperty("vdim").GetInt32() };
            }
        }

        MultiheadAttentionConfig BiasKeyValue
        {
            get
            {
                JsonElement config = golden.Config.GetProperty("self_attn_bias_kv");
                return new(_width, _heads)
                {
                    BiasKeyValue = config.GetProperty("add_bias_kv").GetBoolean(),
                    ZeroKeyValue = config.GetProperty("add_zero_attn").GetBoolean(),
                };
            }
        }

        /// <summary>Sizes of a layer: the case's own, where a section of the layer's name says nothing else.</summary>
        public static TorchTransformerConfig Layer(Golden golden, string name)
        {
            JsonElement root = golden.Config, own = root.TryGetProperty(name, out JsonElement section) ? section : root;
            JsonElement Field(string field) => own.TryGetProperty(field, out JsonElement value) ? value : root.GetProperty(field);
            return new(root.GetProperty("embed_dim").GetInt32(), root.GetProperty("num_heads").GetInt32(), Field("dim_feedforward").GetInt32(),
                ActivationNames.Parse(Field("activation").GetString()!.Split(' ')[0]), name.EndsWith("_pre", StringComparison.Ordinal),
                Field("layer_norm_eps").GetSingle());
        }

        public IReadOnlyList<(string Name, T Value)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T x = inputs["x"], memory = inputs["memory"], key = inputs["key"], value = inputs["value"];
            Mask<T> keepX = new(inputs["x_keep"]), keepMemory = new(inputs["memory_keep"]), causal = new(Causal: true);
            Mask<T> both = keepX with { Causal = true }, bias = new(Bias: inputs["float_mask"]);
            MultiheadAttentionConfig self = new(_width, _heads);
            T weights = MultiheadAttention.Weights(ops, "cross_attn", Cross, x, key, keepMemory);
            var outputs = new List<(string, T)>
            {
                ("cross_attn.output", MultiheadAttention.Attend(ops, "cross_attn", Cross, x, key, value, keepMemory)),
                ("cross_attn.weights", ops.Mean(weights, 1)),
                ("cross_attn.weights_per_head", weights),
                ("self_attn.output", MultiheadAttention.Attend(ops, "self_attn", self, x, x, x, both)),
                ("self_attn.weights", ops.Mean(MultiheadAttention.Weights(ops, "self_attn", self, x, x, both), 1)),
                ("self_attn.float_mask.output", MultiheadAttention.Attend(ops, "self_attn", self, x, x, x, bias)),
                ("self_attn.float_mask.weights", ops.Mean(MultiheadAttention.Weights(ops, "self_attn", self, x, x, bias), 1)),
                ("self_attn_bias_kv.output", MultiheadAttention.Attend(ops, "self_attn_bias_kv", BiasKeyValue, x, memory, memory, keepMemory)),
                ("self_attn_bias_kv.weights", ops.Mean(MultiheadAttention.Weights(ops, "self_attn_bias_kv", BiasKeyValue, x, memory, keepMemory), 1)),
            };
            foreach (string name in (string[])["encoder_pre", "encoder_post", "encoder_post_relu"])
            {
                outputs.Add(($"{name}.output", TorchTransformer.EncoderLayer(ops, name, Layer(golden, name), x, keepX)));
                outputs.Add(($"{name}.causal.output", TorchTransformer.EncoderLayer(ops, name, Layer(golden, name), x, causal)));
            }
            foreach (string name in (string[])["decoder_post", "decoder_pre"])
            {
                outputs.Add(($"{name}.output", TorchTransformer.DecoderLayer(ops, name, Layer(golden, name), x, memory, both, keepMemory)));
                outputs.Add(($"{name}.no_masks.output", TorchTransformer.DecoderLayer(ops, name, Layer(golden, name), x, memory)));
            }
            return outputs;
        }
    }
}
