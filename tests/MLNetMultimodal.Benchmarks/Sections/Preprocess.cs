using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>From a file to what a model takes: decode, bicubic to 224x224, normalise.</summary>
static class Preprocess
{
    const float Tolerance = 1e-5f; // pixels are equal; normalising rounds once more or once less
    const string Ours = "two threads", OursAlone = "one thread", OnePillow = "Pillow, one process", TwoPillows = "Pillow, two processes",
        Stock = "LoadImages, ResizeImages, ExtractPixels";

    public static void Measure(BenchmarkRun run)
    {
        using Worker first = Programs.Python(run, "preprocess.py", 1, "PIL", "numpy"), second = Programs.Python(run, "preprocess.py", 1, "PIL", "numpy");
        ImagePreprocessing clip = ImagePreprocessing.Clip(224);
        string[] jpegs = Pictures.Jpegs(run, run.Size(512, 16));
        int half = jpegs.Length / 2;
        Agreement.Require(run, "pixel values, against Pillow", Pictures.Pixels(clip, jpegs[..8]), FromPillow(run, first, jpegs[..8], 3 * 224 * 224), Tolerance);

        var ml = new MLContext(seed: 1);
        EstimatorChain<ImagePixelExtractingTransformer> chain = ml.Transforms.LoadImages("Image", "", nameof(PictureRow.ImagePath))
            .Append(ml.Transforms.ResizeImages("Image", 224, 224, resizing: ImageResizingEstimator.ResizingKind.IsoCrop))
            .Append(ml.Transforms.ExtractPixels("Pixels", "Image", offsetImage: 127.5f, scaleImage: 1 / 127.5f));
        ITransformer stock = chain.Fit(Rows.Pictures(ml, []));
        // ResizeImages takes the nearest pixel: only on pictures that need no resizing can the two agree.
        ImagePreprocessing plain = clip with { Mean = (0.5f, 0.5f, 0.5f), Std = (0.5f, 0.5f, 0.5f) };
        string[] squares = Pictures.Squares(run, 224, 16);
        Agreement.Require(run, "pixel values of pictures that need no resizing, against ML.NET", Pictures.Pixels(plain, squares),
            Rows.Read(stock.Transform(Rows.Pictures(ml, squares)), "Pixels"), Tolerance);

        double Pillow(Worker worker, string[] part) => worker.Ask(new { op = "preprocess", paths = part }).GetProperty("seconds").GetDouble();
        Alternation rates = Alternation.Run(run, 5, 120, "pictures/s",
            new(Ours, () => Alternation.Rate(jpegs.Length, () => OnThreads(clip, jpegs, 2))),
            new(OnePillow, () => jpegs.Length / Pillow(first, jpegs)),
            new(TwoPillows, () => Alternation.Rate(jpegs.Length, () => Parallel.Invoke(() => Pillow(first, jpegs[..half]), () => Pillow(second, jpegs[half..])))),
            new(Stock, () => Alternation.Rate(jpegs.Length, () => Rows.ForEach(stock.Transform(Rows.Pictures(ml, jpegs)), "Pixels", (in VBuffer<float> _) => { }))),
            new(OursAlone, () => Alternation.Rate(jpegs.Length, () => OnThreads(clip, jpegs, 1))));
        run.Add(rates.Compare("two threads", Ours, OnePillow, Bound.AtLeast(2)));
        run.Add(rates.Compare("two threads", Ours, TwoPillows, Bound.AtLeast(2)));
        run.Add(rates.Compare("one thread", OursAlone, OnePillow));
        run.Add(rates.Compare("two threads", Ours, Stock));
        run.Note("JPEG of 640x480. Pillow: open, convert, resize, crop, then numpy as Hugging Face's processors do it. ML.NET's resizing is nearest neighbour, not bicubic.");
    }

    static void OnThreads(ImagePreprocessing preprocessing, string[] paths, int threads)
    {
        int size = 3 * preprocessing.Height * preprocessing.Width;
        Parallel.ForEach(paths, new() { MaxDegreeOfParallelism = threads }, () => new float[size], (path, _, pixels) =>
        {
            preprocessing.Apply(ImageDecoder.Decode(path), pixels);
            return pixels;
        }, _ => { });
    }

    static float[][] FromPillow(BenchmarkRun run, Worker worker, string[] paths, int size)
    {
        string file = Path.Combine(run.Cache, $"{Guid.NewGuid():N}.f32");
        try
        {
            worker.Ask(new { op = "preprocess", paths, file });
            return [.. System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(file)).ToArray().Chunk(size)];
        }
        finally
        {
            File.Delete(file);
        }
    }
}
