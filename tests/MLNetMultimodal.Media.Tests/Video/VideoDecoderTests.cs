using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Tests.Audio;
using MLNetMultimodal.Media.Video;

namespace MLNetMultimodal.Media.Tests.Video;

public sealed class VideoDecoderTests : IDisposable
{
    readonly TestMedia _media = new();

    public void Dispose() => _media.Dispose();

    // Frame n is all red of n % 256, without loss.
    string Counting(string name, int seconds, string rate, params string[] more) => _media.Make(name, ["-f", "lavfi", "-i",
        $"color=s=20x16:r={rate}:d={seconds},format=gbrp,geq=r='mod(N,256)':g=0:b=128", .. more, "-c:v", "ffv1", "-pix_fmt",
            "bgr0"]);

    static int Number(RgbImage image)
    {
        Assert.Equal((20, 16, 0, 128), (image.Width, image.Height, image.Pixels[1], image.Pixels[2]));
        return image.Pixels[0];
    }

    [Theory]
    [InlineData("10", 10, 40)]
    [InlineData("30000/1001", 30000 / 1001.0, 120)]
    public void File_says_what_it_holds(string rate, double framesPerSecond, int frames)
    {
        string path = Counting("count.mkv", seconds: 4, rate);
        if (TestMedia.IsWithoutFFmpeg(path, () => VideoDecoder.Default.Inspect(path)))
            return;
        VideoInfo info = VideoDecoder.Default.Inspect(path);
        Assert.Equal((20, 16, false), (info.Width, info.Height, info.HasSound));
        Assert.Equal(framesPerSecond, info.FramesPerSecond, 0.01); // Matroska rounds times to milliseconds
        Assert.Equal(frames, info.Frames);
        Assert.Equal(4, info.Duration.TotalSeconds, 0.05);
    }

    [Theory]
    [InlineData(10, new[] { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19 })]
    [InlineData(4, new[] { 0, 2, 5, 7, 10, 12, 15, 17 })]
    [InlineData(15, new[] { 0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10, 10, 11, 12, 12, 13, 14, 14, 15, 16, 16, 17, 18, 18,
        19 })]
    [InlineData(0.5, new[] { 0 })]
    public void Frames_are_those_on_the_screen_at_their_times(double rate, int[] expected)
    {
        string path = Counting("count.mkv", seconds: 2, "10");
        if (TestMedia.IsWithoutFFmpeg(path, () => VideoDecoder.Default.Frames(path, rate).Count()))
            return;
        VideoFrame[] frames = [.. VideoDecoder.Default.Frames(path, rate)];
        Assert.Equal(expected, frames.Select(f => Number(f.Image)));
        Assert.Equal(frames.Select((_, k) => TimeSpan.FromSeconds(k / rate)), frames.Select(f => f.Time));
    }

    [Theory]
    [InlineData(3.0)]
    [InlineData(3.05)]
    [InlineData(17.72)]
    public void Frames_from_later_on_are_the_same_as_from_the_beginning(double start)
    {
        string path = Counting("count.mkv", seconds: 20, "10");
        if (TestMedia.IsWithoutFFmpeg(path, () => VideoDecoder.Default.Frames(path, 5, TimeSpan.FromSeconds(start)).Count()))
            return;
        VideoFrame[] frames = [.. VideoDecoder.Default.Frames(path, 5, TimeSpan.FromSeconds(start)).Take(8)];
        Assert.Equal(Enumerable.Range(0, 8).Select(k => (int)Math.Floor((start + k / 5.0) * 10 + 1e-9) % 256),
            frames.Select(f => Number(f.Image)));
        Assert.Equal(TimeSpan.FromSeconds(start), frames[0].Time);
    }

    [Fact]
    public void Frames_are_found_by_number()
    {
        string path = Counting("count.mkv", seconds: 5, "25");
        if (TestMedia.IsWithoutFFmpeg(path, () => VideoDecoder.Default.FramesAt(path, [0])))
            return;
        foreach (long[] wanted in (ReadOnlySpan<long[]>)[[77, 0, 124, 77, 1], [.. Enumerable.Range(0, 125).Select(n => 124L - n)]])
            Assert.Equal(wanted.Select(n => (int)n), VideoDecoder.Default.FramesAt(path, wanted).Select(Number));
        Assert.Contains("no frame 125", Assert.Throws<InvalidDataException>(() =>
            VideoDecoder.Default.FramesAt(path, [3, 125])).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Clips_of_a_video_are_three_squares_of_the_right_frames()
    {
        string path = Counting("count.mkv", seconds: 5, "25");
        var preprocessing = new VideoPreprocessing { Size = 8 };
        if (TestMedia.IsWithoutFFmpeg(path, () => preprocessing.Load(path)))
            return;
        float[] views = preprocessing.Load(path); // [15, 3, 2, 8, 8]
        Assert.Equal(15 * 3 * 2 * 64, views.Length);
        long[] expected = [.. ClipSampling.ImageBindVideo.FrameIndices(125, 25,
            2).SelectMany(clip => Enumerable.Repeat(clip, 3)).SelectMany(n => n)];
        Assert.Equal(expected, Enumerable.Range(0, 30).Select(i => (long)Math.Round(
            (views[(i / 2 * 3 * 2 + i % 2) * 64 + 9] * 0.26862954 + 0.48145466) * 255)));
    }

    [Fact]
    public void Soundtrack_begins_with_the_video()
    {
        string path = Counting("late.mkv", seconds: 2, "10", "-itsoffset", "0.5", "-f", "lavfi", "-i",
            "sine=frequency=400:duration=1:sample_rate=8000",
            "-c:a", "pcm_s16le");
        if (TestMedia.IsWithoutFFmpeg(path, () => VideoDecoder.Default.OpenSoundtrack(path)))
            return;
        Assert.True(VideoDecoder.Default.Inspect(path).HasSound);
        using AudioReader track = VideoDecoder.Default.OpenSoundtrack(path);
        Waveform sound = track.ReadWaveform();
        Assert.Equal((12_000, 8000), (sound.Length, sound.SampleRateHz));
        Assert.All(sound.Samples[..4000].ToArray(), x => Assert.Equal(0, x));
        Assert.True(sound.Samples[4000..4100].ToArray().Max() > 0.1);
    }

    [Fact]
    public void Published_containers_give_frames_and_sound()
    {
        string path = _media.Make("test.mp4", "-f", "lavfi", "-i", "testsrc=s=64x48:r=12:d=3", "-f", "lavfi", "-i",
            "sine=frequency=440:duration=3",
            "-c:v", "mpeg4", "-c:a", "aac", "-shortest");
        if (TestMedia.IsWithoutFFmpeg(path, () => VideoDecoder.Default.Inspect(path)))
            return;
        VideoInfo info = VideoDecoder.Default.Inspect(path);
        Assert.Equal((64, 48, 36, true), (info.Width, info.Height, info.Frames, info.HasSound));
        Assert.Equal(6, VideoDecoder.Default.Frames(path, 2).Count());
        Waveform sound = AudioDecoder.Default.Decode(path, 16_000, 1);
        Assert.Equal(3, sound.Duration.TotalSeconds, 0.1);
    }

    [Fact]
    public void Cancelling_stops_decoding()
    {
        string path = Counting("count.mkv", seconds: 20, "25");
        if (TestMedia.IsWithoutFFmpeg(path, () => VideoDecoder.Default.Frames(path, 25).Count()))
            return;
        using var cancel = new CancellationTokenSource();
        int seen = 0;
        Assert.Throws<OperationCanceledException>(() =>
        {
            foreach (VideoFrame _ in VideoDecoder.Default.Frames(path, 25, cancellation: cancel.Token))
                if (++seen == 3)
                    cancel.Cancel();
        });
        Assert.Equal(3, seen);
    }

    [Fact]
    public void What_is_no_video_is_refused_and_named()
    {
        string sound = _media.PathOf("sound.wav"), text = _media.PathOf("text.mp4");
        WavWriter.Save(new(new float[100], 8000), sound);
        File.WriteAllText(text, "a text, not a video");
        foreach (string path in new[] { sound, text })
            foreach (Action decode in new Action[] { () => VideoDecoder.Default.Inspect(path),
                () => VideoDecoder.Default.Frames(path, 1).Count(),
                () => VideoDecoder.Default.FramesAt(path, [0]), () => new VideoPreprocessing().Load(path) })
                if (!TestMedia.IsWithoutFFmpeg(path, decode))
                    Assert.Contains($"'{path}'", Assert.Throws<InvalidDataException>(decode).Message, StringComparison.Ordinal);
        Assert.Throws<FileNotFoundException>(() => VideoDecoder.Default.Inspect(_media.PathOf("none.mp4")));
    }

    [Fact]
    public void Without_ffmpeg_the_way_out_is_named()
    {
        string path = _media.PathOf("film.mp4");
        File.WriteAllText(path, "film");
        var decoder = new VideoDecoder { FFmpeg = new() { Folder = _media.Folder } };
        TestMedia.ExpectAdvice(path, () => decoder.Inspect(path));
        TestMedia.ExpectAdvice(path, () => decoder.Frames(path, 1).Count());
        TestMedia.ExpectAdvice(path, () => decoder.OpenSoundtrack(path));
    }
}
