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
    public async Task Data_without_classes_is_wrong_usage_and_the_way_out_is_named()
    {
        string manifest = fixture.At("captions.jsonl");
        File.WriteAllText(manifest, """{"image":"pictures/red/0.png","caption":"red"}""");
        ToolResult result = await Tool.Run("evaluate", "--model", fixture.Model, "--data", manifest);
        result.ExpectOneLine(2, "--label-field", "--retrieval");
    }
}
