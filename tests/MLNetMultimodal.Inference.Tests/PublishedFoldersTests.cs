using System.Text;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Inference.Tests;

/// <summary>Folders as the hub has them, from files to embeddings. The numbers of each family are checked in Parity.Tests.</summary>
public sealed class PublishedFoldersTests
{
    internal static Dictionary<string, ReadOnlyMemory<byte>> Folder(string config, params ReadOnlySpan<(string Name, string Content)> more)
    {
        var files = new Dictionary<string, ReadOnlyMemory<byte>> { ["config.json"] = Encoding.UTF8.GetBytes(config) };
        foreach (var (name, content) in more) files[name] = Encoding.UTF8.GetBytes(content);
        IModelDefinition model = ModelFamilies.Create(ModelFiles.FromMemory("folder", files));
        using var stream = new MemoryStream();
        Safetensors.Write(stream, Tiny.Weights(model));
        files["model.safetensors"] = stream.ToArray();
        return files;
    }

    const string Bert = """
        {"model_type":"bert","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,"vocab_size":11,
         "max_position_embeddings":16}
        """;

    internal static readonly Dictionary<string, ReadOnlyMemory<byte>> SentenceTransformer = Folder(Bert,
        ("modules.json", """
            [{"idx":0,"path":"","type":"sentence_transformers.models.Transformer"},
             {"idx":1,"path":"1_Pooling","type":"sentence_transformers.models.Pooling"}]
            """),
        ("1_Pooling/config.json", """{"word_embedding_dimension":24,"pooling_mode_mean_tokens":true}"""),
        ("sentence_bert_config.json", """{"max_seq_length":6}"""),
        ("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\ncat\ndog\nrun\n##s\n.\n[MASK]\n"),
        ("tokenizer_config.json", """{"tokenizer_class":"BertTokenizer","model_max_length":512}"""));

    [Fact]
    public void Sentence_transformers_embed_texts()
    {
        using MultimodalModel model = Tiny.Load(SentenceTransformer);
        Assert.Equal([Modality.Text], model.Modalities);
        Assert.Equal((24, 6, 1f), (model.EmbeddingWidth, model.Texts.ContextLength, model.LogitScale));
        string[] texts = ["a cat", "a dog runs.", "", "a cat runs. a dog", "a cat runs. a cat"];
        float[][] embeds = model.EmbedTexts(texts);
        Assert.All(embeds, e => Assert.Equal(1, e.Sum(v => v * v), 1e-5));
        for (int i = 0; i < texts.Length; i++) Assert.True(Difference.Max(model.EmbedTexts([texts[i]])[0], embeds[i]) < 1e-6);
        Assert.True(Difference.Max(embeds[0], embeds[1]) > 1e-3);
        Assert.Equal([2, 4, 5, 7, 8, 3], model.Texts.Encode(texts[3])); // cut at max_seq_length
        Assert.Equal(embeds[3], embeds[4]);
        Assert.Contains("no Image encoder", Assert.Throws<NotSupportedException>(() => model.EmbedImages([Tiny.Picture(1)])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_default_prompt_of_sentence_transformers_stands_before_every_text()
    {
        Dictionary<string, ReadOnlyMemory<byte>> With(string prompts, string pooling = """{"pooling_mode_mean_tokens":true}""") => new(SentenceTransformer)
        {
            ["config_sentence_transformers.json"] = Encoding.UTF8.GetBytes(prompts),
            ["1_Pooling/config.json"] = Encoding.UTF8.GetBytes(pooling),
        };
        const string Query = """{"prompts":{"query":"dog a ","other":"cat"},"default_prompt_name":"query"}""";
        using MultimodalModel plain = Tiny.Load(SentenceTransformer), prompted = Tiny.Load(With(Query)),
            named = Tiny.Load(With("""{"prompts":{"query":"dog a "},"default_prompt_name":null}""")),
            unpooled = Tiny.Load(With(Query, """{"pooling_mode_mean_tokens":true,"include_prompt":false}"""));
        Assert.Equal([2, 6, 4, 5, 3], prompted.Texts.Encode("cat"));
        Assert.Equal(plain.EmbedTexts(["dog a cat"])[0], prompted.EmbedTexts(["cat"])[0]);
        Assert.Equal(plain.EmbedTexts(["cat"])[0], named.EmbedTexts(["cat"])[0]);
        Assert.True(Difference.Max(prompted.EmbedTexts(["cat"])[0], unpooled.EmbedTexts(["cat"])[0]) > 1e-3);

        // Of [CLS] dog a cat [SEP] the last two are pooled.
        float[] tokens = plain.Run(new Dictionary<string, TensorData>
        {
            ["input_ids"] = TensorData.From(new long[] { 2, 6, 4, 5, 3 }, 1, 5),
            ["attention_mask"] = TensorData.From(new long[] { 1, 1, 1, 1, 1 }, 1, 5),
        })["last_hidden_state"].ToSingles();
        double[] sum = [.. Enumerable.Range(0, 24).Select(d => (double)tokens[3 * 24 + d] + tokens[4 * 24 + d])];
        double length = Math.Sqrt(sum.Sum(v => v * v));
        Assert.True(Difference.Max([.. sum.Select(v => (float)(v / length))], unpooled.EmbedTexts(["cat"])[0]) < 1e-6);
    }

    [Fact]
    public void Padding_of_a_batch_changes_nothing()
    {
        using MultimodalModel model = Tiny.Load(SentenceTransformer);
        long[] ids = new long[2 * 6];
        model.Texts.EncodeBatch(["a", "a dog runs."], 6, ids, []);
        var embeds = new float[2 * 24];
        model.EmbedIds(ids, 2, 6, embeds);
        Assert.True(Difference.Max(embeds.AsSpan(0, 24), model.EmbedTexts(["a"])[0]) < 1e-6);
    }

    internal static Dictionary<string, ReadOnlyMemory<byte>> Siglip()
    {
        var files = Folder($$"""
            {"model_type":"siglip","vision_config":{"hidden_size":24,"intermediate_size":32,"num_hidden_layers":1,"num_attention_heads":3,"image_size":16,"patch_size":8},
             "text_config":{"hidden_size":24,"intermediate_size":32,"num_hidden_layers":1,"num_attention_heads":3,"vocab_size":{{Tiny.Tokenizer.VocabularySize}},"max_position_embeddings":7} }
            """, ("preprocessor_config.json", """
            {"do_resize":true,"size":{"height":16,"width":16},"resample":3,"do_rescale":true,"rescale_factor":0.00392156862745098,
             "do_normalize":true,"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5],"image_processor_type":"SiglipImageProcessor","processor_class":"SiglipProcessor"}
            """));
        foreach (var (name, content) in Tiny.Tokenizer.Files) files[name] = content;
        return files;
    }

    [Fact]
    public void Siglip_fills_texts_up()
    {
        using MultimodalModel model = Tiny.Load(Siglip());
        Assert.Equal(7, model.Texts.ContextLength);
        float[][] embeds = model.EmbedTexts(["a cat", "a photo of a dog"]);
        Assert.Equal(embeds[0], model.EmbedTexts(["a cat"])[0]);
        Assert.True(Difference.Max(embeds[0], embeds[1]) > 1e-4);
        Assert.Equal(24, model.EmbedImages([Tiny.Picture(1)])[0].Length);
    }

    [Fact]
    public void Dinov2_runs_at_the_size_of_its_preprocessing()
    {
        var files = Folder("""
            {"model_type":"dinov2","hidden_size":24,"num_hidden_layers":1,"num_attention_heads":3,"image_size":40,"patch_size":8,"mlp_ratio":2}
            """, ("preprocessor_config.json", """
            {"do_resize":true,"size":{"shortest_edge":30},"do_center_crop":true,"crop_size":{"height":24,"width":24},"resample":3,"do_rescale":true,
             "do_normalize":true,"image_mean":[0.485,0.456,0.406],"image_std":[0.229,0.224,0.225],"image_processor_type":"BitImageProcessor"}
            """));
        using MultimodalModel model = Tiny.Load(files);
        Assert.Equal([Modality.Image], model.Modalities);
        Assert.Equal(24, model.Definition.Encoders[Modality.Image].Inputs[0].Shape[2].Size);
        float[] embed = model.EmbedImages([Tiny.Picture(1)])[0];
        Assert.Equal(1, embed.Sum(v => v * v), 1e-5);
        Assert.Throws<NotSupportedException>(() => model.Texts);
    }

    [Fact]
    public void OpenClip_folders_open_as_they_are()
    {
        var files = Tiny.Files();
        files["open_clip_model.safetensors"] = files["model.safetensors"];
        files.Remove("model.safetensors");
        files.Remove("config.json");
        files.Remove("preprocessor_config.json");
        files["open_clip_config.json"] = Encoding.UTF8.GetBytes($$"""
            {
             "model_cfg":{"embed_dim":12,"quick_gelu":true,
              "vision_cfg":{"image_size":8,"layers":2,"width":16,"head_width":8,"patch_size":4,"mlp_ratio":2},
              "text_cfg":{"context_length":8,"vocab_size":{{Tiny.Tokenizer.VocabularySize}},"width":16,"heads":2,"layers":2,"mlp_ratio":2}
             },
             "preprocess_cfg":{"mean":[0.5,0.5,0.5],"std":[0.25,0.25,0.25],"interpolation":"bilinear","resize_mode":"squash"} }
            """);
        using MultimodalModel open = Tiny.Load(files), plain = Tiny.Load();
        Assert.Equal((ResampleFilter.Bilinear, (8, 8), (0.25f, 0.25f, 0.25f)), (open.Images.Filter, open.Images.Stretch!.Value, open.Images.Std!.Value));
        Assert.Equal(plain.EmbedTexts(["a cat"])[0], open.EmbedTexts(["a cat"])[0]);
        Assert.Equal(12, open.EmbedImages([Tiny.Picture(1)])[0].Length);
    }

    [Fact]
    public void An_unknown_family_is_told_which_are_known()
    {
        var e = Assert.Throws<NotSupportedException>(() => Folder("""{"model_type":"siglip2"}"""));
        foreach (string known in new[] { "clip", "siglip", "vit", "deit", "dinov2", "bert", "roberta", "xlm-roberta", "vision-text-dual-encoder", "ModelFamily" })
            Assert.Contains(known, e.Message, StringComparison.Ordinal);
    }
}
