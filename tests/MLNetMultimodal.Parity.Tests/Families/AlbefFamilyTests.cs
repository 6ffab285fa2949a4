using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>ALBEF with each kind of fusion against plain loops, in every engine.</summary>
public sealed class AlbefFamilyTests
{
    const double Tolerance = 2e-5; // float32 sums here and double there, through up to four blocks with norms
    const int Width = 24, Heads = 3, TextLayers = 1, FusionLayers = 2, Size = 16, Patch = 8, Length = 6;
    const double Epsilon = 1e-6;
    const string Bert = "text_encoder.bert.";

    static readonly string[] Fusions = ["cross_attention", "co_attention", "merged_attention", "late", "none"];

    public static TheoryData<string, string> Cases
    {
        get
        {
            var cases = new TheoryData<string, string>();
            foreach (string engine in Engines.All)
                foreach (string fusion in Fusions) cases.Add(engine, fusion);
            return cases;
        }
    }

    static string Json(string fusion, int visionWidth = Width, bool normFirst = false) => $$"""
        {"model_type":"albef","norm_first":{{(normFirst ? "true" : "false")}},"fusion":"{{fusion}}","fusion_layers":{{FusionLayers}},"projection_dim":10,"mask_token_id":39,
         "vision_config":{"hidden_size":{{visionWidth}},"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,"hidden_act":"gelu_pytorch_tanh",
           "layer_norm_eps":1e-6,"image_size":{{Size}},"patch_size":{{Patch}} },
         "text_config":{"model_type":"bert","hidden_size":{{Width}},"intermediate_size":32,"num_hidden_layers":{{TextLayers}},"num_attention_heads":{{Heads}},
           "layer_norm_eps":1e-6,"vocab_size":40,"max_position_embeddings":8,"pad_token_id":0} }
        """;

    static readonly long[][] s_texts = [[5, 9, 30, 12, 8, 7], [39, 2, 8, 17, 0, 0]];

    static double[][] Pictures()
    {
        var random = new Random(3);
        return [.. s_texts.Select(_ => Enumerable.Range(0, 3 * Size * Size).Select(_ => (double)(float)(random.NextDouble() * 4 - 2)).ToArray())];
    }

    static Dictionary<string, TensorData> Inputs() => new()
    {
        ["pixel_values"] = TensorData.From([.. Pictures().SelectMany(p => p).Select(v => (float)v)], s_texts.Length, 3, Size, Size),
        ["input_ids"] = TensorData.From([.. s_texts.SelectMany(t => t)], s_texts.Length, Length),
    };

    static double[][] Image(Plain w, double[] pixels)
    {
        const string e = "visual_encoder.embeddings.";
        double[][] x = [w.Weight(e + "class_embedding"), .. w.Patches(pixels, Size, Patch, e + "patch_embedding", bias: false)];
        x = Plain.Add(x, [.. x.Select((_, i) => w.Row(e + "position_embedding.weight", i, Width))]);
        x = w.SiglipEncoder(w.Norm(x, "visual_encoder.pre_layrnorm", Epsilon), "visual_encoder.encoder", 2, Heads);
        return w.Norm(x, "visual_encoder.post_layernorm", Epsilon);
    }

    static double[][] Fuse(Plain w, string fusion, double[][] text, double[][] image, Func<int, bool> keep)
    {
        string Layer(int i) => $"{Bert}encoder.layer.{TextLayers + i}";
        switch (fusion)
        {
            case "cross_attention":
                for (int i = 0; i < FusionLayers; i++) text = w.BertBlock(text, Layer(i), Heads, Epsilon, keep, image);
                return text;
            case "co_attention":
                double[][] words = w.BertBlock(text, Layer(0), Heads, Epsilon, keep, image);
                image = w.BertBlock(image, "image_fusion.layer.0", Heads, Epsilon, null, text, keep);
                return w.BertBlock(words, Layer(1), Heads, Epsilon, keep, image);
            case "merged_attention":
                double[] type = w.Weight("image_type_embedding");
                double[][] x = [.. text, .. image.Select(p => p.Zip(type, (a, b) => a + b).ToArray())];
                for (int i = 0; i < FusionLayers; i++) x = w.BertBlock(x, Layer(i), Heads, Epsilon, j => j >= Length || keep(j));
                return x[..Length];
            default:
                double[] both = [.. text[0], .. image[0], .. text[0].Zip(image[0], (a, b) => a * b)];
                return Plain.Map(w.Linear(Plain.Map(w.Linear([both], "late_fusion.fc1"), Plain.Gelu), "late_fusion.fc2"), Plain.Gelu);
        }
    }

    static double[][] Words(Plain w, double[][] fused)
    {
        const string head = "text_encoder.cls.predictions.";
        double[][] x = w.Norm(Plain.Map(w.Linear(fused, head + "transform.dense"), Plain.Gelu), head + "transform.LayerNorm", Epsilon);
        double[] table = w.Weight(Bert + "embeddings.word_embeddings.weight"), bias = w.Weight(head + "bias");
        return [.. x.Select(row => bias.Select((b, v) => b + row.Select((value, d) => value * table[v * Width + d]).Sum()).ToArray())];
    }

    static void Check(string name, IEnumerable<double[]> expected, TensorData got, double tolerance = Tolerance) =>
        Difference.Check(name, [.. expected.SelectMany(r => r).Select(v => (float)v)], got.ToSingles(), tolerance, tolerance);

    [Theory, MemberData(nameof(Cases))]
    public void Every_output_is_that_of_plain_loops(string engine, string fusion)
    {
        foreach (bool normFirst in new[] { false, true }) IsThatOfPlainLoops(engine, fusion, normFirst);
    }

    static void IsThatOfPlainLoops(string engine, string fusion, bool normFirst)
    {
        var folder = new FamilyFolder(Json(fusion, normFirst: normFirst));
        var w = new Plain(folder.Weights) { NormFirst = normFirst };
        double[][] Last(double[][] x, string norm) => normFirst ? w.Norm(x, "text_encoder." + norm, Epsilon) : x;
        double[][][] images = [.. Pictures().Select(p => Image(w, p))];
        double[][][] texts =
            [.. s_texts.Select(ids => Last(w.Bert(ids, [.. ids.Select(id => id != 0)], Bert, Width, TextLayers, Heads, 0, Epsilon), "text_norm"))];
        var got = folder.Run(engine, folder.Model.Full, Inputs());
        Check("image_embeds", images.Select(x => Plain.Unit(w.Linear([x[0]], "vision_proj")[0])), got["image_embeds"]);
        Check("text_embeds", texts.Select(x => Plain.Unit(w.Linear([x[0]], "text_proj")[0])), got["text_embeds"]);
        Assert.Equal(fusion != "none", got.ContainsKey("itm_logits"));
        Assert.Equal(fusion is not "none" and not "late", got.ContainsKey("mlm_logits"));
        if (fusion == "none") return;
        double[][][] fused = [.. s_texts.Select((ids, i) => Fuse(w, fusion, texts[i], images[i], j => ids[j] != 0))];
        if (fusion != "late") fused = [.. fused.Select(x => Last(x, "fusion_norm"))];
        Check("itm_logits", fused.Select(x => w.Linear([x[0]], "itm_head")[0]), got["itm_logits"]);
        if (fusion != "late") Check("mlm_logits", fused.SelectMany(x => Words(w, x)), got["mlm_logits"], 1e-4); // sums of 24 products of about 1
        var pair = folder.Run(engine, ((AlbefModel)folder.Model).Pair!, Inputs());
        Check("itm_logits of the pair program", fused.Select(x => w.Linear([x[0]], "itm_head")[0]), pair["itm_logits"]);
        Assert.False(pair.ContainsKey("mlm_logits"));
    }

    public static TheoryData<string> EngineNames => Engines.Names;

    [Theory, MemberData(nameof(EngineNames))]
    public void Attention_maps_are_the_weights_of_each_block_over_class_token_and_patches(string engine)
    {
        var folder = new FamilyFolder(Json("cross_attention"));
        Plain w = folder.Oracle;
        const int patches = 1 + Size / Patch * (Size / Patch);
        TensorData maps = folder.Run(engine, ((AlbefModel)folder.Model).AttentionMaps!, Inputs())["cross_attentions"];
        Assert.Equal([s_texts.Length, FusionLayers, Length, patches], maps.Shape);
        // What the first block attends to, per head: the values are one-hot, so that what comes out is the weights themselves.
        var expected = new List<double[]>();
        for (int b = 0; b < s_texts.Length; b++)
        {
            long[] ids = s_texts[b];
            double[][] image = Image(w, Pictures()[b]);
            double[][] x = w.Bert(ids, [.. ids.Select(id => id != 0)], Bert, Width, TextLayers, Heads, 0, Epsilon);
            const string n = $"{Bert}encoder.layer.1.";
            double[][] Part(double[][] t, string part) => w.Linear(t, n + part);
            double[][] h = Plain.Attend(Part(x, "attention.self.query"), Part(x, "attention.self.key"), Part(x, "attention.self.value"), Heads, j => ids[j] != 0);
            x = w.Norm(Plain.Add(x, Part(h, "attention.output.dense")), n + "attention.output.LayerNorm", Epsilon);
            double[][] q = Part(x, "crossattention.self.query"), k = Part(image, "crossattention.self.key");
            foreach (double[] token in q)
            {
                var mean = new double[patches];
                for (int head = 0; head < Heads; head++)
                {
                    double[] scores = [.. k.Select(key => Enumerable.Range(head * 8, 8).Sum(d => token[d] * key[d]) / Math.Sqrt(8))];
                    double sum = scores.Sum(Math.Exp);
                    for (int p = 0; p < patches; p++) mean[p] += Math.Exp(scores[p]) / sum / Heads;
                }
                expected.Add(mean);
            }
        }
        float[] values = maps.ToSingles();
        int block = Length * patches;
        float[] first = [.. Enumerable.Range(0, s_texts.Length).SelectMany(b => values.Skip(b * FusionLayers * block).Take(block))];
        Difference.Check("cross_attentions", [.. expected.SelectMany(r => r).Select(v => (float)v)], first, Tolerance, Tolerance);
    }

    [Theory, MemberData(nameof(Cases))]
    public void Padding_changes_nothing(string engine, string fusion)
    {
        var folder = new FamilyFolder(Json(fusion));
        Dictionary<string, TensorData> padded = Inputs(), shorter = Inputs();
        padded["pixel_values"] = shorter["pixel_values"] = TensorData.From([.. Pictures()[1].Select(v => (float)v)], 1, 3, Size, Size);
        padded["input_ids"] = TensorData.From(s_texts[1], 1, Length);
        shorter["input_ids"] = TensorData.From(s_texts[1][..4], 1, 4);
        var one = folder.Run(engine, folder.Model.Full, padded);
        var other = folder.Run(engine, folder.Model.Full, shorter);
        foreach (string output in new[] { "image_embeds", "text_embeds", "itm_logits" }.Where(one.ContainsKey))
            Difference.Check(output, one[output].ToSingles(), other[output].ToSingles(), Tolerance, Tolerance);
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Words_attend_to_patches_of_another_width(string engine)
    {
        foreach (string fusion in new[] { "cross_attention", "co_attention" })
        {
            var folder = new FamilyFolder(Json(fusion, visionWidth: 36));
            Assert.Equal([2L, 2], folder.Run(engine, folder.Model.Full, Inputs())["itm_logits"].Shape);
        }
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Blip(string engine)
    {
        var folder = new FamilyFolder("""
            {"model_type":"blip","image_text_hidden_size":10,
             "vision_config":{"hidden_size":36,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,"layer_norm_eps":1e-6,"image_size":16,"patch_size":8},
             "text_config":{"hidden_size":24,"intermediate_size":32,"num_hidden_layers":2,"num_attention_heads":3,"layer_norm_eps":1e-6,"vocab_size":40,
               "max_position_embeddings":8,"encoder_hidden_size":36}}
            """);
        Plain w = folder.Oracle;
        double[][] Image(double[] pixels)
        {
            const string e = "vision_model.embeddings.";
            double[][] x = [w.Weight(e + "class_embedding"), .. w.Patches(pixels, Size, Patch, e + "patch_embedding", bias: true)];
            x = Plain.Add(x, [.. x.Select((_, i) => w.Row(e + "position_embedding", i, 36))]);
            for (int i = 0; i < 2; i++)
            {
                string n = $"vision_model.encoder.layers.{i}.", a = n + "self_attn.";
                double[][] h = w.Norm(x, n + "layer_norm1", Epsilon);
                double[][] Part(int part) => w.Packed(h, a + "qkv.weight", a + "qkv.bias", part * 36, 36);
                x = Plain.Add(x, w.Linear(Plain.Attend(Part(0), Part(1), Part(2), Heads), a + "projection"));
                x = Plain.Add(x, w.Linear(Plain.Map(w.Linear(w.Norm(x, n + "layer_norm2", Epsilon), n + "mlp.fc1"), Plain.Gelu), n + "mlp.fc2"));
            }
            return w.Norm(x, "vision_model.post_layernorm", Epsilon);
        }
        double[][] Text(long[] ids, double[][]? image)
        {
            const string e = "text_encoder.embeddings.";
            double[][] x = [.. ids.Select((id, i) => w.Row(e + "word_embeddings.weight", (int)id, Width).Zip(w.Row(e + "position_embeddings.weight", i, Width), (a, b) => a + b).ToArray())];
            x = w.Norm(x, e + "LayerNorm", Epsilon);
            for (int i = 0; i < 2; i++) x = w.BertBlock(x, $"text_encoder.encoder.layer.{i}", Heads, Epsilon, j => ids[j] != 0, image);
            return x;
        }
        double[][][] images = [.. Pictures().Select(Image)];
        var got = folder.Run(engine, folder.Model.Full, Inputs());
        Check("image_embeds", images.Select(x => Plain.Unit(w.Linear([x[0]], "vision_proj")[0])), got["image_embeds"]);
        Check("text_embeds", s_texts.Select(ids => Plain.Unit(w.Linear([Text(ids, null)[0]], "text_proj")[0])), got["text_embeds"]);
        Check("itm_logits", s_texts.Select((ids, i) => w.Linear([Text(ids, images[i])[0]], "itm_head")[0]), got["itm_logits"]);
        Assert.Equal([2L, 2, Length, 5], folder.Run(engine, ((BlipModel)folder.Model).AttentionMaps!, Inputs())["cross_attentions"].Shape);
        Assert.Equal(folder.Model.ToConfigJson(), new FamilyFolder(folder.Model.ToConfigJson()).Model.ToConfigJson());
    }

    [Fact]
    public void Configs_round_trip_and_wrong_ones_are_refused_by_name()
    {
        foreach (string fusion in Fusions)
        {
            var model = (AlbefModel)new FamilyFolder(Json(fusion)).Model;
            Assert.Equal(model.ToConfigJson(), new FamilyFolder(model.ToConfigJson()).Model.ToConfigJson());
            Assert.Contains($"\"fusion\": \"{fusion}\"", model.ToConfigJson());
        }
        Assert.Contains("'sideways' is unknown; known: cross_attention", Assert.Throws<InvalidDataException>(() => new FamilyFolder(Json("sideways"))).Message);
        Assert.Contains("towers of one width", Assert.Throws<InvalidDataException>(() => new FamilyFolder(Json("merged_attention", visionWidth: 36))).Message);
    }

    [Fact]
    public void The_published_size_has_the_published_number_of_parameters()
    {
        // ViT-B/16 of 256 pixels 86, BERT of 12 layers 110 of which 24 are words, and 6 layers of cross-attention 14 million.
        long parameters = ModelSummary.Of(new AlbefModel(AlbefConfig.Base).Full).ParameterCount;
        Assert.InRange(parameters, 205_000_000, 215_000_000);
    }
}
