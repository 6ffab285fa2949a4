using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Onnx;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Starter;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Rows per second of <c>MultimodalEmbed</c> against ML.NET's own way: LoadImages, ResizeImages, ExtractPixels,
/// ApplyOnnxModel with the portable export of the same weights.</summary>
static class ImagePipeline
{
    const float Tolerance = 1e-4f;   // two graphs of one model, in batches of 8 and of 1
    const string Ours = "MultimodalEmbed", Int8 = "MultimodalEmbed, int8", Reduced = "MultimodalEmbed, ReducedScaleJpeg";
    const string Int8Reduced = "MultimodalEmbed, int8, ReducedScaleJpeg";
    const string Stock = "ML.NET's chain", StockInt8 = "ML.NET's chain, int8";

    public static void Measure(BenchmarkRun run)
    {
        string[] jpegs = Pictures.Jpegs(run, run.Size(512, 16));
        Tower(run, "ViT-B/32", ModelFolders.ViTB32(run), jpegs, parts: 4, wanted: 1.4, wantedInt8: 4);
        Tower(run, "12 layers, width 192, 64x64", ModelFolders.SmallClip(run), jpegs, parts: 1, wanted: 4, wantedInt8: null);
        run.Note("The stock chain runs as it comes, with the portable fp32 export. It resizes by taking the nearest pixel, ours "
            + "as models are trained; where no resizing is needed they agree.");
        run.Note($"JPEG is decoded by {ImageDecoder.JpegLibrary} in ours, by Skia in ML.NET's.");
        Cosines(run, "the starter on real pictures of clothing", StarterModel.Folder, Pictures.Real());
    }

    static void Tower(BenchmarkRun run, string name, string folder, string[] jpegs, int parts, double wanted, double? wantedInt8)
    {
        string export = ModelFolders.Export(run, folder);
        var ml = new MLContext(seed: 1);
        using MultimodalTransformer ours = Rows.Embedder(ml, new() { Model = folder });
        using MultimodalTransformer int8 = Rows.Embedder(ml, new() { Model = folder, Dtype = OnnxDtype.Int8 });
        using MultimodalTransformer reduced = Rows.Embedder(ml, new() { Model = folder, ReducedScaleJpeg = true });
        using MultimodalTransformer int8Reduced = Rows.Embedder(
            ml, new() { Model = folder, Dtype = OnnxDtype.Int8, ReducedScaleJpeg = true });
        using TransformerChain<OnnxTransformer> stock = StockChain(ml, ours.Model, Graph(export, ""));
        using TransformerChain<OnnxTransformer> stockInt8 = StockChain(ml, ours.Model, Graph(export, "_int8"));

        string[] squares = Pictures.Squares(run, ours.Model.Images.Height, 16), some = jpegs[..run.Size(128, 16)];
        Agreement.Require(run, $"{name}, pictures that need no resizing, against the stock chain",
            Embed(ml, ours, squares), Agreement.Unit(Embed(ml, stock, squares)), Tolerance);
        float[][] plain = Embed(ml, ours, some);
        Report(run, $"{name}, int8 against fp32", plain, Embed(ml, int8, some), Bound.AtLeast(0.99), Bound.AtLeast(0.98));
        Report(run, $"{name}, JPEG at reduced scale against whole", plain, Embed(ml, reduced, some), null, null);
        Report(run, $"{name}, int8, JPEG at reduced scale, against fp32, whole", plain, Embed(ml, int8Reduced, some), null, null);

        // Each round takes the next part of the pictures: after the last one every side has seen all.
        string[][] turns = [.. jpegs.Chunk(jpegs.Length / run.Size(parts, 1))];
        Contender Contender(string who, ITransformer transformer)
        {
            int round = 0;
            return new(who, () =>
            {
                string[] part = turns[round++ % turns.Length];
                return Alternation.Rate(part.Length, () => Embed(ml, transformer, part));
            });
        }
        Alternation rates = Alternation.Run(run, rounds: 8, 400, "pictures/s", Contender(Ours, ours), Contender(Stock, stock),
            Contender(Int8, int8), Contender(StockInt8, stockInt8), Contender(Reduced, reduced),
            Contender(Int8Reduced, int8Reduced));
        run.Add(rates.Compare($"{name}, fp32", Ours, Stock, Bound.AtLeast(wanted)));
        run.Add(rates.Compare($"{name}, int8 against fp32", Int8, Stock, wantedInt8 is { } bound ? Bound.AtLeast(bound) : null));
        run.Add(rates.Compare($"{name}, int8 on both sides", Int8, StockInt8));
        run.Add(rates.Compare($"{name}, fp32, JPEG at reduced scale", Reduced, Stock));
        run.Add(rates.Compare($"{name}, int8 against fp32, JPEG at reduced scale", Int8Reduced, Stock));
    }

    static void Cosines(BenchmarkRun run, string name, string folder, string[] pictures)
    {
        using MultimodalModel model = MultimodalModel.Load(folder);
        using MultimodalModel int8 = MultimodalModel.Load(folder, new() { Dtype = OnnxDtype.Int8 });
        Report(run, $"{name}, int8 against fp32", model.EmbedImages(pictures), int8.EmbedImages(pictures),
            Bound.AtLeast(0.99), Bound.AtLeast(0.98));
    }

    static void Report(BenchmarkRun run, string what, float[][] ours, float[][] other, Bound? mean, Bound? least)
    {
        double[] cosines = Agreement.Cosines(ours, other);
        run.Add(new($"{what}: mean cosine of {cosines.Length} pictures", Quantity.Of(cosines.Average(), ""), Wanted: mean));
        run.Add(new($"{what}: least cosine", Quantity.Of(cosines.Min(), ""), Wanted: least));
    }

    static string Graph(string export, string suffix) => Path.Combine(export, "onnx", $"vision_model{suffix}.onnx");

    static TransformerChain<OnnxTransformer> StockChain(MLContext ml, MultimodalModel model, string graph)
    {
        int size = model.Images.Height;
        var shapes = new Dictionary<string, int[]>
        {
            ["pixel_values"] = [1, 3, size, size],
            ["image_embeds"] = [1, model.EmbeddingWidth],
        };
        OnnxScoringEstimator run = ml.Transforms.ApplyOnnxModel(
            ["image_embeds"], ["pixel_values"], graph, shapes, gpuDeviceId: null, fallbackToCpu: false);
        return Pictures.StockChain(ml, size, "pixel_values").Append(run).Fit(Rows.Pictures(ml, []));
    }

    /// <summary>The embeddings, in the last column of either side.</summary>
    static float[][] Embed(MLContext ml, ITransformer transformer, string[] paths)
    {
        IDataView data = transformer.Transform(Rows.Pictures(ml, paths));
        return Rows.Read(data, data.Schema[^1].Name);
    }
}
