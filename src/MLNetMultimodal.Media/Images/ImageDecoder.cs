using System.Buffers;
using System.Runtime.Intrinsics;
using Microsoft.Win32.SafeHandles;
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
/// Thread-safe; nothing but memory to use again is kept between calls.
/// </summary>
public static class ImageDecoder
{
    /// <summary>
    /// The most pixels a picture may have, 178,956,970 (Pillow's limit too): beyond it, a small file could fill the memory.
    /// </summary>
    public const long MaxPixels = 178_956_970;

    /// <summary>The most pixels a side may have, 1,000,000: beyond it, resizing a thin line would fill the memory.</summary>
    public const int MaxSide = 1_000_000;

    /// <summary>
    /// What decodes JPEG in this process: <see cref="JpegLibrary.TurboJpeg"/> where the system has that library,
    /// <see cref="JpegLibrary.Skia"/> elsewhere, and everywhere if the switch <c>MLNetMultimodal.Media.SkiaJpeg</c> of
    /// <see cref="AppContext"/> is on before the first picture.
    /// </summary>
    public static JpegLibrary JpegLibrary => TurboJpeg.Installed is null ? JpegLibrary.Skia : JpegLibrary.TurboJpeg;

    internal const string Unnamed = "the encoded picture";

    /// <summary>Reads a picture file.</summary>
    /// <param name="path">The file.</param>
    /// <returns>The picture, [H, W, 3].</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is not a picture of a known format, is cut off or damaged, or has more
    /// than <see cref="MaxPixels"/> pixels.</exception>
    public static RgbImage Decode(string path)
    {
        byte[] encoded = ReadRented(path, out int length);
        try
        {
            return Decode(encoded.AsSpan(0, length), path);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(encoded);
        }
    }

    /// <summary>Reads a picture from the bytes of its file.</summary>
    /// <param name="encoded">The bytes of a JPEG, PNG, WebP, GIF or BMP file.</param>
    /// <param name="name">What messages call the picture.</param>
    /// <returns>The picture, [H, W, 3].</returns>
    /// <exception cref="InvalidDataException">The bytes are not a picture of a known format, are cut off or damaged, or have more
    /// than <see cref="MaxPixels"/> pixels.</exception>
    public static RgbImage Decode(ReadOnlySpan<byte> encoded, string name = Unnamed) =>
        Decode(encoded, name, TurboJpeg.Installed);

    internal static RgbImage Decode(ReadOnlySpan<byte> encoded, string name, TurboJpeg? turbo)
    {
        using PixelBuffer decoded = DecodeRented(encoded, name, null, turbo, out _);
        byte[] pixels = new byte[3 * decoded.Width * decoded.Height];
        if (decoded.Channels == 4) DropAlpha(decoded.Bytes, pixels);
        else decoded.Bytes.CopyTo(pixels);
        return new RgbImage(decoded.Width, decoded.Height, pixels);
    }

    /// <summary>The bytes of a picture file in an array of <see cref="ArrayPool{T}.Shared"/>, which the caller returns.</summary>
    internal static byte[] ReadRented(string path, out int length)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no picture '{path}'.", path);
        using SafeFileHandle file = File.OpenHandle(path);
        long size = RandomAccess.GetLength(file);
        if (size > Array.MaxLength)
            throw new InvalidDataException($"'{path}' has {size} bytes, more than the {Array.MaxLength} that fit.");
        byte[] bytes = ArrayPool<byte>.Shared.Rent((int)size);
        length = 0;
        while (length < size && RandomAccess.Read(file, bytes.AsSpan(length, (int)size - length), length) is > 0 and int read)
            length += read;
        return bytes;
    }

    /// <summary>Decodes into rented memory.</summary>
    /// <param name="encoded">The bytes of a picture file.</param>
    /// <param name="name">What messages call the picture.</param>
    /// <param name="enough">Says for a picture's width and height how many pixels are enough; a JPEG with at least twice as many
    /// on both sides is decoded at the smallest of 1/2, 1/4 and 1/8 that still has that. Null decodes every pixel.</param>
    /// <param name="turbo">Decodes JPEG where it can; null leaves all to Skia.</param>
    /// <param name="size">The picture's own width and height.</param>
    /// <returns>[H, W, 3], or [H, W, 4] with alpha last.</returns>
    internal static PixelBuffer DecodeRented(ReadOnlySpan<byte> encoded, string name,
        Func<int, int, (long Width, long Height)>? enough, TurboJpeg? turbo, out (int Width, int Height) size)
    {
        if (encoded.IsEmpty)
            throw new InvalidDataException($"'{name}' is empty: it has no bytes.");
        (int, int) Sizes(int width, int height)
        {
            CheckSize(width, height, name);
            return enough is null ? (width, height) : Reduced(width, height, enough(width, height));
        }
        // What TurboJPEG warns of, Skia judges: files are refused for the same reasons with and without it.
        return turbo?.TryDecode(encoded, Sizes, (width, height) => Room(width, height, 3, name), out size)
            ?? DecodeBySkia(encoded, name, enough is null ? null : Sizes, out size);
    }

    static unsafe PixelBuffer DecodeBySkia(ReadOnlySpan<byte> encoded, string name, Func<int, int, (int, int)>? jpegSizes,
        out (int Width, int Height) size)
    {
        fixed (byte* start = encoded)
        {
            using SKData data = SKData.Create((nint)start, encoded.Length);
            using SKCodec? codec = SKCodec.Create(data);
            if (codec?.EncodedFormat is not (SKEncodedImageFormat.Jpeg or SKEncodedImageFormat.Png or SKEncodedImageFormat.Webp
                or SKEncodedImageFormat.Gif or SKEncodedImageFormat.Bmp))
                throw new InvalidDataException($"'{name}' is not a JPEG, PNG, WebP, GIF or BMP picture, or its header is damaged; " +
                    $"it begins with {Start(encoded)}.");
            int width = codec.Info.Width, height = codec.Info.Height;
            CheckSize(width, height, name);
            size = (width, height);
            if (jpegSizes is not null && codec.EncodedFormat == SKEncodedImageFormat.Jpeg)
                (width, height) = jpegSizes(width, height);
            return Pixels(codec, width, height, name);
        }
    }

    static void CheckSize(int width, int height, string name)
    {
        if (width < 1 || height < 1 || Math.Max(width, height) > MaxSide || (long)width * height > MaxPixels)
            throw new InvalidDataException($"'{name}' claims {width} x {height} pixels, " +
                $"but a picture may have at most {MaxPixels}, and {MaxSide} on a side.");
    }

    static unsafe PixelBuffer Pixels(SKCodec codec, int width, int height, string name)
    {
        PixelBuffer rgba = Room(width, height, 4, name);
        if (codec.EncodedFormat != SKEncodedImageFormat.Jpeg) rgba.Bytes.Clear(); // a frame may leave some pixels as they are
        SKCodecResult result;
        fixed (byte* pixels = rgba.Bytes) // a missing colour space means: convert nothing
            result = codec.GetPixels(new(width, height, SKColorType.Rgba8888, SKAlphaType.Unpremul, null), (nint)pixels);
        if (result == SKCodecResult.Success) return rgba;
        rgba.Dispose();
        throw new InvalidDataException($"'{name}' is {(result == SKCodecResult.IncompleteInput ? "cut off" : "damaged")}: " +
            $"its {width} x {height} pixels could not be decoded ({result}).");
    }

    static PixelBuffer Room(int width, int height, int channels, string name)
    {
        try
        {
            return new(width, height, channels);
        }
        catch (OutOfMemoryException)
        {
            throw new InvalidDataException($"'{name}' has {width} x {height} pixels, for which there is not enough memory.");
        }
    }

    /// <summary>The smallest size that JPEG is decoded at and that has twice what is enough, on both sides.</summary>
    static (int Width, int Height) Reduced(int width, int height, (long Width, long Height) enough)
    {
        (int Width, int Height) smallest = (width, height);
        foreach (int scale in (ReadOnlySpan<int>)[2, 4, 8])
        {
            (int Width, int Height) reduced = ((width + scale - 1) / scale, (height + scale - 1) / scale);
            if (reduced.Width < 2 * enough.Width || reduced.Height < 2 * enough.Height) break;
            smallest = reduced;
        }
        return smallest;
    }

    // [H, W, 4] -> [H, W, 3]
    internal static void DropAlpha(ReadOnlySpan<byte> rgba, Span<byte> rgb)
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
