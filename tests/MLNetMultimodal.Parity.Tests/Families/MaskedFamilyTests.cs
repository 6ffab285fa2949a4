using System.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>Models that see a part of their input, against plain loops in double precision, in every engine.</summary>
public sealed class MaskedFamilyTests
{
    const double Tolerance = 1e-5; // the sums are float32 here and double there; values are of the order of 1
    const int Width = 24, Heads = 3, Layers = 2, Size = 16, Patch = 4, Patches = 16, Kept = 4;

    const string MaeJson = """
        {"model_type":"vit_mae","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,"image_size":16,
         "patch_size":4,"layer_norm_eps":1e-6,"decoder_hidden_size":12,"decoder_num_hidden_layers":1,"decoder_num_attention_heads":2,
         "decoder_intermediate_size":20,"mask_ratio":0.75}
        """;

    static readonly long[][] s_order = [[3, 14, 0, 9, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15], [15, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 14]];

    public static TheoryData<string> EngineNames => Engines.Names;

    static double[] Pixels(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, 3 * Size * Size).Select(_ => (double)(float)(random.NextDouble() * 4 - 2))];
    }

    static TensorData Pictures(params double[][] pictures) =>
        TensorData.From([.. pictures.SelectMany(p => p).Select(v => (float)v)], pictures.Length, 3, Size, Size);

    static void Check(string name, IEnumerable<double[]> expected, TensorData got) =>
        Difference.Check(name, [.. expected.SelectMany(r => r).Select(v => (float)v)], got.ToSingles(), Tolerance, Tolerance);

    static Dictionary<string, TensorData> Inputs(double[][] pictures) => new()
    {
        ["pixel_values"] = Pictures(pictures),
        ["ids_keep"] = TensorData.From([.. s_order.SelectMany(o => o.Take(Kept))], 2, Kept),
        ["ids_restore"] = TensorData.From([.. s_order.SelectMany(o => Enumerable.Range(0, Patches).Select(p => (long)Array.IndexOf(o, (long)p)))], 2, Patches),
    };

    static double[][] Embedded(Plain w, double[] picture, string name)
    {
        double[][] positions = [.. w.Weight(name + "embeddings.position_embeddings").Chunk(Width)];
        double[] cls = [.. w.Weight(name + "embeddings.cls_token").Zip(positions[0], (a, b) => a + b)];
        return [cls, .. Plain.Add(w.Patches(picture, Size, Patch, name + "embeddings.patch_embeddings.projection", bias: true), positions[1..])];
    }

    static double[][] Seen(Plain w, double[] picture, long[] order)
    {
        double[][] all = Embedded(w, picture, "vit.");
        return w.VitEncoder([all[0], .. order.Take(Kept).Select(p => all[1 + p])], "vit.", Layers, Heads, 1e-6);
    }

    static double[][] Decoded(Plain w, double[][] tokens, long[] order)
    {
        double[][] x = w.Linear(tokens, "decoder.decoder_embed"), all = new double[1 + Patches][];
        all[0] = x[0];
        for (int i = 0; i < Patches; i++) all[1 + order[i]] = i < Kept ? x[1 + i] : w.Weight("decoder.mask_token");
        all = Plain.Add(all, [.. w.Weight("decoder.decoder_pos_embed").Chunk(12)]);
        all = w.VitBlock(all, "decoder.decoder_layers.0", 2, 1e-6);
        return w.Linear(w.Norm(all, "decoder.decoder_norm", 1e-6), "decoder.decoder_pred")[1..];
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Masked_autoencoder(string engine)
    {
        var folder = new FamilyFolder(MaeJson);
        Plain w = folder.Oracle;
        double[][] pictures = [Pixels(1), Pixels(2)];
        double[][][] seen = [.. pictures.Zip(s_order, (picture, order) => Seen(w, picture, order))];
        double[][][] painted = [.. seen.Zip(s_order, (tokens, order) => Decoded(w, tokens, order))];
        var got = folder.Run(engine, folder.Model.Full, Inputs(pictures));
        Check("last_hidden_state", seen.SelectMany(t => t), got["last_hidden_state"]);
        Check("logits", painted.SelectMany(t => t), got["logits"]);

        double[][] embeds = [.. pictures.Select(p =>
        {
            double[][] tokens = w.VitEncoder(Embedded(w, p, "vit."), "vit.", Layers, Heads, 1e-6)[1..];
            return Plain.Unit([.. Enumerable.Range(0, Width).Select(d => tokens.Average(t => t[d]))]);
        })];
        Check("image_embeds", embeds, folder.Run(engine, folder.Model.Encoders[Modality.Image], Inputs(pictures))["image_embeds"]);
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void The_encoder_of_a_masked_autoencoder_is_a_vit(string engine)
    {
        var folder = new FamilyFolder(MaeJson);
        VitModel vit = ((MaeModel)folder.Model).Vision;
        Dictionary<string, TensorData> inputs = Inputs([Pixels(3), Pixels(4)]);
        using ModelWeights stored = folder.Files.OpenWeights();
        var got = Engines.Get(engine).Run(vit.Encoders[Modality.Image], CheckpointWeights.For(vit, stored, "random"), inputs)["image_embeds"];
        Difference.Check("image_embeds", folder.Run(engine, folder.Model.Encoders[Modality.Image], inputs)["image_embeds"].ToSingles(), got.ToSingles(), 1e-6, 0);
        IModelDefinition written = ModelFamilies.Create(Encoding.UTF8.GetBytes(vit.ToConfigJson()), "written");
        Assert.Equal("vit", written.ModelType);
        Assert.Equal(vit.ToConfigJson(), written.ToConfigJson());
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Hidden_pixels_do_not_reach_a_masked_autoencoder(string engine)
    {
        var folder = new FamilyFolder(MaeJson);
        double[][] pictures = [Pixels(5), Pixels(6)], changed = [.. pictures.Select(p => (double[])p.Clone())];
        for (int b = 0; b < 2; b++)
            foreach (long patch in s_order[b].Skip(Kept))
                for (int c = 0; c < 3; c++)
                    for (int i = 0; i < Patch * Patch; i++)
                        changed[b][(c * Size + patch / 4 * Patch + i / Patch) * Size + patch % 4 * Patch + i % Patch] = 1e3;
        var before = folder.Run(engine, folder.Model.Full, Inputs(pictures));
        var after = folder.Run(engine, folder.Model.Full, Inputs(changed));
        Assert.Equal(before["last_hidden_state"].ToSingles(), after["last_hidden_state"].ToSingles());
        Assert.Equal(before["logits"].ToSingles(), after["logits"].ToSingles());
        Assert.NotEqual(before["logits"].ToSingles(), folder.Run(engine, folder.Model.Full, Inputs([Pixels(7), Pixels(8)]))["logits"].ToSingles());
    }

    static VitConfig Vision() => ((VitModel)ModelFamilies.Create(Encoding.UTF8.GetBytes("""
        {"model_type":"vit","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,"image_size":16,"patch_size":4,
         "layer_norm_eps":1e-6}
        """), "vit")).Config;

    [Theory, MemberData(nameof(EngineNames))]
    public void Both_sides_of_a_self_distillation_of_pictures(string engine)
    {
        DistillationPair pair = Data2Vec.Pictures(Vision());
        IReadOnlyDictionary<string, TensorData> weights = FamilyFolder.Draw(pair.Student);
        var w = new Plain(weights);
        double[][] pictures = [Pixels(1), Pixels(2), Pixels(3)];
        bool[][] masked = [[.. s_order[0].Select(p => p > 6)], [.. Enumerable.Repeat(true, Patches)], [.. Enumerable.Repeat(false, Patches)]];
        double[][][] predictions = [.. pictures.Zip(masked, (picture, mask) =>
            w.Linear(Tokens(w, picture, mask, null)[1..], "regression_head"))];
        var layers = pictures.Select(_ => new List<double[][]>()).ToArray();
        for (int i = 0; i < pictures.Length; i++) Tokens(w, pictures[i], null, layers[i]);
        var inputs = new Dictionary<string, TensorData>
        {
            ["pixel_values"] = Pictures(pictures),
            ["bool_masked_pos"] = new(DType.BOOL, [3, Patches], masked.SelectMany(m => m).Select(m => m ? (byte)1 : (byte)0).ToArray()),
        };
        Check("predictions", predictions.SelectMany(t => t), Engines.Get(engine).Run(pair.Student, weights, inputs)["predictions"]);
        var seen = Engines.Get(engine).Run(pair.Teacher, weights, inputs);
        Assert.Equal(Layers, seen.Count);
        for (int i = 0; i < Layers; i++) Check($"layer.{i}", layers.SelectMany(l => l[i][1..]), seen[$"layer.{i}"]);

        static double[][] Tokens(Plain w, double[] picture, bool[]? masked, List<double[][]>? layers)
        {
            double[][] patches = w.Patches(picture, Size, Patch, "embeddings.patch_embeddings.projection", bias: true);
            if (masked is not null) patches = [.. patches.Select((p, i) => masked[i] ? w.Weight("embeddings.mask_token") : p)];
            double[][] x = Plain.Add([w.Weight("embeddings.cls_token"), .. patches], [.. w.Weight("embeddings.position_embeddings").Chunk(Width)]);
            for (int i = 0; i < Layers; i++) x = w.VitBlock(x, $"encoder.layer.{i}", Heads, 1e-6, layers);
            return w.Norm(x, "layernorm", 1e-6);
        }
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Both_sides_of_a_self_distillation_of_pictures_with_a_decoder(string engine)
    {
        DistillationPair pair = Data2Vec.Pictures(((MaeModel)ModelFamilies.Create(Encoding.UTF8.GetBytes(MaeJson), "vit_mae")).Config);
        IReadOnlyDictionary<string, TensorData> weights = FamilyFolder.Draw(pair.Student);
        var w = new Plain(weights);
        double[][] pictures = [Pixels(1), Pixels(2)];
        double[][][] predictions = [.. pictures.Zip(s_order, (picture, order) => Decoded(w, Seen(w, picture, order), order))];
        Check("predictions", predictions.SelectMany(t => t), Engines.Get(engine).Run(pair.Student, weights, Inputs(pictures))["predictions"]);
        Assert.All(predictions, p => Assert.Equal((Patches, Width), (p.Length, p[0].Length)));
        var seen = Engines.Get(engine).Run(pair.Teacher, weights, Inputs(pictures));
        Assert.Equal(Layers, seen.Count);
        double[][][] tokens = [.. pictures.Select(p => Embedded(w, p, "vit."))];
        for (int i = 0; i < Layers; i++)
        {
            var parts = new List<double[][]>();
            tokens = [.. tokens.Select(t => w.VitBlock(t, $"vit.encoder.layer.{i}", Heads, 1e-6, parts))];
            Check($"layer.{i}", parts.SelectMany(p => p[1..]), seen[$"layer.{i}"]);
        }
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Both_sides_of_a_self_distillation_of_texts(string engine)
    {
        BertConfig config = new() { VocabularySize = 50, MaxPositions = 16, Blocks = new BertConfig().Blocks with { Layers = Layers, Width = Width, MlpWidth = 40, Heads = Heads } };
        DistillationPair pair = Data2Vec.Texts(config);
        IReadOnlyDictionary<string, TensorData> weights = FamilyFolder.Draw(pair.Student);
        var w = new Plain(weights);
        long[][] texts = [[7, 12, 49, 3, 8], [20, 21, 5, 0, 0]];
        var layers = texts.Select(_ => new List<double[][]>()).ToArray();
        double[][][] tokens = [.. texts.Select((ids, i) => w.Bert(ids, [.. ids.Select(id => id != 0)], "", Width, Layers, Heads, 0, 1e-12, layers[i]))];
        var inputs = new Dictionary<string, TensorData>
        {
            ["input_ids"] = TensorData.From([.. texts.SelectMany(t => t)], 2, 5),
            ["attention_mask"] = TensorData.From([.. texts.SelectMany(t => t).Select(id => id == 0 ? 0L : 1)], 2, 5),
        };
        Check("predictions", tokens.SelectMany(t => w.Linear(t, "regression_head")), Engines.Get(engine).Run(pair.Student, weights, inputs)["predictions"]);
        var seen = Engines.Get(engine).Run(pair.Teacher, weights, inputs);
        for (int i = 0; i < Layers; i++) Check($"layer.{i}", layers.SelectMany(l => l[i]), seen[$"layer.{i}"]);
    }

    public static TheoryData<string, string> LanguageCases => new() { { "onnx", "bert" }, { "onnx-portable", "bert" }, { "torch", "bert" }, { "onnx", "roberta" }, { "torch", "roberta" } };

    [Theory, MemberData(nameof(LanguageCases))]
    public void Masked_language_model(string engine, string type)
    {
        bool isBert = type == "bert";
        int pad = isBert ? 0 : 1, first = isBert ? 0 : 2;
        var folder = new FamilyFolder($$"""
            {"model_type":"{{type}}","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,"vocab_size":50,
             "max_position_embeddings":16,"type_vocab_size":2,"pad_token_id":{{pad}},"mask_token_id":49,"layer_norm_eps":1e-12}
            """);
        var model = (BertModel)folder.Model;
        IReadOnlyDictionary<string, TensorData> drawn = FamilyFolder.Draw(model.MaskedLm);
        // As Hugging Face's classes save it: the encoder under a prefix, the word table once more as the head's decoder.
        var published = drawn.ToDictionary(w => w.Key.StartsWith("cls.", StringComparison.Ordinal) || w.Key.StartsWith("lm_head.", StringComparison.Ordinal)
            ? w.Key : $"{type}.{w.Key}", w => w.Value);
        published[isBert ? "cls.predictions.decoder.weight" : "lm_head.decoder.weight"] = drawn["embeddings.word_embeddings.weight"];
        IReadOnlyDictionary<string, TensorData> weights = model.RenameMaskedLm(published);
        CheckpointWeights.Check(ModelSummary.Of(model.MaskedLm).Parameters, weights, [], "published");

        var w = new Plain(weights);
        long[][] texts = [[7, 49, 48, 3, 8], [20, 49, 5, pad, pad]];
        string head = isBert ? "cls.predictions.transform." : "lm_head.";
        double[] bias = w.Weight(isBert ? "cls.predictions.bias" : "lm_head.bias");
        double[][] table = [.. w.Weight("embeddings.word_embeddings.weight").Chunk(Width)];
        double[][] logits = [.. texts.SelectMany(ids =>
        {
            double[][] x = w.Bert(ids, [.. ids.Select(id => id != pad)], "", Width, Layers, Heads, first, 1e-12);
            x = w.Norm(Plain.Map(w.Linear(x, head + "dense"), Plain.Gelu), head + (isBert ? "LayerNorm" : "layer_norm"), 1e-12);
            return x.Select(row => table.Zip(bias, (word, b) => word.Zip(row, (a, c) => a * c).Sum() + b).ToArray());
        })];
        var inputs = new Dictionary<string, TensorData>
        {
            ["input_ids"] = TensorData.From([.. texts.SelectMany(t => t)], 2, 5),
            ["attention_mask"] = TensorData.From([.. texts.SelectMany(t => t).Select(id => id == pad ? 0L : 1)], 2, 5),
        };
        Check("logits", logits, Engines.Get(engine).Run(model.MaskedLm, weights, inputs)["logits"]);
        Assert.Equal(49, model.Config.MaskId);
        Assert.Equal(model.Config, ((BertModel)ModelFamilies.Create(Encoding.UTF8.GetBytes(model.ToConfigJson()), "written")).Config);
    }

    [Fact]
    public void The_published_masked_language_model_has_the_published_number_of_parameters() => // bert-base-uncased for masked words
        Assert.Equal(109_514_298, ModelSummary.Of(new BertModel(new(), BertPooling.Mean).MaskedLm).ParameterCount);

    [Fact]
    public void The_teacher_has_the_students_weights_but_for_its_head_and_mask()
    {
        BertConfig texts = new() { Blocks = new BertConfig().Blocks with { Layers = 1 } };
        foreach (DistillationPair pair in new[] { Data2Vec.Pictures(Vision()), Data2Vec.Texts(texts), Data2Vec.Sounds(new()) })
        {
            HashSet<string> Names(IProgram program) => [.. ModelSummary.Of(program).Parameters.Select(p => p.Name)];
            Assert.Subset(Names(pair.Student), Names(pair.Teacher));
            string[] own = [.. Names(pair.Student).Except(Names(pair.Teacher))];
            Assert.All(own, n => Assert.True(n.StartsWith("regression_head.", StringComparison.Ordinal) || n.Contains("mask", StringComparison.Ordinal)
                || n is "layernorm.weight" or "layernorm.bias" || n.EndsWith("output.LayerNorm.weight", StringComparison.Ordinal)
                || n.EndsWith("output.LayerNorm.bias", StringComparison.Ordinal) || n.Contains("final_layer_norm", StringComparison.Ordinal), n));
        }
    }

    [Theory]
    [InlineData("""{"model_type":"vit_mae","mask_ratio":1.0}""", "mask_ratio 1")]
    [InlineData("""{"model_type":"vit_mae","mask_ratio":-0.1}""", "mask_ratio -0.1")]
    [InlineData("""{"model_type":"vit_mae","image_size":16,"patch_size":8,"mask_ratio":0.8}""", "mask_ratio 0.8")]
    [InlineData("""{"model_type":"vit_mae","decoder_hidden_size":510}""", "decoder_hidden_size 510")]
    [InlineData("""{"model_type":"vit_mae","decoder_hidden_size":"wide"}""", "decoder_hidden_size")]
    [InlineData("""{"model_type":"bert","vocab_size":50,"mask_token_id":50}""", "mask_token_id 50")]
    public void Configs_that_make_no_sense_are_refused(string config, string named)
    {
        var e = Assert.Throws<InvalidDataException>(() => ModelFamilies.Create(Encoding.UTF8.GetBytes(config), "wrong"));
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_written_config_describes_the_same_model()
    {
        IModelDefinition model = ModelFamilies.Create(Encoding.UTF8.GetBytes(MaeJson), "published");
        IModelDefinition again = ModelFamilies.Create(Encoding.UTF8.GetBytes(model.ToConfigJson()), "written");
        Assert.Equal(model.ToConfigJson(), again.ToConfigJson());
        Assert.Equal(((MaeModel)model).Config, ((MaeModel)again).Config);
    }

    [Fact]
    public void The_published_size_has_the_published_number_of_parameters() // facebook/vit-mae-base with its decoder
    {
        long count = ModelSummary.Of(new MaeModel(new()).Full).ParameterCount;
        // ViT-B/16: 85,798,656 without a pooler; decoder: 512 wide, 8 layers, on 197 positions.
        long block = 4 * (512 * 512 + 512) + 2 * 512 * 2048 + 2048 + 512 + 4 * 512;
        Assert.Equal(85_798_656 + (768 * 512 + 512) + 512 + 197 * 512 + 8 * block + 2 * 512 + (512 * 768 + 768), count);
    }
}
