using System.Runtime.InteropServices;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>From a file to what a model takes: decode, bicubic to 224x224, normalise.</summary>
static class Preprocess
{
    const float Tolerance = 1e-5f; // pixels are equal; normalising rounds once more or once less
    const string Ours = "two threads", OursAlone = "one thread", Reduced = "two threads, ReducedScaleJpeg";
    const string OnePillow = "Pillow, one process", TwoPillows = "Pillow, two processes";
    const string Stock = "LoadImages, ResizeImages, ExtractPixels";

    public static void Measure(BenchmarkRun run)
    {
        using Worker first = Programs.Python(run, "preprocess.py", 1, "PIL", "numpy");
        using Worker second = Programs.Python(run, "preprocess.py", 1, "PIL", "numpy");
        ImagePreprocessing clip = ImagePreprocessing.Clip(224);
        string[] jpegs = Pictures.Jpegs(run, run.Size(512, 16));
        int half = jpegs.Length / 2;
        Agreement.Require(run, "pixel values, against Pillow", Pictures.Pixels(clip, jpegs[..8]),
            FromPillow(run, first, jpegs[..8], 3 * 224 * 224), Tolerance);

        var ml = new MLContext(seed: 1);
        ITransformer stock = Pictures.StockChain(ml, 224, "Pixels").Fit(Rows.Pictures(ml, []));
        IDataView FromStock(string[] paths) => stock.Transform(Rows.Pictures(ml, paths));
        string[] squares = Pictures.Squares(run, 224, 16);
        Agreement.Require(run, "pixel values of pictures that need no resizing, against ML.NET",
            Pictures.Pixels(Pictures.Halves(224), squares), Rows.Read(FromStock(squares), "Pixels"), Tolerance);

        double Pillow(Worker worker, string[] part) => worker.Rate(part.Length, new { op = "preprocess", paths = part });
        void BothPillows() => Parallel.Invoke(() => Pillow(first, jpegs[..half]), () => Pillow(second, jpegs[half..]));
        Alternation rates = Alternation.Run(run, 5, 120, "pictures/s",
            new(Ours, () => Alternation.Rate(jpegs.Length, () => OnThreads(clip, jpegs, 2))),
            new(OnePillow, () => Pillow(first, jpegs)),
            new(TwoPillows, () => Alternation.Rate(jpegs.Length, BothPillows)),
            new(Stock, () => Alternation.Rate(jpegs.Length, () => Rows.ForEach(FromStock(jpegs), "Pixels", Nothing))),
            new(OursAlone, () => Alternation.Rate(jpegs.Length, () => OnThreads(clip, jpegs, 1))),
            new(Reduced, () => Alternation.Rate(jpegs.Length, () => OnThreads(clip with { ReducedScaleJpeg = true }, jpegs, 2))));
        run.Add(rates.Compare("from file to pixel values, two threads", Ours, OnePillow, Bound.AtLeast(2)));
        run.Add(rates.Compare("from file to pixel values, two threads", Ours, TwoPillows, Bound.AtLeast(2)));
        run.Add(rates.Compare("from file to pixel values, one thread", OursAlone, OnePillow));
        run.Add(rates.Compare("from file to pixel values, two threads", Ours, Stock));
        run.Add(rates.Compare("from file to pixel values, two threads, JPEG at reduced scale", Reduced, TwoPillows));
        run.Note("JPEG of 640x480. Pillow: open, convert, resize, crop, then numpy as Hugging Face's processors do it. "
            + "ML.NET's resizing is nearest neighbour, not bicubic.");
        run.Note($"JPEG is decoded by {ImageDecoder.JpegLibrary} in ours, by Skia in ML.NET's.");
    }

    static void Nothing(in VBuffer<float> row)
    {
    }

    static void OnThreads(ImagePreprocessing preprocessing, string[] paths, int threads)
    {
        int size = 3 * preprocessing.Height * preprocessing.Width;
        Parallel.ForEach(paths, new() { MaxDegreeOfParallelism = threads }, () => new float[size], (path, _, pixels) =>
        {
            preprocessing.ApplyToFile(path, pixels);
            return pixels;
        }, _ => { });
    }

    static float[][] FromPillow(BenchmarkRun run, Worker worker, string[] paths, int size)
    {
        string file = Path.Combine(run.Cache, $"{Guid.NewGuid():N}.f32");
        try
        {
            worker.Ask(new { op = "preprocess", paths, file });
            return [.. MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(file)).ToArray().Chunk(size)];
        }
        finally
        {
            File.Delete(file);
        }
    }
}
