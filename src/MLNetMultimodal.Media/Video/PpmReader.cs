using System.Globalization;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Media.Video;

// Pictures in Netpbm's binary form, one after the other: "P6", width, height, 255, then [H, W, 3].
sealed class PpmReader(Stream stream, string name)
{
    const int MaxFieldLength = 10;

    readonly BufferedStream _stream = new(stream, 1 << 16);

    // Null at the end.
    public RgbImage? Next()
    {
        if (Field() is not { } kind)
            return null;
        if (kind != "P6" || !int.TryParse(Field(), CultureInfo.InvariantCulture, out int width)
            || !int.TryParse(Field(), CultureInfo.InvariantCulture, out int height) || Field() != "255")
            throw new InvalidDataException($"'{name}' came out of ffmpeg in an unknown form.");
        if (width < 1 || height < 1 || (long)width * height > ImageDecoder.MaxPixels)
            throw new InvalidDataException($"'{name}' has frames of {width} x {height} pixels, " +
                $"more than the {ImageDecoder.MaxPixels} allowed.");
        byte[] pixels = new byte[3 * width * height];
        bool isWhole = _stream.ReadAtLeast(pixels, pixels.Length, throwOnEndOfStream: false) == pixels.Length;
        return isWhole ? new(width, height, pixels) : null;
    }

    string? Field()
    {
        Span<char> field = stackalloc char[MaxFieldLength];
        int length = 0;
        while (_stream.ReadByte() is var next and >= 0)
        {
            if (char.IsWhiteSpace((char)next))
                return field[..length].ToString();
            if (length == MaxFieldLength)
                return "";
            field[length++] = (char)next;
        }
        return null;
    }
}
