using System.Text;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Tests;

public sealed class MultimodalModelTests
{
    /// <summary>Other batch sizes block sums differently; values are at most 1.</summary>
    const float Rounding = 1e-6f;

    static void Write(TemporaryFolder folder, Dictionary<string, ReadOnlyMemory<byte>> files)
    {
        foreach (var (name, content) in files) File.WriteAllBytes(folder.File(name), content.ToArray());
    }

    [Fact]
    public void A_folder_and_its_files_in_memory_give_the_same()
    {
        using var folder = new TemporaryFolder();
        Write(folder, Tiny.Files());
        using MultimodalModel onDisk = MultimodalModel.Load(folder.Path), inMemory = Tiny.Load();
        Assert.Equal(inMemory.EmbedTexts(["a cat"]), onDisk.EmbedTexts(["a cat"]));
        Assert.Equal([Modality.Image, Modality.Text], onDisk.Modalities);
        Assert.Equal(Tiny.Clip.EmbeddingWidth, onDisk.EmbeddingWidth);
        float scale = Tiny.Weights(Tiny.Clip)["logit_scale"].ToSingles()[0];
        Assert.Equal(MathF.Exp(scale), onDisk.LogitScale);
    }

    [Fact]
    public void Texts_in_a_batch_get_what_each_would_get_alone()
    {
        using MultimodalModel model = Tiny.Load();
        string[] texts = [.. Enumerable.Range(0, 70).Select(i => new string((char)('a' + i % 26), 1 + i % 9))];
        float[][] together = model.EmbedTexts(texts);
        for (int i = 0; i < texts.Length; i++) Difference.Small(together[i], model.EmbedTexts([texts[i]])[0], Rounding);
    }

    [Fact]
    public void Pictures_in_a_batch_get_what_each_would_get_alone_from_memory_and_from_files()
    {
        using var folder = new TemporaryFolder();
        using MultimodalModel model = Tiny.Load();
        RgbImage[] images = [.. Enumerable.Range(0, 19).Select(i => Tiny.Picture(i, 10 + i, 25 - i))];
        float[][] together = model.EmbedImages(images);
        string[] paths = [.. images.Select((image, i) =>
        {
            string path = folder.File($"{i}.png");
            ImageEncoder.SavePng(image, path);
            return path;
        })];
        Assert.Equal(together, model.EmbedImages(paths));
        for (int i = 0; i < images.Length; i++) Difference.Small(together[i], model.EmbedImages([images[i]])[0], Rounding);
        Assert.All(together, row => Assert.Equal(1, Math.Sqrt(row.Sum(v => (double)v * v)), 1e-5));
    }

    [Fact]
    public void Nothing_gives_nothing()
    {
        using MultimodalModel model = Tiny.Load();
        Assert.Empty(model.EmbedTexts([]));
        Assert.Empty(model.EmbedImages(Array.Empty<RgbImage>()));
        model.EmbedIds(default, 0, 5, []);
    }

    [Fact]
    public void A_missing_picture_is_named_and_a_cancelled_run_ends()
    {
        using MultimodalModel model = Tiny.Load();
        Assert.Contains("nowhere.png", Assert.Throws<FileNotFoundException>(() => model.EmbedImages(["nowhere.png"])).Message);
        var cancelled = new CancellationToken(canceled: true);
        Assert.ThrowsAny<OperationCanceledException>(() => model.EmbedTexts(["a"], cancelled));
        Assert.ThrowsAny<OperationCanceledException>(() => model.EmbedImages([Tiny.Picture(1)], cancelled));
    }

    [Fact]
    public void A_text_only_user_needs_no_preprocessing_and_a_picture_user_no_tokenizer()
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Tiny.Files();
        files.Remove("preprocessor_config.json");
        using (MultimodalModel model = Tiny.Load(files))
        {
            model.EmbedTexts(["a cat"]);
            Assert.Contains("preprocessor_config.json", Assert.Throws<FileNotFoundException>(() => model.EmbedImages([Tiny.Picture(1)])).Message);
        }
        files = Tiny.Files();
        foreach (string name in Tiny.Tokenizer.Files.Keys) files.Remove(name);
        using (MultimodalModel model = Tiny.Load(files))
        {
            model.EmbedImages([Tiny.Picture(1)]);
            Assert.Contains("tokenizer.json", Assert.Throws<FileNotFoundException>(() => model.EmbedTexts(["a cat"])).Message);
        }
    }

    [Fact]
    public void Preprocessing_to_another_size_than_the_model_takes_is_refused()
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Tiny.Files();
        files["preprocessor_config.json"] = Encoding.UTF8.GetBytes(ImagePreprocessing.Clip(16).ToJson());
        using MultimodalModel model = Tiny.Load(files);
        Assert.Contains("makes pictures of 16x16, but config.json wants 8x8", Assert.Throws<InvalidDataException>(() => model.Images).Message);
    }

    [Fact]
    public void Run_takes_the_whole_model_or_one_encoder_as_the_inputs_allow()
    {
        using MultimodalModel model = Tiny.Load();
        var pixels = TensorData.From(Tiny.Floats(new(3), 2 * 3 * 8 * 8), 2, 3, 8, 8);
        var ids = TensorData.From([1L, 2, Tiny.Tokenizer.EndId], 1, 3);
        var all = model.Run(new Dictionary<string, TensorData> { ["pixel_values"] = pixels, ["input_ids"] = ids, ["other"] = ids });
        var image = model.Run(new Dictionary<string, TensorData> { ["pixel_values"] = pixels });
        Assert.Equal([2L, 1], all["logits_per_image"].Shape);
        Assert.Equal(["image_embeds"], image.Keys);
        Difference.Small(all["image_embeds"].ToSingles(), image["image_embeds"].ToSingles(), Rounding);
        var error = Assert.Throws<ArgumentException>(() => model.Run(new Dictionary<string, TensorData> { ["audio"] = ids }));
        Assert.Contains("pixel_values", error.Message);
        Assert.Contains("given are audio", error.Message);
    }

    // ---- folders that are not sound ----

    [Fact]
    public void A_folder_that_is_not_there_is_an_error() =>
        Assert.Contains("no-such-folder", Assert.Throws<DirectoryNotFoundException>(() => MultimodalModel.Load("no-such-folder")).Message);

    [Theory, InlineData("config.json"), InlineData("model.safetensors")]
    public void A_folder_without_config_or_weights_is_an_error_that_names_the_file(string file)
    {
        using var folder = new TemporaryFolder();
        Dictionary<string, ReadOnlyMemory<byte>> files = Tiny.Files();
        files.Remove(file);
        Write(folder, files);
        string message = Assert.Throws<FileNotFoundException>(() => MultimodalModel.Load(folder.Path)).Message;
        Assert.Contains(file, message);
        Assert.Contains(folder.Path, message);
    }

    [Theory, InlineData(0), InlineData(5), InlineData(100), InlineData(-1)]
    public void Weights_that_are_cut_off_are_an_error_that_names_the_file(int length)
    {
        using var folder = new TemporaryFolder();
        Dictionary<string, ReadOnlyMemory<byte>> files = Tiny.Files();
        ReadOnlyMemory<byte> whole = files["model.safetensors"];
        files["model.safetensors"] = whole[..(length < 0 ? whole.Length + length : length)];
        Write(folder, files);
        Assert.Contains("model.safetensors", Assert.Throws<InvalidDataException>(() => MultimodalModel.Load(folder.Path)).Message);
    }

    [Fact]
    public void Missing_surplus_and_mis_shaped_weights_are_named_in_one_message()
    {
        Dictionary<string, TensorData> weights = Tiny.Weights(Tiny.Clip);
        weights.Remove("logit_scale");
        weights.Remove("vision_model.pre_layrnorm.bias");
        weights["one.too.many"] = TensorData.From(new float[1], 1);
        weights["text_projection.weight"] = TensorData.From(new float[6], 2, 3);
        string message = Assert.Throws<InvalidDataException>(() => Tiny.Load(Tiny.Files(weights: weights))).Message;
        string[] parts =
        [
            "2 missing", "logit_scale", "vision_model.pre_layrnorm.bias", "1 surplus", "one.too.many",
            "text_projection.weight is [2, 3], wanted [12, 16]",
        ];
        Assert.All(parts, part => Assert.Contains(part, message));
    }

    [Fact]
    public void An_unknown_family_lists_those_known()
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Tiny.Files();
        files["config.json"] = """{ "model_type": "llama" }"""u8.ToArray();
        string message = Assert.Throws<NotSupportedException>(() => Tiny.Load(files)).Message;
        Assert.Contains("llama", message);
        Assert.Contains("clip", message);
    }

    [Fact]
    public void A_strangers_family_loads_beside_those_built_in()
    {
        var stranger = new Bags(vocabulary: 10, width: 4);
        Dictionary<string, ReadOnlyMemory<byte>> files = Tiny.Files(stranger);
        Assert.Throws<NotSupportedException>(() => Tiny.Load(files));

        using MultimodalModel model = Tiny.Load(files, new() { Families = [.. ModelFamilies.BuiltIn, new("bags", _ => stranger)] });
        var embeds = new float[4];
        model.EmbedIds(new long[] { 3, 3, 7 }, 1, 3, embeds);
        float[] table = Tiny.Weights(stranger)["words.weight"].ToSingles();
        float[] expected = [.. Enumerable.Range(0, 4).Select(d => (2 * table[3 * 4 + d] + table[7 * 4 + d]) / 3)];
        float length = MathF.Sqrt(expected.Sum(v => v * v));
        Difference.Small([.. expected.Select(v => v / length)], embeds, Rounding);
        Assert.Equal(1, model.LogitScale);
        Assert.Contains("no Image encoder; it has Text",
            Assert.Throws<NotSupportedException>(() => model.EmbedPixels(new float[3], 1, new float[4])).Message);
        Assert.Throws<NotSupportedException>(() => model.EmbedImages([Tiny.Picture(1)]));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(19)]
    public void Batches_side_by_side_give_what_batches_in_turn_give(int count)
    {
        using MultimodalModel inTurn = Tiny.Load(), sideBySide = Tiny.Load(options: new() { Mode = InferenceMode.Throughput });
        RgbImage[] pictures = [.. Enumerable.Range(0, count).Select(i => Tiny.Picture(i, 9 + i))];
        string[] texts = [.. Enumerable.Range(0, count).Select(i => string.Join(' ', Enumerable.Repeat("a cat", 1 + i % 4)) + i)];
        float[][] images = inTurn.EmbedImages(pictures), words = inTurn.EmbedTexts(texts);
        float[][] imagesBeside = sideBySide.EmbedImages(pictures), wordsBeside = sideBySide.EmbedTexts(texts);
        for (int i = 0; i < count; i++)
        {
            Difference.Small(images[i], imagesBeside[i], Rounding);
            Difference.Small(words[i], wordsBeside[i], Rounding);
            Difference.Small(inTurn.EmbedTexts([texts[i]])[0], words[i], Rounding);
        }
    }

    [Fact]
    public void Texts_run_together_where_filling_them_up_costs_little_or_nothing()
    {
        int[] lengths = [4, 5, 5, 6, 12, 13, 30, 30, 30];
        Assert.Equal([(0, 6), (6, 3)], Tiny.Clip.TextBatches(lengths, 32));
        Assert.Equal([(0, 2), (2, 2), (4, 2), (6, 2), (8, 1)], Tiny.Clip.TextBatches(lengths, 2));
        var stranger = new Bags(Tiny.Tokenizer.VocabularySize, width: 4); // says nothing of padding
        Assert.Equal([(0, 1), (1, 2), (3, 1), (4, 1), (5, 1), (6, 3)], stranger.TextBatches(lengths, 32));
        Assert.Empty(stranger.TextBatches([], 32));
    }

    [Fact]
    public void A_model_that_pools_all_tokens_sees_no_padding()
    {
        var stranger = new Bags(Tiny.Tokenizer.VocabularySize, width: 4);
        using MultimodalModel model = Tiny.Load(Tiny.Files(stranger), new() { Families = [new("bags", _ => stranger)] });
        string[] texts = ["a", "a photo of a dog", "a cat"];
        float[][] together = model.EmbedTexts(texts);
        for (int i = 0; i < texts.Length; i++) Difference.Small(model.EmbedTexts([texts[i]])[0], together[i], Rounding);
    }

    /// <summary>A stranger's model: the mean of word vectors.</summary>
    sealed class Bags(int vocabulary, int width) : IModelDefinition, IProgram
    {
        public string ModelType => "bags";

        public int EmbeddingWidth => width;

        public IReadOnlyDictionary<Modality, IProgram> Encoders => new Dictionary<Modality, IProgram> { [Modality.Text] = this };

        public IProgram Full => this;

        public string? LogitScale => null;

        public IReadOnlyList<string> IgnoredWeights => [];

        public string Name => "text_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [new("input_ids", ElementType.Int64, Dim.Dynamic("batch"), Dim.Dynamic("sequence"))];

        public string ToConfigJson() => """{ "model_type": "bags" }""";

        public IReadOnlyList<(string Name, T Value)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("text_embeds", ops.L2Normalize(ops.Mean(ops.Embedding(inputs["input_ids"], "words", vocabulary, width), 1)))];
    }
}
