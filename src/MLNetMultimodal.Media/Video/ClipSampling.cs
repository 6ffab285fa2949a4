using System.Numerics;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Video;

/// <summary>
/// A fixed number of clips of fixed length, spread evenly from the beginning to the end of a recording: overlapping in a short
/// one, all alike in one that is shorter than a clip. Positions are those of ImageBind (Girdhar et al. 2023, arXiv:2305.05665),
/// to the sample and to the frame. Immutable.
/// </summary>
public sealed record ClipSampling
{
    /// <summary>How many clips.</summary>
    /// <value>1 to 1000.</value>
    public required int Clips
    {
        get;
        init => field = value is >= 1 and <= 1000 ? value
            : throw new ArgumentOutOfRangeException(nameof(Clips), value, "Clips must be 1 to 1000.");
    }

    /// <summary>How long a clip is.</summary>
    /// <value>1 to 3600 seconds; default 2.</value>
    public int ClipSeconds
    {
        get;
        init => field = value is >= 1 and <= 3600 ? value
            : throw new ArgumentOutOfRangeException(nameof(ClipSeconds), value, "ClipSeconds must be 1 to 3600.");
    } = 2;

    /// <summary>ImageBind's three clips of a sound.</summary>
    public static ClipSampling ImageBindAudio { get; } = new() { Clips = 3 };

    /// <summary>ImageBind's five clips of a video.</summary>
    public static ClipSampling ImageBindVideo { get; } = new() { Clips = 5 };

    /// <summary>Cuts a sound.</summary>
    /// <param name="sound">The sound, of at least one sample.</param>
    /// <returns><see cref="Clips"/> parts, shorter than <see cref="ClipSeconds"/> where the sound is.</returns>
    public Waveform[] Cut(Waveform sound)
    {
        ArgumentNullException.ThrowIfNull(sound);
        double lastStart = LastStart((double)sound.Length / sound.SampleRateHz);
        return [.. Enumerable.Range(0, Clips).Select(clip =>
            sound.Slice((int)FloorOfProduct(lastStart, clip * (long)sound.SampleRateHz), ClipSeconds * sound.SampleRateHz))];
    }

    /// <summary>Says which frames of a video make the clips.</summary>
    /// <param name="frames">How many frames the video has, at least 1.</param>
    /// <param name="framesPerSecond">Their rate.</param>
    /// <param name="framesPerClip">How many frames a clip gets, spread evenly from its first to its last one.</param>
    /// <returns>[<see cref="Clips"/>][framesPerClip] numbers of frames.</returns>
    public long[][] FrameIndices(long frames, double framesPerSecond, int framesPerClip)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(frames);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(framesPerSecond);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(framesPerClip);
        double lastStart = LastStart(frames / framesPerSecond);
        return [.. Enumerable.Range(0, Clips).Select(clip =>
        {
            double start = lastStart * clip / Math.Max(Clips - 1, 1);
            long first = Math.Min((long)Math.Ceiling(framesPerSecond * start), frames - 1);
            long end = Math.Min((long)Math.Ceiling(framesPerSecond * (start + ClipSeconds)), frames);
            return Spread(first, Math.Max(end, first + 1), framesPerClip);
        })];
    }

    double LastStart(double seconds) => Math.Max(seconds - ClipSeconds, 0);

    // Evenly from the first to the last frame, in single precision and rounded down, from both ends to the middle.
    static long[] Spread(long first, long end, int count)
    {
        float last = end - first - 1, step = count == 1 ? 0 : last / (count - 1);
        return [.. Enumerable.Range(0, count).Select(i =>
            first + (long)Math.Clamp(i < count / 2 || count == 1 ? step * i : last - step * (count - 1 - i), 0, last))];
    }

    // Exactly, since a product that is rounded first may fall on the wrong side of a whole number: seconds * factor / (Clips -
    // 1).
    long FloorOfProduct(double seconds, long factor)
    {
        if (seconds == 0)
            return 0;
        int exponent = Math.ILogB(seconds) - 52; // seconds = mantissa * 2^exponent
        BigInteger product = (BigInteger)Math.ScaleB(seconds, -exponent) * factor, divisor = Math.Max(Clips - 1, 1);
        return (long)(exponent >= 0 ? (product << exponent) / divisor : product / (divisor << -exponent));
    }
}
