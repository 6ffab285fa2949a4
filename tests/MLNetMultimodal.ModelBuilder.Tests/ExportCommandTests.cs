using System.Text.Json;

namespace MLNetMultimodal.ModelBuilder.Tests;

[Collection(ToolCollection.Name)]
public sealed class ExportCommandTests(ToolFixture fixture)
{
    [Fact]
    public async Task The_folder_is_written_and_its_files_are_listed()
    {
        string output = fixture.At("exported");
        JsonElement[] rows = (await Tool.Run(
            "export", "--model", fixture.Model, "--output", output, "--dtype", "fp32", "q8", "--format", "json")).Expect(0).Rows;
        Dictionary<string, long> files = rows.ToDictionary(r => r.GetProperty("file").GetString()!, r => r.GetProperty("bytes").GetInt64());
        foreach (var (file, bytes) in files) Assert.Equal(bytes, new FileInfo(Path.Combine(output, file)).Length);
        foreach (string file in new[] { "onnx/model.onnx", "onnx/vision_model_quantized.onnx", "onnx/text_model.onnx", "tokenizer.json" })
            Assert.Contains(file, files);
    }

    [Fact]
    public async Task A_folder_that_holds_something_else_and_an_unknown_dtype_are_refused()
    {
        (await Tool.Run("export", "--model", fixture.Model, "--output", fixture.Model)).ExpectOneLine(1, fixture.Model, "earlier export");
        ToolResult unknown = await Tool.Run("export", "--model", fixture.Model, "--output", fixture.At("none"), "--dtype", "int3");
        Assert.Contains("int3", unknown.Expect(2).Errors);
        Assert.False(Directory.Exists(fixture.At("none")));
    }
}
