namespace MLNetMultimodal.ModelBuilder.Tests;

[Collection(ToolCollection.Name)]
public sealed class UsageTests(ToolFixture fixture)
{
    [Fact]
    public async Task An_unknown_verb_is_wrong_usage()
    {
        ToolResult result = (await Tool.Run("clasify", "--model", fixture.Model)).Expect(2);
        Assert.Equal("", result.Output);
        Assert.Contains("'clasify' was not matched", result.Errors);
        Assert.Contains("classify", result.Errors);
    }

    [Fact]
    public async Task A_missing_folder_fails_in_one_line_and_tells_all_when_asked()
    {
        (await Tool.Run("summary", "--model", fixture.At("nowhere"))).ExpectOneLine(1, "nowhere", "does not exist");
        ToolResult verbose = (await Tool.Run("summary", "--verbose", "--model", fixture.At("nowhere"))).Expect(1);
        Assert.Contains("   at MLNetMultimodal.", verbose.Errors);
    }

    [Fact]
    public async Task Help_lists_every_verb()
    {
        string help = (await Tool.Run("--help")).Expect(0).Output;
        foreach (string verb in (string[])["run", "embed", "classify", "tokenize", "preprocess", "summary", "train", "evaluate"])
            Assert.Contains($"  {verb} ", help);
    }
}
