using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Onnx;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Starter;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Rows per second of <c>MultimodalEmbed</c> against ML.NET's own way: LoadImages, ResizeImages, ExtractPixels,
/// ApplyOnnxModel with the portable export of the same weights.</summary>
static class ImagePipeline
{
    const float Tolerance = 1e-4f;   // two graphs of one model, in batches of 8 and of 1
    const string Ours = "MultimodalEmbed", Int8 = "our preprocessing and int8 export";
    const string Stock = "ML.NET's chain", StockInt8 = "ML.NET's chain, int8";

    public static void Measure(BenchmarkRun run)
    {
        string[] jpegs = Pictures.Jpegs(run, run.Size(512, 16));
        Tower(run, "ViT-B/32", ModelFolders.ViTB32(run), jpegs, rounds: 4, fp32: 1.4, int8: 4);
        Tower(run, "12 layers, width 192, 64x64", ModelFolders.SmallClip(run), jpegs, rounds: 4, fp32: 4, int8: null);
        run.Note("The stock chain runs as it comes, with the portable fp32 export. It resizes by taking the nearest pixel, ours "
            + "as models are trained; where no resizing is needed they agree.");
        Cosines(run, "the starter on real pictures of clothing", StarterModel.Folder, Pictures.Real());
    }

    static void Tower(BenchmarkRun run, string name, string folder, string[] jpegs, int rounds, double fp32, double? int8)
    {
        string export = ModelFolders.Export(run, folder);
        var ml = new MLContext(seed: 1);
        using MultimodalTransformer ours = Rows.Embedder(ml, new() { Model = folder });
        using var oursInt8 = new ExportedTower(ours.Model.Images, Graph(export, "_int8"));
        using TransformerChain<OnnxTransformer> stock = StockChain(ml, ours.Model, Graph(export, ""));
        using TransformerChain<OnnxTransformer> stockInt8 = StockChain(ml, ours.Model, Graph(export, "_int8"));

        string[] squares = Pictures.Squares(run, ours.Model.Images.Height, 16);
        Agreement.Require(run, $"{name}, pictures that need no resizing, against the stock chain",
            Embed(ml, ours, squares, "Embedding"), Agreement.Unit(Embed(ml, stock, squares, "image_embeds")), Tolerance);
        string[] some = jpegs[..run.Size(128, 16)];
        Report(run, $"{name}, int8 against fp32", Embed(ml, ours, some, "Embedding"), oursInt8.Embed(some));

        // Each round takes the next part of the pictures, so that after the last one every side has seen all.
        string[][] parts = [.. jpegs.Chunk(jpegs.Length / run.Size(rounds, 1))];
        int[] turn = new int[4];
        Contender Chain(string who, int at, Action<string[]> embed) => new(who, () =>
        {
            string[] part = parts[turn[at]++ % parts.Length];
            return Alternation.Rate(part.Length, () => embed(part));
        });
        Alternation rates = Alternation.Run(run, rounds, 150, "pictures/s",
            Chain(Ours, 0, part => Embed(ml, ours, part, "Embedding")),
            Chain(Stock, 1, part => Embed(ml, stock, part, "image_embeds")),
            Chain(Int8, 2, part => oursInt8.Embed(part)),
            Chain(StockInt8, 3, part => Embed(ml, stockInt8, part, "image_embeds")));
        run.Add(rates.Compare($"{name}, fp32", Ours, Stock, Bound.AtLeast(fp32)));
        run.Add(rates.Compare($"{name}, int8 against fp32", Int8, Stock, int8 is { } bound ? Bound.AtLeast(bound) : null));
        run.Add(rates.Compare($"{name}, int8 on both sides", Int8, StockInt8));
    }

    static void Cosines(BenchmarkRun run, string name, string folder, string[] pictures)
    {
        string export = ModelFolders.Export(run, folder);
        using MultimodalModel model = MultimodalModel.Load(folder);
        using var int8 = new ExportedTower(model.Images, Graph(export, "_int8"));
        Report(run, $"{name}, int8 against fp32", model.EmbedImages(pictures), int8.Embed(pictures));
    }

    static void Report(BenchmarkRun run, string what, float[][] fp32, float[][] int8)
    {
        double[] cosines = Agreement.Cosines(fp32, int8);
        string mean = $"{what}: mean cosine of {cosines.Length} pictures";
        run.Add(new(mean, Quantity.Of(cosines.Average(), ""), Wanted: Bound.AtLeast(0.99)));
        run.Add(new($"{what}: least cosine", Quantity.Of(cosines.Min(), ""), Wanted: Bound.AtLeast(0.98)));
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

    static float[][] Embed(MLContext ml, ITransformer transformer, string[] paths, string column) =>
        Rows.Read(transformer.Transform(Rows.Pictures(ml, paths)), column);
}
