using System.Buffers.Binary;
using MLNetMultimodal.Media.Images;
using SkiaSharp;

namespace MLNetMultimodal.Media.Tests.Images;

/// <summary>Skia and TurboJPEG must be as one. Where the system lacks TurboJPEG, Skia alone is tested.</summary>
public sealed class JpegLibraryTests
{
    /// <summary>Skia, and TurboJPEG where it is installed.</summary>
    internal static readonly TurboJpeg?[] Libraries = TurboJpeg.Installed is { } turbo ? [null, turbo] : [null];

    internal static JpegLibrary NameOf(TurboJpeg? library) => library is null ? JpegLibrary.Skia : JpegLibrary.TurboJpeg;

    [Fact]
    public void Property_names_the_library_at_work_and_the_switch_turns_it_off()
    {
        Assert.Equal(NameOf(Libraries[^1]), ImageDecoder.JpegLibrary);
        Assert.Equal(Libraries.Length > 1, TurboJpeg.Find(isOff: false) is not null);
        Assert.Null(TurboJpeg.Find(isOff: true));
    }

    [Theory]
    [InlineData(SKJpegEncoderDownsample.Downsample420)]
    [InlineData(SKJpegEncoderDownsample.Downsample422)]
    [InlineData(SKJpegEncoderDownsample.Downsample444)]
    public void Generated_pictures_have_equal_bytes_at_every_scale(SKJpegEncoderDownsample subsampling)
    {
        var random = new Random((int)subsampling + 1);
        for (int i = 0; i < 60; i++)
        {
            int width = random.Next(1, i < 30 ? 20 : 200), height = random.Next(1, i < 30 ? 20 : 200), quality = random.Next(1, 101);
            byte[] jpeg = Jpeg(width, height, quality, subsampling, seed: i);
            Assert.Equal((width, height), Size(ImageDecoder.Decode(jpeg, "whole", Libraries[^1])));
            foreach (int enough in new[] { int.MaxValue / 2, 64, 17, 8, 3, 1 })
            {
                (int Width, int Height, byte[] Pixels)[] decoded = [.. Libraries.Select(l => AtScale(jpeg, enough, l))];
                Assert.Equal((decoded[0].Width, decoded[0].Height), (decoded[^1].Width, decoded[^1].Height));
                int max = Difference.Max(decoded[0].Pixels, decoded[^1].Pixels);
                Assert.True(max == 0, $"max |Skia - TurboJPEG| = {max} of 255 for {width} x {height}, quality {quality}, "
                    + $"at {decoded[0].Width} x {decoded[0].Height}");
            }
        }
    }

    [Theory]
    [InlineData("jpeg-420")]
    [InlineData("jpeg-progressive-422-restart")]
    [InlineData("jpeg-422-restart-each-row")]
    public void Damaged_files_are_refused_for_the_same_reason(string name)
    {
        byte[] whole = ImageDecoderTests.Cases[name].GetProperty("encoded").GetBytesFromBase64();
        var random = new Random(4);
        int refused = 0;
        for (int i = 0; i < 400; i++)
        {
            byte[] damaged = whole[..(i % 2 == 0 ? random.Next(1, whole.Length) : whole.Length)];
            for (int k = i % 5; k > 0; k--) damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
            string[] outcomes = [.. Libraries.Select(l => Outcome(damaged, l))];
            Assert.Equal(outcomes[0], outcomes[^1]);
            if (outcomes[0].StartsWith('\'')) refused++;
        }
        Assert.InRange(refused, 200, 399);
    }

    [Fact]
    public void Header_that_claims_too_many_pixels_is_refused_before_memory_is_taken()
    {
        byte[] jpeg = Jpeg(16, 16, 90, SKJpegEncoderDownsample.Downsample420, seed: 0);
        int frame = jpeg.AsSpan().IndexOf((ReadOnlySpan<byte>)[0xFF, 0xC0]);
        BinaryPrimitives.WriteUInt16BigEndian(jpeg.AsSpan(frame + 5), 65_500);
        BinaryPrimitives.WriteUInt16BigEndian(jpeg.AsSpan(frame + 7), 65_500);
        foreach (TurboJpeg? library in Libraries)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            var error = Assert.Throws<InvalidDataException>(() => ImageDecoder.Decode(jpeg, "bomb.jpg", library));
            Assert.Contains("'bomb.jpg' claims 65500 x 65500 pixels", error.Message, StringComparison.Ordinal);
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1_000_000);
        }
    }

    static (int, int) Size(RgbImage image) => (image.Width, image.Height);

    static (int Width, int Height, byte[] Pixels) AtScale(byte[] jpeg, int enough, TurboJpeg? library)
    {
        using PixelBuffer decoded = ImageDecoder.DecodeRented(jpeg, "scaled", (_, _) => (enough, enough), library, out _);
        byte[] rgb = new byte[3 * decoded.Width * decoded.Height];
        if (decoded.Channels == 4) ImageDecoder.DropAlpha(decoded.Bytes, rgb);
        else decoded.Bytes.CopyTo(rgb);
        return (decoded.Width, decoded.Height, rgb);
    }

    /// <summary>The size, or the message. Pixels after damage may differ: sums that overflow do so in other ways.</summary>
    static string Outcome(byte[] encoded, TurboJpeg? library)
    {
        try
        {
            return $"{Size(ImageDecoder.Decode(encoded, "damaged.jpg", library))}";
        }
        catch (InvalidDataException e)
        {
            return e.Message;
        }
    }

    /// <summary>Light that changes, edges and noise.</summary>
    static byte[] Jpeg(int width, int height, int quality, SKJpegEncoderDownsample subsampling, int seed)
    {
        RgbImage noise = RgbImages.Noise(width, height, seed);
        byte[] rgba = new byte[4 * width * height];
        for (int i = 0; i < width * height; i++)
        {
            (int y, int x) = Math.DivRem(i, width);
            for (int c = 0; c < 3; c++)
                rgba[4 * i + c] = (byte)((x / 7 + y / 5 + c) % 3 == 0 ? noise.Pixels[3 * i + c] : (x * 9 + y * 5 + seed) * (c + 1) / 2);
        }
        using var picture = SKImage.FromPixelCopy(new(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque), rgba);
        using SKPixmap pixels = picture.PeekPixels();
        using SKData data = pixels.Encode(new SKJpegEncoderOptions(quality, subsampling, SKJpegEncoderAlphaOption.Ignore));
        return data.ToArray();
    }
}
