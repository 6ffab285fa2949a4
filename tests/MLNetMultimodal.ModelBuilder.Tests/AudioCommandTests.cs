using System.Text.Json;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.ModelBuilder.Tests;

/// <summary><c>embed</c> and <c>preprocess</c> of sounds.</summary>
[Collection(ToolCollection.Name)]
public sealed class AudioCommandTests(ToolFixture fixture)
{
    const float AcrossBatchSizes = 1e-5f; // batches of other sizes round differently

    string Sound(int number) => fixture.At("sounds", $"{number}.wav");

    [Fact]
    public async Task Sounds_of_folders_files_and_lists_are_embedded_as_the_model_embeds_them()
    {
        string list = fixture.At("sounds.txt");
        File.WriteAllLines(list, [Sound(1)]);
        string[] arguments = ["embed", "--model", fixture.AudioModel, "--audio", fixture.Sounds, Sound(2), "--audio-from", list];
        JsonElement[] rows = (await Tool.Run(arguments)).Expect(0).Rows;
        string[] expected = [Sound(0), Sound(1), Sound(2), Sound(2), Sound(1)];
        Assert.Equal(expected, rows.Select(r => r.GetProperty("input").GetString()));
        Assert.All(rows, r => Assert.Equal("audio", r.GetProperty("modality").GetString()));
        using MultimodalModel model = MultimodalModel.Load(fixture.AudioModel);
        float[][] embeds = model.EmbedAudio(expected);
        float largest = rows.SelectMany((r, i) => r.GetProperty("embedding").EnumerateArray().Select((v, e) =>
            Math.Abs(v.GetSingle() - embeds[i][e]))).Max();
        Assert.True(largest <= AcrossBatchSizes, $"max |tool - model| = {largest:g3}");
    }

    [Fact]
    public async Task Sounds_of_folders_and_files_are_classified_as_the_model_classifies_them()
    {
        string text = fixture.At("words.wav");
        File.WriteAllText(text, "no sound");
        ToolResult result = await Tool.Run("classify", "--model", fixture.SoundTextModel, "--labels", "dog,cat", "--template", "a {}",
            "--format", "json", fixture.Sounds, text, Sound(1));
        JsonElement[] rows = result.Expect(1).Rows;
        Assert.Contains(text, result.Errors);
        string[] expected = [Sound(0), Sound(1), Sound(2), Sound(1)];
        Assert.Equal(expected, rows.Select(r => r.GetProperty("input").GetString()));
        using MultimodalModel model = MultimodalModel.Load(fixture.SoundTextModel);
        ZeroShotClassifier classifier = ZeroShotClassifier.Create(model, ["dog", "cat"], ["a {}"]);
        float[][] scores = [.. model.EmbedAudio(expected).Select(e => classifier.Probabilities(e))];
        float largest = rows.Select((r, i) => Math.Abs(r.GetProperty("scores").GetProperty("cat").GetSingle() - scores[i][1])).Max();
        Assert.True(largest <= AcrossBatchSizes, $"max |tool - model| = {largest:g3}");
        (await Tool.Run("classify", "--model", fixture.Model, "--labels", "dog,cat", Sound(0))).ExpectOneLine(1, "Audio");
    }

    [Fact]
    public async Task Preprocessed_sounds_are_what_the_model_hears_and_no_weights_are_needed()
    {
        string folder = fixture.At("audio-preprocessor-only"), outputs = fixture.At("heard.safetensors");
        Directory.CreateDirectory(folder);
        string[] arguments =
            ["preprocess", "--model", folder, "--audio", Sound(0), Sound(1), "--outputs", outputs, "--format", "json"];
        (await Tool.Run(arguments)).ExpectOneLine(1, "preprocessor_config.json");
        Assert.False(File.Exists(outputs));
        File.WriteAllText(Path.Combine(folder, "preprocessor_config.json"), ToolFixture.Spectrogram.ToJson());
        JsonElement[] rows = (await Tool.Run(arguments)).Expect(0).Rows;
        Assert.Equal(["out.0.wav", "out.1.wav"], rows.Select(r => r.GetProperty("name").GetString()));
        AudioPreprocessing heard = AudioPreprocessing.FromSpectrogram(ToolFixture.Spectrogram);
        using Safetensors got = Safetensors.Open(outputs);
        for (int n = 0; n < 2; n++)
        {
            Assert.Equal([64, 64], got[$"out.{n}.wav"].Shape);
            Assert.Equal(heard.ApplyToFile(Sound(n)), got[$"out.{n}.wav"].ToSingles());
        }
    }

    [Fact]
    public async Task Models_and_files_that_do_not_fit_are_one_clear_line()
    {
        (await Tool.Run("embed", "--model", fixture.Model, "--audio", Sound(0))).ExpectOneLine(1, "Audio");
        string text = fixture.At("text.wav");
        File.WriteAllText(text, "no sound");
        (await Tool.Run("embed", "--model", fixture.AudioModel, "--audio", text)).ExpectOneLine(1, text);
        string[] both = ["preprocess", "--model", fixture.Model, "--outputs", fixture.At("none.safetensors")];
        ToolResult neither = await Tool.Run(both), two = await Tool.Run([.. both, "--audio", Sound(0), "--image", fixture.Broken]);
        Assert.Contains("either --image, --audio or --video", neither.Expect(2).Errors);
        Assert.Contains("either --image, --audio or --video", two.Expect(2).Errors);
    }
}
