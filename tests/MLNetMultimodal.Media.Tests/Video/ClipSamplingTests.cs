using System.Text.Json;
using System.Runtime.InteropServices;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Video;

namespace MLNetMultimodal.Media.Tests.Video;

public sealed class ClipSamplingTests
{
    // Data/README.md says how it was made.
    static readonly JsonElement Cases =
        JsonDocument.Parse(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Data", "imagebind-clips.json"))).RootElement;

    [Fact]
    public void Clips_of_sounds_lie_where_ImageBind_cuts_them()
    {
        foreach (JsonElement c in Cases.GetProperty("sounds").EnumerateArray())
        {
            (int rate, int samples, int clips) = (c[0].GetInt32(), c[1].GetInt32(), c[2].GetInt32());
            var sound = new Waveform([.. Enumerable.Range(0, samples).Select(i => (float)i)], rate);
            Waveform[] cut = new ClipSampling { Clips = clips }.Cut(sound);
            Assert.Equal(c[3].EnumerateArray().Select(e => (e[0].GetInt32(), e[1].GetInt32())),
                cut.Select(clip => ((int)clip.Samples[0], (int)clip.Samples[^1] + 1)));
        }
    }

    [Fact]
    public void Frames_of_videos_are_those_that_ImageBind_takes()
    {
        foreach (JsonElement c in Cases.GetProperty("videos").EnumerateArray())
            Assert.Equal(c[3].EnumerateArray().Select(row => row.EnumerateArray().Select(n => n.GetInt64()).ToArray()),
                ClipSampling.ImageBindVideo.FrameIndices(c[1].GetInt64(), c[0].GetDouble(), c[2].GetInt32()));
    }

    [Fact]
    public void Squares_equal_those_of_torch()
    {
        foreach (JsonElement c in Cases.GetProperty("squares").EnumerateArray())
        {
            (int width, int height, int size) = (c.GetProperty("width").GetInt32(), c.GetProperty("height").GetInt32(),
                c.GetProperty("size").GetInt32());
            byte[] pixels = c.GetProperty("frames").GetBytesFromBase64();
            RgbImage[] frames = [.. pixels.Chunk(pixels.Length / 2).Select(p => new RgbImage(width, height, p))];
            float[] got = new float[3 * 3 * 2 * size * size];
            new VideoPreprocessing { Size = size }.Apply(frames, got);
            double max = Difference.Max(got, MemoryMarshal.Cast<byte, float>(c.GetProperty("expected").GetBytesFromBase64()));
            Assert.True(max < 1e-5, $"max |got - expected| = {max:g3} for {width} x {height}");
        }
    }

    [Fact]
    public void Frames_of_unlike_sizes_are_refused()
    {
        Assert.Contains("one size", Assert.Throws<ArgumentException>(() => new VideoPreprocessing().Apply(
            [new(2, 2, new byte[12]), new(2, 1, new byte[6])], new float[18 * 224 * 224])).Message, StringComparison.Ordinal);
        Assert.Contains("frames must be 2", Assert.Throws<ArgumentException>(() =>
            new VideoPreprocessing().Apply([], [])).Message,
            StringComparison.Ordinal);
    }
}
