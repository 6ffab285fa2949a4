using System.Runtime.Intrinsics;
using SkiaSharp;

namespace MLNetMultimodal.Media.Images;

/// <summary>
/// Reads JPEG, PNG, WebP, GIF (the first frame) and BMP as the pipelines that models were trained with do, pixel for pixel as
/// Pillow's
/// <c>convert("RGB")</c>: orientation tags, colour profiles and gamma are ignored, alpha is dropped and the colours under it
/// count,
/// 16-bit samples keep their high byte. Two differences: the transparent pixels of a GIF come out black, and 16-bit gray, which
/// Pillow clips at 255, keeps its
/// high byte like the rest.
/// Thread-safe; nothing is kept between calls.
/// </summary>
public static class ImageDecoder
{
    /// <summary>
    /// The most pixels a picture may have, 178,956,970 (Pillow's limit too): beyond it, a small file could fill the memory.
    /// </summary>
    public const long MaxPixels = 178_956_970;

    /// <summary>The most pixels a side may have, 1,000,000: beyond it, resizing a thin line would fill the memory.</summary>
    public const int MaxSide = 1_000_000;

    /// <summary>Reads a picture file.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The picture, [H, W, 3].</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a picture of a known format, is cut off or damaged, or has more
    /// than <see cref="MaxPixels"/> pixels.</exception>
    public static RgbImage Decode(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no picture '{path}'.", path);
        using FileStream file = File.OpenRead(path);
        if (file.Length > Array.MaxLength)
            throw new InvalidDataException($"'{path}' has {file.Length} bytes, more than the {Array.MaxLength} that fit.");
        byte[] encoded = new byte[file.Length];
        file.ReadExactly(encoded);
        return Decode(encoded, path);
    }

    /// <summary>Reads a picture from the bytes of its file.</summary>
    /// <param name="encoded">The bytes of a JPEG, PNG, WebP, GIF or BMP file.</param>
    /// <param name="name">What messages call the picture.</param>
    /// <returns>The picture, [H, W, 3].</returns>
    /// <exception cref="InvalidDataException">The bytes are not a picture of a known format, are cut off or damaged, or have more
    /// than <see cref="MaxPixels"/> pixels.</exception>
    public static RgbImage Decode(ReadOnlySpan<byte> encoded, string name = "the encoded picture")
    {
        if (encoded.IsEmpty)
            throw new InvalidDataException($"'{name}' is empty: it has no bytes.");
        using SKData data = SKData.CreateCopy(encoded);
        using SKCodec? codec = SKCodec.Create(data);
        if (codec?.EncodedFormat is not (SKEncodedImageFormat.Jpeg or SKEncodedImageFormat.Png or SKEncodedImageFormat.Webp
            or SKEncodedImageFormat.Gif or SKEncodedImageFormat.Bmp))
            throw new InvalidDataException($"'{name}' is not a JPEG, PNG, WebP, GIF or BMP picture, or its header is damaged; " +
                $"it begins with {Start(encoded)}.");
        int width = codec.Info.Width, height = codec.Info.Height;
        if (width < 1 || height < 1 || Math.Max(width, height) > MaxSide || (long)width * height > MaxPixels)
            throw new InvalidDataException($"'{name}' claims {width} x {height} pixels, " +
                $"but a picture may have at most {MaxPixels}, and {MaxSide} on a side.");

        // A missing colour space means: convert nothing.
        using var rgba = new SKBitmap();
        if (!rgba.TryAllocPixels(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul, null)))
            throw new InvalidDataException($"'{name}' has {width} x {height} pixels, for which there is not enough memory.");
        SKCodecResult result = codec.GetPixels(rgba.Info, rgba.GetPixels());
        if (result != SKCodecResult.Success)
            throw new InvalidDataException($"'{name}' is {(result == SKCodecResult.IncompleteInput ? "cut off" : "damaged")}: " +
                $"its {width} x {height} pixels could not be decoded ({result}).");
        byte[] pixels = new byte[3 * width * height];
        DropAlpha(rgba.GetPixelSpan(), pixels);
        return new RgbImage(width, height, pixels);
    }

    // [H, W, 4] -> [H, W, 3]
    static void DropAlpha(ReadOnlySpan<byte> rgba, Span<byte> rgb)
    {
        int i = 0, pixels = rgb.Length / 3;
        if (Vector128.IsHardwareAccelerated)
        {
            // Four pixels a step; each store writes four bytes too many, which the next one overwrites.
            var order = Vector128.Create((byte)0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 255, 255, 255, 255);
            for (; i <= pixels - 6; i += 4)
                Vector128.Shuffle(Vector128.Create(rgba.Slice(4 * i, 16)), order).CopyTo(rgb.Slice(3 * i, 16));
        }
        for (; i < pixels; i++)
            rgba.Slice(4 * i, 3).CopyTo(rgb[(3 * i)..]);
    }

    static string Start(ReadOnlySpan<byte> encoded) => Convert.ToHexString(encoded[..Math.Min(8, encoded.Length)]);
}
