using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training.Tests;

/// <summary>The golden case <c>losses</c>: values and gradients of the reference implementations.</summary>
static class LossGolden
{
    static readonly string s_folder = Path.Combine(AppContext.BaseDirectory, "Goldens", "losses");

    /// <summary>An input of the case.</summary>
    public static Tensor Input(string name)
    {
        using Safetensors io = Safetensors.Open(Path.Combine(s_folder, "io.safetensors"));
        return io["in." + name].ToTensor();
    }

    /// <summary>A value of the case's <c>scalars</c>.</summary>
    public static JsonElement Scalar(string name) => Json().GetProperty("scalars").GetProperty(name);

    /// <summary>Fails where a result is farther from the reference's than the case allows.</summary>
    public static void Compare(string name, Tensor got)
    {
        JsonElement tolerance = Json().GetProperty("tolerance");
        using Safetensors io = Safetensors.Open(Path.Combine(s_folder, "io.safetensors"));
        Assert.Equal(io["out." + name].Shape, got.shape);
        Difference.Check(name, io["out." + name].ToSingles(), got.ToSingles(), tolerance.GetProperty("atol").GetDouble(), tolerance.GetProperty("rtol").GetDouble());
    }

    static JsonElement Json() => JsonDocument.Parse(File.ReadAllBytes(Path.Combine(s_folder, "case.json"))).RootElement;
}
