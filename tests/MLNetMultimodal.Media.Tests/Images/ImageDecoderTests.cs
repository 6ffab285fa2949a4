using System.Buffers.Binary;
using System.IO.Hashing;
using System.Text.Json;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Media.Tests.Images;

public sealed class ImageDecoderTests
{
    // Synthetic pictures saved, and read back with convert("RGB"), by Pillow 9.4.0; Data/README.md states two differences.
    internal static readonly IReadOnlyDictionary<string, JsonElement> Cases =
        new[] { "pillow-decode.json", "jpeg-variants.json" }
            .Select(file => File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Data", file)))
            .SelectMany(json => JsonDocument.Parse(json).RootElement.EnumerateArray())
            .ToDictionary(c => c.GetProperty("name").GetString()!);

    public static TheoryData<string> Pictures() => [.. Cases.Keys];

    [Theory, MemberData(nameof(Pictures))]
    public void Pixels_equal_those_of_Pillow_whatever_decodes_JPEG(string name)
    {
        JsonElement c = Cases[name];
        foreach (TurboJpeg? library in JpegLibraryTests.Libraries)
        {
            RgbImage image = ImageDecoder.Decode(c.GetProperty("encoded").GetBytesFromBase64(), name, library);
            Assert.Equal((c.GetProperty("width").GetInt32(), c.GetProperty("height").GetInt32()), (image.Width, image.Height));
            int max = Difference.Max(image.Pixels, c.GetProperty("pixels").GetBytesFromBase64());
            Assert.True(max == 0, $"max |got - expected| = {max} of 255 for {name} by {JpegLibraryTests.NameOf(library)}");
        }
    }

    [Fact]
    public void Encoded_picture_decodes_to_itself()
    {
        foreach ((int width, int height) in new[] { (1, 1), (5, 1), (6, 1), (7, 3), (64, 33) })
        {
            RgbImage image = RgbImages.Noise(width, height, seed: width);
            Assert.Equal(image.Pixels, ImageDecoder.Decode(ImageEncoder.EncodePng(image)).Pixels);
        }
    }

    [Fact]
    public void Saved_picture_replaces_the_old_one_and_leaves_nothing_behind()
    {
        string folder = Directory.CreateTempSubdirectory("media-tests").FullName;
        try
        {
            string path = Path.Combine(folder, "picture.png");
            ImageEncoder.SavePng(RgbImages.Noise(3, 4, seed: 1), path);
            ImageEncoder.SavePng(RgbImages.Noise(5, 6, seed: 2), path);
            Assert.Equal(RgbImages.Noise(5, 6, seed: 2).Pixels, ImageDecoder.Decode(path).Pixels);
            Assert.Equal([path], Directory.GetFiles(folder));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory, MemberData(nameof(Pictures))]
    public void Truncated_picture_is_refused_and_named(string name)
    {
        byte[] encoded = Cases[name].GetProperty("encoded").GetBytesFromBase64();
        foreach (TurboJpeg? library in JpegLibraryTests.Libraries)
            foreach (int length in new[] { 1, 10, 30, encoded.Length / 2 })
            {
                var error = Assert.Throws<InvalidDataException>(
                    () => ImageDecoder.Decode(encoded.AsSpan(0, length), "cut.bin", library));
                Assert.Contains("'cut.bin'", error.Message, StringComparison.Ordinal);
            }
    }

    [Fact]
    public void Bytes_that_are_no_picture_are_refused_and_named()
    {
        foreach (byte[] bytes in new[] { [], new byte[100], "a text, not a picture"u8.ToArray(), "%PDF-1.7"u8.ToArray() })
        {
            var error = Assert.Throws<InvalidDataException>(() => ImageDecoder.Decode(bytes, "thing.jpg"));
            Assert.Contains("'thing.jpg'", error.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(100_000, 100_000)]
    [InlineData(13_378, 13_378)]
    [InlineData(int.MaxValue, int.MaxValue)]
    [InlineData(2_000_000, 1)]
    public void Header_that_claims_too_many_pixels_is_refused_before_memory_is_taken(int width, int height)
    {
        byte[] encoded = ImageEncoder.EncodePng(RgbImages.Noise(2, 2, seed: 0));
        BinaryPrimitives.WriteInt32BigEndian(encoded.AsSpan(16), width);
        BinaryPrimitives.WriteInt32BigEndian(encoded.AsSpan(20), height);
        BinaryPrimitives.WriteUInt32BigEndian(encoded.AsSpan(29), Crc32.HashToUInt32(encoded.AsSpan(12, 17)));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<InvalidDataException>(() => ImageDecoder.Decode(encoded, "bomb.png"));
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1_000_000);
    }

    [Fact]
    public void Missing_file_is_named()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "no-such-folder", "no-such-picture.png");
        var error = Assert.Throws<FileNotFoundException>(() => ImageDecoder.Decode(path));
        Assert.Contains("no-such-picture.png", error.Message, StringComparison.Ordinal);
        Assert.Throws<FileNotFoundException>(() => ImageDecoder.Decode(AppContext.BaseDirectory));
    }
}
