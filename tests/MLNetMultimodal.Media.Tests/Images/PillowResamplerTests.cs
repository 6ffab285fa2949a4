using System.Text.Json;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Media.Tests.Images;

public sealed class PillowResamplerTests
{
    // Made by Pillow 9.4.0 (Image.resize) from the noise of RgbImages.Lcg.
    static readonly JsonElement Cases =
        JsonDocument.Parse(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Data", "pillow-resize.json"))).RootElement;

    public static TheoryData<int> CaseNumbers() => [.. Enumerable.Range(0, Cases.GetArrayLength())];

    [Theory, MemberData(nameof(CaseNumbers))]
    public void Every_filter_equals_Pillow_bit_for_bit(int number)
    {
        JsonElement c = Cases[number];
        int Get(string name) => c.GetProperty(name).GetInt32();
        var filter = (ResampleFilter)Get("filter");
        RgbImage image = RgbImages.Lcg(Get("width"), Get("height"), (uint)Get("seed"));
        RgbImage resized = PillowResampler.Resize(image, Get("newWidth"), Get("newHeight"), filter);
        int max = Difference.Max(resized.Pixels, c.GetProperty("pixels").GetBytesFromBase64());
        Assert.True(max == 0, $"max |got - expected| = {max} of 255 for {Get("width")} x {Get("height")} -> " +
            $"{Get("newWidth")} x {Get("newHeight")}, {filter}");
    }

    [Fact]
    public void Window_equals_the_same_part_of_the_whole()
    {
        RgbImage image = RgbImages.Noise(61, 47, seed: 3);
        foreach (ResampleFilter filter in Enum.GetValues<ResampleFilter>())
            foreach ((int width, int height) in new[] { (30, 90), (61, 20), (130, 47), (61, 47) })
            {
                RgbImage window = PillowResampler.ResizeWindow(image, width, height, new(7, 5, 19, 13), filter);
                RgbImage part = RgbImages.Crop(PillowResampler.Resize(image, width, height, filter), 7, 5, 19, 13);
                int max = Difference.Max(window.Pixels, part.Pixels);
                Assert.True(max == 0, $"max |window - part| = {max} of 255 for {width} x {height}, {filter}");
            }
    }

    [Fact]
    public void Sizes_and_filters_that_cannot_be_are_refused()
    {
        RgbImage image = RgbImages.Noise(2, 2, seed: 0);
        Assert.Throws<ArgumentOutOfRangeException>(() => PillowResampler.Resize(image, 0, 5));
        Assert.Throws<ArgumentOutOfRangeException>(() => PillowResampler.Resize(image, 5, -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => PillowResampler.Resize(image, 5, 5, (ResampleFilter)6));
        Assert.Throws<ArgumentException>(() => PillowResampler.Resize(image, 100_000, 100_000));
    }
}
