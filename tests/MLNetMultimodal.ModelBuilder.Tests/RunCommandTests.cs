using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.ModelBuilder.Tests;

[Collection(ToolCollection.Name)]
public sealed class RunCommandTests(ToolFixture fixture)
{
    static readonly string Golden = Path.Combine(AppContext.BaseDirectory, "Goldens", "clip");

    [Theory]
    [InlineData("onnx", "model.safetensors")]
    [InlineData("onnx", "openai_state_dict.safetensors")]
    [InlineData("torch", "model.safetensors")]
    [InlineData("torch", "openai_state_dict.safetensors")]
    public async Task All_outputs_of_the_golden_are_those_of_the_reference(string backend, string weights)
    {
        string outputs = fixture.At($"{backend}-{weights}"), io = Path.Combine(Golden, "io.safetensors");
        ToolResult result = await Tool.Run("run", "--model", Golden, "--weights", weights, "--backend", backend,
            "--inputs", io, "--outputs", outputs, "--format", "json");
        JsonElement[] rows = result.Expect(0).Rows;
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Golden, "case.json")));
        JsonElement tolerance = golden.RootElement.GetProperty("tolerance");
        double atol = tolerance.GetProperty("atol").GetDouble(), rtol = tolerance.GetProperty("rtol").GetDouble();
        using Safetensors expected = Safetensors.Open(io), got = Safetensors.Open(outputs);
        Assert.Equal(expected.Keys.Where(k => k.StartsWith("out.", StringComparison.Ordinal)).Order(), got.Keys.Order());
        Assert.Equal(got.Keys.Order(), rows.Select(r => r.GetProperty("name").GetString()!).Order());
        foreach (string name in got.Keys)
        {
            Assert.Equal(expected[name].Shape, got[name].Shape);
            float[] wanted = expected[name].ToSingles(), values = got[name].ToSingles();
            double worst = wanted.Zip(values).Max(p => Math.Abs((double)p.Second - p.First) / (atol + rtol * Math.Abs(p.First)));
            Assert.True(worst <= 1, $"{name}: largest difference is {worst:g3} of the tolerance");
        }
    }

    [Fact]
    public async Task Inputs_of_one_encoder_give_its_outputs()
    {
        string inputs = fixture.At("one.safetensors"), outputs = fixture.At("one-out.safetensors");
        Safetensors.Write(inputs,
            [new("in.input_ids", new(DType.I32, [1, 3], new byte[12])), new("out.stale", TensorData.From([1f], 1))]);
        (await Tool.Run("run", "--model", fixture.Model, "--inputs", inputs, "--outputs", outputs)).Expect(0);
        using Safetensors got = Safetensors.Open(outputs);
        Assert.Equal(["out.text_embeds"], got.Keys);
        Assert.Equal([1, ToolFixture.EmbeddingWidth], got["out.text_embeds"].Shape);
    }

    [Fact]
    public async Task Inputs_of_a_wrong_shape_write_nothing()
    {
        string inputs = fixture.At("wrong.safetensors"), outputs = fixture.At("wrong-out.safetensors");
        Safetensors.Write(inputs, [new("in.pixel_values", TensorData.From(new float[3 * 9 * 9], 1, 3, 9, 9))]);
        ToolResult result = await Tool.Run(
            "run", "--model", fixture.Model, "--inputs", inputs, "--outputs", outputs, "--backend", "torch");
        result.ExpectOneLine(1, "pixel_values", "[1, 3, 9, 9]");
        Assert.Empty(Directory.EnumerateFiles(fixture.Root, "wrong-out*"));
    }
}
