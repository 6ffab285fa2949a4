using System.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>BEiT under all its heads, against plain loops in double precision, in every engine.</summary>
public sealed class BeitTests
{
    const double Tolerance = 1e-5; // the sums are float32 here and double there; values are of the order of 1
    const int Width = 24, Heads = 3, Layers = 2, Size = 16, Patch = 4, Side = 4, Patches = Side * Side, Vocabulary = 7;
    const double Epsilon = 1e-12;

    /// <summary>What the heads and the switches of the config are tested in.</summary>
    public enum Kind
    {
        Plain,
        Masked,
        MaskedClassToken,
        Classes,
        Data2Vec,
    }

    public static TheoryData<string, Kind> Cases
    {
        get
        {
            var cases = new TheoryData<string, Kind>();
            foreach (string engine in Engines.All)
                foreach (Kind kind in Enum.GetValues<Kind>()) cases.Add(engine, kind);
            return cases;
        }
    }

    static string Json(Kind kind)
    {
        (string type, string architecture) = kind switch
        {
            Kind.Plain => ("beit", "BeitModel"),
            Kind.Classes => ("beit", "BeitForImageClassification"),
            Kind.Data2Vec => ("data2vec-vision", "Data2VecVisionForImageClassification"),
            _ => ("beit", "BeitForMaskedImageModeling"),
        };
        string scale = kind == Kind.Data2Vec ? "0" : "0.1";
        string Flag(bool value) => value ? "true" : "false";
        return $$"""
            {"model_type":"{{type}}","architectures":["{{architecture}}"],"hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,
             "image_size":16,"patch_size":4,"layer_norm_eps":1e-12,"vocab_size":7,"hidden_act":"gelu",
             "use_mask_token":{{Flag(kind is Kind.Masked or Kind.MaskedClassToken)}},
             "use_absolute_position_embeddings":{{Flag(kind is Kind.Plain or Kind.MaskedClassToken)}},
             "use_relative_position_bias":{{Flag(kind is not Kind.Masked)}},
             "use_shared_relative_position_bias":{{Flag(kind is Kind.Masked or Kind.Data2Vec)}},
             "layer_scale_init_value":{{scale}},
             "use_mean_pooling":{{Flag(kind is not (Kind.Plain or Kind.MaskedClassToken))}},
             "id2label":{"0":"cat","1":"dog","2":"owl"} }
            """;
    }

    static double[] Pixels(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, 3 * Size * Size).Select(_ => (double)(float)(random.NextDouble() * 4 - 2))];
    }

    static void Check(string name, IEnumerable<double[]> expected, TensorData got) =>
        Difference.Check(name, [.. expected.SelectMany(r => r).Select(v => (float)v)], got.ToSingles(), Tolerance, Tolerance);

    /// <summary>The tokens as they leave the last block.</summary>
    static double[][] Tokens(Plain w, string name, BeitConfig c, double[] picture, bool[]? masked)
    {
        string e = name + "embeddings.";
        double[][] patches = w.Patches(picture, Size, Patch, e + "patch_embeddings.projection", bias: true);
        if (masked is not null) patches = [.. patches.Select((p, i) => masked[i] ? w.Weight(e + "mask_token") : p)];
        double[][] x = [w.Weight(e + "cls_token"), .. patches];
        if (c.AbsolutePositions) x = Plain.Add(x, [.. w.Weight(e + "position_embeddings").Chunk(Width)]);
        for (int i = 0; i < Layers; i++)
        {
            string n = $"{name}encoder.layer.{i}", a = n + ".attention.attention.";
            double[]? own = c.RelativePositions ? w.Weight(a + "relative_position_bias.relative_position_bias_table") : null;
            double[]? shared = c.SharedRelativePositions ? w.Weight(name + "encoder.relative_position_bias.relative_position_bias_table") : null;
            double[][] h = w.Norm(x, n + ".layernorm_before", Epsilon);
            h = Plain.Attend(w.Linear(h, a + "query"), w.Linear(h, a + "key", bias: false), w.Linear(h, a + "value"), Heads,
                bias: (head, query, key) => new[] { own, shared }.Sum(table => table is null ? 0 : table[Way(query, key) * Heads + head]));
            h = w.Linear(h, n + ".attention.output.dense");
            x = Plain.Add(x, c.LayerScale > 0 ? w.Scaled(h, n + ".lambda_1") : h);
            h = w.Linear(Plain.Map(w.Linear(w.Norm(x, n + ".layernorm_after", Epsilon), n + ".intermediate.dense"), Plain.Gelu), n + ".output.dense");
            x = Plain.Add(x, c.LayerScale > 0 ? w.Scaled(h, n + ".lambda_2") : h);
        }
        return c.MeanPooling ? x : w.Norm(x, name + "layernorm", Epsilon);
    }

    /// <summary>The row of the table of ways that a query and a key have, as Hugging Face's code numbers them.</summary>
    static int Way(int query, int key)
    {
        const int ways = 2 * Side - 1, distances = ways * ways + 3;
        if (query == 0 && key == 0) return distances - 1;
        if (query == 0) return distances - 3;
        if (key == 0) return distances - 2;
        int down = (query - 1) / Side - (key - 1) / Side + Side - 1, right = (query - 1) % Side - (key - 1) % Side + Side - 1;
        return down * ways + right;
    }

    static double[] Mean(double[][] rows) => [.. Enumerable.Range(0, Width).Select(d => rows.Average(r => r[d]))];

    [Theory, MemberData(nameof(Cases))]
    public void Every_head(string engine, Kind kind)
    {
        var folder = new FamilyFolder(Json(kind));
        BeitConfig c = ((BeitModel)folder.Model).Config;
        Plain w = folder.Oracle;
        string name = kind switch { Kind.Plain => "", Kind.Data2Vec => "data2vec_vision.", _ => "beit." };
        double[][] pictures = [Pixels(1), Pixels(2)];
        bool[][] masked = [[.. Enumerable.Range(0, Patches).Select(i => i % 3 == 0)], [.. Enumerable.Range(0, Patches).Select(i => i is > 4 and < 11)]];
        var inputs = new Dictionary<string, TensorData>
        {
            ["pixel_values"] = TensorData.From([.. pictures.SelectMany(p => p).Select(v => (float)v)], 2, 3, Size, Size),
            ["bool_masked_pos"] = new(DType.BOOL, [2, Patches], masked.SelectMany(m => m).Select(m => m ? (byte)1 : (byte)0).ToArray()),
        };
        var got = folder.Run(engine, folder.Model.Full, inputs);
        double[][][] whole = [.. pictures.Select(p => Tokens(w, name, c, p, null))];
        double[] Pooled(double[][] tokens) => !c.MeanPooling ? tokens[0]
            : c.Head == BeitHead.VisualTokens ? Mean(w.Norm(tokens[1..], "layernorm", Epsilon)) : w.Norm([Mean(tokens[1..])], name + "pooler.layernorm", Epsilon)[0];
        if (c.Head == BeitHead.VisualTokens)
        {
            double[][][] seen = [.. pictures.Zip(masked, (p, m) => Tokens(w, name, c, p, m))];
            Check("last_hidden_state", seen.SelectMany(t => t), got["last_hidden_state"]);
            Check("logits", seen.SelectMany(t => w.Linear(w.Norm(t[1..], "layernorm", Epsilon), "lm_head")), got["logits"]);
        }
        else
        {
            Check("last_hidden_state", whole.SelectMany(t => t), got["last_hidden_state"]);
            Check("pooler_output", whole.Select(Pooled), got["pooler_output"]);
            if (c.Head == BeitHead.Classes) Check("logits", w.Linear([.. whole.Select(Pooled)], "classifier"), got["logits"]);
        }
        Check("image_embeds", whole.Select(t => Plain.Unit(Pooled(t))), folder.Run(engine, folder.Model.Encoders[Modality.Image], inputs)["image_embeds"]);
    }

    [Theory]
    [InlineData(Kind.Classes)]
    [InlineData(Kind.Data2Vec)]
    public void The_encoder_of_a_classifier_is_a_model_of_its_own(Kind kind)
    {
        var folder = new FamilyFolder(Json(kind));
        var alone = new BeitModel(((BeitModel)folder.Model).Config with { Head = BeitHead.None });
        var inputs = new Dictionary<string, TensorData> { ["pixel_values"] = TensorData.From([.. Pixels(3).Select(v => (float)v)], 1, 3, Size, Size) };
        IReadOnlyDictionary<string, TensorData> weights = CheckpointWeights.For(alone, folder.Weights, "with a head");
        Assert.Equal(folder.Run("torch", folder.Model.Full, inputs)["pooler_output"].ToSingles(),
            Engines.Get("torch").Run(alone.Full, weights, inputs)["pooler_output"].ToSingles());
    }

    [Fact]
    public void Indices_that_older_checkpoints_hold_are_left_aside()
    {
        var folder = new FamilyFolder(Json(Kind.Classes));
        var weights = folder.Weights.ToDictionary(w => w.Key, w => w.Value);
        weights["beit.encoder.layer.1.attention.attention.relative_position_bias.relative_position_index"] = TensorData.From(new long[17 * 17], 17, 17);
        CheckpointWeights.For(folder.Model, weights, "older");
        weights["beit.encoder.layer.1.attention.attention.key.bias"] = TensorData.From(new float[Width], Width);
        Assert.Contains("key.bias", Assert.Throws<InvalidDataException>(() => CheckpointWeights.For(folder.Model, weights, "wrong")).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Kind.Plain)]
    [InlineData(Kind.Masked)]
    [InlineData(Kind.Classes)]
    [InlineData(Kind.Data2Vec)]
    public void A_written_config_describes_the_same_model(Kind kind)
    {
        IModelDefinition model = ModelFamilies.Create(Encoding.UTF8.GetBytes(Json(kind)), "published");
        IModelDefinition again = ModelFamilies.Create(Encoding.UTF8.GetBytes(model.ToConfigJson()), "written");
        Assert.Equal(model.ToConfigJson(), again.ToConfigJson());
        Assert.Equal(ModelSummary.Of(model.Full).Parameters.Select(p => p.ToString()), ModelSummary.Of(again.Full).Parameters.Select(p => p.ToString()));
        Assert.Equal(((BeitModel)model).Config with { Labels = [] }, ((BeitModel)again).Config with { Labels = [] });
        Assert.Equal(((BeitModel)model).Config.Labels, ((BeitModel)again).Config.Labels);
    }

    [Theory]
    [InlineData("\"patch_size\":15", "patch_size 15")]
    [InlineData("\"architectures\":[\"BeitForMaskedImageModeling\"]", "use_mask_token")]
    [InlineData("\"architectures\":[\"BeitForImageClassification\"],\"id2label\":{\"0\":\"cat\",\"2\":\"dog\"}", "id2label")]
    public void Configs_that_make_no_sense_are_refused(string field, string named)
    {
        var e = Assert.Throws<InvalidDataException>(() => ModelFamilies.Create(Encoding.UTF8.GetBytes($$"""{"model_type":"beit",{{field}}}"""), "wrong"));
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_published_size_has_the_published_number_of_parameters() // microsoft/beit-base-patch16-224
    {
        var base16 = new BeitConfig { RelativePositions = true, Head = BeitHead.Classes, Labels = [.. Enumerable.Range(0, 1000).Select(i => $"{i}")] };
        Assert.Equal(86_530_984, ModelSummary.Of(new BeitModel(base16).Full).ParameterCount);
    }
}
