namespace MLNetMultimodal.Training.Tests;

public sealed class AugmentationTests
{
    const int Side = 8;
    /// <summary>Results lie between 0 and 255 and are computed in float32.</summary>
    const float Rounding = 1e-3f;
    static readonly AugmentationOptions s_all = new()
    {
        CropMinScale = 0.3f,
        HorizontalFlip = 0.5f,
        Brightness = 0.4f,
        Contrast = 0.4f,
        Saturation = 0.4f,
        TranslatePixels = 2,
        Erase = 0.5f,
    };

    /// <summary>Mean 0 and deviation 1/255 leave bytes as they are.</summary>
    static Augmentation Bytes(AugmentationOptions options, int height = Side, int width = Side, int seed = 1) =>
        new(options, height, width, [0, 0, 0], [1f / 255, 1f / 255, 1f / 255], seed);

    static byte[] Picture(int height, int width, int seed = 3)
    {
        var pixels = new byte[height * width * 3];
        new Random(seed).NextBytes(pixels);
        return pixels;
    }

    static float[] Apply(Augmentation augmentation, byte[] pixels, int height, int width, int epoch = 0, long index = 0)
    {
        var result = new float[augmentation.Length];
        augmentation.Apply(pixels, height, width, epoch, index, result);
        return result;
    }

    static float[] Planes(byte[] pixels) => [.. Enumerable.Range(0, 3).SelectMany(c => pixels.Where((_, i) => i % 3 == c).Select(b => (float)b))];

    static void AssertClose(float[] expected, float[] actual)
    {
        float worst = expected.Zip(actual, (e, a) => MathF.Abs(e - a)).Max();
        Assert.True(worst < Rounding, $"max |difference| = {worst:g3}");
    }

    [Fact]
    public void By_default_nothing_changes()
    {
        byte[] pixels = Picture(Side, Side);
        AssertClose(Planes(pixels), Apply(Bytes(new()), pixels, Side, Side));
    }

    [Fact]
    public void Values_are_normalised_by_channel()
    {
        var augmentation = new Augmentation(new(), 1, 1, [0.5f, 0.25f, 0], [0.5f, 0.25f, 2], seed: 0);
        AssertClose([1, -1, 0.5f], Apply(augmentation, [255, 0, 255], 1, 1));
    }

    [Fact]
    public void One_sample_is_varied_alike_on_any_number_of_threads()
    {
        byte[] pixels = Picture(20, 30);
        Augmentation augmentation = Bytes(s_all);
        float[][] inOrder = [.. Enumerable.Range(0, 200).Select(i => Apply(augmentation, pixels, 20, 30, 1, i))];
        var parallel = new float[200][];
        Parallel.For(0, 200, i => parallel[199 - i] = Apply(augmentation, pixels, 20, 30, 1, 199 - i));
        for (int i = 0; i < 200; i++) Assert.Equal(inOrder[i], parallel[i]);
    }

    [Fact]
    public void Seed_epoch_and_index_each_vary_anew()
    {
        byte[] pixels = Picture(20, 30);
        float[] first = Apply(Bytes(s_all), pixels, 20, 30, epoch: 1, index: 1);
        Assert.NotEqual(first, Apply(Bytes(s_all), pixels, 20, 30, epoch: 2, index: 1));
        Assert.NotEqual(first, Apply(Bytes(s_all), pixels, 20, 30, epoch: 1, index: 2));
        Assert.NotEqual(first, Apply(Bytes(s_all, seed: 2), pixels, 20, 30, epoch: 1, index: 1));
    }

    [Fact]
    public void Mirroring_swaps_left_and_right()
    {
        byte[] pixels = Picture(2, 3);
        float[] result = Apply(Bytes(new() { HorizontalFlip = 1 }, 2, 3), pixels, 2, 3);
        float[] expected = [.. Planes(pixels).Chunk(3).SelectMany(row => row.Reverse())];
        AssertClose(expected, result);
    }

    [Theory, InlineData(true), InlineData(false)]
    public void Scaling_agrees_with_plain_loops(bool cubic)
    {
        foreach (var (height, width) in new[] { (5, 7), (8, 20), (31, 8), (3, 40), (1, 1), (2, 2) })
        {
            byte[] pixels = Picture(height, width);
            float[] result = Apply(Bytes(new() { Bicubic = cubic }), pixels, height, width);
            AssertClose(ScaledByLoops(pixels, height, width, cubic), result);
        }
    }

    /// <summary>Every pixel of the source, weighted by its kernel, for every pixel of the result.</summary>
    static float[] ScaledByLoops(byte[] pixels, int height, int width, bool cubic)
    {
        var result = new float[3 * Side * Side];
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < Side; y++)
                for (int x = 0; x < Side; x++)
                {
                    double sum = 0, weights = 0;
                    for (int v = 0; v < height; v++)
                        for (int u = 0; u < width; u++)
                        {
                            double w = Weight(v, y, height) * Weight(u, x, width);
                            (sum, weights) = (sum + w * pixels[(v * width + u) * 3 + c], weights + w);
                        }
                    result[(c * Side + y) * Side + x] = (float)Math.Clamp(sum / weights, 0, 255);
                }
        return result;

        double Weight(int source, int target, int size)
        {
            double scale = (double)size / Side, t = Math.Abs(source + 0.5 - (target + 0.5) * scale) / Math.Max(1, scale);
            if (!cubic) return Math.Max(0, 1 - t);
            return t < 1 ? 1.5 * t * t * t - 2.5 * t * t + 1 : t < 2 ? -0.5 * t * t * t + 2.5 * t * t - 4 * t + 2 : 0;
        }
    }

    [Fact]
    public void Crops_keep_to_scale_and_aspect()
    {
        // Every pixel tells its own place, so that the result's corners tell the crop.
        const int Height = 60, Width = 90;
        byte[] pixels = [.. Enumerable.Range(0, Height * Width).SelectMany(i => new[] { (byte)(i % Width), (byte)(i / Width), (byte)0 })];
        Augmentation augmentation = Bytes(new() { CropMinScale = 0.2f, CropMaxScale = 0.5f, Bicubic = false }, 30, 30);
        var areas = new List<double>();
        for (int index = 0; index < 500; index++)
        {
            float[] result = Apply(augmentation, pixels, Height, Width, 0, index);
            double width = (result[20] - result[10]) * 3, height = (result[900 + 20 * 30] - result[900 + 10 * 30]) * 3;
            areas.Add(width * height / (Height * Width));
            Assert.True(areas[^1] is > 0.18 and < 0.53, $"area {areas[^1]:g3}");
            Assert.True(width / height is > 0.72 and < 1.4, $"aspect {width / height:g3}");
        }
        Assert.True(Math.Abs(areas.Average() - 0.35) < 0.02, $"mean area {areas.Average():g3}");
    }

    [Fact]
    public void A_crop_that_cannot_fit_is_central()
    {
        byte[] pixels = new byte[3 * 100];
        pixels[3 * 50] = 255;
        Augmentation augmentation = Bytes(new() { CropMinScale = 0.999f, Bicubic = false }, 1, 1);
        float[] a = Apply(augmentation, pixels, 1, 100, 0, 1), b = Apply(augmentation, pixels, 1, 100, 0, 2);
        Assert.Equal(a, b);
    }

    [Fact]
    public void Brightness_multiplies_within_its_range()
    {
        byte[] grey = [.. Enumerable.Repeat((byte)100, Side * Side * 3)];
        Augmentation augmentation = Bytes(new() { Brightness = 0.3f });
        float[] values = [.. Enumerable.Range(0, 300).Select(i => Apply(augmentation, grey, Side, Side, 0, i)[0])];
        Assert.True(values.Min() >= 70 - Rounding && values.Max() <= 130 + Rounding, $"{values.Min()} to {values.Max()}");
        Assert.True(values.Min() < 75 && values.Max() > 125, $"{values.Min()} to {values.Max()}");
    }

    [Fact]
    public void Contrast_keeps_the_mean_grey_and_saturation_every_pixels_grey()
    {
        byte[] pixels = [.. Picture(Side, Side).Select(b => (byte)(100 + b / 10))];
        float[] grey = Grey(Planes(pixels));
        float[] contrast = Grey(Apply(Bytes(new() { Contrast = 0.5f }), pixels, Side, Side));
        Assert.True(Math.Abs(grey.Average() - contrast.Average()) < Rounding, $"{grey.Average()} and {contrast.Average()}");
        AssertClose(grey, Grey(Apply(Bytes(new() { Saturation = 0.5f }), pixels, Side, Side)));

        static float[] Grey(float[] planes)
        {
            int plane = planes.Length / 3;
            return [.. Enumerable.Range(0, plane).Select(i => 0.299f * planes[i] + 0.587f * planes[plane + i] + 0.114f * planes[2 * plane + i])];
        }
    }

    [Fact]
    public void Translation_moves_whole_pixels_and_leaves_black()
    {
        byte[] pixels = [.. Picture(Side, Side).Select(b => Math.Max((byte)1, b))];
        float[] planes = Planes(pixels);
        Augmentation augmentation = Bytes(new() { TranslatePixels = 10 });
        var moves = new HashSet<(int, int)>();
        for (int index = 0; index < 400; index++)
        {
            float[] result = Apply(augmentation, pixels, Side, Side, 0, index);
            (int Dy, int Dx)[] fits = [.. from dy in Enumerable.Range(-10, 21) from dx in Enumerable.Range(-10, 21) where Moved(dy, dx).SequenceEqual(result) select (dy, dx)];
            Assert.NotEmpty(fits);
            moves.Add(fits[0]);
        }
        Assert.True(moves.Count > 100, $"only {moves.Count} different moves");

        float[] Moved(int dy, int dx)
        {
            var moved = new float[planes.Length];
            for (int c = 0; c < 3; c++)
                for (int y = 0; y < Side; y++)
                    for (int x = 0; x < Side; x++)
                        if (y - dy is >= 0 and < Side && x - dx is >= 0 and < Side) moved[(c * Side + y) * Side + x] = planes[(c * Side + y - dy) * Side + x - dx];
            return moved;
        }
    }

    [Fact]
    public void Erasing_paints_one_rectangle_in_the_mean_colour()
    {
        byte[] white = [.. Enumerable.Repeat((byte)255, 32 * 32 * 3)];
        var augmentation = new Augmentation(new() { Erase = 1, EraseMinArea = 0.1f, EraseMaxArea = 0.3f }, 32, 32, [0.4f, 0.4f, 0.4f], [0.2f, 0.2f, 0.2f], seed: 0);
        for (int index = 0; index < 100; index++)
        {
            float[] result = Apply(augmentation, white, 32, 32, 0, index);
            (int Y, int X)[] erased = [.. Enumerable.Range(0, 1024).Where(i => result[i] == 0).Select(i => (i / 32, i % 32))];
            int height = erased.Max(e => e.Y) - erased.Min(e => e.Y) + 1, width = erased.Max(e => e.X) - erased.Min(e => e.X) + 1;
            Assert.Equal(erased.Length, height * width);
            Assert.True(erased.Length / 1024.0 is > 0.08 and < 0.33, $"area {erased.Length / 1024.0:g3}");
            Assert.Equal(result[..1024], result[1024..2048]);
        }
    }

    [Fact]
    public void Plain_never_varies()
    {
        byte[] pixels = Picture(20, 30);
        float[] result = new float[3 * Side * Side];
        Bytes(s_all).Plain(pixels, 20, 30, result);
        Assert.Equal(Apply(Bytes(new()), pixels, 20, 30), result);
    }

    [Fact]
    public void Wrong_lengths_and_ranges_are_refused()
    {
        Augmentation augmentation = Bytes(new());
        Assert.Contains("[2, 2, 3]", Assert.Throws<ArgumentException>(() => Apply(augmentation, new byte[11], 2, 2)).Message);
        Assert.Throws<ArgumentException>(() => augmentation.Apply(new byte[12], 2, 2, 0, 0, new float[1]));
        Assert.Throws<ArgumentException>(() => Bytes(new() { CropMinScale = 0.8f, CropMaxScale = 0.5f }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new AugmentationOptions { HorizontalFlip = 1.1f });
        Assert.Throws<ArgumentOutOfRangeException>(() => new AugmentationOptions { Erase = float.NaN });
    }
}
