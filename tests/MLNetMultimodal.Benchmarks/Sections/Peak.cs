using System.Text.Json;
using Microsoft.ML;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using TorchSharp;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>How near the pipeline, decoding included, comes to the fastest fp32 matrix product that is known here.</summary>
static class Peak
{
    const float Tolerance = 0.01f; // whole numbers: an engine that is right is off by nothing
    const string Ours = "MultimodalEmbed", Ort = "ONNX Runtime", Torch = "libtorch", Numpy = "OpenBLAS";

    public static void Measure(BenchmarkRun run)
    {
        int size = run.Size(2048, 128), repeats = run.Size(20, 2);
        double flops = 2.0 * size * size * size * repeats;
        float[] a = Matrix(size, 31, 17), b = Matrix(size, 13, 29);
        using Worker? numpy = OpenBlas(run);
        using var session = new OnnxSession(OnnxRecorder.Record(new Product(size), new Dictionary<string, TensorData>
        {
            ["product.weight"] = TensorData.From(Transposed(b, size), size, size),
        }));
        var product = new float[a.Length];
        void RunOrt() => session.Run<float>(a, [size, size], product);
        using torch.Tensor x = torch.tensor(a, [size, size]).clone(), y = torch.tensor(b, [size, size]).clone();
        void RunTorch() => torch.matmul(x, y).Dispose();

        RunOrt();
        float[][] expected = [.. product.Chunk(size).Take(8)];
        using (torch.Tensor z = torch.matmul(x, y))
            Agreement.Require(run, "products by ONNX Runtime and libtorch", expected,
                [.. z.data<float>().ToArray().Chunk(size).Take(8)], Tolerance);
        var engines = new List<Contender>
        {
            new(Ort, () => Alternation.Rate(flops / 1e9, () => Times(repeats, RunOrt))),
            new(Torch, () => Alternation.Rate(flops / 1e9, () => Times(repeats, RunTorch))),
        };
        if (numpy is not null)
        {
            JsonElement answer = numpy.Ask(new { op = "prepare", size, a = new[] { 31, 17 }, b = new[] { 13, 29 } });
            float[][] rows = answer.GetProperty("rows").Deserialize<float[][]>()!;
            Agreement.Require(run, "products by ONNX Runtime and OpenBLAS", expected, rows, Tolerance);
            engines.Add(new(Numpy, () => numpy.Rate(flops / 1e9, new { op = "multiply", repeats })));
        }

        string[] jpegs = Pictures.Jpegs(run, run.Size(512, 16))[..run.Size(128, 16)];
        var ml = new MLContext(seed: 1);
        using MultimodalTransformer embed = Rows.Embedder(ml, new() { Model = ModelFolders.ViTB32(run) });
        double each = ModelSummary.Of(embed.Model.Definition.Encoders[Modality.Image]).Flops / 1e9;
        void Embed() => Rows.Read(embed.Transform(Rows.Pictures(ml, jpegs)));
        Embed();
        Alternation rates = Alternation.Run(run, 5, 120, "GFLOP/s",
            [.. engines, new(Ours, () => Alternation.Rate(jpegs.Length * each, Embed))]);
        string[] others = [.. engines.Select(e => e.Name)];
        string best = others.MaxBy(name => rates[name].Value)!;
        run.Add(new($"ViT-B/32, {each:f1} GFLOP a picture of 640x480, in the pipeline", rates[Ours], rates[best], best,
            Quantity.Of(rates.Ratios(Ours, others), ""), Bound.AtLeast(0.85)));
        double whole = ModelSummary.Of(new WholeTower(((ClipModel)embed.Model.Definition).Config)).Flops / 1e9;
        Quantity Whole(Quantity q) => new(q.Value * whole / each, q.Low * whole / each, q.High * whole / each, q.Unit);
        run.Add(new($"the same, counted with all tokens in the last block, {whole:f1} GFLOP a picture", Whole(rates[Ours]), rates[best], best,
            Whole(Quantity.Of(rates.Ratios(Ours, others), ""))));
        foreach (string other in others) run.Add(new($"[{size}, {size}] x [{size}, {size}] by {other}", rates[other]));
        run.Note("The ratio is to the fastest of the round. The towers compute only the token that is pooled in their last block; the first line counts "
            + "what is computed, the second what a ViT-B/32 is usually said to take.");
    }

    static Worker? OpenBlas(BenchmarkRun run)
    {
        try
        {
            return Programs.Python(run, "matmul.py", Environment.ProcessorCount, "numpy");
        }
        catch (MissingProgramException) when (run.Quick)
        {
            return null;
        }
    }

    static void Times(int count, Action work)
    {
        for (int i = 0; i < count; i++) work();
    }

    /// <summary>Small whole numbers, so that every order of summing gives the same product.</summary>
    static float[] Matrix(int size, int down, int across) =>
        [.. Enumerable.Range(0, size * size).Select(i => (float)((i / size * down + i % size * across) % 7 - 3))];

    static float[] Transposed(float[] matrix, int size) =>
        [.. Enumerable.Range(0, size * size).Select(i => matrix[i % size * size + i / size])];

    /// <summary>The image tower with all that its last block can give.</summary>
    sealed class WholeTower(ClipConfig c) : IProgram
    {
        public string Name => "vision_model";

        public IReadOnlyList<TensorSpec> Inputs => new ClipModel(c).Encoders[Modality.Image].Inputs;

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("image_embeds", Clip.EncodeImage(ops, c, inputs["pixel_values"], out _).Embeds)];
    }

    /// <summary>[B, n] x [n, n].</summary>
    sealed class Product(int size) : IProgram
    {
        public string Name => "product";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [new("x", ElementType.Float32, Dim.Dynamic("batch"), size)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("y", ops.Linear(inputs["x"], "product", size, size, bias: false))];
    }
}
