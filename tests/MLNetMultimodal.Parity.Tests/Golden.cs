using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Parity.Tests;

/// <summary>A case of inputs and expected outputs of a reference implementation. Cases lie under the folder that the environment
/// variable <c>MULTIMODAL_GOLDENS</c> names, or else beside the tests.</summary>
public sealed class Golden
{
    const string Input = "in.", Output = "out.";

    static readonly string Root = Environment.GetEnvironmentVariable("MULTIMODAL_GOLDENS") is { Length: > 0 } root
        ? root : Path.Combine(AppContext.BaseDirectory, "Goldens");

    readonly JsonElement _case;

    public Golden(string name)
    {
        Folder = Path.Combine(Root, name);
        _case = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "case.json"))).RootElement;
        Config = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(Folder, "config.json"))).RootElement;
        Safetensors io = Read("io.safetensors");
        Inputs = With(io, Input);
        Outputs = With(io, Output);
    }

    public string Folder { get; }

    public JsonElement Config { get; }

    public IReadOnlyDictionary<string, TensorData> Inputs { get; }

    public IReadOnlyDictionary<string, TensorData> Outputs { get; }

    public Safetensors Read(string file) => Safetensors.Parse(File.ReadAllBytes(Path.Combine(Folder, file)), file);

    static Dictionary<string, TensorData> With(Safetensors tensors, string prefix) => tensors
        .Where(t => t.Key.StartsWith(prefix, StringComparison.Ordinal)).ToDictionary(t => t.Key[prefix.Length..], t => t.Value);

    /// <summary>Fails where a value is farther from the expected one than the case allows.</summary>
    public void Compare(string name, TensorData got)
    {
        JsonElement tolerance = _case.GetProperty("tolerance");
        TensorData expected = Outputs[name];
        Assert.Equal(expected.Shape, got.Shape);
        Difference.Check(name, expected.ToSingles(), got.ToSingles(), tolerance.GetProperty("atol").GetDouble(), tolerance.GetProperty("rtol").GetDouble());
    }
}
