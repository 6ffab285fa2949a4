using System.Text.Json;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.ModelBuilder.Tests;

/// <summary>Verbs on folders of recorded graphs, and with adapters.</summary>
[Collection(ToolCollection.Name)]
public sealed class RecordedFolderTests(ToolFixture fixture)
{
    const string Layer = "text_model.encoder.layers.0.self_attn.v_proj";

    static float[] Values(JsonElement row) => [.. row.GetProperty("embedding").EnumerateArray().Select(v => v.GetSingle())];

    static void Close(IEnumerable<float> expected, IEnumerable<float> found) =>
        Assert.All(expected.Zip(found), p => Assert.Equal(p.First, p.Second, 1e-5f));

    async Task<float[][]> Embed(params string[] arguments) => [.. (await Tool.Run(
        ["embed", "--image", fixture.Picture("red", 0), "--text", "a photo of a red thing", .. arguments])).Expect(0).Rows.Select(Values)];

    [Fact]
    public async Task Graphs_embed_classify_and_run_as_the_weights_do_and_say_which_they_are()
    {
        string folder = fixture.At("recorded"), picture = fixture.Picture("blue", 1);
        (await Tool.Run("export", "--model", fixture.Model, "--output", folder, "--dtype", "fp32", "q8")).Expect(0);
        float[][] expected = await Embed("--model", fixture.Model), found = await Embed("--model", folder);
        Close(expected[0], found[0]);
        Close(expected[1], found[1]);
        Assert.NotEqual(found[1], (await Embed("--model", folder, "--dtype", "q8"))[1]);

        ToolResult classes = (await Tool.Run("classify", "--model", folder, "--labels", "red,blue", "--format", "json", picture)).Expect(0);
        Assert.Contains("onnx/vision_model.onnx", classes.Errors);
        JsonElement plain = (await Tool.Run("classify", "--model", fixture.Model, "--labels", "red,blue", "--format", "json", picture)).Expect(0).Rows[0];
        Assert.Equal(plain.GetProperty("score").GetSingle(), classes.Rows[0].GetProperty("score").GetSingle(), 1e-3f);

        string inputs = fixture.At("recorded.safetensors"), outputs = fixture.At("recorded-out.safetensors");
        Safetensors.Write(inputs, [new("in.input_ids", new(DType.I32, [1, 3], new byte[12])), new("out.stale", TensorData.From([1f], 1))]);
        (await Tool.Run("run", "--model", folder, "--inputs", inputs, "--outputs", outputs)).Expect(0);
        using Safetensors got = Safetensors.Open(outputs);
        Assert.Equal(["out.text_embeds", "out.text_features", "out.text_last_hidden_state"], got.Keys.Order(StringComparer.Ordinal));
        (await Tool.Run("run", "--model", folder, "--inputs", inputs, "--outputs", outputs, "--backend", "torch")).ExpectOneLine(1, folder, "recorded graphs");
    }

    [Fact]
    public async Task An_adapter_changes_what_every_verb_gives()
    {
        var adapter = new LoraAdapter(new() { Rank = 1, Alpha = 2 }, new Dictionary<string, (TensorData, TensorData)>
        {
            [Layer] = (TensorData.From([.. Enumerable.Range(0, 16).Select(i => i * 0.1f)], 1, 16),
                TensorData.From([.. Enumerable.Range(0, 16).Select(i => i % 3 - 1f)], 16, 1)),
        });
        Directory.CreateDirectory(fixture.At("adapter"));
        foreach (var (name, content) in adapter.ToFiles()) File.WriteAllBytes(fixture.At("adapter", name), content.ToArray());
        string[] adapted = ["--model", fixture.Model, "--adapter", fixture.At("adapter")];
        using MultimodalModel expected = MultimodalModel.Load(fixture.Model, new() { Adapter = adapter });
        float[] text = expected.EmbedTexts(["a photo of a red thing"])[0];
        Close(text, (await Embed(adapted))[1]);
        Assert.NotEqual(text, (await Embed("--model", fixture.Model))[1]);

        string exported = fixture.At("adapted"), inputs = fixture.At("adapted.safetensors"), outputs = fixture.At("adapted-out.safetensors");
        (await Tool.Run(["export", "--output", exported, .. adapted])).Expect(0);
        Close(text, (await Embed("--model", exported))[1]);
        long[] ids = [.. expected.Texts.Encode("a photo of a red thing").Select(i => (long)i)];
        Safetensors.Write(inputs, [new("in.input_ids", TensorData.From(ids, 1, ids.Length))]);
        foreach (string backend in new[] { "onnx", "torch" })
        {
            (await Tool.Run(["run", "--inputs", inputs, "--outputs", outputs, "--backend", backend, .. adapted])).Expect(0);
            using Safetensors got = Safetensors.Open(outputs);
            Close(text, got["out.text_embeds"].ToSingles());
        }
        (await Tool.Run(["classify", "--labels", "red,blue", fixture.Picture("red", 0), .. adapted])).Expect(0);
        (await Tool.Run("embed", "--model", fixture.Model, "--text", "a", "--adapter", fixture.Model)).ExpectOneLine(1, "adapter_config.json");
    }
}
