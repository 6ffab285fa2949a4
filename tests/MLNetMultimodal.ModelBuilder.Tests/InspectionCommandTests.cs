using System.Text.Json;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.ModelBuilder.Tests;

/// <summary><c>tokenize</c>, <c>preprocess</c> and <c>summary</c>: they need no weights.</summary>
[Collection(ToolCollection.Name)]
public sealed class InspectionCommandTests(ToolFixture fixture)
{
    [Fact]
    public async Task Tokens_are_those_of_the_tokenizer()
    {
        string folder = fixture.At("tokenizer-only");
        Directory.CreateDirectory(folder);
        TextTokenizer tokenizer = TextTokenizer.Load(fixture.Model);
        foreach (var (name, bytes) in tokenizer.Files) File.WriteAllBytes(Path.Combine(folder, name), bytes.ToArray());
        string[] texts = ["a photo of a red thing", "@blue", "-1 \"ü\"", ""];
        JsonElement[] rows = (await Tool.Run(["tokenize", "--model", folder, "--text", .. texts])).Expect(0).Rows;
        Assert.Equal(texts, rows.Select(r => r.GetProperty("text").GetString()));
        foreach (var (text, row) in texts.Zip(rows))
            Assert.Equal(tokenizer.Encode(text), row.GetProperty("input_ids").EnumerateArray().Select(i => i.GetInt32()));
    }

    [Fact]
    public async Task Preprocessed_pictures_are_what_the_model_sees_and_each_has_its_name()
    {
        string folder = fixture.At("preprocessor-only"), outputs = fixture.At("pixels.safetensors");
        string red = fixture.Picture("red", 0), blue = fixture.Picture("blue", 0);
        Directory.CreateDirectory(folder);
        ToolResult failed = await Tool.Run("preprocess", "--model", folder, "--image", red, "--outputs", outputs);
        failed.ExpectOneLine(1, "preprocessor_config.json", "--size");
        Assert.False(File.Exists(outputs));
        File.Copy(Path.Combine(fixture.Model, "preprocessor_config.json"), Path.Combine(folder, "preprocessor_config.json"));
        ToolResult result = await Tool.Run(
            "preprocess", "--model", folder, "--image", red, blue, "--outputs", outputs, "--format", "json");
        JsonElement[] rows = result.Expect(0).Rows;
        Assert.Equal(["out.0.png", "out.0.png#2"], rows.Select(r => r.GetProperty("name").GetString()));
        using Safetensors got = Safetensors.Open(outputs);
        foreach (var (name, file) in (IEnumerable<(string, string)>)[("out.0.png", red), ("out.0.png#2", blue)])
        {
            var expected = new float[3 * ToolFixture.ImageSize * ToolFixture.ImageSize];
            ImagePreprocessing.Clip(ToolFixture.ImageSize).Apply(ImageDecoder.Decode(file), expected);
            Assert.Equal([3, ToolFixture.ImageSize, ToolFixture.ImageSize], got[name].Shape);
            Assert.Equal(expected, got[name].ToSingles());
        }
    }

    [Fact]
    public async Task A_summary_counts_every_weight_of_the_file()
    {
        JsonElement[] rows = (await Tool.Run("summary", "--model", fixture.Model, "--format", "json")).Expect(0).Rows;
        Assert.Equal(["vision_model", "text_model", "model"], rows.Select(r => r.GetProperty("program").GetString()));
        using Safetensors weights = Safetensors.Open(Path.Combine(fixture.Model, "model.safetensors"));
        Assert.Equal(weights.Values.Sum(w => w.Count), rows[2].GetProperty("parameters").GetInt64());
        Assert.Equal(4 * weights.Values.Sum(w => w.Count), rows[2].GetProperty("parameter_bytes").GetInt64());
        foreach (JsonElement row in rows)
        {
            Assert.Equal("clip", row.GetProperty("model_type").GetString());
            Assert.Equal(ToolFixture.EmbeddingWidth, row.GetProperty("embedding_width").GetInt32());
            Assert.True(row.GetProperty("flops").GetInt64() > 0 && row.GetProperty("activation_bytes").GetInt64() > 0);
            Assert.True(row.GetProperty("layers").GetArrayLength() > 10);
        }
    }

    [Fact]
    public async Task Blocks_stand_side_by_side()
    {
        Dictionary<string, (long Parameters, long Flops)> blocks = (await Tool.Run("summary", "--blocks", "--format", "json")).Expect(0).Rows
            .ToDictionary(r => r.GetProperty("block").GetString()!, r => (r.GetProperty("parameters").GetInt64(), r.GetProperty("flops").GetInt64()));
        long width = 256;
        Assert.Equal(4 * width * (width + 1), blocks["cross-attention"].Parameters); // four projections with biases
        Assert.Equal(width * (width + 1) + 3 * width / 4 * (width + 1) - 3 * width * width / 4,
            blocks["low-rank cross-attention, r = D/4"].Parameters); // three to r, one back
        var (dense, experts) = (blocks["feed-forward, 4D"], blocks["8 experts of 4D, 1 chosen"]);
        Assert.Equal(8 * dense.Parameters + 8 * width, experts.Parameters);
        Assert.InRange(experts.Flops, dense.Flops, 1.1 * dense.Flops); // as many weights as eight, the work of one
        Assert.True(blocks["8 experts of 4D, 2 chosen"].Flops > 1.8 * dense.Flops);
        (await Tool.Run("summary", "--blocks", "--model", fixture.Model)).ExpectOneLine(2, "--blocks");
        (await Tool.Run("summary")).ExpectOneLine(2, "--model");
    }
}
