using System.Text.Json;
using Microsoft.ML;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Tests.Metrics;

public sealed class CompositionMetricsTests : IDisposable
{
    readonly MLContext _ml = new(1);
    readonly string _folder = Directory.CreateTempSubdirectory("composition-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    // A picture's first byte says which of the four scores of its item is meant: 10 * item + picture.
    static CompositionImage Picture(int number) => new(new RgbImage(1, 1, [(byte)number, 0, 0]));

    static CompositionItem Item(int number, string tag = "") => new(["0", "1"], [Picture(10 * number), Picture(10 * number + 1)], tag);

    CompositionMetrics Evaluate(float[][] scores, params string[] tags) => _ml.Multimodal.EvaluateComposition(
        (images, texts) => [.. images.Zip(texts, (i, t) => scores[i.Pixels[0] / 10][2 * (i.Pixels[0] % 10) + t[0] - '0'])],
        [.. scores.Select((_, i) => Item(i, i < tags.Length ? tags[i] : ""))]);

    [Fact]
    public void Scores_are_those_of_Winoground()
    {
        // picture 0 with caption 0 and 1, picture 1 with caption 0 and 1
        float[] both = [2, 1, 1, 2], text = [2, 1, 4, 5], image = [2, 4, 1, 5], none = [1, 2, 2, 1], ties = [1, 1, 1, 1];
        CompositionMetrics m = Evaluate([both, text, image, none, ties], "a", "a", "b");
        Assert.Equal((5, 2 / 5.0, 2 / 5.0, 1 / 5.0), (m.Items, m.TextScore, m.ImageScore, m.GroupScore));
        Assert.Equal((2 + 2 + 1) / 10.0, m.TextChoice, 1e-12);  // of equal scores none wins
        Assert.Equal((2 + 1 + 2) / 10.0, m.ImageChoice, 1e-12);
        Assert.Equal((0.25, 0.25, 1 / 6.0), (m.TextChance, m.ImageChance, m.GroupChance));
        Assert.Equal(["a", "b"], m.Tags.Keys);
        Assert.Equal((2, 1.0, 0.5, 0.5), (m.Tags["a"].Items, m.Tags["a"].TextScore, m.Tags["a"].ImageScore, m.Tags["a"].GroupScore));
        using JsonDocument json = JsonDocument.Parse(m.ToJson());
        Assert.Equal(0.2, json.RootElement.GetProperty("groupScore").GetDouble());
        Assert.Contains("group 20.00", m.ToString());
    }

    [Fact]
    public void Random_scores_reach_just_the_stated_chance()
    {
        var random = new Random(1);
        const int items = 20_000;
        CompositionMetrics m = _ml.Multimodal.EvaluateComposition((images, _) => [.. images.Select(_ => random.NextSingle())],
            [.. Enumerable.Range(0, items).Select(_ => Item(0))]);
        const double tolerance = 0.012; // four standard deviations of 20,000 draws
        Assert.Equal(m.TextChance, m.TextScore, tolerance);
        Assert.Equal(m.ImageChance, m.ImageScore, tolerance);
        Assert.Equal(m.GroupChance, m.GroupScore, tolerance);
    }

    [Fact]
    public void Who_does_not_look_at_the_picture_chooses_half_of_the_captions_and_has_no_text_score()
    {
        CompositionMetrics m = Evaluate([[1, 2, 1, 2], [5, 3, 5, 3]]);
        Assert.Equal((0.0, 0.5, 0.0), (m.TextScore, m.TextChoice, m.ImageScore));
    }

    [Fact]
    public void With_one_picture_the_first_caption_must_beat_all_others()
    {
        CompositionItem[] items = [new(["right", "wrong", "worse"], [Picture(0)]), new(["wrong", "right", "worse"], [Picture(0)])];
        CompositionMetrics m = _ml.Multimodal.EvaluateComposition((_, texts) => [.. texts.Select(t => t == "right" ? 1f : 0)], items);
        Assert.Equal((0.5, 1 / 3.0), (m.TextScore, m.TextChance));
        Assert.True(double.IsNaN(m.ImageScore) && double.IsNaN(m.GroupScore));
    }

    [Fact]
    public void Items_that_are_no_questions_are_refused()
    {
        Assert.Contains("no items", Assert.Throws<ArgumentException>(() => _ml.Multimodal.EvaluateComposition((_, _) => [], [])).Message);
        CompositionItem[] one = [new(["alone"], [Picture(0)])];
        Assert.Contains("item 0 has 1 captions and 1 pictures", Assert.Throws<ArgumentException>(() => _ml.Multimodal.EvaluateComposition((_, _) => [], one)).Message);
        Assert.Contains("0 scores for 4 pairs", Assert.Throws<InvalidDataException>(() => _ml.Multimodal.EvaluateComposition((_, _) => [], [Item(0)])).Message);
    }

    string Write(string name, string content)
    {
        File.WriteAllText(Path.Combine(_folder, name), content);
        return Path.Combine(_folder, name);
    }

    string WritePicture(string name, int width = 4, int height = 3)
    {
        string path = Path.Combine(_folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        ImageEncoder.SavePng(new(width, height, [.. Enumerable.Range(0, 3 * width * height).Select(i => (byte)i)]), path);
        return path;
    }

    [Fact]
    public void Winoground_is_read_as_published()
    {
        (string first, string second) = (WritePicture("images/ex_0_img_0.png"), WritePicture("images/ex_0_img_1.png"));
        string path = Write("examples.jsonl", """
            {"id": 0, "image_0": "ex_0_img_0", "image_1": "ex_0_img_1", "caption_0": "an old person kisses a young person", "caption_1": "a young person kisses an old person", "tag": "Adjective-Age", "secondary_tag": "", "num_main_preds": 1, "collapsed_tag": "Object"}

            """);
        CompositionItem item = Assert.Single(CompositionItem.LoadWinoground(path));
        Assert.Equal(["an old person kisses a young person", "a young person kisses an old person"], item.Captions);
        Assert.Equal([first, second], item.Images.Select(i => i.Path));
        Assert.Equal("Object", item.Tag);
    }

    [Fact]
    public void SugarCrepe_is_read_as_published()
    {
        string picture = WritePicture("000000085329.jpg"); // the ending does not matter to the decoder
        string path = Write("swap_obj.json", """{"0": {"filename": "000000085329.jpg", "caption": "A dog on a cat", "negative_caption": "A cat on a dog"}}""");
        CompositionItem item = Assert.Single(CompositionItem.LoadSugarCrepe(path, _folder));
        Assert.Equal(["A dog on a cat", "A cat on a dog"], item.Captions);
        Assert.Equal((picture, "swap_obj"), (Assert.Single(item.Images).Path, item.Tag));
    }

    [Fact]
    public void Aro_is_read_as_published_and_looks_at_the_box()
    {
        WritePicture("2412125.jpg", 4, 3);
        string path = Write("visual_genome_relation.json", """
            [{"image_id": "2412125", "image_path": "2412125.jpg", "bbox_x": 1, "bbox_y": 1, "bbox_w": 2, "bbox_h": 9,
              "true_caption": "the door is to the left of the man", "false_caption": "the man is to the left of the door", "relation_name": "to the left of"},
             {"image_path": "2412125.jpg", "bbox_x": 0, "bbox_y": 0, "bbox_w": 4, "bbox_h": 3, "true_caption": "a", "false_caption": "b", "attributes": ["red", "big"]},
             {"image": "2412125.jpg", "caption_options": ["right", "wrong", "worse"]}]
            """);
        IReadOnlyList<CompositionItem> items = CompositionItem.LoadAro(path, _folder);
        Assert.Equal(["to the left of", "red_big", "order"], items.Select(i => i.Tag));
        Assert.Equal(["the door is to the left of the man", "the man is to the left of the door"], items[0].Captions);
        Assert.Equal(3, items[2].Captions.Count);
        List<RgbImage> looked = [];
        _ml.Multimodal.EvaluateComposition((images, _) =>
        {
            looked.AddRange(images);
            return new float[images.Count];
        }, items);
        Assert.Equal((2, 2), (looked[0].Width, looked[0].Height)); // the box ends with the picture
        Assert.Equal([15, 16, 17, 18, 19, 20, 27, 28, 29, 30, 31, 32], looked[0].Pixels);
    }

    [Theory]
    [InlineData("not json", "not JSON")]
    [InlineData("[1]", "no field 'image_path'")]
    [InlineData("{}", "must be a list")]
    [InlineData("""[{"image_path": "../secret.png", "bbox_x": 0, "bbox_y": 0, "bbox_w": 1, "bbox_h": 1, "true_caption": "a", "false_caption": "b"}]""", "lies outside")]
    [InlineData("""[{"image": "x.png", "caption_options": ["a"]}]""", "at least two texts")]
    [InlineData("""[{"image_path": "x.png", "true_caption": 3, "false_caption": "b"}]""", "x.png")]
    public void A_file_that_is_no_benchmark_is_refused(string content, string message)
    {
        string path = Write("bad.json", content);
        Exception e = Assert.ThrowsAny<Exception>(() => CompositionItem.LoadAro(path, _folder));
        Assert.True(e is InvalidDataException or FileNotFoundException, $"{e}");
        Assert.Contains(message, e.Message);
    }

    [Fact]
    public void A_missing_picture_or_file_is_named()
    {
        string path = Write("bad.jsonl", """{"caption_0": "a", "caption_1": "b", "image_0": "gone", "image_1": "gone"}""");
        Assert.Contains("line 1: there is no picture 'gone'", Assert.Throws<FileNotFoundException>(() => CompositionItem.LoadWinoground(path)).Message);
        Assert.Throws<FileNotFoundException>(() => CompositionItem.LoadSugarCrepe(Path.Combine(_folder, "none.json"), _folder));
    }
}
