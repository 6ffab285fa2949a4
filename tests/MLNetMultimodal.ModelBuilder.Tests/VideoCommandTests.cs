using System.Text.Json;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Tests.Audio;
using MLNetMultimodal.Media.Video;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.ModelBuilder.Tests;

/// <summary><c>embed</c>, <c>classify</c> and <c>preprocess</c> of videos.</summary>
[Collection(ToolCollection.Name)]
public sealed class VideoCommandTests : IDisposable
{
    const float AcrossBatchSizes = 1e-5f; // batches of other sizes round differently

    readonly ToolFixture _fixture;
    readonly TestMedia _media = new();
    readonly string _film;

    public VideoCommandTests(ToolFixture fixture) => (_fixture, _film) = (fixture, _media.Make("film.mkv", "-f", "lavfi", "-i",
        "color=s=20x16:r=10:d=3,format=gbrp,geq=r='8*N':g=0:b=128", "-c:v", "ffv1", "-pix_fmt", "bgr0"));

    public void Dispose() => _media.Dispose();

    async Task<bool> IsWithoutFFmpeg()
    {
        if (Media.Audio.FFmpegProgram.Default.IsAvailable) return false;
        (await Tool.Run("embed", "--model", _fixture.Model, "--video", _film)).ExpectOneLine(1, "apt-get install ffmpeg");
        return true;
    }

    static void Close(IReadOnlyList<float> expected, IEnumerable<float> actual)
    {
        float largest = expected.Zip(actual, (e, a) => Math.Abs(e - a)).Max();
        Assert.True(largest <= AcrossBatchSizes, $"max |tool - model| = {largest:g3}");
    }

    [Fact]
    public async Task Videos_of_folders_and_files_are_embedded_after_texts()
    {
        if (await IsWithoutFFmpeg()) return;
        string[] arguments = ["embed", "--model", _fixture.Model, "--video", _film, _media.Folder, "--text", "a red thing"];
        JsonElement[] rows = (await Tool.Run(arguments)).Expect(0).Rows;
        Assert.Equal(["text", "video", "video"], rows.Select(r => r.GetProperty("modality").GetString()));
        Assert.Equal(["a red thing", _film, _film], rows.Select(r => r.GetProperty("input").GetString()));
        using MultimodalModel model = MultimodalModel.Load(_fixture.Model);
        Close(model.EmbedVideos([_film])[0], rows[2].GetProperty("embedding").EnumerateArray().Select(v => v.GetSingle()));
    }

    [Fact]
    public async Task Videos_are_classified_beside_pictures_in_their_order()
    {
        if (await IsWithoutFFmpeg()) return;
        string broken = _media.PathOf("broken.mp4"), picture = _fixture.Picture("red", 0);
        File.WriteAllText(broken, "no video");
        ToolResult result = await Tool.Run("classify", "--model", _fixture.Model, "--labels", "red,blue", "--format", "json",
            _film, picture, broken, _film);
        JsonElement[] rows = result.Expect(1).Rows;
        Assert.Contains(broken, result.Errors);
        Assert.Equal([_film, picture, _film], rows.Select(r => r.GetProperty("input").GetString()));
        using MultimodalModel model = MultimodalModel.Load(_fixture.Model);
        float[] scores = ZeroShotClassifier.Create(model, ["red", "blue"], ["a photo of a {}."]).Probabilities(model.EmbedVideos([_film])[0]);
        Close(scores, rows[2].GetProperty("scores").EnumerateObject().Select(s => s.Value.GetSingle()));
    }

    [Fact]
    public async Task Preprocessed_videos_are_what_the_model_sees_of_their_frames()
    {
        if (await IsWithoutFFmpeg()) return;
        string outputs = _fixture.At("seen.safetensors");
        (await Tool.Run("preprocess", "--model", _fixture.Model, "--video", _film, "--outputs", outputs)).Expect(0);
        using MultimodalModel model = MultimodalModel.Load(_fixture.Model);
        using Safetensors got = Safetensors.Open(outputs);
        Assert.Equal([3, 3, ToolFixture.ImageSize, ToolFixture.ImageSize], got["out.film.mkv"].Shape);
        Assert.Equal(model.FramePixels(VideoDecoder.Default.FramesAt(_film, [0, 10, 20]), out _).ToArray(),
            got["out.film.mkv"].ToSingles());
        (await Tool.Run("preprocess", "--model", _fixture.Model, "--video", _film, "--image", _film, "--outputs", outputs))
            .Expect(2);
    }
}
