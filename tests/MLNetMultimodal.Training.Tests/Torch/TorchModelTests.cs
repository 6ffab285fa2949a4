using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Training.Tests;

public sealed class TorchModelTests
{
    /// <summary>Standard errors that a mean or a standard deviation of many draws may be off by.</summary>
    const double Sigmas = 5;

    static readonly IProgram s_tiny = new ClipModel(ClipConfig.Tiny).Full;

    static IReadOnlyDictionary<string, TensorData> Weights(int seed)
    {
        using TorchModel model = TorchModel.Create(s_tiny, seed);
        return model.ToWeights();
    }

    [Fact]
    public void One_seed_gives_one_model()
    {
        var (first, second, other) = (Weights(1), Weights(1), Weights(2));
        Assert.All(first, w => Assert.Equal(w.Value.Bytes.ToArray(), second[w.Key].Bytes.ToArray()));
        Assert.Contains(first, w => !w.Value.Bytes.Span.SequenceEqual(other[w.Key].Bytes.Span));
    }

    [Fact]
    public void Weights_are_drawn_from_their_distributions()
    {
        using TorchModel model = TorchModel.Create(new ClipModel(ClipConfig.Small32(600)).Full, seed: 3);
        foreach (ParameterSpec spec in model.Specs)
        {
            float[] values = model.Parameters[spec.Name].ToSingles();
            Assert.Equal(spec.Count, values.Length);
            if (spec.Init.Kind == InitKind.Constant)
            {
                Assert.All(values, v => Assert.Equal(spec.Init.Value, v));
                continue;
            }
            double mean = values.Average(v => (double)v), std = Math.Sqrt(values.Average(v => (double)v * v)), n = values.Length;
            Assert.True(Math.Abs(mean) < Sigmas * spec.Init.Value / Math.Sqrt(n), $"{spec}: mean {mean:g3}");
            Assert.True(Math.Abs(std / spec.Init.Value - 1) < Sigmas / Math.Sqrt(2 * n), $"{spec}: standard deviation {std:g3} instead of {spec.Init.Value:g3}");
        }
    }

    [Fact]
    public void Loaded_weights_are_the_stored_ones()
    {
        var stored = Weights(4);
        using TorchModel model = TorchModel.Load(s_tiny, stored);
        Assert.All(model.ToWeights(), w => Assert.Equal(stored[w.Key].Bytes.ToArray(), w.Value.Bytes.ToArray()));
        Assert.All(model.Parameters.Values, p => Assert.True(p.requires_grad && p.is_leaf));
    }

    [Fact]
    public void An_encoder_takes_its_part_of_a_model()
    {
        var stored = Weights(4);
        using TorchModel model = TorchModel.Load(new ClipModel(ClipConfig.Tiny).Encoders[Modality.Text], stored);
        Assert.All(model.Parameters.Keys, name => Assert.StartsWith("text_", name));
        Assert.All(model.ToWeights(), w => Assert.Equal(stored[w.Key].Bytes.ToArray(), w.Value.Bytes.ToArray()));
    }

    [Fact]
    public void Weights_that_do_not_fit_are_all_named()
    {
        var weights = new Dictionary<string, TensorData>(Weights(5));
        weights.Remove("logit_scale");
        weights.Remove("visual_projection.weight");
        weights["text_projection.weight"] = TensorData.From([1f, 2f], 2);
        var e = Assert.Throws<InvalidDataException>(() => TorchModel.Load(s_tiny, weights));
        Assert.All(["logit_scale", "visual_projection.weight", "text_projection.weight", "[2]"], name => Assert.Contains(name, e.Message));
    }

    [Fact]
    public void Positions_may_start_from_their_places_in_the_grid()
    {
        AlbefConfig config = AlbefConfig.Small48(300);
        using TorchModel model = TorchModel.Create(new AlbefModel(config).Full, seed: 1);
        float[] positions = model.Parameters["visual_encoder.embeddings.position_embedding.weight"].ToSingles();
        const int width = 128, quarter = width / 4, side = 48 / 8;
        Assert.All(positions.Take(width), v => Assert.Equal(0, v)); // the class token
        foreach (var (row, column, i) in new[] { (0, 0, 0), (2, 5, 0), (5, 1, 7), (3, 4, quarter - 1) })
        {
            double frequency = Math.Pow(100, -(double)i / quarter);
            int at = (1 + row * side + column) * width + i;
            Assert.Equal(Math.Sin(column * frequency), positions[at], 1e-6);
            Assert.Equal(Math.Cos(column * frequency), positions[at + quarter], 1e-6);
            Assert.Equal(Math.Sin(row * frequency), positions[at + 2 * quarter], 1e-6);
            Assert.Equal(Math.Cos(row * frequency), positions[at + 3 * quarter], 1e-6);
        }
    }
}
