using System.Text.Json;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>The same model folder in Transformers.js with onnxruntime-node, with as many threads.</summary>
static class Node
{
    const float Tolerance = 1e-3f; // two versions of ONNX Runtime, two implementations of preprocessing
    const string Ours = "MultimodalModel", Theirs = "Transformers.js";

    public static void Measure(BenchmarkRun run)
    {
        int threads = Environment.ProcessorCount;
        using Worker node = Programs.Node(run, threads);
        string folder = ModelFolders.ViTB32(run);
        node.Ask(new { op = "load", model = ModelFolders.Export(run, folder), threads, images = true });
        using MultimodalModel model = MultimodalModel.Load(folder), manyAtOnce = MultimodalModel.Load(folder, new() { Mode = InferenceMode.Throughput });

        string[] squares = Pictures.Squares(run, model.Images.Height, 16);
        Agreement.Require(run, "pictures that need no resizing", model.EmbedImages(squares),
            Embeds(node, new { op = "images", paths = squares, batch = 8 }), Tolerance);
        string[] texts = Captions.Take(run.Size(64, 16)), numbered = Captions.TakeNumbered(texts.Length);
        Agreement.RequireEqual(run, "token ids", Captions.Ids(model.Texts, texts), Ids(node, texts, "tokens"));
        Agreement.Require(run, "texts", model.EmbedTexts(texts),
            Embeds(node, new { op = "texts", texts, batch = 16 }), Tolerance);
        Agreement.Require(run, "numbered texts", model.EmbedTexts(numbered),
            Embeds(node, new { op = "texts", texts = numbered, batch = 16 }), Tolerance);
        Agreement.Require(run, "pictures, both modes", manyAtOnce.EmbedImages(squares), model.EmbedImages(squares), Tolerance);
        Agreement.Require(run, "texts, both modes", manyAtOnce.EmbedTexts(texts), model.EmbedTexts(texts), Tolerance);

        string[] jpegs = Pictures.Jpegs(run, run.Size(512, 16))[..run.Size(32, 16)];
        foreach (int batch in new[] { 1, 16 })
        {
            MultimodalModel ours = batch == 1 ? model : manyAtOnce;
            Compare(run, $"pictures of 640x480, batch {batch}", "pictures/s", jpegs, batch, b => ours.EmbedImages(b),
                () => node.Rate(jpegs.Length, new { op = "images", paths = jpegs, batch, silent = true }));
            CompareTexts($"texts, batch {batch}", texts);
            if (batch > 1) CompareTexts($"numbered texts, batch {batch}", numbered);

            void CompareTexts(string what, string[] all) => Compare(run, what, "texts/s", all, batch, b => ours.EmbedTexts(b),
                () => node.Rate(all.Length, new { op = "texts", texts = all, batch, silent = true }));
        }
        run.Note($"CLIP ViT-B/32 in fp32, {threads} threads on both sides, from files and texts to embeddings. "
            + "Ours runs single items in the mode Latency, batches in the mode Throughput.");
        string Share(string[] all) => Captions.DistinctShare(model.Texts, all, 16).ToString("p0");
        run.Note("Ours computes what the texts of a batch begin with alike once: of the tokens of 16 texts in a row "
            + $"{Share(texts)} have a beginning of their own; of those with a number before each {Share(numbered)}.");
    }

    static void Compare(
        BenchmarkRun run, string what, string unit, string[] items, int batch, Action<string[]> ours, Func<double> theirs)
    {
        Alternation rates = Alternation.Run(run, 15, 40, unit, new(Ours, () => Alternation.Rate(items.Length, () =>
        {
            foreach (string[] part in items.Chunk(batch)) ours(part);
        })), new(Theirs, theirs));
        run.Add(rates.Compare(what, Ours, Theirs, Bound.AtLeast(1.2)));
    }

    public static float[][] Embeds(Worker node, object request) =>
        Agreement.Unit(node.Ask(request).GetProperty("embeds").Deserialize<float[][]>()!);

    public static long[][] Ids(Worker node, string[] texts, string op) =>
        node.Ask(new { op, texts }).GetProperty("ids").Deserialize<long[][]>()!;
}
