using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Media.Video;

/// <summary>
/// From a video to what ImageBind's vision tower takes (Girdhar et al. 2023, arXiv:2305.05665): clips of some frames, their
/// shorter side scaled, three squares cut out along the longer side, normalised. Immutable and thread-safe.
/// </summary>
public sealed record VideoPreprocessing
{
    /// <summary>Where the clips lie.</summary>
    public ClipSampling Sampling { get; init; } = ClipSampling.ImageBindVideo;

    /// <summary>T, frames of a clip.</summary>
    /// <value>1 to 1000; default 2.</value>
    public int FramesPerClip { get; init => field = Within(value, 1000, nameof(FramesPerClip)); } = 2;

    /// <summary>Side of the squares in pixels.</summary>
    /// <value>1 to 4096; default 224.</value>
    public int Size { get; init => field = Within(value, 4096, nameof(Size)); } = 224;

    /// <summary>Squares of each clip: 3 for both ends and the middle, 1 for the middle.</summary>
    /// <value>1 or 3; default 3.</value>
    public int Crops
    {
        get;
        init => field = value is 1 or 3 ? value
            : throw new ArgumentOutOfRangeException(nameof(Crops), value, "Crops must be 1 or 3.");
    } = 3;

    /// <summary>How many squares of how many frames come out: <see cref="ClipSampling.Clips"/> times
    /// <see cref="Crops"/>.</summary>
    public int Views => Sampling.Clips * Crops;

    /// <summary>Decodes and preprocesses the clips of a video.</summary>
    /// <param name="path">The file.</param>
    /// <param name="decoder">What decodes it; null for <see cref="VideoDecoder.Default"/>.</param>
    /// <param name="cancellation">Stops decoding.</param>
    /// <returns>[<see cref="Views"/>, 3, T, <see cref="Size"/>, <see cref="Size"/>]: the squares of the first clip, then those
    /// of the second.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no video that ffmpeg knows, or is damaged, or ffmpeg is
    /// missing.</exception>
    public float[] Load(string path, VideoDecoder? decoder = null, CancellationToken cancellation = default)
    {
        decoder ??= VideoDecoder.Default;
        VideoInfo info = decoder.Inspect(path, cancellation);
        long[] indices = [.. Sampling.FrameIndices(info.Frames, info.FramesPerSecond, FramesPerClip).SelectMany(clip => clip)];
        RgbImage[] frames = decoder.FramesAt(path, indices, cancellation);
        int clipLength = Crops * 3 * FramesPerClip * Size * Size;
        float[] result = new float[checked(Sampling.Clips * clipLength)];
        for (int clip = 0; clip < Sampling.Clips; clip++)
            Apply(frames.AsSpan(clip * FramesPerClip, FramesPerClip), result.AsSpan(clip * clipLength, clipLength));
        return result;
    }

    /// <summary>Preprocesses one clip.</summary>
    /// <param name="frames">T pictures of one size.</param>
    /// <param name="destination">[<see cref="Crops"/>, 3, T, <see cref="Size"/>, <see cref="Size"/>], at least that
    /// long.</param>
    /// <exception cref="ArgumentException">There are more or fewer frames, their sizes differ, or the destination is too
    /// short.</exception>
    public void Apply(ReadOnlySpan<RgbImage> frames, Span<float> destination)
    {
        long length = Crops * 3L * FramesPerClip * Size * Size;
        if (frames.Length != FramesPerClip)
            throw new ArgumentException($"frames must be {FramesPerClip}, but are {frames.Length}.", nameof(frames));
        if (destination.Length < length)
            throw new ArgumentException($"destination must hold [{Crops}, 3, {FramesPerClip}, {Size}, {Size}], " +
                $"{length} values, but has {destination.Length}.", nameof(destination));
        (int width, int height) = (frames[0].Width, frames[0].Height);
        foreach (RgbImage frame in frames)
            if (frame.Width != width || frame.Height != height)
                throw new ArgumentException($"frames must have one size, but one is [{height}, {width}, 3] and another " +
                    $"[{frame.Height}, {frame.Width}, 3].", nameof(frames));
        bool isTall = width < height;
        long scaledWidth = isTall ? Size : (long)((double)width / height * Size),
            scaledHeight = isTall ? (long)((double)height / width * Size) : Size;
        Axis across = new(width, scaledWidth), down = new(height, scaledHeight);
        for (int crop = 0; crop < Crops; crop++)
        {
            long left = Offset(scaledWidth, crop, isLong: height <= width),
                top = Offset(scaledHeight, crop, isLong: height > width);
            for (int t = 0; t < FramesPerClip; t++)
                for (int channel = 0; channel < 3; channel++)
                    Crop(frames[t], channel, across, down, left, top,
                        destination.Slice(((crop * 3 + channel) * FramesPerClip + t) * Size * Size, Size * Size));
        }
    }

    long Offset(long side, int crop, bool isLong) => (isLong && Crops == 3 ? crop : 1) switch
    {
        0 => 0,
        2 => side - Size,
        _ => (side - Size + 1) / 2, // rounded up
    };

    // Bilinear between the four nearest pixels, as torch's interpolate does it without antialiasing; then normalised.
    void Crop(RgbImage frame, int channel, Axis across, Axis down, long left, long top, Span<float> square)
    {
        (float R, float G, float B) mean = Clip.Mean!.Value, std = Clip.Std!.Value;
        float offset = channel switch { 0 => mean.R, 1 => mean.G, _ => mean.B },
            scale = channel switch { 0 => std.R, 1 => std.G, _ => std.B };
        ReadOnlySpan<byte> pixels = frame.Pixels;
        for (int y = 0; y < Size; y++)
        {
            (int y0, int y1, float below) = down.At(top + y);
            ReadOnlySpan<byte> upper = pixels.Slice(3 * y0 * frame.Width, 3 * frame.Width),
                lower = pixels.Slice(3 * y1 * frame.Width, 3 * frame.Width);
            for (int x = 0; x < Size; x++)
            {
                (int x0, int x1, float right) = across.At(left + x);
                (x0, x1) = (3 * x0 + channel, 3 * x1 + channel);
                float value = (1 - below) * ((1 - right) * upper[x0] + right * upper[x1])
                    + below * ((1 - right) * lower[x0] + right * lower[x1]);
                square[y * Size + x] = (value / 255 - offset) / scale;
            }
        }
    }

    static readonly ImagePreprocessing Clip = ImagePreprocessing.Clip(1);

    // Where the pixels of a scaled side lie on the side itself.
    readonly record struct Axis(int Side, long Scaled)
    {
        public (int First, int Second, float Part) At(long scaled)
        {
            float place = Math.Max(0, (scaled + 0.5f) * ((float)Side / Scaled) - 0.5f);
            int first = Math.Min((int)place, Side - 1);
            return (first, Math.Min(first + 1, Side - 1), place - first);
        }
    }

    static int Within(int value, int most, string name) => value >= 1 && value <= most ? value
        : throw new ArgumentOutOfRangeException(name, value, $"{name} must be 1 to {most}.");
}
