using System.Diagnostics;
using System.Text;
using System.Text.Json;

namespace MLNetMultimodal.ModelBuilder.Tests;

/// <summary><c>train</c>, and <c>evaluate</c> on what it trained.</summary>
[Collection(ToolCollection.Name)]
public sealed class TrainCommandTests(ToolFixture fixture)
{
    [Fact]
    public async Task A_trained_model_tells_colours_apart()
    {
        string output = fixture.At("trained");
        ToolResult trained = await Tool.Run("train", "--data", fixture.Pictures, "--output", output,
            "--template", "a {} thing", "--template", "{}", "--epochs", "30", "--batch-size", "12", "--ema", "0",
            "--logs", fixture.At("logs"), "--format", "json");
        JsonElement row = Assert.Single(trained.Expect(0).Rows);
        Assert.True(row.GetProperty("completed").GetBoolean());
        Assert.Equal(30, row.GetProperty("steps").GetInt64());
        Assert.True(row.GetProperty("loss").GetDouble() < Math.Log(12), "the loss is that of chance");
        Assert.Equal(JsonValueKind.Null, row.GetProperty("validation").ValueKind);
        Assert.NotEmpty(Directory.GetFiles(fixture.At("logs")));

        ToolResult classes = await Tool.Run(
            "evaluate", "--model", output, "--data", fixture.Pictures, "--template", "a {} thing", "--format", "json");
        JsonElement metrics = Assert.Single(classes.Expect(0).Rows);
        Assert.Equal(2 * ToolFixture.PicturesPerClass, metrics.GetProperty("rows").GetInt32());
        Assert.Equal(1, metrics.GetProperty("top1").GetDouble());
        Assert.Equal(["a blue thing", "a red thing"], metrics.GetProperty("prompts").EnumerateArray().Select(p => p.GetString()));

        string manifest = fixture.At("pictures.csv");
        var lines = new StringBuilder("image,caption,colour\n");
        foreach (string colour in (string[])["red", "blue"])
            for (int n = 0; n < ToolFixture.PicturesPerClass; n++)
                lines.Append($"pictures/{colour}/{n}.png,a {colour} thing,{colour}\n");
        File.WriteAllText(manifest, lines.ToString());
        string[] evaluate = ["evaluate", "--model", output, "--data", manifest, "--label-field", "colour"];
        ToolResult retrieval = await Tool.Run([.. evaluate, "--retrieval", "--format", "json"]);
        JsonElement both = Assert.Single(retrieval.Expect(0).Rows);
        foreach (string direction in (string[])["image_to_text", "text_to_image"])
            Assert.Equal(1, both.GetProperty(direction).GetProperty("recall_at1").GetDouble());
        string table = (await Tool.Run([.. evaluate, "--labels", "red,blue"])).Expect(0).Output;
        Assert.Contains("a photo of a {}.", table);
    }

    [Fact]
    public async Task A_cancelled_training_keeps_the_model()
    {
        if (OperatingSystem.IsWindows()) return; // there are no signals to send
        string output = fixture.At("cancelled");
        using Process process = Tool.Start("train", "--data", fixture.Pictures, "--output", output,
            "--epochs", "1000000", "--batch-size", "2", "--validation-share", "0.3", "--patience", "1000000", "--format", "json");
        var errors = new StringBuilder();
        while (await process.StandardError.ReadLineAsync() is { } line)
        {
            errors.AppendLine(line);
            if (line.Contains("validation", StringComparison.Ordinal)) break;
        }
        Assert.False(process.HasExited, errors.ToString());
        // Not SIGINT, which the processes of a shell's background job ignore.
        using (Process kill = Process.Start("kill", ["-TERM", $"{process.Id}"])) await kill.WaitForExitAsync();
        ToolResult result = (await Tool.Finish(process, process.StandardError.ReadToEndAsync())).Expect(1);
        JsonElement row = Assert.Single(result.Rows);
        Assert.False(row.GetProperty("completed").GetBoolean());
        Assert.True(row.GetProperty("steps").GetInt64() > 0);
        Assert.InRange(row.GetProperty("validation").GetDouble(), 0, 1);
        Assert.Contains("cancelled", result.Errors);
        (await Tool.Run("embed", "--model", output, "--text", "red")).Expect(0);
    }

    [Fact]
    public async Task A_tuned_model_has_its_adapters_beside_it()
    {
        string output = fixture.At("tuned");
        ToolResult tuned = await Tool.Run("finetune", "--model", fixture.Model, "--data", fixture.Pictures, "--output", output,
            "--epochs", "2", "--batch-size", "12", "--train", "lora", "--lora-rank", "2", "--lora-mlp", "--format", "json");
        Assert.True(Assert.Single(tuned.Expect(0).Rows).GetProperty("completed").GetBoolean());
        using JsonDocument config = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(output, "adapter", "adapter_config.json")));
        Assert.Equal(2, config.RootElement.GetProperty("r").GetInt32());
        Assert.Equal(4, config.RootElement.GetProperty("lora_alpha").GetDouble());
        Assert.True(File.Exists(Path.Combine(output, "adapter", "adapter_model.safetensors")));
        (await Tool.Run("embed", "--model", output, "--text", "red")).Expect(0);
    }

    [Theory]
    [InlineData("--lora-rank needs --train lora", "--lora-rank", "3")]
    [InlineData("LayerDecay must be above 0", "--layer-decay", "0")]
    [InlineData("Rank must be 1 to 4096", "--train", "lora", "--lora-rank", "0")]
    public async Task Tuning_options_that_make_no_sense_are_wrong_usage(string message, params string[] options)
    {
        string output = fixture.At("untuned");
        string[] tune = ["finetune", "--model", fixture.Model, "--data", fixture.Pictures, "--output", output];
        Assert.Contains(message, (await Tool.Run([.. tune, .. options])).Expect(2).Errors);
        Assert.False(Directory.Exists(output));
    }

    [Theory]
    [InlineData("Epochs must be at least 1", "--epochs", "0")]
    [InlineData("--patience needs --validation", "--patience", "3")]
    public async Task Options_that_make_no_sense_are_wrong_usage_and_write_nothing(string message, params string[] options)
    {
        string output = fixture.At("unwritten");
        ToolResult result = (await Tool.Run(["train", "--data", fixture.Pictures, "--output", output, .. options])).Expect(2);
        Assert.Contains(message, result.Errors);
        Assert.False(Directory.Exists(output));
    }
}
