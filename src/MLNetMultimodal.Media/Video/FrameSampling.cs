using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Media.Video;

/// <summary>
/// Which pictures of a video a model of still pictures is shown: some frames spread evenly from beginning to end, as CLIP4Clip
/// takes them (Luo et al. 2021, arXiv:2104.08860, section 4.2), or the frames of clips (<see cref="ClipSampling"/>). Immutable.
/// </summary>
public sealed record FrameSampling
{
    const string FileName = "video_preprocessor_config.json";
    const string FramesField = "num_frames", RateField = "fps", ClipsField = "clips", SecondsField = "clip_seconds",
        PerClipField = "frames_per_clip";

    /// <summary>The most frames; of <see cref="Clips"/> of no account.</summary>
    /// <value>1 to 1000; default 12.</value>
    public int MaxFrames { get; init => field = Within(value, nameof(MaxFrames)); } = 12;

    /// <summary>How many frames a second of a short video gives, one at least; longer ones give <see cref="MaxFrames"/>. Null:
    /// always <see cref="MaxFrames"/>, repeated in a video that has fewer.</summary>
    /// <value>0.001 to 1000, or null; default 1.</value>
    public double? FramesPerSecond
    {
        get;
        init => field = value is null or (>= VideoDecoder.MinRate and <= VideoDecoder.MaxRate) ? value
            : throw new ArgumentOutOfRangeException(nameof(FramesPerSecond), value, "FramesPerSecond must be 0.001 to 1000.");
    } = 1;

    /// <summary>Clips whose frames are taken, in place of evenly spread ones; null for none.</summary>
    public ClipSampling? Clips { get; init; }

    /// <summary>Frames of each of <see cref="Clips"/>.</summary>
    /// <value>1 to 1000; default 2, as ImageBind has it.</value>
    public int FramesPerClip { get; init => field = Within(value, nameof(FramesPerClip)); } = 2;

    /// <summary>A frame a second, at most 12, as CLIP4Clip takes them.</summary>
    public static FrameSampling Clip4Clip { get; } = new();

    /// <summary>Says which frames they are.</summary>
    /// <param name="video">What the video holds, at least one frame.</param>
    /// <returns>Numbers of frames, ascending; one that is in several clips stands there as often.</returns>
    public long[] Indices(VideoInfo video)
    {
        ArgumentNullException.ThrowIfNull(video);
        if (Clips is { } clips)
            return [.. clips.FrameIndices(video.Frames, video.FramesPerSecond, FramesPerClip).SelectMany(clip => clip).Order()];
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(video.Frames, nameof(video));
        double wanted = FramesPerSecond is { } rate ? Math.Floor(video.Frames / video.FramesPerSecond * rate + 1e-6) : MaxFrames;
        int count = (int)Math.Clamp(wanted, 1, MaxFrames);
        return [.. Enumerable.Range(0, count).Select(i => (long)((decimal)video.Frames * i / count))];
    }

    /// <summary>Decodes the frames, one at a time while they are taken.</summary>
    /// <param name="path">The file.</param>
    /// <param name="decoder">What decodes it; null for <see cref="VideoDecoder.Default"/>.</param>
    /// <param name="cancellation">Stops decoding.</param>
    /// <returns>At least one picture, in the order of time.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no video that ffmpeg knows, or is damaged or cut off, or ffmpeg is
    /// missing; the message names the file and the way out.</exception>
    public IEnumerable<RgbImage> Frames(string path, VideoDecoder? decoder = null, CancellationToken cancellation = default)
    {
        decoder ??= VideoDecoder.Default;
        return decoder.SelectFrames(path, Indices(decoder.Inspect(path, cancellation)), cancellation);
    }

    /// <summary>
    /// Finds the sampling among a model's files: <c>video_preprocessor_config.json</c>, where <c>num_frames</c> and <c>fps</c>
    /// are as Hugging Face's video processors have them, and <c>clips</c>, <c>clip_seconds</c> and <c>frames_per_clip</c> ask
    /// for <see cref="Clips"/>.
    /// </summary>
    /// <param name="tryRead">The bytes of a file of the model, null where it has none of that name.</param>
    /// <returns>The sampling; null where the model has no such file.</returns>
    /// <exception cref="InvalidDataException">The file is not sound; the message names the field.</exception>
    public static FrameSampling? TryLoad(Func<string, ReadOnlyMemory<byte>?> tryRead)
    {
        ArgumentNullException.ThrowIfNull(tryRead);
        return tryRead(FileName) is { } file ? FromJson(file.Span) : null;
    }

    /// <summary>Reads <c>video_preprocessor_config.json</c>.</summary>
    /// <param name="utf8Json">The file's bytes; they may come from anyone.</param>
    /// <exception cref="InvalidDataException">The bytes are no such file; the message names the field.</exception>
    public static FrameSampling FromJson(ReadOnlySpan<byte> utf8Json) => FeatureExtractorConfig.Parse(utf8Json, FileName, root =>
    {
        if (Number(root, ClipsField) is { } clips)
            return new()
            {
                Clips = new() { Clips = Whole(clips, ClipsField), ClipSeconds = Whole(Number(root, SecondsField) ?? 2, SecondsField) },
                FramesPerClip = Whole(Number(root, PerClipField) ?? 2, PerClipField),
            };
        double? frames = Number(root, FramesField), rate = Number(root, RateField);
        return frames is null && rate is null ? Clip4Clip : new FrameSampling
        {
            MaxFrames = frames is { } count ? Whole(count, FramesField) : Clip4Clip.MaxFrames,
            FramesPerSecond = rate,
        };
    });

    /// <summary>Writes <c>video_preprocessor_config.json</c>.</summary>
    public string ToJson()
    {
        JsonObject json = Clips is { } clips
            ? new() { [ClipsField] = clips.Clips, [SecondsField] = clips.ClipSeconds, [PerClipField] = FramesPerClip }
            : new() { ["do_sample_frames"] = true, [FramesField] = MaxFrames, [RateField] = FramesPerSecond };
        return json.ToJsonString(new() { WriteIndented = true, NewLine = "\n" }) + "\n";
    }

    static double? Number(JsonElement root, string field) => root.ValueKind != JsonValueKind.Object
        ? throw new FormatException($"it must be an object, but is {root.ValueKind}.")
        : !root.TryGetProperty(field, out JsonElement value) || value.ValueKind == JsonValueKind.Null ? null
        : value.ValueKind == JsonValueKind.Number ? value.GetDouble()
        : throw new FormatException($"{field} must be a number, but is {value.ValueKind}.");

    static int Whole(double value, string field) => value is >= 1 and <= 1000 && value == Math.Floor(value) ? (int)value
        : throw new FormatException($"{field} must be a whole number of 1 to 1000, but is {value}.");

    static int Within(int value, string name) => value is >= 1 and <= 1000 ? value
        : throw new ArgumentOutOfRangeException(name, value, $"{name} must be 1 to 1000.");
}
