using System.Diagnostics;
using System.Text.Json;
using Microsoft.ML;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Starter;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Time and memory of a new process up to its first embedding, the runtime's own start included.</summary>
static class Cold
{
    const string Text = "a photo of a bag", Fp32 = nameof(OnnxDtype.Fp32), NoCache = "";
    const float Tolerance = 1e-4f;

    /// <summary>What a child process does: a job's name and what it answers.</summary>
    public static Dictionary<string, Func<string[], object>> Jobs { get; } = new()
    {
        ["cold-model"] = arguments => FirstOf(arguments[0], arguments[1], arguments[2],
            new() { Dtype = Enum.Parse<OnnxDtype>(arguments[3]), GraphCacheFolder = arguments[4] }),
        ["cold-pipeline"] = arguments => FirstRow(arguments[0], arguments[1]),
    };

    public static void Measure(BenchmarkRun run)
    {
        string picture = Pictures.Real()[0];
        foreach (Start start in Starts(run, "the starter", StarterModel.Folder, picture, rounds: 5))
        {
            run.Add(new($"{start.Name}, time", start.Seconds, Wanted: Bound.NotAbove(2)));
            run.Add(new($"{start.Name}, peak memory", start.PeakMegabytes, Wanted: Bound.NotAbove(400)));
        }

        string folder = ModelFolders.ViTB32(run);
        double file = new FileInfo(Path.Combine(folder, "model.safetensors")).Length / 1e6;
        foreach (Start start in Starts(run, run.Quick ? "a tiny CLIP" : "CLIP ViT-B/32", folder, picture, rounds: 3))
        {
            Quantity peak = start.PeakMegabytes, weights = Quantity.Of(file, "MB");
            Quantity ratio = new(peak.Value / file, peak.Low / file, peak.High / file, "");
            run.Add(new($"{start.Name}, time", start.Seconds));
            run.Add(new($"{start.Name}, peak memory", peak, weights, "the weights' file", ratio, Bound.NotAbove(1.3)));
        }
        string clip = run.Quick ? "a tiny CLIP" : "CLIP ViT-B/32";
        Kept(run, $"{clip}, fp32", folder, picture, OnnxDtype.Fp32, rounds: 5);
        Kept(run, $"{clip}, int8", folder, picture, OnnxDtype.Int8, rounds: 5);
        run.Note("A process of its own for each number, from its start to its answer; files are in the system's cache. "
            + "Memory is the most that was resident, mapped weights included; of its own is what no file stands for at the end.");
        run.Note("Kept graphs: MULTIMODAL_GRAPH_CACHE names a folder.");
    }

    /// <summary>What a start cost.</summary>
    sealed record Cost(double Seconds, double PeakMegabytes, double OwnMegabytes);

    /// <summary>The same start with graphs that an earlier process has kept, and without.</summary>
    static void Kept(BenchmarkRun run, string name, string folder, string picture, OnnxDtype dtype, int rounds)
    {
        string cache = Directory.CreateTempSubdirectory("mlnet-multimodal-graphs-").FullName;
        (float[][] Embeds, Cost Cost) Start(string graphs)
        {
            (JsonElement answer, double seconds) =
                ChildProcess.Run("cold-model", [folder, picture, Text, dtype.ToString(), graphs]);
            double Megabytes(string name) => answer.GetProperty(name).GetInt64() / 1e6;
            return (answer.GetProperty("embeds").Deserialize<float[][]>()!, new(seconds, Megabytes("peak"), Megabytes("own")));
        }
        try
        {
            Cost first = Start(cache).Cost;
            Agreement.Require(run, $"{name}, embeddings from kept graphs and from new ones",
                Start(cache).Embeds, Start(NoCache).Embeds, Tolerance);
            List<Cost> kept = [], fresh = [];
            for (int round = 0; round < run.Size(rounds, 1); round++)
                foreach ((List<Cost> costs, string graphs) in new[] { (kept, cache), (fresh, NoCache) })
                {
                    costs.Add(Start(graphs).Cost);
                    run.Say($"round {round + 1}, {name}, {(costs == kept ? "kept" : "new")} graphs: {costs[^1]}");
                }
            void Compare(string what, string unit, Func<Cost, double> of) => run.Add(new(
                $"{name}, kept graphs: first picture and first text, {what}", Quantity.Of([.. kept.Select(of)], unit),
                Quantity.Of([.. fresh.Select(of)], unit), "new graphs",
                Quantity.Of([.. kept.Zip(fresh, (k, n) => of(k) / of(n))], "")));
            Compare("time", "s", c => c.Seconds);
            Compare("peak memory", "MB", c => c.PeakMegabytes);
            Compare("memory of its own", "MB", c => c.OwnMegabytes);
            run.Add(new($"{name}: a start that keeps them, time", Quantity.Of(first.Seconds, "s")));
            long bytes = Directory.EnumerateFiles(cache, "*", SearchOption.AllDirectories).Sum(file => new FileInfo(file).Length);
            run.Add(new($"{name}: kept graphs on disk", Quantity.Of(bytes / 1e6, "MB")));
            Warm(run, name, folder, dtype, cache);
        }
        finally
        {
            Directory.Delete(cache, recursive: true);
        }
    }

    /// <summary>How fast both run once they are open.</summary>
    static void Warm(BenchmarkRun run, string name, string folder, OnnxDtype dtype, string cache)
    {
        const string ours = "kept graphs", other = "new graphs";
        using MultimodalModel kept = MultimodalModel.Load(folder, new() { Dtype = dtype, GraphCacheFolder = cache });
        using MultimodalModel fresh = MultimodalModel.Load(folder, new() { Dtype = dtype, GraphCacheFolder = NoCache });
        string[] pictures = Pictures.Squares(run, kept.Images.Height, 16), texts = Captions.Take(run.Size(128, 16));
        void Compare(string what, string unit, string[] items, int batch, Func<MultimodalModel, string[], float[][]> embed)
        {
            Agreement.Require(run, $"{name}, {what}, from kept graphs and from new ones",
                embed(kept, items), embed(fresh, items), Tolerance);
            Contender Contender(string who, MultimodalModel model) => new(who, () => Alternation.Rate(items.Length, () =>
            {
                foreach (string[] part in items.Chunk(batch)) embed(model, part);
            }));
            Alternation rates = Alternation.Run(run, 15, 60, unit, Contender(ours, kept), Contender(other, fresh));
            run.Add(rates.Compare($"{name}, {what}, once open", ours, other));
        }
        Compare("pictures, batch 8", "pictures/s", pictures, 8, (model, items) => model.EmbedImages(items));
        Compare("texts, batch 1", "texts/s", texts, 1, (model, items) => model.EmbedTexts(items));
        Compare("texts, batch 16", "texts/s", texts, 16, (model, items) => model.EmbedTexts(items));
    }

    /// <summary>Starts of a process that all do the same.</summary>
    sealed record Start(string Name, Quantity Seconds, Quantity PeakMegabytes);

    static Start[] Starts(BenchmarkRun run, string name, string folder, string picture, int rounds)
    {
        (string Name, string Job, string[] Arguments)[] variants =
        [
            ($"{name}: first picture", "cold-model", [folder, picture, "", Fp32, NoCache]),
            ($"{name}: first text", "cold-model", [folder, "", Text, Fp32, NoCache]),
            ($"{name}: first picture and first text", "cold-model", [folder, picture, Text, Fp32, NoCache]),
            ($"{name}: first row of MultimodalEmbed", "cold-pipeline", [folder, picture]),
        ];
        using (MultimodalModel model = MultimodalModel.Load(folder))
        {
            float[][] here = [.. model.EmbedImages([picture]), .. model.EmbedTexts([Text])];
            JsonElement answer = ChildProcess.Run(variants[2].Job, variants[2].Arguments).Answer;
            float[][] there = answer.GetProperty("embeds").Deserialize<float[][]>()!;
            Agreement.Require(run, $"{name}, embeddings of the new process and of this one", there, here, Tolerance);
        }
        var found = variants.Select(_ => (Seconds: new List<double>(), Peaks: new List<double>())).ToArray();
        for (int round = 0; round < run.Size(rounds, 1); round++)
            for (int i = 0; i < variants.Length; i++)
            {
                (JsonElement answer, double seconds) = ChildProcess.Run(variants[i].Job, variants[i].Arguments);
                double peak = answer.GetProperty("peak").GetInt64() / 1e6;
                found[i].Seconds.Add(seconds);
                found[i].Peaks.Add(peak);
                run.Say($"round {round + 1}, {variants[i].Name}: {seconds:f2} s, {peak:f0} MB");
            }
        return [.. variants.Zip(found, (variant, numbers) =>
            new Start(variant.Name, Quantity.Of(numbers.Seconds, "s"), Quantity.Of(numbers.Peaks, "MB")))];
    }

    static object FirstOf(string folder, string picture, string text, InferenceOptions options)
    {
        using MultimodalModel model = MultimodalModel.Load(folder, options);
        float[][] images = picture.Length > 0 ? model.EmbedImages([picture]) : [];
        float[][] texts = text.Length > 0 ? model.EmbedTexts([text]) : [];
        return new { embeds = images.Concat(texts), peak = PeakBytes(), own = OwnBytes() };
    }

    static object FirstRow(string folder, string picture)
    {
        var ml = new MLContext(seed: 1);
        using MultimodalTransformer embed = Rows.Embedder(ml, new() { Model = folder });
        float[][] embeds = Rows.Read(embed.Transform(Rows.Pictures(ml, [picture])));
        return new { embeds, peak = PeakBytes() };
    }

    static long PeakBytes()
    {
        using Process self = Process.GetCurrentProcess();
        return self.PeakWorkingSet64;
    }

    /// <summary>Resident memory that no file stands for; on systems other than Linux all that is private.</summary>
    static long OwnBytes()
    {
        if (!OperatingSystem.IsLinux())
        {
            using Process self = Process.GetCurrentProcess();
            return self.PrivateMemorySize64;
        }
        string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("RssAnon:", StringComparison.Ordinal));
        return 1024 * long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2].Trim());
    }
}
