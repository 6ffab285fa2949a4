using System.Text.Json;
using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Which operators the time of a session goes to, by ONNX Runtime's own profiler.</summary>
static class Profile
{
    const int TextLength = 16, WarmUp = 2; // tokens of a short caption
    const double LeastShare = 2;           // percent; smaller ones are summed

    public static void Measure(BenchmarkRun run)
    {
        string large = ModelFolders.ViTB32(run), small = ModelFolders.SmallClip(run);
        Encoder(run, "ViT-B/32, fp32", large, Modality.Image, OnnxDtype.Fp32, batch: 8);
        Encoder(run, "ViT-B/32, int8", large, Modality.Image, OnnxDtype.Int8, batch: 8);
        Encoder(run, "12 layers, width 192, 64x64, fp32", small, Modality.Image, OnnxDtype.Fp32, batch: 8);
        Encoder(run, "12 layers, width 192, 64x64, int8", small, Modality.Image, OnnxDtype.Int8, batch: 8);
        Encoder(run, $"CLIP's text tower, {TextLength} tokens, fp32", large, Modality.Text, OnnxDtype.Fp32, batch: 1);
        Encoder(run, $"CLIP's text tower, {TextLength} tokens, fp32", large, Modality.Text, OnnxDtype.Fp32, batch: 16);
        run.Note("Sessions alone, one thread, the graphs that MultimodalModel runs, one text in the mode Latency, the others in Throughput, after "
            + "ONNX Runtime's own fusions. Shares are of the time of a run, "
            + "profiling included; in brackets stands how often an operator runs. GFLOP/s are those of the whole run.");
    }

    static void Encoder(BenchmarkRun run, string name, string folder, Modality modality, OnnxDtype dtype, int batch)
    {
        using MultimodalModel model = MultimodalModel.Load(folder);
        IProgram program = model.Definition.Encoders[modality];
        bool isText = modality == Modality.Text, alone = isText && batch == 1;
        if (!alone && program is ICausalTextProgram text) program = text.SharingPrefixes;
        string prefix = Path.Combine(Directory.CreateTempSubdirectory("mlnet-multimodal-profile-").FullName, "profile");
        try
        {
            using SessionOptions options = new() { IntraOpNumThreads = 1, ProfileOutputPathPrefix = prefix, EnableProfiling = true }; // in this order
            OnnxModel graph = OnnxRecorder.RecordFastest(program, model.Weights, dtype, maps: false, fusesAttention: alone);
            using var session = new InferenceSession(graph.Proto.ToByteArray(), options);
            int runs = run.Size(12, 1);
            OrtValue[] inputs = [.. program.Inputs.Select(spec => Input(spec, batch))];
            using var runOptions = new RunOptions();
            for (int i = 0; i < WarmUp + runs; i++)
                session.Run(runOptions, session.InputNames, inputs, [graph.Outputs[0].Name]).Dispose();
            foreach (OrtValue input in inputs) input.Dispose();
            Add(run, $"{name}, batch {batch}", batch, isText ? null : ModelSummary.Of(program).Flops / 1e9, session.EndProfiling());
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(prefix)!, recursive: true);
        }
    }

    static OrtValue Input(TensorSpec spec, int batch)
    {
        bool isPlace = spec.Name is ICausalTextProgram.FirstInput or ICausalTextProgram.OfInput; // no two texts begin alike
        long[] shape = spec.Name == ICausalTextProgram.FirstInput ? [batch * TextLength]
            : [batch, .. spec.Shape[1..].Select(d => d.IsKnown ? d.Size : (long)TextLength)];
        IEnumerable<int> each = Enumerable.Range(0, (int)shape.Aggregate((a, b) => a * b));
        var random = new Random(1);
        return spec.Type == ElementType.Int64
            ? OrtValue.CreateTensorValueFromMemory(each.Select(i => isPlace ? i : (long)random.Next(1000)).ToArray(), shape)
            : OrtValue.CreateTensorValueFromMemory(each.Select(_ => random.NextSingle() * 4 - 2).ToArray(), shape);
    }

    /// <summary>An event of the profile: a run of the model, or of one of its nodes.</summary>
    readonly record struct Event(string Operator, double Start, double Microseconds);

    static void Add(BenchmarkRun run, string name, int batch, double? flops, string file)
    {
        JsonElement[] all = [.. JsonSerializer.Deserialize<JsonElement>(File.ReadAllText(file)).EnumerateArray()];
        Event[] runs = [.. Events(all, e => e.GetProperty("name").GetString() == "model_run", _ => "").Skip(WarmUp)];
        Event[] nodes = [.. Events(all, e => e.GetProperty("name").GetString()!.EndsWith("_kernel_time", StringComparison.Ordinal),
            e => e.GetProperty("args").GetProperty("op_name").GetString()!).Where(e => e.Start >= runs[0].Start)];
        double[] milliseconds = [.. runs.Select(r => r.Microseconds / 1e3 / batch)];
        double total = runs.Sum(r => r.Microseconds), rest = 100;
        run.Add(new(name, Quantity.Of(milliseconds, "ms an item")));
        if (flops is not null) run.Add(new($"{name}: {flops:n2} GFLOP an item", Quantity.Of([.. milliseconds.Select(m => flops.Value / m * 1e3)], "GFLOP/s")));
        foreach (var group in nodes.GroupBy(n => n.Operator).OrderByDescending(g => g.Sum(n => n.Microseconds)))
        {
            double share = 100 * group.Sum(n => n.Microseconds) / total;
            if (share < LeastShare) continue;
            rest -= share;
            run.Add(new($"{name}: {group.Key} ({group.Count() / runs.Length})", Quantity.Of(share, "%")));
        }
        run.Add(new($"{name}: other operators, and between them", Quantity.Of(rest, "%")));
    }

    static IEnumerable<Event> Events(JsonElement[] all, Func<JsonElement, bool> isWanted, Func<JsonElement, string> name) => all.Where(isWanted)
        .Select(e => new Event(name(e), e.GetProperty("ts").GetDouble(), e.GetProperty("dur").GetDouble())).OrderBy(e => e.Start);
}
