using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Tests.Audio;
using MLNetMultimodal.Media.Video;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class VideoTests(TinyModel tiny) : IClassFixture<TinyModel>, IDisposable
{
    const int FramesPerSecond = 10, Seconds = 3, SampleRateHz = 8000;

    readonly MLContext _ml = new(1);
    readonly TestMedia _media = new();

    sealed class VideoRow
    {
        public string Path { get; set; } = "";

        public byte[] Bytes { get; set; } = [];

        public string Caption { get; set; } = "a red cat";
    }

    public void Dispose() => _media.Dispose();

    // Frame n is all of red 8 n, without loss; the sound begins half a second later.
    string Film(string name, params string[] sound) => _media.Make(name, ["-f", "lavfi", "-i",
        $"color=s=20x16:r={FramesPerSecond}:d={Seconds},format=gbrp,geq=r='8*N':g=0:b=128", .. sound,
        "-c:v", "ffv1", "-pix_fmt", "bgr0"]);

    static readonly string[] LateSound =
        ["-itsoffset", "0.5", "-f", "lavfi", "-i", "sine=frequency=400:duration=2:sample_rate=8000", "-c:a", "pcm_s16le"];

    IDataView Data(params string[] paths) => _ml.Data.LoadFromEnumerable(
        paths.Select(path => new VideoRow { Path = path, Bytes = File.Exists(path) ? File.ReadAllBytes(path) : [] }));

    IDataView Load(LoadVideoOptions options, IDataView data) => _ml.Transforms.LoadVideo(options).Fit(data).Transform(data);

    static T[] Values<T>(IDataView view, string column) => [.. view.GetColumn<T>(column)];

    // True where ffmpeg is missing; then the transform says how it is installed.
    bool IsWithoutFFmpeg(string path)
    {
        if (FFmpegProgram.Default.IsAvailable) return false;
        string message = Assert.Throws<InvalidDataException>(() =>
            Values<byte[]>(Load(new() { Video = "Path" }, Data(path)), "Frames")).Message;
        Assert.Contains("apt-get install ffmpeg", message, StringComparison.Ordinal);
        return true;
    }

    [Theory, InlineData("Path"), InlineData("Bytes")]
    public void Frames_times_and_soundtrack_belong_together(string column)
    {
        string path = Film("film.mkv", LateSound);
        if (IsWithoutFFmpeg(path)) return;
        LoadVideoOptions options = new()
        {
            Video = column,
            Soundtrack = "Sound",
            FramesPerSecond = 4,
            Size = 8,
            SampleRateHz = SampleRateHz,
        };
        IDataView view = Load(options, Data(path, path));
        byte[] frames = Values<byte[]>(view, "Frames")[1];
        ImagePreprocessing fitted = ImagePreprocessing.Clip(8);
        VideoFrame[] decoded = [.. VideoDecoder.Default.Frames(path, 4)];
        Assert.Equal(decoded.SelectMany(f => fitted.ResizeAndCrop(f.Image).Pixels), frames);
        Assert.Equal(decoded.Select((_, t) => 8 * (t * 5 / 2)), frames.Chunk(8 * 8 * 3).Select(f => (int)f[0]));
        Assert.Equal(decoded.Select(f => (float)f.Time.TotalSeconds), Values<float[]>(view, "FrameTimes")[1]);
        float[] sound = Values<float[]>(view, "Sound")[1];
        Assert.Equal(20_000, sound.Length);
        Assert.All(sound[..4000], x => Assert.Equal(0, x));
        Assert.True(sound[4000..4100].Max() > 0.05, "the sound begins at half a second");
    }

    [Fact]
    public void Columns_carry_rates_and_sizes_and_the_promised_schema_is_kept()
    {
        IDataView data = Data();
        VideoEstimator estimator = _ml.Transforms.LoadVideo(new()
        {
            Video = "Path",
            Soundtrack = "Sound",
            FramesPerSecond = 2.5,
            Size = 8,
            SampleRateHz = SampleRateHz,
        });
        DataViewSchema schema = estimator.Fit(data).Transform(data).Schema;
        Assert.Equal([0, 8, 8, 3], ((VectorDataViewType)schema["Frames"].Type).Dimensions.ToArray());
        Assert.Equal(8, SchemaChecks.Annotation(schema["Frames"], "FrameHeight"));
        Assert.Equal(8, SchemaChecks.Annotation(schema["Frames"], "FrameWidth"));
        Assert.Equal(SampleRateHz, SchemaChecks.Annotation(schema["Sound"], "SampleRateHz"));
        float rate = 0;
        schema["FrameTimes"].Annotations.GetValue("FramesPerSecond", ref rate);
        Assert.Equal(2.5f, rate);
        MultimodalEmbedTests.AssertCompatible(estimator.GetOutputSchema(MlNet.ShapeOf(data.Schema)), MlNet.ShapeOf(schema));
    }

    [Fact]
    public void No_more_frames_are_decoded_than_wanted_and_no_more_sound_is_heard()
    {
        string path = Film("film.mkv", LateSound);
        if (IsWithoutFFmpeg(path)) return;
        LoadVideoOptions options = new()
        {
            Video = "Path",
            Soundtrack = "Sound",
            FramesPerSecond = 4,
            MaxFrames = 5,
            Size = 8,
            SampleRateHz = SampleRateHz,
        };
        IDataView view = Load(options, Data(path));
        Assert.Equal([0, 0.25f, 0.5f, 0.75f, 1], Values<float[]>(view, "FrameTimes")[0]);
        Assert.Equal(10_000, Values<float[]>(view, "Sound")[0].Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => options with { MaxFrames = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() => options with { FramesPerSecond = double.NaN });
        Assert.Contains("more than a row can hold", Assert.Throws<ArgumentException>(() =>
            _ml.Transforms.LoadVideo(options with { MaxFrames = 10_000, Size = 4096 })).Message);
        Assert.Contains("distinct names", Assert.Throws<ArgumentException>(() =>
            _ml.Transforms.LoadVideo(options with { Soundtrack = "Frames" })).Message);
    }

    [Fact]
    public void A_video_without_sound_is_named_or_only_its_sound_is_missing()
    {
        string silent = Film("silent.mkv"), path = Film("film.mkv", LateSound);
        if (IsWithoutFFmpeg(silent)) return;
        LoadVideoOptions options = new() { Video = "Path", Soundtrack = "Sound", Size = 8 };
        IDataView data = Data(path, silent, path);
        Assert.Contains($"row 1, column 'Path': the video '{silent}' cannot be read", Assert.Throws<InvalidDataException>(() =>
            Values<float[]>(Load(options, data), "Sound")).Message);
        Assert.All(Values<byte[]>(Load(options, data), "Frames"), f => Assert.Equal(3 * 8 * 8 * 3, f.Length)); // nobody listens
        IDataView view = Load(options with { OnError = OnError.Missing }, data);
        Assert.Equal([40_000, 0, 40_000], Values<float[]>(view, "Sound").Select(s => s.Length));
        Assert.Equal([3, 3, 3], Values<float[]>(view, "FrameTimes").Select(t => t.Length));
    }

    [Fact]
    public void What_is_no_video_is_named_or_missing()
    {
        string film = Film("film.mkv", LateSound), text = _media.PathOf("text.mp4"), empty = _media.PathOf("empty.mp4"),
            gone = _media.PathOf("gone.mp4");
        File.WriteAllText(text, "This is a text, not a video.");
        File.WriteAllText(empty, "");
        if (IsWithoutFFmpeg(film)) return;
        LoadVideoOptions options = new() { Video = "Path", Soundtrack = "Sound", Size = 8 };
        foreach (string path in (string[])[text, empty, gone, ""])
            foreach (string column in (string[])["Frames", "Sound"])
            {
                Action read = column == "Frames" ? () => Values<byte[]>(Load(options, Data(film, path)), column)
                    : () => Values<float[]>(Load(options, Data(film, path)), column);
                Assert.Contains("row 1, column 'Path': the video", Assert.Throws<InvalidDataException>(read).Message);
            }
        string message = Assert.Throws<InvalidDataException>(() =>
            Values<byte[]>(Load(options with { Video = "Bytes" }, Data(text)), "Frames")).Message;
        Assert.Contains("'the encoded video'", message);
        Assert.DoesNotContain(Path.GetTempPath(), message);
        IDataView view = Load(options with { OnError = OnError.Missing }, Data(text, film, gone));
        Assert.Equal([0, 3, 0], Values<float[]>(view, "FrameTimes").Select(t => t.Length));
        Assert.Contains("'Caption2'", Assert.Throws<ArgumentException>(() =>
            Load(new() { Video = "Caption2" }, Data(film))).Message);
    }

    [Fact]
    public void A_video_that_is_cut_off_gives_its_beginning_or_an_error_and_noise_no_hang()
    {
        string path = _media.Make("whole.mp4", "-f", "lavfi", "-i", "testsrc=s=64x48:r=12:d=8", "-f", "lavfi", "-i",
            "anoisesrc=duration=8:seed=1:sample_rate=16000", "-c:v", "mpeg4", "-c:a", "aac", "-movflags", "+faststart");
        if (IsWithoutFFmpeg(path)) return;
        byte[] whole = File.ReadAllBytes(path);
        LoadVideoOptions options = new() { Video = "Bytes", Soundtrack = "Sound", Size = 8, OnError = OnError.Missing };
        IDataView Bytes(params byte[][] files) =>
            _ml.Data.LoadFromEnumerable(files.Select(file => new VideoRow { Bytes = file }));
        byte[] noise = [.. whole];
        var random = new Random(3);
        for (int i = whole.AsSpan().IndexOf("mdat"u8) + 64; i < noise.Length; i += 40) noise[i] = (byte)random.Next(256);
        byte[] lies = [.. whole]; // a box that claims to be as large as can be
        lies.AsSpan(whole.AsSpan().IndexOf("moov"u8) - 4, 4).Fill(0xff);
        IDataView view = Load(options, Bytes(whole, whole[..(whole.Length / 2)], noise, whole[..40], lies));
        float[][] sounds = Values<float[]>(view, "Sound");
        byte[][] frames = Values<byte[]>(view, "Frames");
        int size = 3 * 8 * 8;
        Assert.Equal(8 * size, frames[0].Length);
        Assert.InRange(frames[1].Length / size, 2, 7);
        Assert.Equal(frames[0][..size], frames[1][..size]);
        Assert.InRange(sounds[1].Length, 16_000, sounds[0].Length - 16_000);
        Tolerance.Equal([sounds[0][..16_000]], [sounds[1][..16_000]]);
        Assert.InRange(frames[2].Length / size, 0, 8);
        Assert.Empty(frames[3]);
        Assert.Empty(sounds[3]);
        Assert.InRange(frames[4].Length / size, 0, 8);
        MultimodalEmbedOptions embed = new() { Video = "Bytes", LoadedModel = tiny.Model };
        IDataView cut = Bytes(whole[..(whole.Length / 2)]);
        Assert.Contains("it is shorter, or cut off", Assert.Throws<InvalidDataException>(() =>
            Values<float[]>(_ml.Transforms.MultimodalEmbed(embed).Fit(cut).Transform(cut), "Embedding")).Message);
    }

    [Fact]
    public void A_saved_transform_gives_the_same_bits_and_rows_one_at_a_time_too()
    {
        string path = Film("film.mkv", LateSound), zip = _media.PathOf("video.zip");
        if (IsWithoutFFmpeg(path)) return;
        IDataView data = Data(path);
        ITransformer fitted = _ml.Transforms.LoadVideo(new()
        {
            Video = "Path",
            Output = "Pictures",
            Soundtrack = "Embedding",
            FramesPerSecond = 4,
            Size = 8,
        }).Fit(data);
        _ml.Model.Save(fitted, data.Schema, zip);
        ITransformer loaded = new MLContext().Model.Load(zip, out _);
        Assert.Equal(Values<byte[]>(fitted.Transform(data), "Pictures")[0], Values<byte[]>(loaded.Transform(data), "Pictures")[0]);
        float[] sound = Values<float[]>(loaded.Transform(data), "Embedding")[0];
        using var engine = _ml.Model.CreatePredictionEngine<VideoRow, EmbeddingRow>(loaded);
        Tolerance.Equal([sound, sound], [[.. engine.Predict(new() { Path = path }).Embedding],
            [.. engine.Predict(new() { Path = path }).Embedding]], 0);
    }

    /// <summary>The mean of what the picture tower makes of frames, brought to length 1.</summary>
    float[] MeanOf(IReadOnlyList<RgbImage> frames)
    {
        float[][] embeds = tiny.Model.EmbedImages(frames);
        float[] sum = [.. embeds[0].Select((_, e) => embeds.Sum(row => row[e]))];
        float length = MathF.Sqrt(sum.Sum(x => x * x));
        return [.. sum.Select(x => x / length)];
    }

    float[][] Embed(IDataView data, MultimodalEmbedOptions options, string column = "Embedding") =>
        Values<float[]>(_ml.Transforms.MultimodalEmbed(options).Fit(data).Transform(data), column);

    [Fact]
    public void A_video_is_the_mean_of_its_frames()
    {
        string path = Film("film.mkv");
        if (IsWithoutFFmpeg(path)) return;
        float[] expected = MeanOf(VideoDecoder.Default.FramesAt(path, [0, 10, 20]));
        IDataView data = Data(path, path);
        MultimodalEmbedOptions options = new() { LoadedModel = tiny.Model, Video = "Path" };
        Tolerance.Equal([expected, expected], Embed(data, options));
        Tolerance.Equal([expected, expected], Embed(data, options with { Video = "Bytes" }));
        Tolerance.Equal([expected], Embed(Data(Path.GetFileName(path)), options with { VideoFolder = _media.Folder }));
        Tolerance.Equal([expected], tiny.Model.EmbedVideos([path]));
        IDataView loaded = Load(new() { Video = "Path", FramesPerSecond = 4, Size = 16 }, data);
        ImagePreprocessing fitted = ImagePreprocessing.Clip(16);
        float[] all = MeanOf([.. VideoDecoder.Default.Frames(path, 4).Select(f => fitted.ResizeAndCrop(f.Image))]);
        Tolerance.Equal([all, all], Embed(loaded, options with { Video = "Frames" }));
    }

    [Fact]
    public void Videos_are_classified_in_words()
    {
        string path = Film("film.mkv");
        if (IsWithoutFFmpeg(path)) return;
        IDataView data = Data(path, _media.PathOf("gone.mkv"));
        ZeroShotClassifyOptions options = new()
        {
            LoadedModel = tiny.Model,
            Video = "Path",
            Labels = TinyModel.Colors,
            OnError = OnError.Missing,
        };
        using ZeroShotTransformer fitted = _ml.Transforms.ZeroShotClassify(options).Fit(data);
        float[][] scores = Values<float[]>(fitted.Transform(data), "Score");
        Tolerance.Equal([fitted.Classifier.Probabilities(tiny.Model.EmbedVideos([path])[0])], scores[..1]);
        Assert.All(scores[1], x => Assert.True(float.IsNaN(x)));
        foreach (ZeroShotClassifyOptions wrong in (ZeroShotClassifyOptions[])[options with { Video = null }, options with { Image = "Path" }])
            Assert.Contains("exactly one of Image, Audio and Video",
                Assert.Throws<ArgumentException>(() => _ml.Transforms.ZeroShotClassify(wrong)).Message);
    }

    [Fact]
    public void Videos_stand_beside_texts_and_missing_ones_do_not_disturb_them()
    {
        string path = Film("film.mkv");
        if (IsWithoutFFmpeg(path)) return;
        IDataView data = Data(path, _media.PathOf("gone.mkv"));
        MultimodalEmbedOptions options = new()
        {
            LoadedModel = tiny.Model,
            Video = "Path",
            Text = "Caption",
            OnError = OnError.Missing,
        };
        Tolerance.Equal(tiny.Model.EmbedTexts(["a red cat", "a red cat"]), Embed(data, options, "TextEmbedding"));
        float[][] videos = Embed(data, options, "VideoEmbedding");
        Tolerance.Equal(tiny.Model.EmbedVideos([path]), videos[..1]);
        Assert.All(videos[1], x => Assert.True(float.IsNaN(x)));
        Assert.Contains("must hold videos", Assert.Throws<ArgumentException>(() =>
            Embed(Load(new() { Video = "Path" }, data), options with { Video = "FrameTimes" })).Message);
    }

    [Fact]
    public void Clips_are_taken_where_the_model_says_so_also_after_saving()
    {
        string path = Film("film.mkv"), folder = _media.PathOf("clips"), zip = _media.PathOf("clips.zip");
        if (IsWithoutFFmpeg(path)) return;
        Directory.CreateDirectory(folder);
        foreach (string file in Directory.EnumerateFiles(tiny.Folder)) File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        var sampling = new FrameSampling { Clips = new() { Clips = 3, ClipSeconds = 1 }, FramesPerClip = 2 };
        File.WriteAllText(Path.Combine(folder, "video_preprocessor_config.json"), sampling.ToJson());
        float[] expected = MeanOf(VideoDecoder.Default.FramesAt(path, [0, 9, 10, 19, 20, 29]));
        IDataView data = Data(path);
        using MultimodalTransformer fitted =
            _ml.Transforms.MultimodalEmbed(new() { Model = folder, Video = "Path", Threads = 1 }).Fit(data);
        Tolerance.Equal([expected], Values<float[]>(fitted.Transform(data), "Embedding"));
        _ml.Model.Save(fitted, data.Schema, zip);
        Directory.Delete(folder, recursive: true);
        using var loaded = (IDisposable)new MLContext().Model.Load(zip, out _);
        Tolerance.Equal([expected], Values<float[]>(((ITransformer)loaded).Transform(data), "Embedding"));
    }
}
