using System.Text.Json;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Transforms;
using VectorKind = Microsoft.ML.SchemaShape.Column.VectorKind;

namespace MLNetMultimodal;

/// <summary>Options of <see cref="LoadVideoCatalog.LoadVideo"/>.</summary>
public sealed record LoadVideoOptions
{
    /// <summary>The column that is added: the pictures on the screen at the times 0, 1 / rate, 2 / rate and so on,
    /// Vector&lt;Byte&gt; of the dimensions [T, H, W, 3], T as many as the video has, red, green, blue, with the annotations
    /// <c>FramesPerSecond</c> (Single), <c>FrameHeight</c> and <c>FrameWidth</c> (Int32); default <c>Frames</c>.</summary>
    public string Output { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Output)); } = "Frames";

    /// <summary>One more column: the time of each frame in seconds from the beginning, Vector&lt;Single&gt; of T; default
    /// <c>FrameTimes</c>.</summary>
    public string FrameTimes { get; init => field = MultimodalEmbedOptions.Name(value, nameof(FrameTimes)); } = "FrameTimes";

    /// <summary>One more column: the soundtrack, mono samples each about -1 to 1, Vector&lt;Single&gt; with the annotation
    /// <c>SampleRateHz</c> (Int32). Sample s is heard at s / rate seconds, of the same beginning as the frames' times; what is
    /// beyond <see cref="MaxFrames"/> is left out. Default null: none. A video without sound is an item that cannot be read
    /// (<see cref="OnError"/>), not silence.</summary>
    public string? Soundtrack
    {
        get;
        init => field = value is null ? null : MultimodalEmbedOptions.Name(value, nameof(Soundtrack));
    }

    /// <summary>Column of videos: a path as text, or the bytes of a video file as Vector&lt;Byte&gt;, which are copied to a
    /// temporary file for ffmpeg.</summary>
    public required string Video { get; init => field = MultimodalEmbedOptions.Name(value, nameof(Video)); }

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
    public int SampleRateHz { get; init => field = MultimodalEmbedOptions.Rate(value, nameof(SampleRateHz)); } = 16_000;

    /// <summary>What happens where frames or soundtrack cannot be read; default <see cref="OnError.Throw"/>. What is missing has
    /// no elements; frames are kept where only the sound is missing.</summary>
    public OnError OnError { get; init; }

    internal string[] OutputColumns => Soundtrack is { } sound ? [Output, FrameTimes, sound] : [Output, FrameTimes];

    internal VideoColumn Column => new(Video, VideoFolder, takesFrames: false);

    internal void Validate()
    {
        string[] outputs = OutputColumns;
        if (outputs.Distinct().Count() < outputs.Length)
            throw new ArgumentException($"the output columns must have distinct names, but are {string.Join(", ", outputs)}.");
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
public sealed class VideoEstimator : IEstimator<VideoTransformer>
{
    readonly IHostEnvironment _env;
    readonly LoadVideoOptions _options;

    internal VideoEstimator(IHostEnvironment env, LoadVideoOptions options) => (_env, _options) = (env, options);

    /// <summary>Makes the transformer. No rows are read.</summary>
    /// <param name="input">The data; only its schema is looked at.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public VideoTransformer Fit(IDataView input)
    {
        var transformer = new VideoTransformer(_env, _options);
        transformer.GetOutputSchema(input.Schema);
        return transformer;
    }

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        SchemaShape.Column video = Columns.Find(inputSchema, _options.Video);
        _options.Column.Check(video.ItemType, Columns.IsVector(video));
        static SchemaShape Scalars(params IEnumerable<(string Name, DataViewType Type)> kinds) =>
            new(kinds.Select(kind => MlNet.ShapeColumn(kind.Name, VectorKind.Scalar, kind.Type, false, null)));
        (string, DataViewType) rate = (VideoComputation.RateAnnotation, NumberDataViewType.Single);
        List<SchemaShape.Column> outputs =
        [
            MlNet.ShapeColumn(_options.Output, VectorKind.VariableVector, NumberDataViewType.Byte, false, Scalars(rate,
                (VideoComputation.HeightAnnotation, NumberDataViewType.Int32),
                (VideoComputation.WidthAnnotation, NumberDataViewType.Int32))),
            MlNet.ShapeColumn(_options.FrameTimes, VectorKind.VariableVector, NumberDataViewType.Single, false, Scalars(rate)),
        ];
        if (_options.Soundtrack is { } sound)
            outputs.Add(MlNet.ShapeColumn(sound, VectorKind.VariableVector, NumberDataViewType.Single, false,
                Scalars((SoundColumn.SampleRateAnnotation, NumberDataViewType.Int32))));
        return new(inputSchema.Where(c => !_options.OutputColumns.Contains(c.Name)).Concat(outputs));
    }
}

/// <summary>Makes frames, their times and the soundtrack of a column of videos. Saved by <c>MLContext.Model.Save</c>.
/// Thread-safe.</summary>
public sealed class VideoTransformer : ITransformer
{
    internal const string Loader = "MLNetMultimodalVideo";
    static readonly ModelEntry Entry = new("MMVIDEO ", Loader);

    readonly LoadVideoOptions _options;
    readonly VideoComputation _computation;

    internal VideoTransformer(IHostEnvironment env, LoadVideoOptions options)
    {
        options.Validate();
        (_options, _computation) = (options, new(env.Register(Loader), options));
    }

    /// <summary>True: each row is computed from that row alone.</summary>
    public bool IsRowToRowMapper => true;

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public DataViewSchema GetOutputSchema(DataViewSchema inputSchema) => _computation.OutputSchema(inputSchema);

    /// <summary>A lazy view with the new columns: nothing is read before one of their values is asked for, and of a video only
    /// what the columns that are asked for need.</summary>
    /// <param name="input">The data.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public IDataView Transform(IDataView input) => new BatchingDataView<VideoBatch>(_computation, input);

    /// <summary>The transform for one row at a time, as <c>PredictionEngine</c> uses it.</summary>
    /// <param name="inputSchema">The columns of the row.</param>
    public IRowToRowMapper GetRowToRowMapper(DataViewSchema inputSchema) =>
        new SingleRowMapper<VideoBatch>(_computation, inputSchema);

    void ICanSaveModel.Save(ModelSaveContext context) =>
        Entry.Save(context, writer => writer.Write(JsonSerializer.Serialize(_options)), []);

    static VideoTransformer Create(IHostEnvironment env, object context)
    {
        try
        {
            return new(env, JsonSerializer.Deserialize<LoadVideoOptions>(Entry.Open(context).Header.ReadString())
                ?? throw new JsonException("it is null."));
        }
        catch (Exception e) when (e is JsonException or ArgumentException or FormatException)
        {
            throw new InvalidDataException($"the options of {Loader} in the model cannot be read: {e.Message}", e);
        }
    }
}
