using System.Text.Json;

namespace MLNetMultimodal.ModelBuilder.Tests;

[Collection(ToolCollection.Name)]
public sealed class QuantizeCommandTests(ToolFixture fixture)
{
    [Fact]
    public async Task Sizes_and_similarities_are_reported_and_what_was_not_measured_is_null()
    {
        ToolResult result = await Tool.Run("quantize", "--model", fixture.Model, "--text", "a cat", "a dog", "--format", "json");
        JsonElement row = result.Expect(0).Rows.Single();
        Assert.Equal("int8", row.GetProperty("dtype").GetString());
        JsonElement[] encoders = [.. row.GetProperty("encoders").EnumerateArray()];
        Assert.Equal(["image", "text"], encoders.Select(e => e.GetProperty("modality").GetString()));
        Assert.Equal(JsonValueKind.Null, encoders[0].GetProperty("mean_cosine").ValueKind);
        Assert.Equal(2, encoders[1].GetProperty("items").GetInt32());
        Assert.InRange(encoders[1].GetProperty("min_cosine").GetDouble(), 0.98, 1.000001);
        Assert.True(encoders[1].GetProperty("bytes").GetInt64() < encoders[1].GetProperty("exact_bytes").GetInt64());
        Assert.Equal(JsonValueKind.Null, row.GetProperty("top1").ValueKind);
    }

    [Fact]
    public async Task Full_floats_are_no_smaller_weights() =>
        (await Tool.Run("quantize", "--model", fixture.Model, "--dtype", "fp32")).Expect(2);
}
