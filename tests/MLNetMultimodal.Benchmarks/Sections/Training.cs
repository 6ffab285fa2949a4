using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.ML;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Starter;
using MLNetMultimodal.Training;
using TorchSharp;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Pictures per second while the starter's model is trained, against the same model, batch and optimizer in
/// PyTorch.</summary>
static class Training
{
    const int Batch = 64;
    const float Tolerance = 1e-4f;
    const string Ours = "Trainers.Contrastive", OursBf16 = "Trainers.Contrastive, bf16";
    const string Theirs = "PyTorch", TheirsBf16 = "PyTorch, bf16 autocast";
    static readonly string[] Templates =
    [
        "a photo of a {}.", "a picture of a {}.", "an image of a {}.", "a small gray photo of a {}.", "a product photo of a {}.",
        "a {}.",
    ];

    public static void Measure(BenchmarkRun run)
    {
        int threads = Environment.ProcessorCount, warmUp = run.Size(5, 1);
        using Worker python = Programs.Python(run, "train_clip.py", threads, "torch", "numpy");
        TrainingRow[] pictures = [.. Pictures.Real().Select(path =>
            new TrainingRow { ImagePath = path, Caption = Path.GetFileName(Path.GetDirectoryName(path))! })];
        using (MultimodalModel model = MultimodalModel.Load(StarterModel.Folder))
            Prepare(run, python, Step.Of(model, pictures), threads);

        var shares = new List<double>();
        bool hasBf16 = Machine.MultipliesBFloat16;
        int Steps(bool bf16) => run.Size(bf16 && !hasBf16 ? 10 : 40, 2); // what is emulated takes many times as long
        double Fit(bool bf16)
        {
            TrainingRow[] rows = [.. Enumerable.Range(0, Batch * (warmUp + Steps(bf16))).Select(i => pictures[i % pictures.Length])];
            var ml = new MLContext(seed: 1);
            var pace = new Pace(warmUp);
            using MultimodalTransformer trained = ml.Multimodal.Trainers.Contrastive(new()
            {
                Image = nameof(TrainingRow.ImagePath),
                Text = nameof(TrainingRow.Caption),
                Group = nameof(TrainingRow.Caption),
                Templates = Templates,
                Initialize = StarterModel.Folder,
                Epochs = 1,
                BatchSize = Batch,
                BFloat16 = bf16,
                Augmentation = new() { HorizontalFlip = 0.5f },
                Progress = pace,
            }).Fit(ml.Data.LoadFromEnumerable(rows));
            if (!bf16) shares.Add(pace.EngineShare);
            return pace.StepsPerSecond * Batch;
        }

        double Train(bool bf16) =>
            python.Rate(Batch * Steps(bf16), new { op = "train", batch = Batch, warm_up = warmUp, steps = Steps(bf16), bf16 });
        Alternation rates = Alternation.Run(run, 5, 120, "pictures/s",
            new(Ours, () => Fit(bf16: false)), new(Theirs, () => Train(bf16: false)),
            new(OursBf16, () => Fit(bf16: true)), new(TheirsBf16, () => Train(bf16: true)));
        run.Add(rates.Compare("training in fp32", Ours, Theirs, Bound.AtLeast(1.3)));
        run.Add(rates.Compare("training in bf16, against our fp32", OursBf16, Ours, hasBf16 ? Bound.AtLeast(1.7) : null));
        run.Add(rates.Compare("training in bf16, against PyTorch's", OursBf16, TheirsBf16));
        if (hasBf16 || run.Quick) Products(run);
        if (!hasBf16) run.Note("This processor has no instructions for bf16: it is emulated, and nothing is wanted of it.");
        const string busy = "share of the time in which the engine does not wait for data, fp32";
        run.Add(new(busy, Quantity.Of(shares, ""), Wanted: Bound.AtLeast(0.9)));
        run.Note($"The starter's model (1.3 million weights, pictures of 32x32), batch {Batch}, {threads} threads, AdamW, "
            + "clipped gradients, moving average, half of the pictures mirrored.");
    }

    /// <summary>What bf16 can gain at most here: a product of matrices, which nothing of a step is faster than.</summary>
    static void Products(BenchmarkRun run)
    {
        const string bf16 = "libtorch, bf16", fp32 = "libtorch, fp32";
        int size = run.Size(2048, 128), repeats = run.Size(10, 1);
        Contender Of(string name, torch.ScalarType type) => new(name, () =>
        {
            using DisposeScope scope = torch.NewDisposeScope();
            torch.Tensor a = torch.ones(size, size, type), b = torch.ones(size, size, type);
            torch.matmul(a, b);
            return Alternation.Rate(2e-9 * size * size * size * repeats, () =>
            {
                for (int i = 0; i < repeats; i++) torch.matmul(a, b).Dispose();
            });
        });
        Alternation rates = Alternation.Run(run, 5, 30, "GFLOP/s", Of(bf16, torch.ScalarType.BFloat16), Of(fp32, torch.ScalarType.Float32));
        run.Add(rates.Compare($"[{size}, {size}] x [{size}, {size}] in bf16", bf16, fp32));
    }

    /// <summary>Gives PyTorch the weights and the rows, and checks that both compute the same loss and gradients.</summary>
    static void Prepare(BenchmarkRun run, Worker python, Step step, int threads)
    {
        Directory.CreateDirectory(run.Cache);
        string file = Path.Combine(run.Cache, $"{Guid.NewGuid():N}.f32");
        try
        {
            File.WriteAllBytes(file, MemoryMarshal.AsBytes(step.Pixels.AsSpan()).ToArray());
            python.Ask(new
            {
                op = "load",
                folder = StarterModel.Folder,
                pixels = file,
                size = step.Model.Images.Height,
                ids = step.Ids.Chunk(step.Length),
                groups = step.Groups,
                templates = Templates.Length,
                threads,
            });
        }
        finally
        {
            File.Delete(file);
        }
        JsonElement theirs = python.Ask(new { op = "check", caption = step.Captions });
        var (embeds, loss, norm) = step.Run(bf16: false);
        Agreement.Require(run, "embeddings of pictures, against PyTorch", embeds,
            theirs.GetProperty("embeds").Deserialize<float[][]>()!, Tolerance);
        Agreement.RequireNear(run, "loss, against PyTorch", loss, theirs.GetProperty("loss").GetDouble(), 1e-3);
        Agreement.RequireNear(run, "norm of the gradients, against PyTorch", norm, theirs.GetProperty("norm").GetDouble(), 1e-3);
        Agreement.RequireNear(run, "loss in bf16, against fp32", step.Run(bf16: true).Loss, loss, 0.05);
    }

    /// <summary>All pictures as one batch, each with its caption in the first template.</summary>
    /// <param name="Model">The model.</param>
    /// <param name="Pixels">[B, 3, H, W].</param>
    /// <param name="Ids">[U, L]: every label in every template.</param>
    /// <param name="Length">L.</param>
    /// <param name="Groups">[B], the picture's label.</param>
    /// <param name="Captions">[B], the picture's row of <paramref name="Ids"/>.</param>
    sealed record Step(MultimodalModel Model, float[] Pixels, long[] Ids, int Length, long[] Groups, long[] Captions)
    {
        public static Step Of(MultimodalModel model, TrainingRow[] pictures)
        {
            string[] labels = [.. pictures.Select(p => p.Caption).Distinct()];
            string[] texts = [.. labels.SelectMany(l => Templates.Select(t => t.Replace("{}", l, StringComparison.Ordinal)))];
            int length = texts.Max(t => model.Texts.Encode(t).Count);
            var ids = new long[texts.Length * length];
            model.Texts.EncodeBatch(texts, length, ids, []);
            float[] pixels = [.. Pictures.Pixels(model.Images, pictures.Select(p => p.ImagePath)).SelectMany(p => p)];
            long[] groups = [.. pictures.Select(p => (long)Array.IndexOf(labels, p.Caption))];
            return new(model, pixels, ids, length, groups, [.. groups.Select(g => g * Templates.Length)]);
        }

        /// <summary>Loss and gradients, as the trainer computes them.</summary>
        public (float[][] Embeds, double Loss, double GradientNorm) Run(bool bf16)
        {
            using DisposeScope scope = torch.NewDisposeScope();
            using var weights = Model.Files.OpenWeights();
            using TorchModel trained = TorchModel.Load(Model.Definition.Full, weights);
            var ops = new TorchOps(trained.Parameters, new() { BFloat16 = bf16 });
            torch.Tensor Embed(Modality modality, torch.Tensor input)
            {
                var program = Model.Definition.Encoders[modality];
                return program.Run(ops, new Dictionary<string, torch.Tensor> { [program.Inputs[0].Name] = input })[0].Item2;
            }

            int size = Model.Images.Height;
            torch.Tensor images = Embed(Modality.Image, torch.tensor(Pixels, [Groups.Length, 3, size, size]));
            torch.Tensor all = Embed(Modality.Text, torch.tensor(Ids, [Ids.Length / Length, Length]));
            torch.Tensor texts = all.index_select(0, torch.tensor(Captions));                           // [U, E] -> [B, E]
            torch.Tensor group = torch.tensor(Groups);
            torch.Tensor positive = group.unsqueeze(0).eq(group.unsqueeze(1)).to(torch.ScalarType.Float32);
            torch.Tensor loss = ContrastiveLoss.MultiPositive(images, texts, trained.Parameters["logit_scale"].exp(), positive);
            loss.backward();
            double norm = torch.nn.utils.clip_grad_norm_(trained.Parameters.Values, double.PositiveInfinity);
            return ([.. images.data<float>().ToArray().Chunk(Model.EmbeddingWidth)], loss.item<float>(), norm);
        }
    }

    sealed class TrainingRow
    {
        public string ImagePath { get; set; } = "";

        public string Caption { get; set; } = "";
    }

    /// <summary>The steps after the first few: how fast they went, and how much of their time the engine had to wait.</summary>
    sealed class Pace(int warmUp) : IProgress<TrainingStep>
    {
        TrainingStep? _first, _last;

        public void Report(TrainingStep step)
        {
            if (step.Step == warmUp) _first = step;
            _last = step;
        }

        TimeSpan Time => _last!.Elapsed - _first!.Elapsed;

        public double StepsPerSecond => (_last!.Step - _first!.Step) / Time.TotalSeconds;

        public double EngineShare => 1 - (_last!.DataWait - _first!.DataWait) / Time;
    }
}
