namespace MLNetMultimodal.Media.Images;

/// <summary>
/// A picture of 8 bits per channel, red, green, blue. It is a plain holder of its array: safe to read from several threads.
/// </summary>
public sealed class RgbImage
{
    /// <summary>Wraps pixels without copying them.</summary>
    /// <param name="width">W, in pixels, at least 1.</param>
    /// <param name="height">H, in pixels, at least 1.</param>
    /// <param name="pixels">[H, W, 3], rows from top to bottom, channels interleaved as red, green, blue.</param>
    /// <exception cref="ArgumentException">The array does not have H * W * 3 bytes.</exception>
    public RgbImage(int width, int height, byte[] pixels)
    {
        ArgumentNullException.ThrowIfNull(pixels);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        if (pixels.Length != 3L * width * height)
            throw new ArgumentException($"pixels must be [{height}, {width}, 3], {3L * width * height} bytes, " +
                $"but has {pixels.Length}.", nameof(pixels));
        Width = width;
        Height = height;
        Pixels = pixels;
    }

    /// <summary>W, in pixels.</summary>
    public int Width { get; }

    /// <summary>H, in pixels.</summary>
    public int Height { get; }

    /// <summary>[H, W, 3], rows from top to bottom, red, green, blue in 0 to 255. The array itself, not a copy.</summary>
    public byte[] Pixels { get; }
}
