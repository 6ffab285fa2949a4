using System.Text.Json;

namespace MLNetMultimodal.ModelBuilder.Tests;

[Collection(ToolCollection.Name)]
public sealed class ClassifyCommandTests(ToolFixture fixture)
{
    [Fact]
    public async Task An_unreadable_picture_is_named_and_the_others_are_classified()
    {
        ToolResult result = await Tool.Run("classify", "--model", fixture.Model, "--labels", "red, blue,green",
            "--template", "a {}", "--template", "the {}", "--format", "json",
            fixture.Picture("red", 0), fixture.Broken, fixture.At("missing.png"), fixture.Picture("blue", 0));
        JsonElement[] rows = result.Expect(1).Rows;
        Assert.Equal([fixture.Picture("red", 0), fixture.Picture("blue", 0)],
            rows.Select(r => r.GetProperty("input").GetString()));
        foreach (JsonElement row in rows)
        {
            Dictionary<string, float> scores =
                row.GetProperty("scores").EnumerateObject().ToDictionary(s => s.Name, s => s.Value.GetSingle());
            Assert.Equal(["red", "blue", "green"], scores.Keys);
            Assert.Equal(1, scores.Values.Sum(), 1e-5);
            Assert.Equal(scores.MaxBy(s => s.Value).Key, row.GetProperty("label").GetString());
            Assert.Equal(scores.Values.Max(), row.GetProperty("score").GetSingle());
        }
        string[] errors = result.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(3, errors.Length);
        Assert.Equal("prompts (options): a {} | the {}", errors[0]);
        Assert.Contains(fixture.Broken, errors[1]);
        Assert.Contains(fixture.At("missing.png"), errors[2]);
    }

    [Fact]
    public async Task A_table_is_for_people()
    {
        string labels = fixture.At("labels.txt");
        File.WriteAllText(labels, "red\n\nblue\n");
        ToolResult result = await Tool.Run("classify", "--model", fixture.Model, "--labels-file", labels, fixture.Pictures);
        string[] lines = result.Expect(0).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(1 + 2 * ToolFixture.PicturesPerClass, lines.Length);
        Assert.All(lines[1..], line => Assert.Matches(@"\.png +(red|blue) +\d+\.\d ?%", line));
    }

    [Theory]
    [InlineData("'red' is there twice", "--labels", "red,blue,red")]
    [InlineData("--labels or --labels-file")]
    [InlineData("'a photo' does not", "--labels", "red,blue", "--template", "a photo")]
    public async Task Labels_that_make_no_sense_are_wrong_usage(string message, params string[] options) =>
        (await Tool.Run(["classify", "--model", fixture.Model, fixture.Picture("red", 0), .. options])).ExpectOneLine(2, message);

    [Fact]
    public async Task Prompts_beside_the_data_are_used_and_are_not_mixed_with_others()
    {
        string folder = fixture.At("prompts");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "classnames.txt"), "red\nblue\n");
        File.WriteAllText(Path.Combine(folder, "zeroshot_classification_templates.txt"), "a {c} thing\n{c}\n");
        string[] classify = ["classify", "--model", fixture.Model, "--format", "json", fixture.Picture("red", 0)];
        ToolResult ofFiles = (await Tool.Run([.. classify, "--prompts", folder])).Expect(0);
        Assert.Contains($"prompts ({folder}): a {{}} thing | {{}}", ofFiles.Errors);
        string fromFiles = ofFiles.Output;
        Assert.Equal((await Tool.Run([.. classify, "--labels", "red,blue", "--template", "a {} thing", "--template", "{}"])).Expect(0).Output, fromFiles);
        ToolResult both = (await Tool.Run([.. classify, "--prompts", folder, "--template", "{}"])).Expect(2);
        Assert.Contains("not both", both.Errors);
    }
}
