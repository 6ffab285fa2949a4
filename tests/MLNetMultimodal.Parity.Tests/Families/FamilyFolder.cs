using System.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Parity.Tests.Families;

/// <summary>A model folder in memory: a config.json as the hub has it, and random weights under the names that the config asks
/// for, as large as those of trained models so that every part counts.</summary>
sealed class FamilyFolder
{
    public FamilyFolder(string config, Func<string, string>? rename = null, params ReadOnlySpan<(string Name, string Content)> more)
    {
        var files = new Dictionary<string, ReadOnlyMemory<byte>> { ["config.json"] = Encoding.UTF8.GetBytes(config) };
        foreach (var (name, content) in more) files[name] = Encoding.UTF8.GetBytes(content);
        Model = ModelFamilies.Create(ModelFiles.FromMemory("random", files));
        Weights = Draw(Model.Full);
        // Modules of sentence-transformers have files of their own.
        foreach (var group in Weights.GroupBy(w => w.Key.Split('.')[0] is var module && files.ContainsKey($"{module}/config.json") ? module : ""))
        {
            var stream = new MemoryStream();
            Safetensors.Write(stream, group.Select(w => KeyValuePair.Create(
                group.Key.Length > 0 ? w.Key[(group.Key.Length + 1)..] : rename is null ? w.Key : rename(w.Key), w.Value)));
            files[group.Key.Length > 0 ? $"{group.Key}/model.safetensors" : "model.safetensors"] = stream.ToArray();
        }
        Files = ModelFiles.FromMemory("random", files);
    }

    public IModelDefinition Model { get; }

    public ModelFiles Files { get; }

    /// <summary>Under the model's own names.</summary>
    public IReadOnlyDictionary<string, TensorData> Weights { get; }

    public Plain Oracle => new(Weights);

    /// <summary>Runs a program in an engine with the weights as they are read from the folder.</summary>
    public IReadOnlyDictionary<string, TensorData> Run(string engine, IProgram program, IReadOnlyDictionary<string, TensorData> inputs)
    {
        using ModelWeights stored = Files.OpenWeights();
        return Engines.Get(engine).Run(program, CheckpointWeights.For(Model, stored, "random"), inputs);
    }

    /// <summary>Random weights for a program.</summary>
    public static IReadOnlyDictionary<string, TensorData> Draw(IProgram program)
    {
        var random = new Random(7);
        return ModelSummary.Of(program).Parameters.ToDictionary(p => p.Name, p => Draw(p, random));
    }

    static TensorData Draw(ParameterSpec p, Random random)
    {
        double scale = p.Shape.Count >= 2 ? 1.5 / Math.Sqrt(p.Shape.Skip(1).Aggregate(1, (n, d) => n * d)) : 0.3;
        double center = p.Name.EndsWith("orm.weight", StringComparison.Ordinal) || p.Name.Contains("norm", StringComparison.OrdinalIgnoreCase)
            && p.Name.EndsWith("weight", StringComparison.Ordinal) || p.Name.EndsWith("lambda1", StringComparison.Ordinal) ? 1 : 0;
        if (p.Name.Contains("embeddings.word", StringComparison.Ordinal) || p.Name.Contains("position", StringComparison.Ordinal)) scale = 0.5;
        return TensorData.From(
            [.. Enumerable.Range(0, (int)p.Count).Select(_ => (float)(center + scale * (random.NextDouble() * 2 - 1) * Math.Sqrt(3)))],
            [.. p.Shape.Select(d => (long)d)]);
    }
}
