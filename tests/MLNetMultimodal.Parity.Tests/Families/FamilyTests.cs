using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>Each family against plain loops, in every engine, from a folder with the published schema and names.</summary>
public sealed class FamilyTests
{
    const double Tolerance = 1e-5; // the sums are float32 here and double there; embeddings have length 1
    const int Width = 24, Heads = 3, Layers = 2;

    public static TheoryData<string> EngineNames => Engines.Names;

    static double[] Pixels(int seed, int size)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, 3 * size * size).Select(_ => (double)(float)(random.NextDouble() * 4 - 2))];
    }

    static Dictionary<string, TensorData> Pictures(double[][] pictures, int size) => new()
    {
        ["pixel_values"] = TensorData.From([.. pictures.SelectMany(p => p).Select(v => (float)v)], pictures.Length, 3, size, size),
    };

    static void Check(string name, IEnumerable<double[]> expected, TensorData got) =>
        Difference.Check(name, [.. expected.SelectMany(r => r).Select(v => (float)v)], got.ToSingles(), Tolerance, Tolerance);

    [Theory, MemberData(nameof(EngineNames))]
    public void Siglip(string engine)
    {
        const int size = 18, length = 7; // two patches of 8, and 2 pixels that are not seen
        var folder = new FamilyFolder("""
            {"model_type":"siglip",
             "vision_config":{"model_type":"siglip_vision_model","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,
               "num_attention_heads":3,"image_size":18,"patch_size":8},
             "text_config":{"model_type":"siglip_text_model","hidden_size":24,"intermediate_size":32,"num_hidden_layers":2,
               "num_attention_heads":3,"vocab_size":40,"max_position_embeddings":7}}
            """);
        Plain w = folder.Oracle;
        double[][] pictures = [Pixels(1, size), Pixels(2, size), Pixels(3, size)];
        long[][] texts = [[5, 9, 30, 1, 1, 1, 1], [39, 2, 8, 17, 4, 0, 1]];
        Dictionary<string, TensorData> inputs = Pictures(pictures, size);
        inputs["input_ids"] = TensorData.From([.. texts.SelectMany(t => t)], 2, length);

        double[][] images = [.. pictures.Select(p =>
        {
            double[][] x = w.Patches(p, size, 8, "vision_model.embeddings.patch_embedding", bias: true);
            x = Plain.Add(x, [.. x.Select((_, i) => w.Row("vision_model.embeddings.position_embedding.weight", i, Width))]);
            x = w.Norm(w.SiglipEncoder(x, "vision_model.encoder", Layers, Heads), "vision_model.post_layernorm", 1e-6);
            const string a = "vision_model.head.attention.";
            double[][] Part(double[][] t, int part) => w.Packed(t, a + "in_proj_weight", a + "in_proj_bias", part * Width, Width);
            double[][] y = Plain.Attend(Part([w.Weight("vision_model.head.probe")], 0), Part(x, 1), Part(x, 2), Heads);
            y = w.Linear(y, a + "out_proj");
            double[][] h = w.Linear(w.Norm(y, "vision_model.head.layernorm", 1e-6), "vision_model.head.mlp.fc1");
            return Plain.Add(y, w.Linear(Plain.Map(h, Plain.GeluTanh), "vision_model.head.mlp.fc2"))[0];
        })];
        double[][] words = [.. texts.Select(ids =>
        {
            double[][] x = [.. ids.Select(id => w.Row("text_model.embeddings.token_embedding.weight", (int)id, Width))];
            x = Plain.Add(x, [.. x.Select((_, i) => w.Row("text_model.embeddings.position_embedding.weight", i, Width))]);
            x = w.Norm(w.SiglipEncoder(x, "text_model.encoder", Layers, Heads), "text_model.final_layer_norm", 1e-6);
            return w.Linear([x[^1]], "text_model.head")[0];
        })];
        double scale = Math.Exp(w.Weight("logit_scale")[0]), shift = w.Weight("logit_bias")[0];
        double[][] logits = [.. images.Select(i => words.Select(t => scale * Plain.Unit(i).Zip(Plain.Unit(t), (a, b) => a * b).Sum() + shift).ToArray())];

        var got = folder.Run(engine, folder.Model.Full, inputs);
        Check("vision_pooler_output", images, got["vision_pooler_output"]);
        Check("text_pooler_output", words, got["text_pooler_output"]);
        Check("logits_per_image", logits, got["logits_per_image"]);
        Check("image_embeds", images.Select(Plain.Unit), folder.Run(engine, folder.Model.Encoders[Modality.Image], inputs)["image_embeds"]);
        Check("text_embeds", words.Select(Plain.Unit), folder.Run(engine, folder.Model.Encoders[Modality.Text], inputs)["text_embeds"]);
        Assert.Equal(length, folder.Model.PaddedLength(3));
    }

    static string VitJson(string type, int imageSize = 24, string more = "") => $$"""
        {"model_type":"{{type}}","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,
         "image_size":{{imageSize}},"patch_size":8,"layer_norm_eps":1e-6{{more}}}
        """;

    public static TheoryData<string, string, string> VitCases => new()
    {
        { "onnx", "vit", "vit" }, { "torch", "vit", "vit" }, { "onnx", "vit", "vit as a classifier" }, { "onnx", "deit", "deit" },
        { "torch", "deit", "deit" }, { "onnx", "dinov2", "dinov2" }, { "torch", "dinov2", "dinov2" },
        { "onnx", "dinov2", "dinov2, gated" }, { "torch", "dinov2", "dinov2, gated" },
    };

    [Theory, MemberData(nameof(VitCases))]
    public void Vision_transformers(string engine, string type, string name)
    {
        const int size = 24;
        bool gated = name.EndsWith("gated", StringComparison.Ordinal), isClassifier = name.EndsWith("classifier", StringComparison.Ordinal);
        var folder = new FamilyFolder(VitJson(type, more: gated ? ""","use_swiglu_ffn":true,"mlp_ratio":2""" : ""),
            isClassifier ? n => $"vit.{n}" : null);
        double[][] pictures = [Pixels(1, size), Pixels(2, size)];
        double[][][] tokens = [.. pictures.Select(p => VitTokens(folder.Oracle, p, size, type, gated, n => folder.Oracle.Weight(n)))];
        var got = folder.Run(engine, folder.Model.Full, Pictures(pictures, size));
        Check("last_hidden_state", tokens.SelectMany(t => t), got["last_hidden_state"]);
        Check("image_embeds", tokens.Select(t => Plain.Unit(t[0])), got["image_embeds"]);
    }

    static double[][] VitTokens(Plain w, double[] pixels, int size, string type, bool gated, Func<string, double[]> weight)
    {
        double[][] x = w.Patches(pixels, size, 8, "embeddings.patch_embeddings.projection", bias: true);
        x = type == "deit" ? [weight("embeddings.cls_token"), weight("embeddings.distillation_token"), .. x] : [weight("embeddings.cls_token"), .. x];
        double[] table = weight("embeddings.position_embeddings");
        x = Plain.Add(x, [.. table.Chunk(Width)]);
        return type == "dinov2" ? w.Dinov2Encoder(x, Layers, Heads, gated) : w.VitEncoder(x, "", Layers, Heads, 1e-6);
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Positions_follow_the_size_of_the_pictures(string engine)
    {
        var folder = new FamilyFolder(VitJson("dinov2", imageSize: 40)); // trained with 5x5 patches, run with 3x3
        IModelDefinition model = folder.Model.WithImageSize(24);
        // torch.nn.functional.interpolate(grid[1, D, 5, 5], size=(3, 3), mode="bicubic", align_corners=False), by its definition.
        double[] trained = folder.Oracle.Weight("embeddings.position_embeddings");
        var table = new double[10 * Width];
        trained.AsSpan(0, Width).CopyTo(table);
        for (int y = 0; y < 3; y++)
            for (int x = 0; x < 3; x++)
                for (int d = 0; d < Width; d++)
                    for (int i = 0; i < 5; i++)
                        for (int j = 0; j < 5; j++)
                            table[(1 + y * 3 + x) * Width + d] += Share(y, i) * Share(x, j) * trained[(1 + i * 5 + j) * Width + d];
        double[][] pictures = [Pixels(4, 24)];
        double[][] tokens = VitTokens(folder.Oracle, pictures[0], 24, "dinov2", false, n => n.EndsWith("position_embeddings", StringComparison.Ordinal) ? table : folder.Oracle.Weight(n));

        using ModelWeights stored = folder.Files.OpenWeights();
        var got = Engines.Get(engine).Run(model.Full, CheckpointWeights.For(model, stored, "random"), Pictures(pictures, 24));
        Check("last_hidden_state", tokens, got["last_hidden_state"]);

        // How much of the source row i is in the target row t: the kernel at the distance of their centers, edges repeated.
        static double Share(int t, int i)
        {
            double center = (t + 0.5) * 5 / 3 - 0.5, sum = 0;
            for (int tap = -4; tap < 9; tap++)
                if (Math.Clamp(tap, 0, 4) == i) sum += Kernel(Math.Abs(tap - center));
            return sum;
        }

        static double Kernel(double x) => x < 1 ? 1.25 * x * x * x - 2.25 * x * x + 1
            : x < 2 ? -0.75 * x * x * x + 3.75 * x * x - 6 * x + 3 : 0;
    }

    static string BertJson(string type) => $$"""
        {"model_type":"{{type}}","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,
         "vocab_size":50,"max_position_embeddings":16,"type_vocab_size":{{(type == "bert" ? 2 : 1)}},"pad_token_id":{{(type == "bert" ? 0 : 1)}},
         "layer_norm_eps":1e-12}
        """;

    public static TheoryData<string, string, string> BertCases => new()
    {
        { "onnx", "bert", "mean" }, { "torch", "bert", "mean" }, { "onnx", "bert", "cls" }, { "torch", "bert", "cls" },
        { "onnx", "bert", "mean_sqrt_len" }, { "torch", "bert", "mean_sqrt_len" }, { "onnx", "roberta", "mean" }, { "torch", "roberta", "mean" },
        { "onnx", "xlm-roberta", "cls" }, { "torch", "xlm-roberta", "cls" },
    };

    const string Modules = """
        [{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
         {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
         {"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]
        """;

    static string Pooling(string mode) => $$"""
        {"word_embedding_dimension":24,"pooling_mode_cls_token":{{(mode == "cls" ? "true" : "false")}},
         "pooling_mode_mean_tokens":{{(mode == "mean" ? "true" : "false")}},"pooling_mode_max_tokens":{{(mode == "max" ? "true" : "false")}},
         "pooling_mode_mean_sqrt_len_tokens":{{(mode == "mean_sqrt_len" ? "true" : "false")}}}
        """;

    [Theory, MemberData(nameof(BertCases))]
    public void Bert_and_sentence_transformers(string engine, string type, string pooling)
    {
        var folder = new FamilyFolder(BertJson(type), n => $"{(type == "bert" ? "bert." : "roberta.")}{n.Replace("LayerNorm.weight", "LayerNorm.gamma", StringComparison.Ordinal)}",
            ("modules.json", Modules), ("1_Pooling/config.json", Pooling(pooling)),
            ("sentence_bert_config.json", """{"max_seq_length": 9, "do_lower_case": false}"""));
        int pad = type == "bert" ? 0 : 1, first = type == "bert" ? 0 : 2;
        long[][] texts = [[7, 12, 49, 3, 8], [20, 21, 5, pad, pad], [9, 2, pad, pad, pad]];
        double[][][] tokens = [.. texts.Select(ids => folder.Oracle.Bert(ids, [.. ids.Select(id => id != pad)], "", Width, Layers, Heads, first, 1e-12))];
        double[][] pooled = [.. tokens.Zip(texts, (t, ids) =>
        {
            int count = ids.Count(id => id != pad);
            return pooling == "cls" ? t[0] : Enumerable.Range(0, Width)
                .Select(d => t.Take(count).Sum(row => row[d]) / (pooling == "mean" ? count : Math.Sqrt(count))).ToArray();
        })];
        var inputs = new Dictionary<string, TensorData>
        {
            ["input_ids"] = TensorData.From([.. texts.SelectMany(t => t)], 3, 5),
            ["attention_mask"] = TensorData.From([.. texts.SelectMany(t => t).Select(id => id == pad ? 0L : 1)], 3, 5),
        };
        var full = folder.Run(engine, folder.Model.Full, inputs);
        Check("last_hidden_state", tokens.SelectMany(t => t), full["last_hidden_state"]);
        Check("sentence_embedding", pooled.Select(Plain.Unit), full["sentence_embedding"]);
        var text = folder.Run(engine, folder.Model.Encoders[Modality.Text], inputs);
        Check("text_embeds", pooled.Select(Plain.Unit), text["text_embeds"]);
        // Padding is not seen: the third text alone, without it.
        inputs["input_ids"] = TensorData.From(texts[2][..2], 1, 2);
        Check("text_embeds alone", [Plain.Unit(pooled[2])], folder.Run(engine, folder.Model.Encoders[Modality.Text], inputs)["text_embeds"]);
        Assert.Equal(9, folder.Model.ContextLength);
    }

    // sentence_transformers/models/Pooling.py and Dense.py: one vector for each mode that is on, in this order, then the layers.
    static double[] Head(Plain w, double[][] tokens, bool[] keep, string[] modes, params ReadOnlySpan<(string Path, Func<double, double> Activation)> dense)
    {
        int[] kept = [.. Enumerable.Range(0, keep.Length).Where(i => keep[i])];
        double[] Over(Func<double[], double> f) => [.. Enumerable.Range(0, Width).Select(d => f([.. kept.Select(i => tokens[i][d])]))];
        double[] x = [.. modes.SelectMany(mode => mode switch
        {
            "cls_token" => tokens[0],
            "max_tokens" => Over(v => v.Max()),
            "mean_tokens" => Over(v => v.Average()),
            "mean_sqrt_len_tokens" => Over(v => v.Sum() / Math.Sqrt(v.Length)),
            "weightedmean_tokens" => Over(v => v.Zip(kept, (a, i) => a * (i + 1)).Sum() / kept.Sum(i => i + 1)),
            _ => tokens[kept[^1]],
        })];
        foreach (var (path, activation) in dense)
            x = path.Length == 0 ? Plain.Unit(x) : Plain.Map(w.Linear([x], path + ".linear", bias: path != "4_Dense"), activation)[0];
        return x;
    }

    static string PoolingOf(params ReadOnlySpan<string> modes)
    {
        string[] all = ["cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"];
        string[] on = modes.ToArray();
        return $$"""{"word_embedding_dimension":24,{{string.Join(',', all.Select(m => $"\"pooling_mode_{m}\":{(on.Contains(m) ? "true" : "false")}"))}}}""";
    }

    static (long[][] Texts, Dictionary<string, TensorData> Inputs) Texts()
    {
        long[][] texts = [[7, 12, 49, 3, 8], [20, 21, 5, 0, 0], [9, 0, 0, 0, 0]];
        return (texts, new()
        {
            ["input_ids"] = TensorData.From([.. texts.SelectMany(t => t)], 3, 5),
            ["attention_mask"] = TensorData.From([.. texts.SelectMany(t => t).Select(id => id == 0 ? 0L : 1)], 3, 5),
        });
    }

    public static TheoryData<string, string> PoolingCases
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (string engine in Engines.All)
                foreach (string modes in new[] { "max_tokens", "weightedmean_tokens", "lasttoken", "cls_token mean_tokens",
                    "cls_token max_tokens mean_tokens mean_sqrt_len_tokens weightedmean_tokens lasttoken" })
                    data.Add(engine, modes);
            return data;
        }
    }

    [Theory, MemberData(nameof(PoolingCases))]
    public void Poolings_of_sentence_transformers_stand_side_by_side(string engine, string modes)
    {
        string[] on = modes.Split(' ');
        var folder = new FamilyFolder(BertJson("bert"), null, ("modules.json", Modules), ("1_Pooling/config.json", PoolingOf(on)));
        var (texts, inputs) = Texts();
        double[][] expected = [.. texts.Select(ids => Plain.Unit(Head(folder.Oracle, folder.Oracle.Bert(ids, [.. ids.Select(id => id != 0)], "", Width, Layers, Heads, 0, 1e-12),
            [.. ids.Select(id => id != 0)], on)))];
        Check("text_embeds", expected, folder.Run(engine, folder.Model.Encoders[Modality.Text], inputs)["text_embeds"]);
        Check("sentence_embedding", expected, folder.Run(engine, folder.Model.Full, inputs)["sentence_embedding"]);
        Assert.Equal(on.Length * Width, folder.Model.EmbeddingWidth);
    }

    const string DenseModules = """
        [{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
         {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
         {"idx":2,"name":"2","path":"2_Dense","type":"sentence_transformers.models.Dense"},
         {"idx":3,"name":"3","path":"3_Normalize","type":"sentence_transformers.models.Normalize"},
         {"idx":4,"name":"4","path":"4_Dense","type":"sentence_transformers.models.Dense"}]
        """;

    const string FirstDense = """{"in_features":48,"out_features":20,"bias":true,"activation_function":"torch.nn.modules.activation.Tanh"}""",
        SecondDense = """{"in_features":20,"out_features":10,"bias":false,"activation_function":"torch.nn.modules.linear.Identity"}""";

    static FamilyFolder DenseFolder(string modules = DenseModules, string first = FirstDense) => new(BertJson("bert"), null, ("modules.json", modules),
        ("1_Pooling/config.json", PoolingOf("cls_token", "mean_tokens")), ("2_Dense/config.json", first), ("4_Dense/config.json", SecondDense));

    [Theory, MemberData(nameof(EngineNames))]
    public void Dense_modules_have_weights_of_their_own(string engine)
    {
        FamilyFolder folder = DenseFolder();
        Assert.Contains("2_Dense/model.safetensors", folder.Files.List());
        Assert.Equal(10, folder.Model.EmbeddingWidth);
        var (texts, inputs) = Texts();
        double[][] expected = [.. texts.Select(ids => Head(folder.Oracle, folder.Oracle.Bert(ids, [.. ids.Select(id => id != 0)], "", Width, Layers, Heads, 0, 1e-12),
            [.. ids.Select(id => id != 0)], ["cls_token", "mean_tokens"], ("2_Dense", Math.Tanh), ("", v => v), ("4_Dense", v => v)))];
        Check("sentence_embedding", expected, folder.Run(engine, folder.Model.Full, inputs)["sentence_embedding"]);
        Check("text_embeds", expected.Select(Plain.Unit), folder.Run(engine, folder.Model.Encoders[Modality.Text], inputs)["text_embeds"]);
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void A_prompt_can_be_left_out_of_the_pooling(string engine)
    {
        var folder = new FamilyFolder(BertJson("bert"), null, ("modules.json", Modules),
            ("1_Pooling/config.json", PoolingOf("max_tokens", "mean_tokens", "weightedmean_tokens", "lasttoken").Replace("24,", "24,\"include_prompt\":false,", StringComparison.Ordinal)),
            ("config_sentence_transformers.json", """{"prompts":{"query":"query: ","passage":"passage: "},"default_prompt_name":"query"}"""));
        Assert.Equal(("query: ", false), (folder.Model.TextPrompt, folder.Model.PoolsPrompt));
        IModelDefinition model = folder.Model.WithPromptTokens(2);
        long[] ids = [7, 12, 49, 3, 8];
        double[][] tokens = folder.Oracle.Bert(ids, [true, true, true, true, true], "", Width, Layers, Heads, 0, 1e-12);
        double[] expected = Head(folder.Oracle, tokens, [false, false, true, true, true], ["max_tokens", "mean_tokens", "weightedmean_tokens", "lasttoken"]);
        var inputs = new Dictionary<string, TensorData> { ["input_ids"] = TensorData.From(ids, 1, 5) };
        Check("text_embeds", [Plain.Unit(expected)], folder.Run(engine, model.Encoders[Modality.Text], inputs)["text_embeds"]);
    }

    [Fact]
    public void Dense_modules_that_do_not_fit_are_refused_by_name()
    {
        Assert.Contains("in_features is 99", Assert.Throws<InvalidDataException>(() =>
            DenseFolder(first: """{"in_features":99,"out_features":20}""")).Message, StringComparison.Ordinal);
        Assert.Contains("'Softsign'", Assert.Throws<NotSupportedException>(() =>
            DenseFolder(first: """{"activation_function":"torch.nn.modules.activation.Softsign"}""")).Message, StringComparison.Ordinal);
        Assert.Contains("'LSTM' in '2_Dense'", Assert.Throws<NotSupportedException>(() =>
            DenseFolder(DenseModules.Replace("models.Dense", "models.LSTM", StringComparison.Ordinal))).Message, StringComparison.Ordinal);
        Dictionary<string, ReadOnlyMemory<byte>> files = DenseFolder().Files is var all ? all.List().ToDictionary(f => f, f => all.Read(f)) : [];
        files.Remove("4_Dense/model.safetensors", out ReadOnlyMemory<byte> dense);
        Assert.Contains("4_Dense/model.safetensors", Assert.Throws<FileNotFoundException>(() => ModelFiles.FromMemory("random", files).OpenWeights()).Message, StringComparison.Ordinal);
        files["4_Dense/pytorch_model.bin"] = dense;
        Assert.Contains("'random/4_Dense/pytorch_model.bin' is a PyTorch pickle", Assert.Throws<NotSupportedException>(() =>
            ModelFiles.FromMemory("random", files).OpenWeights()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_default_prompt_that_is_not_there_is_refused()
    {
        var e = Assert.Throws<InvalidDataException>(() => new FamilyFolder(BertJson("bert"), null, ("modules.json", Modules),
            ("1_Pooling/config.json", Pooling("mean")), ("config_sentence_transformers.json", """{"prompts":{},"default_prompt_name":"query"}""")));
        Assert.Contains("default_prompt_name is 'query'", e.Message, StringComparison.Ordinal);
    }

    [Theory, MemberData(nameof(EngineNames))]
    public void Vision_text_dual_encoder(string engine)
    {
        var folder = new FamilyFolder($$"""
            {"model_type":"vision-text-dual-encoder","projection_dim":10,"logit_scale_init_value":2.6592,
             "vision_config":{{VitJson("vit")}},"text_config":{{BertJson("bert")}}}
            """);
        Plain w = folder.Oracle;
        double[][] pictures = [Pixels(1, 24), Pixels(2, 24)];
        long[][] texts = [[7, 12, 49, 3], [20, 21, 0, 0], [3, 4, 5, 0]];
        double[][] images = [.. pictures.Select(p =>
        {
            double[][] x = [w.Weight("vision_model.embeddings.cls_token"), .. w.Patches(p, 24, 8, "vision_model.embeddings.patch_embeddings.projection", bias: true)];
            x = Plain.Add(x, [.. w.Weight("vision_model.embeddings.position_embeddings").Chunk(Width)]);
            return w.Linear([w.Pooler(w.VitEncoder(x, "vision_model.", Layers, Heads, 1e-6), "vision_model.")], "visual_projection", bias: false)[0];
        })];
        double[][] words = [.. texts.Select(ids => w.Linear(
            [w.Pooler(w.Bert(ids, [.. ids.Select(id => id != 0)], "text_model.", Width, Layers, Heads, 0, 1e-12), "text_model.")], "text_projection", bias: false)[0])];
        double scale = Math.Exp(w.Weight("logit_scale")[0]);
        Dictionary<string, TensorData> inputs = Pictures(pictures, 24);
        inputs["input_ids"] = TensorData.From([.. texts.SelectMany(t => t)], 3, 4);
        inputs["attention_mask"] = TensorData.From([.. texts.SelectMany(t => t).Select(id => id == 0 ? 0L : 1)], 3, 4);
        var got = folder.Run(engine, folder.Model.Full, inputs);
        Check("image_embeds", images.Select(Plain.Unit), got["image_embeds"]);
        Check("text_embeds", words.Select(Plain.Unit), got["text_embeds"]);
        Check("logits_per_image", images.Select(i => words.Select(t => scale * Plain.Unit(i).Zip(Plain.Unit(t), (a, b) => a * b).Sum()).ToArray()), got["logits_per_image"]);
        Check("text_embeds of the encoder", words.Select(Plain.Unit), folder.Run(engine, folder.Model.Encoders[Modality.Text], inputs)["text_embeds"]);
    }

    // Counts of parameters that the authors' code has: google/siglip-base-patch16-224 203,155,970 (its model card's safetensors),
    // facebook/dinov2-small 22,056,576 with the mask token of 384, google/vit-base-patch16-224-in21k 86,389,248 with a pooler of 590,592,
    // bert-base-uncased 109,482,240 with the same pooler, all-MiniLM-L6-v2 22,713,216 with a pooler of 147,840.
    [Theory]
    [InlineData("""{"model_type":"siglip","vision_config":{},"text_config":{}}""", 203_155_970)]
    [InlineData("""{"model_type":"dinov2","hidden_size":384,"num_attention_heads":6,"image_size":518,"patch_size":14}""", 22_056_576 - 384)]
    [InlineData("""{"model_type":"vit"}""", 86_389_248 - 590_592)]
    [InlineData("""{"model_type":"bert"}""", 109_482_240 - 590_592)]
    [InlineData("""{"model_type":"bert","hidden_size":384,"intermediate_size":1536,"num_hidden_layers":6}""", 22_713_216 - 147_840)]
    public void Published_sizes(string config, long parameters)
    {
        IModelDefinition model = ModelFamilies.Create(System.Text.Encoding.UTF8.GetBytes(config), "published");
        Assert.Equal(parameters, ModelSummary.Of(model.Full).ParameterCount);
        IModelDefinition again = ModelFamilies.Create(System.Text.Encoding.UTF8.GetBytes(model.ToConfigJson()), "written");
        Assert.Equal(ModelSummary.Of(model.Full).Parameters.Select(p => p.ToString()), ModelSummary.Of(again.Full).Parameters.Select(p => p.ToString()));
    }

    [Fact]
    public void A_pooling_by_nothing_is_refused()
    {
        var e = Assert.Throws<NotSupportedException>(() =>
            new FamilyFolder(BertJson("bert"), null, ("modules.json", Modules), ("1_Pooling/config.json", Pooling(""))));
        Assert.Contains("nothing", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Modules_outside_the_folder_are_refused()
    {
        var e = Assert.Throws<InvalidDataException>(() => new FamilyFolder(BertJson("bert"), null,
            ("modules.json", """[{"path":"../1_Pooling","type":"sentence_transformers.models.Pooling"}]""")));
        Assert.Contains("leaves the folder", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"model_cfg":{"embed_dim":12,"vision_cfg":{"image_size":8,"layers":2,"width":16,"head_width":8,"mlp_ratio":2,"patch_size":4},"text_cfg":{"context_length":8,"vocab_size":50,"width":16,"heads":2,"mlp_ratio":2,"layers":2}}}""", Activation.Gelu)]
    [InlineData("""{"model_cfg":{"embed_dim":12,"quick_gelu":true,"vision_cfg":{"image_size":8,"layers":2,"width":16,"head_width":8,"mlp_ratio":2,"patch_size":4},"text_cfg":{"context_length":8,"vocab_size":50,"width":16,"heads":2,"mlp_ratio":2,"layers":2}}}""", Activation.QuickGelu)]
    public void OpenClip_configs_describe_a_clip(string json, Activation activation)
    {
        ClipModel model = OpenClipConfig.Create(System.Text.Encoding.UTF8.GetBytes(json), "open");
        Assert.Equal(activation, model.Config.Text.Blocks.Activation);
        Assert.Equal(ModelSummary.Of(new ClipModel(ClipConfig.Tiny).Full).Parameters.Select(p => p.ToString()), ModelSummary.Of(model.Full).Parameters.Select(p => p.ToString()));
    }

    [Fact]
    public void OpenClip_towers_of_timm_are_refused()
    {
        var e = Assert.Throws<NotSupportedException>(() => OpenClipConfig.Create(
            """{"model_cfg":{"embed_dim":512,"vision_cfg":{"timm_model_name":"resnet50"},"text_cfg":{}}}"""u8.ToArray(), "open"));
        Assert.Contains("timm_model_name", e.Message, StringComparison.Ordinal);
    }
}
