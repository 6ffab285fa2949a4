using System.Globalization;
using System.Text.Json;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Media.Video;

/// <summary>
/// Frames and soundtrack of video files, through ffmpeg. Frames come one at a time, as fast as they are taken, so that the
/// length of the video does not matter for memory. Immutable and thread-safe.
/// </summary>
public sealed class VideoDecoder
{
    const double SeekMarginSeconds = 10; // decoding starts so much earlier, for the frame that is on the screen at the start
    const int MaxSelected = 4096;

    /// <summary>Rates that frames are taken at, in frames per second.</summary>
    internal const double MinRate = 0.001, MaxRate = 1000;

    // Frame n becomes time n / 25, so that ffmpeg neither leaves out nor repeats any.
    const string Renumber = "settb=1/25,setpts=N";
    const string RenumberedRate = "25";

    /// <summary>With the ffmpeg along PATH.</summary>
    public static VideoDecoder Default { get; } = new();

    /// <summary>Where ffmpeg is.</summary>
    public FFmpegProgram FFmpeg { get; init; } = FFmpegProgram.Default;

    /// <summary>What messages call a video whose file is but a copy; null for the file's path.</summary>
    public string? Name { get; init; }

    /// <summary>Looks what a file holds.</summary>
    /// <param name="path">The file.</param>
    /// <param name="cancellation">Stops looking.</param>
    /// <returns>Its sizes.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no video that ffmpeg knows, or ffmpeg is missing; the message names
    /// the file and the way out.</exception>
    public VideoInfo Inspect(string path, CancellationToken cancellation = default)
    {
        CheckExists(path);
        using JsonDocument document = Probe(path, ["-show_entries", "stream=codec_type,width,height,avg_frame_rate," +
            "r_frame_rate,nb_frames:stream_disposition=attached_pic"], cancellation);
        JsonElement[] streams = [.. document.RootElement.GetProperty("streams").EnumerateArray()];
        JsonElement video = streams.FirstOrDefault(s => Text(s, "codec_type") == "video"
            && !(s.TryGetProperty("disposition", out JsonElement d) && d.GetProperty("attached_pic").GetInt32() == 1));
        if (video.ValueKind == JsonValueKind.Undefined || !video.TryGetProperty("width", out JsonElement width)
            || !video.TryGetProperty("height", out JsonElement height))
            throw new InvalidDataException($"'{Called(path)}' holds no video.");
        double framesPerSecond = Rate(Text(video, "avg_frame_rate")) ?? Rate(Text(video, "r_frame_rate"))
            ?? throw new InvalidDataException($"'{Called(path)}' is a video of unknown frame rate.");
        if (!long.TryParse(Text(video, "nb_frames"), CultureInfo.InvariantCulture, out long frames))
            frames = CountFrames(path, cancellation);
        if (frames < 1)
            throw new InvalidDataException($"'{Called(path)}' is a video without frames.");
        bool hasSound = streams.Any(s => Text(s, "codec_type") == "audio");
        return new(width.GetInt32(), height.GetInt32(), framesPerSecond, frames, hasSound);
    }

    /// <summary>The pictures that are on the screen at the times start, start + 1 / rate, start + 2 / rate and so on.</summary>
    /// <param name="path">The file.</param>
    /// <param name="framesPerSecond">The wanted rate, 0.001 to 1000; frames of the video are left out or repeated for
    /// it.</param>
    /// <param name="start">From when on.</param>
    /// <param name="cancellation">Stops decoding.</param>
    /// <returns>The frames, decoded while they are taken; stop taking them where enough are seen.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no video that ffmpeg knows, or is damaged, or ffmpeg is missing; the
    /// message names the file and the way out.</exception>
    public IEnumerable<VideoFrame> Frames(string path, double framesPerSecond, TimeSpan start = default,
        CancellationToken cancellation = default)
    {
        CheckExists(path);
        if (framesPerSecond is not (>= MinRate and <= MaxRate))
            throw new ArgumentOutOfRangeException(nameof(framesPerSecond), framesPerSecond,
                "framesPerSecond must be 0.001 to 1000.");
        if (start < TimeSpan.Zero)
            throw new ArgumentOutOfRangeException(nameof(start), start, "start must be at least 0.");
        double seek = Math.Max(0, start.TotalSeconds - SeekMarginSeconds);
        string filter = $"fps={Text(framesPerSecond)}:start_time={Text(start.TotalSeconds - seek)}:round=up,{Renumber}";
        return Numbered();

        IEnumerable<VideoFrame> Numbered()
        {
            long n = 0;
            foreach (RgbImage image in Pictures(path, ["-ss", Text(seek)], filter, cancellation))
                yield return new(start + TimeSpan.FromSeconds(n++ / framesPerSecond), image);
            if (n == 0 && start == TimeSpan.Zero)
                throw new InvalidDataException($"'{Called(path)}' holds no frame that ffmpeg can decode.");
        }
    }

    /// <summary>The pictures with the given numbers, whatever their times are.</summary>
    /// <param name="path">The file.</param>
    /// <param name="indices">Numbers of frames from 0 on, in any order, also repeated; at most 4096 different ones.</param>
    /// <param name="cancellation">Stops decoding.</param>
    /// <returns>A picture for each number.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no video that ffmpeg knows, is damaged, or has fewer frames; or
    /// ffmpeg is missing; the message names the file and the way out.</exception>
    public RgbImage[] FramesAt(string path, IReadOnlyList<long> indices, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(indices);
        long[] wanted = [.. indices.Distinct().Order()];
        RgbImage[] got = [.. SelectFrames(path, wanted, cancellation)];
        return [.. indices.Select(n => got[Array.BinarySearch(wanted, n)])];
    }

    /// <summary>The pictures with the given numbers, one at a time while they are taken, so that their size and count do not
    /// matter for memory.</summary>
    /// <param name="path">The file.</param>
    /// <param name="ascending">Numbers of frames from 0 on, none less than the one before; at most 4096 different ones.</param>
    /// <param name="cancellation">Stops decoding.</param>
    /// <returns>A picture for each number; for one that is repeated the same picture.</returns>
    /// <exception cref="ArgumentException">A number is negative or less than the one before, or there are too
    /// many.</exception>
    /// <inheritdoc cref="FramesAt" path="/exception"/>
    public IEnumerable<RgbImage> SelectFrames(string path, IReadOnlyList<long> ascending,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(ascending);
        CheckExists(path);
        long[] wanted = [.. ascending.Distinct()];
        if (wanted.Length == 0)
            return [];
        ArgumentOutOfRangeException.ThrowIfNegative(wanted[0], nameof(ascending));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(wanted.Length, MaxSelected, nameof(ascending));
        if (!ascending.Zip(ascending.Skip(1)).All(pair => pair.First <= pair.Second))
            throw new ArgumentException("ascending must hold no number less than the one before.", nameof(ascending));
        return Selected();

        IEnumerable<RgbImage> Selected()
        {
            using IEnumerator<RgbImage> pictures =
                Pictures(path, [], $"select='{AnyOf(wanted)}',{Renumber}", cancellation).GetEnumerator();
            for (int i = 0; i < ascending.Count; i++)
            {
                if ((i == 0 || ascending[i] > ascending[i - 1]) && !pictures.MoveNext())
                    throw new InvalidDataException($"'{Called(path)}' has no frame {ascending[i]}: it is shorter, or cut off.");
                yield return pictures.Current;
            }
        }
    }

    /// <summary>
    /// Opens the soundtrack so that its first sample belongs to time 0 of <see cref="Frames"/>: a track that begins later
    /// begins with silence.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <param name="cancellation">Stops reading, whenever it is.</param>
    /// <returns>A reader, to be disposed of.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file has no soundtrack that ffmpeg knows, or ffmpeg is missing.</exception>
    public AudioReader OpenSoundtrack(string path, CancellationToken cancellation = default)
    {
        CheckExists(path);
        return FFmpeg.OpenAudio(path, Called(path), What(path), ["-af", "aresample=async=1:first_pts=0"], cancellation);
    }

    IEnumerable<RgbImage> Pictures(string path, string[] input, string filter, CancellationToken cancellation)
    {
        using FFmpegRun run = FFmpeg.Decode(path, What(path), ["-max_pixels", Text(ImageDecoder.MaxPixels), .. input],
            ["-map", "0:V:0", "-vf", $"{filter},scale=flags=accurate_rnd+full_chroma_int+bitexact,format=rgb24", "-r",
                RenumberedRate, "-c:v", "ppm", "-f", "image2pipe", "pipe:1"], cancellation);
        var pictures = new PpmReader(run.Output, Called(path));
        while (pictures.Next() is { } picture)
        {
            cancellation.ThrowIfCancellationRequested();
            yield return picture;
        }
        run.Finish();
    }

    // As a balanced tree, since ffmpeg nests a plain sum, and at most a hundred deep.
    static string AnyOf(ReadOnlySpan<long> numbers) => numbers.Length == 1
        ? $"eq(n,{numbers[0].ToString(CultureInfo.InvariantCulture)})"
        : $"({AnyOf(numbers[..(numbers.Length / 2)])}+{AnyOf(numbers[(numbers.Length / 2)..])})";

    long CountFrames(string path, CancellationToken cancellation)
    {
        using JsonDocument document = Probe(path,
            ["-count_packets", "-select_streams", "V:0", "-show_entries", "stream=nb_read_packets"], cancellation);
        string? packets = Text(document.RootElement.GetProperty("streams")[0], "nb_read_packets");
        return long.TryParse(packets, CultureInfo.InvariantCulture, out long frames) ? frames : 0;
    }

    JsonDocument Probe(string path, string[] questions, CancellationToken cancellation) =>
        JsonDocument.Parse(FFmpeg.Probe(path, What(path), questions, cancellation));

    // Such as 30000/1001; null for 0/0.
    static double? Rate(string? ratio) => ratio?.Split('/') is [var frames, var seconds]
        && double.Parse(frames, CultureInfo.InvariantCulture) / double.Parse(seconds, CultureInfo.InvariantCulture) is var rate
        && rate is > 0 and < 100_000 ? rate : null;

    string What(string path) => $"'{Called(path)}' is read as a video and needs ffmpeg";

    string Called(string path) => Name ?? path;

    static void CheckExists(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no video '{path}'.", path);
    }

    static string? Text(JsonElement element, string name) => element.TryGetProperty(name, out JsonElement value)
        ? value.GetString() : null;

    static string Text(double number) => number.ToString("0.#########", CultureInfo.InvariantCulture);
}
