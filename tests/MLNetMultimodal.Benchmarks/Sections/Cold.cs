using System.Diagnostics;
using System.Text.Json;
using Microsoft.ML;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Starter;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Time and memory of a new process up to its first embedding, the runtime's own start included.</summary>
static class Cold
{
    const string Text = "a photo of a bag";
    const float Tolerance = 1e-4f;

    /// <summary>What a child process does: a job's name and what it answers.</summary>
    public static Dictionary<string, Func<string[], object>> Jobs { get; } = new()
    {
        ["cold-model"] = arguments => First(arguments[0], arguments[1], arguments[2]),
        ["cold-pipeline"] = arguments => FirstRow(arguments[0], arguments[1]),
    };

    public static void Measure(BenchmarkRun run)
    {
        string picture = Pictures.Real()[0];
        Model(run, "the starter", StarterModel.Folder, picture, rounds: 5, seconds: 2, (name, peak) => new($"{name}, peak memory", peak, Wanted: Bound.NotAbove(400)));
        string folder = ModelFolders.ViTB32(run);
        double file = new FileInfo(Path.Combine(folder, "model.safetensors")).Length / 1e6;
        Model(run, run.Quick ? "a tiny CLIP" : "CLIP ViT-B/32", folder, picture, rounds: 3, seconds: null, (name, peak) => new($"{name}, peak memory", peak,
            Quantity.Of(file, "MB"), "the weights' file", new(peak.Value / file, peak.Low / file, peak.High / file, ""), name.EndsWith("text", StringComparison.Ordinal) ? Bound.NotAbove(1.3) : null));
        run.Note("A process of its own for each number, from its start to its answer; files are in the system's cache. Memory is the most that was resident, mapped weights included.");
    }

    static void Model(BenchmarkRun run, string name, string folder, string picture, int rounds, double? seconds, Func<string, Quantity, Figure> memory)
    {
        (string Name, string Job, string[] Arguments)[] variants =
        [
            ($"{name}: first picture", "cold-model", [folder, picture, ""]), ($"{name}: first text", "cold-model", [folder, "", Text]),
            ($"{name}: first picture and first text", "cold-model", [folder, picture, Text]), ($"{name}: first row of MultimodalEmbed", "cold-pipeline", [folder, picture]),
        ];
        using (MultimodalModel model = MultimodalModel.Load(folder))
        {
            float[][] expected = [.. model.EmbedImages([picture]), .. model.EmbedTexts([Text])];
            Agreement.Require(run, $"{name}, embeddings of the new process and of this one", Embeds(ChildProcess.Run(variants[2].Job, variants[2].Arguments).Answer), expected, Tolerance);
        }
        var times = variants.ToDictionary(v => v.Name, _ => new List<double>());
        var peaks = variants.ToDictionary(v => v.Name, _ => new List<double>());
        for (int round = 0; round < run.Size(rounds, 1); round++)
            foreach (var (variant, job, arguments) in variants)
            {
                (JsonElement answer, double time) = ChildProcess.Run(job, arguments);
                times[variant].Add(time);
                peaks[variant].Add(answer.GetProperty("peak").GetInt64() / 1e6);
                run.Say($"round {round + 1}, {variant}: {time:f2} s, {peaks[variant][^1]:f0} MB");
            }
        foreach (var (variant, _, _) in variants)
        {
            run.Add(new($"{variant}, time", Quantity.Of(times[variant], "s"), Wanted: seconds is { } bound ? Bound.NotAbove(bound) : null));
            run.Add(memory(variant, Quantity.Of(peaks[variant], "MB")));
        }
    }

    static object First(string folder, string picture, string text)
    {
        using MultimodalModel model = MultimodalModel.Load(folder);
        var embeds = new List<float[]>();
        if (picture.Length > 0) embeds.AddRange(model.EmbedImages([picture]));
        if (text.Length > 0) embeds.AddRange(model.EmbedTexts([text]));
        return new { embeds, peak = PeakBytes() };
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

    static float[][] Embeds(JsonElement answer) => answer.GetProperty("embeds").Deserialize<float[][]>()!;
}
