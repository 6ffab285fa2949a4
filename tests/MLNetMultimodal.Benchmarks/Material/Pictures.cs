using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Media.Images;
using SkiaSharp;

namespace MLNetMultimodal.Benchmarks.Material;

/// <summary>Pictures like photographs, from a seed: light that falls off, texture, and things in front of it.</summary>
static class Pictures
{
    const string Stamps = "/usr/share/tuxpaint/stamps";
    const int Width = 640, Height = 480, Quality = 90, Seed = 1;

    /// <summary>JPEG files of 640x480.</summary>
    /// <param name="run">Says where the cache is.</param>
    /// <param name="count">How many.</param>
    public static string[] Jpegs(BenchmarkRun run, int count)
    {
        string folder = Generated.Folder(run, "jpeg-640x480", $"{count} {Width} {Height} {Quality} {Seed} 1", temporary =>
        {
            string[] stickers = Stickers(run);
            Parallel.For(0, count, i => Save(Path.Combine(temporary, $"{i:00000}.jpg"), Draw(Width, Height, i, stickers)));
        });
        return [.. Directory.GetFiles(folder).Order(StringComparer.Ordinal)];
    }

    /// <summary>PNG files that have the size of a model already, so that no two ways of resizing can differ on them.</summary>
    /// <param name="run">Says where the cache is.</param>
    /// <param name="size">The side.</param>
    /// <param name="count">How many.</param>
    public static string[] Squares(BenchmarkRun run, int size, int count)
    {
        string folder = Generated.Folder(run, $"png-{size}", $"{count} {size} {Seed} 1", temporary =>
        {
            string[] stickers = Stickers(run);
            for (int i = 0; i < count; i++) Save(Path.Combine(temporary, $"{i:00000}.png"), Draw(size, size, i, stickers));
        });
        return [.. Directory.GetFiles(folder).Order(StringComparer.Ordinal)];
    }

    /// <summary>Real pictures of 28x28 that come with the sources.</summary>
    public static string[] Real() => Pngs(Path.Combine(Repository.Root, "samples", "QuickStart", "pictures"));

    /// <summary>CLIP's preprocessing with one mean and deviation for all channels: ML.NET's ExtractPixels has no more.</summary>
    public static ImagePreprocessing Halves(int size) =>
        ImagePreprocessing.Clip(size) with { Mean = (0.5f, 0.5f, 0.5f), Std = (0.5f, 0.5f, 0.5f) };

    /// <summary>The same by ML.NET's own transforms, into a column; it resizes by taking the nearest pixel.</summary>
    public static EstimatorChain<ImagePixelExtractingTransformer> StockChain(MLContext ml, int size, string output) =>
        ml.Transforms.LoadImages("Image", "", nameof(PictureRow.ImagePath))
            .Append(ml.Transforms.ResizeImages("Image", size, size, resizing: ImageResizingEstimator.ResizingKind.IsoCrop))
            .Append(ml.Transforms.ExtractPixels(output, "Image", offsetImage: 127.5f, scaleImage: 1 / 127.5f));

    static string[] Stickers(BenchmarkRun run)
    {
        if (run.Quick) return Real();
        string[] found = Directory.Exists(Stamps) ? Pngs(Stamps) : [];
        return found.Length > 0 ? found : throw new MissingProgramException($"there are no pictures in {Stamps}; "
            + "with Debian's packages: apt-get install --no-install-recommends tuxpaint-stamps-default");
    }

    static string[] Pngs(string folder) =>
        [.. Directory.GetFiles(folder, "*.png", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];

    static SKBitmap Draw(int width, int height, int number, string[] stickers)
    {
        var random = new Random(Seed * 100_003 + number);
        float Between(float low, float high) => low + (high - low) * random.NextSingle();
        SKColor Color() => new((byte)random.Next(256), (byte)random.Next(256), (byte)random.Next(256));
        var bitmap = new SKBitmap(new SKImageInfo(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque));
        using var canvas = new SKCanvas(bitmap);
        using (var light = new SKPaint())
        {
            SKPoint center = new(Between(0, width), Between(0, height));
            light.Shader = SKShader.CreateRadialGradient(center, width, [Color(), Color(), Color()], SKShaderTileMode.Clamp);
            canvas.DrawRect(0, 0, width, height, light);
        }
        using (var texture = new SKPaint { BlendMode = SKBlendMode.SoftLight })
        {
            texture.Shader = SKShader.CreatePerlinNoiseFractalNoise(Between(0.01f, 0.05f), Between(0.01f, 0.05f), 5, number);
            canvas.DrawRect(0, 0, width, height, texture);
        }
        for (int i = 0; i < 4; i++)
        {
            using SKBitmap sticker = SKBitmap.Decode(stickers[random.Next(stickers.Length)]);
            float scale = Between(0.2f, 0.6f) * height / Math.Max(sticker.Width, sticker.Height);
            canvas.Save();
            canvas.Translate(Between(0, width), Between(0, height));
            canvas.RotateDegrees(Between(-30, 30));
            canvas.Scale(scale);
            using var smooth = new SKPaint { FilterQuality = SKFilterQuality.Medium };
            canvas.DrawBitmap(sticker, -sticker.Width / 2f, -sticker.Height / 2f, smooth);
            canvas.Restore();
        }
        return bitmap;
    }

    static void Save(string path, SKBitmap picture)
    {
        bool isPng = path.EndsWith(".png", StringComparison.Ordinal);
        using (picture)
        using (SKData data = picture.Encode(isPng ? SKEncodedImageFormat.Png : SKEncodedImageFormat.Jpeg, Quality))
            File.WriteAllBytes(path, data.ToArray());
    }

    /// <summary>Pictures as a model takes them, one row each.</summary>
    public static float[][] Pixels(ImagePreprocessing preprocessing, IEnumerable<string> paths) => [.. paths.Select(path =>
    {
        var pixels = new float[3 * preprocessing.Height * preprocessing.Width];
        preprocessing.ApplyToFile(path, pixels);
        return pixels;
    })];
}
