using System.Text;
using MLNetMultimodal.Media.Video;

namespace MLNetMultimodal.Media.Tests.Video;

public sealed class FrameSamplingTests
{
    static VideoInfo Video(long frames, double framesPerSecond) => new(20, 16, framesPerSecond, frames, false);

    [Theory]
    [InlineData(100, 25, new long[] { 0, 25, 50, 75 })] // a frame a second
    [InlineData(10, 25, new long[] { 0 })]
    [InlineData(1, 25, new long[] { 0 })]
    [InlineData(36_000, 30, new long[] { 0, 3000, 6000, 9000, 12_000, 15_000, 18_000, 21_000, 24_000, 27_000, 30_000, 33_000 })]
    public void Frames_are_spread_evenly(long frames, double rate, long[] expected) =>
        Assert.Equal(expected, FrameSampling.Clip4Clip.Indices(Video(frames, rate)));

    [Fact]
    public void Without_a_rate_the_number_of_frames_is_always_the_same()
    {
        var sampling = new FrameSampling { MaxFrames = 4, FramesPerSecond = null };
        Assert.Equal([0, 0, 1, 1], sampling.Indices(Video(2, 25)));
        Assert.Equal([0, 25, 50, 75], sampling.Indices(Video(100, 5)));
    }

    [Fact]
    public void Clips_give_their_frames_in_the_order_of_time()
    {
        var sampling = new FrameSampling { Clips = ClipSampling.ImageBindVideo };
        Assert.Equal(ClipSampling.ImageBindVideo.FrameIndices(100, 25, 2).SelectMany(clip => clip).Order(),
            sampling.Indices(Video(100, 25)));
    }

    [Fact]
    public void Claims_that_no_video_fulfils_do_no_harm()
    {
        long[] indices = FrameSampling.Clip4Clip.Indices(Video(long.MaxValue, 1e-300));
        Assert.Equal(12, indices.Length);
        Assert.All(indices, n => Assert.True(n >= 0));
    }

    [Fact]
    public void Settings_survive_their_file()
    {
        foreach (FrameSampling sampling in (FrameSampling[])[FrameSampling.Clip4Clip, new() { MaxFrames = 8, FramesPerSecond = null },
            new() { MaxFrames = 3, FramesPerSecond = 0.5 }, new() { Clips = new() { Clips = 4, ClipSeconds = 3 }, FramesPerClip = 5 }])
            Assert.Equal(sampling, FrameSampling.FromJson(Encoding.UTF8.GetBytes(sampling.ToJson())));
        byte[] published = Encoding.UTF8.GetBytes("""{ "video_processor_type": "X", "do_sample_frames": true, "num_frames": 16 }""");
        Assert.Equal(new() { MaxFrames = 16, FramesPerSecond = null },
            FrameSampling.TryLoad(name => name == "video_preprocessor_config.json" ? published : null));
        Assert.Null(FrameSampling.TryLoad(_ => null));
    }

    [Theory]
    [InlineData("[]")]
    [InlineData("{")]
    [InlineData("""{ "num_frames": 0 }""")]
    [InlineData("""{ "num_frames": 1e9 }""")]
    [InlineData("""{ "fps": -1 }""")]
    [InlineData("""{ "fps": "2" }""")]
    [InlineData("""{ "clips": 2.5 }""")]
    public void Files_that_are_not_sound_are_refused(string json) => Assert.Contains("video_preprocessor_config.json",
        Assert.Throws<InvalidDataException>(() => FrameSampling.FromJson(Encoding.UTF8.GetBytes(json))).Message);
}
