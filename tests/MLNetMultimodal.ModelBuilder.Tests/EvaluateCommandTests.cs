using System.Text.Json;

namespace MLNetMultimodal.ModelBuilder.Tests;

[Collection(ToolCollection.Name)]
public sealed class EvaluateCommandTests(ToolFixture fixture)
{
    [Fact]
    public async Task Idx_files_are_classified_by_their_class_names()
    {
        string images = fixture.At("images.idx"), labels = fixture.At("labels.idx");
        File.WriteAllBytes(images,
            [0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, 9, .. Enumerable.Range(0, 3 * 9 * 9).Select(i => (byte)i)]);
        File.WriteAllBytes(labels, [0, 0, 8, 1, 0, 0, 0, 3, 1, 0, 1]);
        string[] arguments = ["evaluate", "--model", fixture.Model, "--data", images, "--idx-labels", labels, "--format", "json"];
        JsonElement metrics = Assert.Single((await Tool.Run([.. arguments, "--class-names", "dark, light"])).Expect(0).Rows);
        Assert.Equal(3, metrics.GetProperty("rows").GetInt32());
        Assert.Equal(["a photo of a dark.", "a photo of a light."],
            metrics.GetProperty("prompts").EnumerateArray().Select(p => p.GetString()));
        (await Tool.Run([.. arguments, "--class-names", "dark"])).ExpectOneLine(1, "label 1", "1 class names");
    }

    [Fact]
    public async Task Prompts_in_the_folder_of_the_data_are_used_and_json_has_the_tool_s_names()
    {
        string folder = fixture.At("with-prompts");
        foreach (string name in (string[])["red", "blue"])
        {
            Directory.CreateDirectory(Path.Combine(folder, name));
            File.Copy(fixture.Picture(name, 0), Path.Combine(folder, name, "0.png"));
        }
        File.WriteAllText(Path.Combine(folder, "classnames.txt"), "red\nblue\n");
        File.WriteAllText(Path.Combine(folder, "zeroshot_classification_templates.txt"), "the {c} one\n");
        string[] arguments = ["evaluate", "--model", fixture.Model, "--data", folder];
        JsonElement metrics = Assert.Single((await Tool.Run([.. arguments, "--format", "json"])).Expect(0).Rows);
        Assert.Equal(["the red one", "the blue one"], metrics.GetProperty("prompts").EnumerateArray().Select(p => p.GetString()));
        Assert.Equal(folder, metrics.GetProperty("prompt_source").GetString());
        Assert.All(Names(metrics), name => Assert.Matches("^[a-z0-9_]+$", name));
        Assert.Contains("macro_accuracy", Names(metrics));
        string own = (await Tool.Run([.. arguments, "--template", "a {}"])).Expect(0).Output;
        Assert.Contains("prompts (options): a {}", own);
    }

    [Fact]
    public async Task A_probe_learns_from_other_pictures_with_a_result_for_each_number_of_shots()
    {
        string[] probe = ["evaluate", "--model", fixture.Model, "--data", fixture.Pictures, "--probe"];
        ToolResult result = await Tool.Run([.. probe, "--train", fixture.Pictures, "--shots", "1", "3", "--seeds", "4", "5", "--format", "json"]);
        JsonElement[] rows = result.Expect(0).Rows;
        Assert.Equal([1, 3], rows.Select(r => r.GetProperty("shots_per_class").GetInt32()));
        Assert.Equal([4, 5], rows[1].GetProperty("runs").EnumerateArray().Select(r => r.GetProperty("seed").GetInt32()));
        Assert.All(rows, r => Assert.Equal("model", r.GetProperty("model").GetString()));
        Assert.All(rows.SelectMany(Names), name => Assert.Matches("^[a-z0-9_]+$", name));
        string table = (await Tool.Run([.. probe, "--train", fixture.Pictures])).Expect(0).Output;
        Assert.Contains("linear probe of Embedding (model), all rows, 12 rows to learn from", table);
    }

    [Theory]
    [InlineData("--train with --probe", "--probe")]
    [InlineData("go with --probe only", "--shots", "1")]
    [InlineData("--probe or --retrieval", "--probe", "--retrieval", "--train", ".")]
    [InlineData("--idx-labels and --train-labels", "--probe", "--train", "x.idx", "--train-labels", "y.idx")]
    public async Task A_probe_that_makes_no_sense_is_wrong_usage(string message, params string[] options) => Assert.Contains(message,
        (await Tool.Run(["evaluate", "--model", fixture.Model, "--data", fixture.Pictures, .. options])).Expect(2).Errors);

    static IEnumerable<string> Names(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => value.EnumerateObject().SelectMany(p => Names(p.Value).Prepend(p.Name)),
        JsonValueKind.Array => value.EnumerateArray().SelectMany(Names),
        _ => [],
    };

    [Fact]
    public async Task Data_without_classes_is_wrong_usage_and_the_way_out_is_named()
    {
        string manifest = fixture.At("captions.jsonl");
        File.WriteAllText(manifest, """{"image":"pictures/red/0.png","caption":"red"}""");
        ToolResult result = await Tool.Run("evaluate", "--model", fixture.Model, "--data", manifest);
        result.ExpectOneLine(2, "--label-field", "--retrieval");
    }
}
