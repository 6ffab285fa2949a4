using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training;

namespace MLNetMultimodal.Parity.Tests.Families;

public sealed class CrossModalFusionTests
{
    const double Tolerance = 2e-5; // the sums are float32 here and double there, over values of order 1

    static readonly CrossModalFusionConfig Tiny = CrossModalFusionConfig.Tiny;

    static readonly Dictionary<string, CrossModalFusionConfig> Configs = new()
    {
        ["all senses"] = Tiny,
        ["experts, attention pooling"] = Tiny with
        {
            Bottleneck = Tiny.Bottleneck with { Layers = 2, Experts = 4, ChosenExperts = 2 },
            Pooling = FusionPooling.Attention,
        },
        ["one expert of three"] = Tiny with { Bottleneck = Tiny.Bottleneck with { Experts = 3, ChosenExperts = 1 } },
        ["gated, low rank, adapters"] = Tiny with { Bottleneck = Tiny.Bottleneck with { Gated = true, Rank = 4 }, AdapterWidth = 4 },
        ["no joint layer, binary"] = Tiny with { Task = FusionTask.Binary, Labels = [], Joint = Tiny.Joint with { Layers = 0 } },
        ["picture"] = Tiny with { Text = null, Audio = null, Features = null },
        ["text"] = Tiny with { Vision = null, Audio = null, Features = null },
        ["sound"] = Tiny with { Vision = null, Text = null, Features = null },
        ["numbers, regression"] = new()
        {
            Task = FusionTask.Regression,
            Features = Tiny.Features! with { Blocks = Tiny.Features.Blocks with { Layers = 0 } },
            Joint = Tiny.Joint,
            Bottleneck = Tiny.Bottleneck,
        },
    };

    public static TheoryData<string, string> Cases
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (string engine in Engines.All)
                foreach (string config in Configs.Keys) data.Add(engine, config);
            return data;
        }
    }

    static FamilyFolder Folder(string config) => new(new CrossModalFusionModel(Configs[config]).ToConfigJson());

    /// <summary>Rows with all senses, with some and with none.</summary>
    static Dictionary<string, TensorData> Inputs(CrossModalFusionModel model, Func<string, int, bool> isThere, int seed = 3)
    {
        const int batch = 3;
        var random = new Random(seed);
        var inputs = new Dictionary<string, TensorData>();
        foreach (TensorSpec spec in model.Full.Inputs)
        {
            long[] shape = [batch, .. spec.Shape.Skip(1).Select(d => d.IsKnown ? (long)d.Size : 5)];
            int size = (int)shape.Skip(1).Aggregate(1L, (n, d) => n * d), count = batch * size;
            if (spec.Type == ElementType.Float32) inputs[spec.Name] = TensorData.From([.. Enumerable.Range(0, count).Select(_ => random.NextSingle() * 2 - 1)], shape);
            else if (spec.Name == "input_ids") inputs[spec.Name] = TensorData.From([.. Enumerable.Range(0, count).Select(_ => (long)random.Next(50))], shape);
            else inputs[spec.Name] = TensorData.From([.. Enumerable.Range(0, count).Select(i => isThere(spec.Name, i / size) ? 1L : 0)], shape);
        }
        return inputs;
    }

    static bool Some(string mask, int row) => row == 0 || (row == 1 && mask is "attention_mask" or "features_mask");

    [Theory, MemberData(nameof(Cases))]
    public void Every_engine_gives_what_plain_loops_give(string engine, string config)
    {
        FamilyFolder folder = Folder(config);
        var model = (CrossModalFusionModel)folder.Model;
        Dictionary<string, TensorData> inputs = Inputs(model, Some);
        var expected = model.Full.Run(new Oracle(folder.Weights), inputs.ToDictionary(i => i.Key, i => OracleTensor.From(i.Value)))
            .ToDictionary(o => o.Item1, o => o.Item2);
        foreach (IProgram program in new[] { model.Full, model.Predictor, model.Explainer, model.Learner })
            foreach (var (name, value) in folder.Run(engine, program, inputs))
                Difference.Check($"{program.Name}: {name}", [.. expected[name].Values.Select(v => (float)v)], value.ToSingles(), Tolerance, Tolerance);
        Assert.Equal([3, model.Config.Bottleneck.Latents, expected["latent_attention"].Shape[2]], expected["latent_attention"].Shape);
        Assert.Equal(model.Config.Joint.Layers > 0, expected.ContainsKey("token_attention"));
        Assert.Equal(model.Config.Bottleneck.Experts > 0, expected.ContainsKey("router_logits"));
    }

    [Theory, MemberData(nameof(Cases))]
    public void What_is_missing_is_not_seen(string engine, string config)
    {
        FamilyFolder folder = Folder(config);
        var model = (CrossModalFusionModel)folder.Model;
        float[] once = folder.Run(engine, model.Predictor, Inputs(model, (_, _) => false, seed: 1))["scores"].ToSingles();
        float[] again = folder.Run(engine, model.Predictor, Inputs(model, (_, _) => false, seed: 2))["scores"].ToSingles();
        Difference.Check("scores", once, again, 1e-6, 0);
        Difference.Check("rows without anything are alike", once[..model.Config.Outputs], once[^model.Config.Outputs..], 1e-6, 0);
    }

    [Theory, MemberData(nameof(Cases))]
    public void Attention_goes_to_what_is_there_and_sums_to_one(string engine, string config)
    {
        FamilyFolder folder = Folder(config);
        var model = (CrossModalFusionModel)folder.Model;
        TensorData attention = folder.Run(engine, model.Explainer, Inputs(model, Some))["latent_attention"];
        int latents = (int)attention.Shape[1], tokens = (int)attention.Shape[2];
        foreach (float[] row in attention.ToSingles().Chunk(tokens)) Assert.Equal(1, row.Sum(), 1e-5);
        foreach (float[] row in attention.ToSingles().Chunk(tokens).Skip(2 * latents)) Assert.Equal(1, row[0], 1e-5); // only the token that is always there
    }

    [Fact]
    public void Places_of_tokens_are_those_of_the_attention()
    {
        foreach (var (name, config) in Configs)
        {
            var model = new CrossModalFusionModel(config);
            int last = ModelSummary.Of(model.Explainer).Parameters.Count > 0 ? model.Tokens[^1].First + model.Tokens[^1].Count : 0;
            Assert.True(last == model.TokenCount, $"{name}: the last token ends at {last} of {model.TokenCount}");
        }
        Assert.Equal([1, 6, 14, 20], new CrossModalFusionModel(Tiny).Tokens.Select(t => t.First));
        Assert.Equal([5, 8, 6, 3], new CrossModalFusionModel(Tiny).Tokens.Select(t => t.Count));
    }

    [Fact]
    public void Configs_survive_being_written()
    {
        foreach (CrossModalFusionConfig config in Configs.Values)
        {
            string json = config.ToJson();
            Assert.Equal(json, CrossModalFusionConfig.FromJson(JsonDocument.Parse(json).RootElement).ToJson());
        }
    }

    [Theory]
    [InlineData("\"task\": \"multiclass\"", "\"task\": \"ranking\"", "task must be multiclass, binary or regression, but is 'ranking'")]
    [InlineData("\"num_labels\": 3", "\"num_labels\": 0", "a multiclass model cannot have 0 labels")]
    [InlineData("\"rank\": 16", "\"rank\": 5", "rank 5 must be a multiple")]
    [InlineData("\"num_experts\": 0", "\"num_experts\": 1", "num_experts 1 must be 0 or at least 2")]
    [InlineData("\"pooling\": \"mean\"", "\"pooling\": \"sum\"", "pooling must be mean or attention")]
    [InlineData("\"num_latents\": 3", "\"num_latents\": -3", "num_latents must be a whole number")]
    public void Senseless_configs_are_refused(string part, string instead, string message)
    {
        string json = Tiny.ToJson();
        Assert.Contains(part, json, StringComparison.Ordinal);
        var e = Assert.Throws<InvalidDataException>(() => new FamilyFolder(json.Replace(part, instead, StringComparison.Ordinal)));
        Assert.Contains(message, e.Message, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(Cases))]
    public void Weights_start_alike_in_every_engine(string engine, string config)
    {
        // Created weights, not drawn ones: gates shut, scales of one.
        var model = new CrossModalFusionModel(Configs[config]);
        using TorchModel created = TorchModel.Create(model.Full, seed: 4);
        Dictionary<string, TensorData> inputs = Inputs(model, Some);
        Difference.Check("scores", created.Run(model.Full, inputs)["scores"].ToSingles(),
            Engines.Get(engine).Run(model.Predictor, created.ToWeights(), inputs)["scores"].ToSingles(), Tolerance, Tolerance);
    }
}

