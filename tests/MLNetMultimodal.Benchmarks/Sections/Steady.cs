using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Starter;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Long passes: what a row allocates, what a second core brings, and whether the hundred-thousandth row costs what the
/// first did.</summary>
static class Steady
{
    const string OneCore = "one core", TwoCores = "two cores";

    public static Dictionary<string, Func<string[], object>> Jobs { get; } = new()
    {
        ["steady-rate"] = arguments => new { rate = RateOf(arguments[0], arguments[1..]) },
    };

    public static void Measure(BenchmarkRun run)
    {
        string[] jpegs = Pictures.Jpegs(run, run.Size(512, 16));
        Allocations(run, jpegs);
        Cores(run, jpegs);
        Length(run);
    }

    /// <summary>The items over and over.</summary>
    static IEnumerable<string> Over(string[] items, int count) => Enumerable.Range(0, count).Select(i => items[i % items.Length]);

    static void Allocations(BenchmarkRun run, string[] jpegs)
    {
        var ml = new MLContext(seed: 1);
        int rows = run.Size(4_000, 100);
        using MultimodalTransformer images = Rows.Embedder(ml, new() { Model = StarterModel.Folder });
        using MultimodalTransformer texts = Rows.Embedder(ml, new() { Model = StarterModel.Folder, Text = nameof(TextRow.Text) });
        OfRows(run, "a picture of 640x480", images.Transform(Rows.Pictures(ml, Over(jpegs, rows))), rows);
        OfRows(run, "a text", texts.Transform(Rows.Texts(ml, Captions.Take(rows))), rows);
    }

    static void OfRows(BenchmarkRun run, string what, IDataView data, int rows)
    {
        int at = 0, first = rows / 4;
        (long Allocated, long Alive) start = default, end = default;
        Rows.ForEach(data, "Embedding", (in VBuffer<float> _) =>
        {
            at++;
            if (at == first) start = Memory();
            if (at == rows - 16) end = Memory(); // before the last batches go home
        });
        int counted = rows - 16 - first;
        double allocated = (end.Allocated - start.Allocated) / 1e3 / counted, alive = (end.Alive - start.Alive) / 1e3 / counted;
        run.Add(new($"the starter, {what}: allocated a row", Quantity.Of(allocated, "kB")));
        run.Add(new($"the starter, {what}: still alive a row, after a collection", Quantity.Of(alive, "kB")));
    }

    static (long, long) Memory()
    {
        long allocated = GC.GetTotalAllocatedBytes(precise: true);
        return (allocated, GC.GetTotalMemory(forceFullCollection: true));
    }

    static void Cores(BenchmarkRun run, string[] jpegs)
    {
        if (!OperatingSystem.IsLinux() || Environment.ProcessorCount < 2)
        {
            run.Note("One core against two is measured on Linux with two cores or more.");
            return;
        }
        string folder = ModelFolders.SmallClip(run);
        double OnCores(int cores) =>
            ChildProcess.Run("steady-rate", [folder, .. jpegs], cores).Answer.GetProperty("rate").GetDouble();
        Alternation rates = Alternation.Run(run, 5, 60, "pictures/s",
            new(OneCore, () => OnCores(1)), new(TwoCores, () => OnCores(2)));
        run.Add(rates.Compare("12 layers, width 192, 64x64, pictures of 640x480: two cores", TwoCores, OneCore));
    }

    static double RateOf(string folder, string[] pictures)
    {
        var ml = new MLContext(seed: 1);
        using MultimodalTransformer embed = Rows.Embedder(ml, new() { Model = folder });
        Rows.Read(embed.Transform(Rows.Pictures(ml, pictures.Take(16))));
        return Alternation.Rate(pictures.Length, () => Rows.Read(embed.Transform(Rows.Pictures(ml, pictures))));
    }

    static void Length(BenchmarkRun run)
    {
        string[] pictures = Pictures.Real();
        var ml = new MLContext(seed: 1);
        using MultimodalTransformer embed = Rows.Embedder(ml, new() { Model = ModelFolders.TinyClip(run) });
        int few = run.Size(1_000, 50), many = run.Size(100_000, 500);
        int Pass(int count)
        {
            int seen = 0;
            Rows.ForEach(embed.Transform(Rows.Pictures(ml, Over(pictures, count))), "Embedding", (in VBuffer<float> _) => seen++);
            return seen == count ? seen : throw new BenchmarkException($"{seen} rows of {count} came.");
        }
        Pass(few);
        string shortPass = $"{few:n0} rows", longPass = $"{many:n0} rows";
        Alternation rates = Alternation.Run(run, 3, 120, "rows/s",
            new(shortPass, () => Alternation.Rate(10 * few, () => Enumerable.Range(0, 10).Sum(_ => Pass(few)))),
            new(longPass, () => Alternation.Rate(many, () => Pass(many))));
        run.Add(rates.Compare($"a tiny CLIP, pictures of 28x28: a pass of {longPass}", longPass, shortPass, Bound.AtLeast(0.9)));
        run.Note("Cost is linear where a long pass has the rate of a short one; 0.9 stands for linear here.");
    }
}
