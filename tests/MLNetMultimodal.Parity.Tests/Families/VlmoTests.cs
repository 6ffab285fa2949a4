using System.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>Experts for each sense under one attention, against plain loops in double precision, in every engine.</summary>
public sealed class VlmoTests
{
    const double Tolerance = 1e-5; // the sums are float32 here and double there; embeddings have length 1
    const int Width = 24, Heads = 3, Layers = 3, Fused = 1, Size = 16, Patch = 8, Pad = 1;

    const string Json = """
        {"model_type":"vlmo","hidden_size":24,"intermediate_size":40,"num_hidden_layers":3,"num_attention_heads":3,"layer_norm_eps":1e-6,"hidden_act":"gelu",
         "image_size":16,"patch_size":8,"vocab_size":50,"max_position_embeddings":9,"pad_token_id":1,"num_fused_layers":1,"projection_dim":12,
         "mask_token_id":49,"visual_vocab_size":7}
        """;

    static readonly long[][] s_texts = [[7, 12, 49, 3, 8], [20, 21, 5, Pad, Pad]];

    public static TheoryData<string> EngineNames => Engines.Names;

    static double[] Pixels(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, 3 * Size * Size).Select(_ => (double)(float)(random.NextDouble() * 4 - 2))];
    }

    static double[][] Image(Plain w, double[] picture, bool[]? masked = null)
    {
        double[][] patches = w.Patches(picture, Size, Patch, "image_embeddings.patch_embedding", bias: true);
        if (masked is not null) patches = [.. patches.Select((p, i) => masked[i] ? w.Weight("image_embeddings.mask_token") : p)];
        return Typed(w, "image_embeddings", Plain.Add([w.Weight("image_embeddings.cls_token"), .. patches], [.. w.Weight("image_embeddings.position_embeddings").Chunk(Width)]));
    }

    static double[][] Text(Plain w, long[] ids) => Typed(w, "text_embeddings", w.Norm(Plain.Add(
        [.. ids.Select(id => w.Row("text_embeddings.word_embeddings.weight", (int)id, Width))],
        [.. ids.Select((_, i) => w.Row("text_embeddings.position_embeddings.weight", i, Width))]), "text_embeddings.layer_norm", 1e-6));

    static double[][] Typed(Plain w, string name, double[][] x) => Plain.Add(x, [.. x.Select(_ => w.Weight(name + ".type_embedding"))]);

    /// <summary>All blocks: token i goes through the expert that <paramref name="expert"/> names for it and the block.</summary>
    static double[][] Blocks(Plain w, double[][] x, Func<int, int, string> expert, Func<int, bool> keep)
    {
        for (int i = 0; i < Layers; i++)
        {
            string n = $"encoder.layers.{i}.", a = n + "self_attn.";
            double[][] h = w.Norm(x, n + "layer_norm1", 1e-6);
            h = Plain.Attend(w.Linear(h, a + "q_proj"), w.Linear(h, a + "k_proj"), w.Linear(h, a + "v_proj"), Heads, keep);
            x = Plain.Add(x, w.Linear(h, a + "out_proj"));
            int layer = i;
            x = [.. x.Select((row, token) =>
            {
                string e = n + expert(layer, token) + ".";
                double[][] up = Plain.Map(w.Linear(w.Norm([row], e + "layer_norm2", 1e-6), e + "mlp.fc1"), Plain.Gelu);
                return Plain.Add([row], w.Linear(up, e + "mlp.fc2"))[0];
            })];
        }
        return w.Norm(x, "layer_norm", 1e-6);
    }

    static double[] Embedded(Plain w, double[][] tokens, string name) => Plain.Unit(w.Linear([tokens[0]], name, bias: false)[0]);

    static void Check(string name, IEnumerable<double[]> expected, TensorData got) =>
        Difference.Check(name, [.. expected.SelectMany(r => r).Select(v => (float)v)], got.ToSingles(), Tolerance, Tolerance);

    [Theory, MemberData(nameof(EngineNames))]
    public void Senses_alone_and_together(string engine)
    {
        var folder = new FamilyFolder(Json);
        Plain w = folder.Oracle;
        double[][] pictures = [Pixels(1), Pixels(2)];
        const int patches = 1 + Size / Patch * (Size / Patch);
        double[][] images = [.. pictures.Select(p => Embedded(w, Blocks(w, Image(w, p), (_, _) => "vision_expert", _ => true), "visual_projection"))];
        double[][] texts = [.. s_texts.Select(t => Embedded(w, Blocks(w, Text(w, t), (_, _) => "language_expert", i => t[i] != Pad), "text_projection"))];
        double[][][] pairs = [.. pictures.Zip(s_texts, (p, t) => Blocks(w, [.. Image(w, p), .. Text(w, t)],
            (layer, token) => layer >= Layers - Fused ? "fusion_expert" : token < patches ? "vision_expert" : "language_expert", i => i < patches || t[i - patches] != Pad))];
        double scale = Math.Exp(w.Weight("logit_scale")[0]);

        var inputs = new Dictionary<string, TensorData>
        {
            ["pixel_values"] = TensorData.From([.. pictures.SelectMany(p => p).Select(v => (float)v)], 2, 3, Size, Size),
            ["input_ids"] = TensorData.From([.. s_texts.SelectMany(t => t)], 2, 5),
        };
        var got = folder.Run(engine, folder.Model.Full, inputs);
        Check("image_embeds", images, got["image_embeds"]);
        Check("text_embeds", texts, got["text_embeds"]);
        Check("last_hidden_state", pairs.SelectMany(p => p), got["last_hidden_state"]);
        Check("logits_per_image", images.Select(i => texts.Select(t => scale * i.Zip(t, (a, b) => a * b).Sum()).ToArray()), got["logits_per_image"]);
        Check("image_embeds alone", images, folder.Run(engine, folder.Model.Encoders[Modality.Image], inputs)["image_embeds"]);
        Check("text_embeds alone", texts, folder.Run(engine, folder.Model.Encoders[Modality.Text], inputs)["text_embeds"]);
    }

    static double[][] Words(Plain w, double[][] tokens)
    {
        double[][] x = w.Norm(Plain.Map(w.Linear(tokens, "word_head.dense"), Plain.Gelu), "word_head.layer_norm", 1e-6);
        double[][] table = [.. w.Weight("text_embeddings.word_embeddings.weight").Chunk(Width)];
        double[] bias = w.Weight("word_head.bias");
        return [.. x.Select(row => table.Zip(bias, (word, b) => word.Zip(row, (a, c) => a * c).Sum() + b).ToArray())];
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Hidden_patches_and_hidden_words(string engine)
    {
        var model = (VlmoModel)new FamilyFolder(Json).Model;
        double[][] pictures = [Pixels(1), Pixels(2)];
        bool[][] masked = [[true, false, false, true], [false, true, true, true]];
        long[][] hidden = [[7, 49, 49, 3, 8], [20, 49, 5, Pad, Pad]];
        const int patches = 1 + Size / Patch * (Size / Patch);
        var inputs = new Dictionary<string, TensorData>
        {
            ["pixel_values"] = TensorData.From([.. pictures.SelectMany(p => p).Select(v => (float)v)], 2, 3, Size, Size),
            ["bool_masked_pos"] = new(DType.BOOL, [2, 4], masked.SelectMany(m => m).Select(m => m ? (byte)1 : (byte)0).ToArray()),
            ["input_ids"] = TensorData.From([.. s_texts.SelectMany(t => t)], 2, 5),
            ["wrong_input_ids"] = TensorData.From([.. s_texts.AsEnumerable().Reverse().SelectMany(t => t)], 2, 5),
            ["masked_input_ids"] = TensorData.From([.. hidden.SelectMany(t => t)], 2, 5),
        };
        IReadOnlyDictionary<string, TensorData> weights = FamilyFolder.Draw(model.MaskedImages);
        var w = new Plain(weights);
        Check("visual tokens", pictures.Zip(masked).SelectMany(p => w.Linear(Blocks(w, Image(w, p.First, p.Second), (_, _) => "vision_expert", _ => true)[1..], "visual_head")),
            Engines.Get(engine).Run(model.MaskedImages, weights, inputs)["logits"]);

        weights = FamilyFolder.Draw(model.MaskedTexts);
        w = new Plain(weights);
        Check("words", s_texts.SelectMany(t => Words(w, Blocks(w, Text(w, t), (_, _) => "language_expert", i => t[i] != Pad))),
            Engines.Get(engine).Run(model.MaskedTexts, weights, inputs)["logits"]);

        weights = FamilyFolder.Draw(model.MaskedPairs);
        w = new Plain(weights);
        var got = Engines.Get(engine).Run(model.MaskedPairs, weights, inputs);
        double[][] Together(double[] picture, long[] text) => Blocks(w, [.. Image(w, picture), .. Text(w, text)],
            (layer, token) => layer >= Layers - Fused ? "fusion_expert" : token < patches ? "vision_expert" : "language_expert",
            i => i < patches || text[i - patches] != Pad);
        Check("words with pictures", pictures.Zip(hidden).SelectMany(p => Words(w, Together(p.First, p.Second)[patches..])), got["logits"]);
        Check("match_logits", w.Linear([.. pictures.Zip(s_texts, (p, t) => Together(p, t)[0])], "match_head"), got["match_logits"]);
        Check("mismatch_logits", w.Linear([.. pictures.Zip(s_texts.AsEnumerable().Reverse(), (p, t) => Together(p, t)[0])], "match_head"), got["mismatch_logits"]);
        double[][] images = [.. pictures.Select(p => Embedded(w, Blocks(w, Image(w, p), (_, _) => "vision_expert", _ => true), "visual_projection"))];
        double[][] texts = [.. s_texts.Select(t => Embedded(w, Blocks(w, Text(w, t), (_, _) => "language_expert", i => t[i] != Pad), "text_projection"))];
        double scale = Math.Exp(w.Weight("logit_scale")[0]);
        Check("logits_per_image", images.Select(i => texts.Select(t => scale * i.Zip(t, (a, b) => a * b).Sum()).ToArray()), got["logits_per_image"]);
    }

    [Fact]
    public void Both_senses_share_their_attention_and_nothing_else_in_the_blocks()
    {
        IModelDefinition model = new FamilyFolder(Json).Model;
        string[] Blocks(Modality sense) => [.. ModelSummary.Of(model.Encoders[sense]).Parameters.Select(p => p.Name).Where(n => n.StartsWith("encoder.", StringComparison.Ordinal))];
        string[] shared = [.. Blocks(Modality.Image).Intersect(Blocks(Modality.Text))];
        Assert.Equal(Layers * (8 + 2), shared.Length); // four projections and a norm, weights and biases
        Assert.All(shared, n => Assert.DoesNotContain("expert", n, StringComparison.Ordinal));
        Assert.Equal(Layers * 6, Blocks(Modality.Image).Count(n => n.Contains(".vision_expert.", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("\"num_fused_layers\":13", "num_fused_layers 13")]
    [InlineData("\"patch_size\":15", "patch_size 15")]
    [InlineData("\"mask_token_id\":30522", "mask_token_id 30522")]
    public void Configs_that_make_no_sense_are_refused(string field, string named)
    {
        var e = Assert.Throws<InvalidDataException>(() => ModelFamilies.Create(Encoding.UTF8.GetBytes($$"""{"model_type":"vlmo",{{field}}}"""), "wrong"));
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_written_config_describes_the_same_model()
    {
        var model = (VlmoModel)ModelFamilies.Create(Encoding.UTF8.GetBytes(Json), "given");
        Assert.Equal(model.Config, ((VlmoModel)ModelFamilies.Create(Encoding.UTF8.GetBytes(model.ToConfigJson()), "written")).Config);
    }
}
