using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Inference.Tests;

/// <summary>Low-rank adapters beside a folder's weights.</summary>
public sealed class AdapterTests
{
    const string Layer = "text_model.encoder.layers.1.self_attn.q_proj", Head = "visual_projection.weight";

    static readonly Dictionary<string, TensorData> Base = Tiny.Weights(Tiny.Clip);

    static LoraAdapter Adapter(string layer = Layer, int width = 16, bool replaces = true)
    {
        var random = new Random(7);
        var layers = new Dictionary<string, (TensorData, TensorData)>
        {
            [layer] = (TensorData.From(Tiny.Floats(random, 2 * width), 2, width), TensorData.From(Tiny.Floats(random, 16 * 2), 16, 2)),
        };
        TensorData head = Base[Head];
        var replaced = new Dictionary<string, TensorData> { [Head] = TensorData.From(Tiny.Floats(random, (int)head.Count), head.Shape) };
        return new(new() { Rank = 2, Alpha = 4 }, layers, "tiny", replaces ? replaced : null);
    }

    [Fact]
    public void An_adapter_gives_what_weights_give_that_it_is_merged_into()
    {
        var merged = new Dictionary<string, TensorData>(Base);
        (TensorData a, TensorData b) = Adapter().Layers[Layer];
        float[] w = Base[Layer + ".weight"].ToSingles(), left = b.ToSingles(), right = a.ToSingles();
        for (int o = 0; o < 16; o++)
            for (int i = 0; i < 16; i++) w[o * 16 + i] += 2 * (left[o * 2] * right[i] + left[o * 2 + 1] * right[16 + i]); // alpha / rank = 2
        merged[Layer + ".weight"] = TensorData.From(w, 16, 16);
        merged[Head] = Adapter().Replaced[Head];

        using MultimodalModel plain = Tiny.Load(), expected = Tiny.Load(Tiny.Files(weights: merged)), found = Tiny.Load(options: new() { Adapter = Adapter() });
        float[] text = found.EmbedTexts(["a cat"])[0], image = found.EmbedImages([Tiny.Picture(1)])[0];
        Difference.Small(expected.EmbedTexts(["a cat"])[0], text, 1e-6f);
        Difference.Small(expected.EmbedImages([Tiny.Picture(1)])[0], image, 1e-6f);
        Assert.True(Difference.Max(plain.EmbedTexts(["a cat"])[0], text) > 1e-4);
        Assert.True(Difference.Max(plain.EmbedImages([Tiny.Picture(1)])[0], image) > 1e-4);
    }

    [Fact]
    public void Layers_without_an_adapter_are_not_copied()
    {
        IReadOnlyDictionary<string, TensorData> merged = Adapter().Merge(Base);
        Assert.Equal([Layer + ".weight", Head], Base.Keys.Where(k => !ReferenceEquals(Base[k], merged[k])).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Weights_are_written_with_the_adapter_in_them()
    {
        using MultimodalModel found = Tiny.Load(options: new() { Adapter = Adapter() });
        using var stream = new MemoryStream();
        found.WriteWeights(stream);
        Dictionary<string, ReadOnlyMemory<byte>> files = Tiny.Files();
        files["model.safetensors"] = stream.ToArray();
        using MultimodalModel written = Tiny.Load(files);
        Assert.Equal(found.EmbedTexts(["a cat"]), written.EmbedTexts(["a cat"]));
    }

    [Fact]
    public void An_adapter_of_another_model_is_refused()
    {
        string missing = Assert.Throws<InvalidDataException>(() => Tiny.Load(options: new() { Adapter = Adapter("encoder.layer.0.query") })).Message;
        foreach (string part in new[] { "'tiny'", "encoder.layer.0.query.weight [16, 16]", "does not have" }) Assert.Contains(part, missing);
        string shape = Assert.Throws<InvalidDataException>(() => Tiny.Load(options: new() { Adapter = Adapter(width: 24) })).Message;
        Assert.Contains($"{Layer}.weight [16, 24], which is [16, 16]", shape);
    }
}
