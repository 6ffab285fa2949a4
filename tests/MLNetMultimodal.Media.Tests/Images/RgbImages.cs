using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Media.Tests.Images;

static class RgbImages
{
    public static RgbImage Noise(int width, int height, int seed)
    {
        byte[] pixels = new byte[3 * width * height];
        new Random(seed).NextBytes(pixels);
        return new(width, height, pixels);
    }

    // The same bytes in every language: a linear congruential generator's upper bits.
    public static RgbImage Lcg(int width, int height, uint seed)
    {
        byte[] pixels = new byte[3 * width * height];
        for (int i = 0; i < pixels.Length; i++)
            pixels[i] = (byte)((seed = unchecked(seed * 1664525 + 1013904223)) >> 24);
        return new(width, height, pixels);
    }

    public static RgbImage Crop(RgbImage image, int left, int top, int width, int height)
    {
        IEnumerable<byte> rows = Enumerable.Range(top, height)
            .SelectMany(y => image.Pixels.Skip(3 * (y * image.Width + left)).Take(3 * width));
        return new(width, height, [.. rows]);
    }
}
