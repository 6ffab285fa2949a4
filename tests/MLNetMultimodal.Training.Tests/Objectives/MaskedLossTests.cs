using System.Text.Json;
using MLNetMultimodal.Training.Native;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training.Tests;

public sealed class MaskedLossTests : IDisposable
{
    readonly IDisposable _scope;

    public MaskedLossTests()
    {
        TorchNative.EnsureLoaded();
        _scope = NewDisposeScope();
    }

    public void Dispose() => _scope.Dispose();

    static Tensor Leaf(Tensor values) => values.detach().clone().requires_grad_();

    static Tensor Values(int seed, params long[] shape)
    {
        var random = new Random(seed);
        return tensor([.. Enumerable.Range(0, (int)shape.Aggregate((a, b) => a * b)).Select(_ => (float)(2 * random.NextDouble() - 1))], shape);
    }

    [Theory]
    [InlineData("mlm", 0)]
    [InlineData("mlm_label_smoothing", 0.1)]
    public void Cross_entropy_of_hidden_tokens_is_that_of_the_reference(string name, double labelSmoothing)
    {
        Tensor logits = Leaf(LossGolden.Input("mlm_logits"));
        Tensor loss = MaskedLoss.Tokens(logits, LossGolden.Input("mlm_labels"), labelSmoothing);
        loss.backward();
        LossGolden.Compare($"{name}.loss", loss);
        LossGolden.Compare($"{name}.grad_logits", logits.grad!);
    }

    [Fact]
    public void Cross_entropy_of_hidden_patches_is_that_of_the_reference()
    {
        Tensor logits = Leaf(LossGolden.Input("beit_logits")), codes = LossGolden.Input("beit_codes"), masked = LossGolden.Input("beit_mask");
        Tensor loss = MaskedLoss.Codes(logits, codes, masked);
        loss.backward();
        LossGolden.Compare("beit.loss", loss);
        LossGolden.Compare("beit.grad_logits", logits.grad!);
        LossGolden.Compare("beit.accuracy", tensor((float)MaskedLoss.Accuracy(logits, codes, masked)));
    }

    [Theory]
    [InlineData("audio")]
    [InlineData("audioset")]
    [InlineData("text")]
    [InlineData("vision")]
    [InlineData("smooth_l1_small_beta")]
    public void The_regression_of_data2vec_is_that_of_the_reference(string setting)
    {
        JsonElement s = LossGolden.Scalar("d2v").GetProperty(setting);
        bool Has(string flag) => s.TryGetProperty(flag, out JsonElement value) && value.GetBoolean();
        TargetNorm Norm(string place) =>
            Has("instance_norm_" + place) ? TargetNorm.Instance : Has("layer_norm_" + place) ? TargetNorm.Layer : TargetNorm.None;
        JsonElement scale = s.GetProperty("scale");
        var objective = new Data2VecLoss
        {
            TopLayers = LossGolden.Scalar("d2v.top_k").GetInt32(),
            Beta = s.GetProperty("beta").GetDouble(),
            Scale = scale.ValueKind == JsonValueKind.Number ? scale.GetDouble() : null,
            LayerNorm = Norm("target_layer"),
            AverageNorm = Norm("targets"),
        };
        Tensor student = Leaf(LossGolden.Input("d2v_student")), masked = LossGolden.Input("d2v_mask");
        Tensor target = objective.Target(LossGolden.Input("d2v_teacher_layers").unbind());
        var (sum, places) = objective.Loss(student, target, masked);
        sum.backward();
        LossGolden.Compare($"d2v_{setting}.target", target);
        LossGolden.Compare($"d2v_{setting}.loss_sum", sum);
        LossGolden.Compare($"d2v_{setting}.loss_mean", sum / places);
        LossGolden.Compare($"d2v_{setting}.grad_student", student.grad!);
    }

    [Theory]
    [InlineData("text")]
    [InlineData("vision")]
    [InlineData("audio")]
    public void The_presets_are_the_settings_of_the_reference(string setting)
    {
        JsonElement s = LossGolden.Scalar("d2v").GetProperty(setting);
        Data2VecLoss preset = setting switch { "text" => Data2VecLoss.Texts, "vision" => Data2VecLoss.Pictures, _ => Data2VecLoss.Sounds };
        Assert.Equal(s.GetProperty("beta").GetDouble(), preset.Beta);
        Assert.Equal(s.GetProperty("scale").ValueKind == JsonValueKind.Number ? s.GetProperty("scale").GetDouble() : null, preset.Scale);
        Assert.Equal(s.TryGetProperty("instance_norm_target_layer", out _) ? TargetNorm.Instance : TargetNorm.Layer, preset.LayerNorm);
        Assert.Equal(s.TryGetProperty("layer_norm_targets", out _) ? TargetNorm.Layer : TargetNorm.None, preset.AverageNorm);
    }

    [Fact]
    public void A_teacher_that_gives_one_vector_everywhere_is_a_target_over_features_only()
    {
        Tensor[] layers = [Values(30, 2, 1, 8).expand(2, 5, 8), Values(31, 2, 1, 8).expand(2, 5, 8)];
        Assert.True(Data2VecLoss.SparsePictures.Target(layers).abs().max().item<float>() < 1e-2, "only what differs between places is a target");
        Assert.True(Math.Abs(Data2VecLoss.Pictures.Target(layers).var(-1, unbiased: false).mean().item<float>() - 1) < 1e-3);
        Tensor[] varied = [Values(32, 2, 5, 8), Values(33, 2, 5, 8)];
        Assert.True(Math.Abs(Data2VecLoss.SparsePictures.Target(varied).var(-1, unbiased: false).mean().item<float>() - 1) < 1e-3);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Reconstruction_counts_the_pixels_of_hidden_patches_alone(bool normalized)
    {
        const int batch = 2, channels = 3, side = 2, size = 3, patches = side * side, numbers = size * size * channels;
        Tensor pixels = Values(1, batch, channels, side * size, side * size), predicted = Values(2, batch, patches, numbers);
        bool[] hidden = [true, false, false, true, false, false, true, false];
        float[] x = pixels.ToSingles(), y = predicted.ToSingles();
        double expected = 0;
        for (int b = 0; b < batch; b++)
            for (int p = 0; p < patches; p++)
            {
                if (!hidden[b * patches + p]) continue;
                var wanted = new List<double>(); // rows of the patch, its columns, channels last
                for (int i = 0; i < size; i++)
                    for (int j = 0; j < size; j++)
                        for (int c = 0; c < channels; c++)
                            wanted.Add(x[((b * channels + c) * side * size + p / side * size + i) * side * size + p % side * size + j]);
                double mean = wanted.Average(), deviation = Math.Sqrt(wanted.Sum(v => (v - mean) * (v - mean)) / (numbers - 1) + 1e-6);
                expected += wanted.Select((v, k) => Math.Pow((normalized ? (v - mean) / deviation : v) - y[(b * patches + p) * numbers + k], 2)).Average() / 3;
            }
        double got = MaskedLoss.Pixels(predicted, pixels, tensor(hidden, [batch, patches]), normalized).item<float>();
        Assert.True(Math.Abs(got - expected) < 1e-5 * expected, $"{got} instead of {expected}");
    }

    [Fact]
    public void What_was_not_hidden_has_no_gradient()
    {
        Tensor masked = tensor([true, false, true, false], [1, 4]);
        Tensor logits = Leaf(Values(3, 1, 4, 5)), pixels = Leaf(Values(4, 1, 4, 12)), students = Leaf(Values(5, 1, 4, 6));
        MaskedLoss.Codes(logits, tensor([0L, 1, 2, 3], [1, 4]), masked).backward();
        MaskedLoss.Pixels(pixels, Values(6, 1, 3, 4, 4), masked, normalized: true).backward();
        Data2VecLoss.Pictures.Loss(students, Values(7, 1, 4, 6), masked).Sum.backward();
        foreach (Tensor leaf in new[] { logits, pixels, students })
            for (int i = 0; i < 4; i++) Assert.Equal(i % 2 == 0, leaf.grad![0, i].abs().sum().item<float>() > 0);
    }

    [Fact]
    public void Where_nothing_was_hidden_the_losses_are_0()
    {
        Tensor none = zeros([2, 4], ScalarType.Bool), logits = Leaf(Values(8, 2, 4, 5)), pixels = Leaf(Values(9, 2, 4, 12)), student = Leaf(Values(10, 2, 4, 6));
        Tensor codes = MaskedLoss.Codes(logits, zeros([2, 4], ScalarType.Int64), none), painted = MaskedLoss.Pixels(pixels, Values(11, 2, 3, 4, 4), none, true);
        var (sum, places) = Data2VecLoss.Texts.Loss(student, Values(12, 2, 4, 6), none);
        Assert.Equal((0f, 0f, 0f, 0L), (codes.item<float>(), painted.item<float>(), sum.item<float>(), places));
        (codes + painted + sum).backward();
        foreach (Tensor leaf in new[] { logits, pixels, student }) Assert.Equal(0, leaf.grad!.abs().max().item<float>());
    }

    [Fact]
    public void Constant_pictures_and_layers_give_finite_losses()
    {
        Tensor all = ones([1, 4], ScalarType.Bool), pixels = Leaf(Values(13, 1, 4, 12));
        Tensor painted = MaskedLoss.Pixels(pixels, full([1, 3, 4, 4], 0.7f), all, normalized: true);
        painted.backward();
        Assert.True(float.IsFinite(painted.item<float>()) && pixels.grad!.isfinite().all().item<bool>());
        foreach (Data2VecLoss objective in new[] { Data2VecLoss.Pictures, Data2VecLoss.Texts, Data2VecLoss.Sounds })
        {
            Tensor target = objective.Target([full([1, 4, 6], 3f), full([1, 4, 6], -1f)]);
            Assert.Equal(0, target.abs().max().item<float>());
        }
    }
}
