using SkiaSharp;

namespace MLNetMultimodal.Media.Images;

/// <summary>Writes pictures. Thread-safe.</summary>
public static class ImageEncoder
{
    /// <summary>Writes a picture as a PNG file, without loss. The file appears whole or not at all.</summary>
    /// <param name="image">The picture.</param>
    /// <param name="path">Where to; a file of this name is replaced.</param>
    public static void SavePng(RgbImage image, string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        byte[] encoded = EncodePng(image);
        WholeFile.Write(path, file => file.Write(encoded));
    }

    /// <summary>Encodes a picture as PNG, without loss.</summary>
    /// <param name="image">The picture.</param>
    /// <returns>The bytes of a PNG file.</returns>
    public static unsafe byte[] EncodePng(RgbImage image)
    {
        ArgumentNullException.ThrowIfNull(image);
        var info = new SKImageInfo(image.Width, image.Height, SKColorType.Rgba8888, SKAlphaType.Opaque, null);
        using var bitmap = new SKBitmap(info);
        if (bitmap.GetPixels() == 0)
            throw new InvalidOperationException($"There is not enough memory for {image.Width} x {image.Height} pixels.");
        var rgba = new Span<byte>((void*)bitmap.GetPixels(), bitmap.ByteCount);
        ReadOnlySpan<byte> rgb = image.Pixels;
        for (int i = 0; i < rgb.Length / 3; i++)
        {
            rgb.Slice(3 * i, 3).CopyTo(rgba[(4 * i)..]);
            rgba[4 * i + 3] = 255;
        }
        using SKData data = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
    }
}
