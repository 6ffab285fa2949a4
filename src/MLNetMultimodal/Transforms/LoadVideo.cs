using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="LoadVideoCatalog.LoadVideo"/>.</summary>
public sealed record LoadVideoOptions
{
    /// <summary>The column that is added: the pictures on the screen at the times 0, 1 / rate, 2 / rate and so on,
    /// Vector&lt;Byte&gt; of the dimensions [T, H, W, 3], T as many as the video has, red, green, blue, with the annotations
    /// <c>FramesPerSecond</c> (Single), <c>FrameHeight</c> and <c>FrameWidth</c> (Int32); default <c>Frames</c>.</summary>
    public string Output { get; init => field = Checked.Name(value); } = "Frames";

    /// <summary>One more column: the time of each frame in seconds from the beginning, Vector&lt;Single&gt; of T; default
    /// <c>FrameTimes</c>.</summary>
    public string FrameTimes { get; init => field = Checked.Name(value); } = "FrameTimes";

    /// <summary>One more column: the soundtrack, mono samples each about -1 to 1, Vector&lt;Single&gt; with the annotation
    /// <c>SampleRateHz</c> (Int32). Sample s is heard at s / rate seconds, of the same beginning as the frames' times; what is
    /// beyond <see cref="MaxFrames"/> is left out. Default null: none. A video without sound is an item that cannot be read
    /// (<see cref="OnError"/>), not silence.</summary>
    public string? Soundtrack { get; init => field = Checked.NameOrNull(value); }

    /// <summary>Column of videos: a path as text, or the bytes of a video file as Vector&lt;Byte&gt;, which are copied to a
    /// temporary file for ffmpeg.</summary>
    public required string Video { get; init => field = Checked.Name(value); }

    /// <summary>Folder that relative paths in <see cref="Video"/> start from; null for the working directory.</summary>
    public string? VideoFolder { get; init; }

    /// <summary>The wanted rate, 0.001 to 1000; frames of the video are left out or repeated for it. Default 1.</summary>
    public double FramesPerSecond
    {
        get;
        init => field = value is >= 0.001 and <= 1000 ? value
            : throw new ArgumentOutOfRangeException(nameof(FramesPerSecond), value, "FramesPerSecond must be 0.001 to 1000.");
    } = 1;

    /// <summary>The most frames of a row, 1 to 10,000; the rest of a longer video is not decoded. A row takes 3 H W bytes for
    /// each. Default 64.</summary>
    public int MaxFrames { get; init => field = Within(value, 10_000, nameof(MaxFrames)); } = 64;

    /// <summary>H and W, 1 to 4096 pixels: the shorter side of each frame is scaled to it (bicubic, as Pillow does), and the
    /// middle of the longer side is cut out. Default 224.</summary>
    public int Size { get; init => field = Within(value, 4096, nameof(Size)); } = 224;

    /// <summary>Samples per second of <see cref="Soundtrack"/>, 1 to <see cref="AudioReader.MaxSampleRateHz"/>; default
    /// 16,000.</summary>
    public int SampleRateHz { get; init => field = Checked.Rate(value); } = 16_000;

    /// <summary>What happens where frames or soundtrack cannot be read; default <see cref="OnError.Throw"/>. What is missing has
    /// no elements; frames are kept where only the sound is missing.</summary>
    public OnError OnError { get; init; }

    internal string[] OutputColumns => Soundtrack is { } sound ? [Output, FrameTimes, sound] : [Output, FrameTimes];

    internal VideoColumn Column => new(Video, VideoFolder, takesFrames: false);

    /// <summary>The columns after the transform.</summary>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type.</exception>
    internal SchemaShape After(SchemaShape before)
    {
        Column.Check(before);
        SchemaShape.Column rate = Shape.Scalar(VideoComputation.RateAnnotation, NumberDataViewType.Single);
        SchemaShape.Column[] seen =
        [
            Shape.VariableVector(Output, NumberDataViewType.Byte, rate,
                Shape.Scalar(VideoComputation.HeightAnnotation, NumberDataViewType.Int32),
                Shape.Scalar(VideoComputation.WidthAnnotation, NumberDataViewType.Int32)),
            Shape.VariableVector(FrameTimes, NumberDataViewType.Single, rate),
        ];
        return Soundtrack is not { } sound ? Shape.After(before, seen) : Shape.After(before,
            [.. seen, Shape.VariableVector(sound, NumberDataViewType.Single, Shape.Scalar(SoundColumn.SampleRateAnnotation, NumberDataViewType.Int32))]);
    }

    internal void Validate()
    {
        Columns.CheckDistinct(OutputColumns);
        if ((double)MaxFrames * Size * Size * 3 > Array.MaxLength)
            throw new ArgumentException($"{MaxFrames} frames of {Size} x {Size} pixels are more than a row can hold; "
                + "lower MaxFrames or Size.");
        if (MaxFrames / FramesPerSecond * SampleRateHz > AudioReader.MaxSamples && Soundtrack is not null)
            throw new ArgumentException($"{MaxFrames} frames at {FramesPerSecond} a second with {SampleRateHz} samples a second "
                + $"are more than {AudioReader.MaxSamples} samples; lower MaxFrames or SampleRateHz.");
    }

    static int Within(int value, int most, string option) => value >= 1 && value <= most ? value
        : throw new ArgumentOutOfRangeException(option, value, $"{option} must be 1 to {most}.");
}

/// <summary>Adds the transform to <see cref="MLContext.Transforms"/>.</summary>
public static class LoadVideoCatalog
{
    extension(TransformsCatalog catalog)
    {
        /// <summary>Reads videos into columns of frames, their times, and the soundtrack, decoded by ffmpeg ahead on worker
        /// threads, a row or two at a time, so that memory does not grow with the number or the length of videos.</summary>
        /// <param name="options">Columns, rates and sizes.</param>
        /// <returns>The estimator; its <c>Fit</c> reads nothing.</returns>
        /// <exception cref="ArgumentException">Output columns have the same name, or a row would be larger than a vector can
        /// be.</exception>
        public VideoEstimator LoadVideo(LoadVideoOptions options)
        {
            ArgumentNullException.ThrowIfNull(options);
            options.Validate();
            return new(MlNet.Environment(catalog), options);
        }
    }
}

/// <summary>Makes <see cref="VideoTransformer"/>.</summary>
public sealed class VideoEstimator : RowEstimator<VideoTransformer>
{
    internal VideoEstimator(IHostEnvironment env, LoadVideoOptions options) : base(options.After, _ => new(env, options))
    {
    }
}

/// <summary>Makes frames, their times and the soundtrack of a column of videos. Of a video only what the columns that are asked for need
/// is read.</summary>
public sealed class VideoTransformer : RowTransformer
{
    internal const string Loader = "MLNetMultimodalVideo";
    static readonly ModelEntry Entry = new("MMVIDEO ", Loader);

    readonly LoadVideoOptions _options;

    internal VideoTransformer(IHostEnvironment env, LoadVideoOptions options) : base(new VideoComputation(env.Register(Loader), options)) =>
        _options = options;

    private protected override void Save(ModelSaveContext context) => Entry.Save(context, _options);

    static VideoTransformer Create(IHostEnvironment env, object context) =>
        Entry.Open(context).Options<LoadVideoOptions, VideoTransformer>(options =>
        {
            options.Validate();
            return new(env, options);
        });
}
