using MLNetMultimodal.Training.Native;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;

namespace MLNetMultimodal.Training.Tests;

public sealed class ContrastiveLossTests : IDisposable
{
    /// <summary>Float32 sums over a batch of ten rows, relative to values of the order of 1, against double or another
    /// order.</summary>
    const double Rounding = 2e-6;

    static readonly int[] s_groups = [0, 1, 0, 2, 1, 0, 3, 3, 4, 5];

    readonly IDisposable _scope;

    public ContrastiveLossTests()
    {
        TorchNative.EnsureLoaded();
        _scope = NewDisposeScope();
    }

    public void Dispose() => _scope.Dispose();

    static Tensor Leaf(Tensor values) => values.detach().clone().requires_grad_();

    static Tensor Embeds(int rows, int seed)
    {
        var random = new Random(seed);
        float[] values = [.. Enumerable.Range(0, rows * 6).Select(_ => (float)(2 * random.NextDouble() - 1))];
        return F.normalize(tensor(values, [rows, 6]), 2, -1);
    }

    static Tensor Positive(int[] groups)
    {
        Tensor ids = tensor(groups);
        return ids.unsqueeze(0).eq(ids.unsqueeze(1)).to(ScalarType.Float32);
    }

    static Tensor Loss(ContrastiveObjective objective, Tensor image, Tensor text, Tensor scale, Tensor positive) => objective switch
    {
        ContrastiveObjective.InfoNce => ContrastiveLoss.InfoNce(image, text, scale),
        ContrastiveObjective.MultiPositive => ContrastiveLoss.MultiPositive(image, text, scale, positive),
        _ => ContrastiveLoss.Sigmoid(image, text, scale, tensor(-10f), positive),
    };

    static (Tensor Image, Tensor Text, Tensor Scale) Inputs(string name) => (
        Leaf(LossGolden.Input("image_features")), Leaf(LossGolden.Input("text_features")),
        Leaf(tensor(LossGolden.Scalar(name + ".logit_scale").GetSingle())));

    [Theory]
    [InlineData("clip", false)]
    [InlineData("clip_scale2", false)]
    [InlineData("clip", true)]
    [InlineData("clip_scale2", true)]
    public void Cross_entropy_and_its_gradients_are_those_of_the_reference(string name, bool multiPositive)
    {
        var (image, text, scale) = Inputs(name);
        Tensor loss = multiPositive ? ContrastiveLoss.MultiPositive(image, text, scale, eye(image.shape[0])) : ContrastiveLoss.InfoNce(image, text, scale);
        loss.backward();
        LossGolden.Compare($"{name}.loss", loss);
        LossGolden.Compare($"{name}.grad_image", image.grad!);
        LossGolden.Compare($"{name}.grad_text", text.grad!);
        LossGolden.Compare($"{name}.grad_logit_scale", scale.grad!);
    }

    [Fact]
    public void The_sigmoid_loss_and_its_gradients_are_those_of_the_reference()
    {
        var (image, text, scale) = Inputs("siglip");
        Tensor bias = Leaf(tensor(-10f));
        Tensor loss = ContrastiveLoss.Sigmoid(image, text, scale, bias, eye(image.shape[0]));
        loss.backward();
        LossGolden.Compare("siglip.loss", loss);
        LossGolden.Compare("siglip.grad_image", image.grad!);
        LossGolden.Compare("siglip.grad_text", text.grad!);
        LossGolden.Compare("siglip.grad_logit_scale", scale.grad!);
        LossGolden.Compare("siglip.grad_logit_bias", bias.grad!);
    }

    [Theory]
    [InlineData(1f)]
    [InlineData(14.3f)]
    [InlineData(100f)]
    public void Where_only_the_diagonal_is_positive_both_cross_entropies_are_equal(float scale)
    {
        Tensor image = Embeds(10, 1), text = Embeds(10, 2);
        float one = ContrastiveLoss.InfoNce(image, text, tensor(scale)).item<float>();
        float many = ContrastiveLoss.MultiPositive(image, text, tensor(scale), eye(10)).item<float>();
        Assert.True(Math.Abs(one - many) <= Rounding * Math.Max(1, one), $"{one} and {many} differ by {Math.Abs(one - many):g3}");
    }

    [Theory]
    [InlineData(1f)]
    [InlineData(14.3f)]
    [InlineData(100f)]
    public void Several_positives_share_the_cross_entropy_evenly(float scale)
    {
        Tensor image = Embeds(10, 3), text = Embeds(10, 4);
        double[,] logits = Logits(image, text, scale, bias: 0);
        double expected = 0;
        for (int i = 0; i < 10; i++)
        {
            double byImage = 0, byText = 0;
            for (int j = 0; j < 10; j++)
            {
                byImage += Math.Exp(logits[i, j]);
                byText += Math.Exp(logits[j, i]);
            }
            int[] positives = [.. Enumerable.Range(0, 10).Where(j => s_groups[j] == s_groups[i])];
            foreach (int j in positives)
                expected += (Math.Log(byImage) - logits[i, j] + Math.Log(byText) - logits[j, i]) / positives.Length / 20;
        }
        double got = ContrastiveLoss.MultiPositive(image, text, tensor(scale), Positive(s_groups)).item<float>();
        Assert.True(Math.Abs(got - expected) <= Rounding * Math.Max(1, expected), $"{got} instead of {expected}: {Math.Abs(got - expected):g3}");
    }

    [Fact]
    public void The_sigmoid_loss_judges_each_pair_on_its_own()
    {
        Tensor image = Embeds(10, 5), text = Embeds(10, 6);
        double[,] logits = Logits(image, text, 10, bias: -10);
        double expected = 0;
        for (int i = 0; i < 10; i++)
            for (int j = 0; j < 10; j++) expected += Math.Log(1 + Math.Exp(s_groups[i] == s_groups[j] ? -logits[i, j] : logits[i, j])) / 10;
        double got = ContrastiveLoss.Sigmoid(image, text, tensor(10f), tensor(-10f), Positive(s_groups)).item<float>();
        Assert.True(Math.Abs(got - expected) <= Rounding * expected, $"{got} instead of {expected}: {Math.Abs(got - expected):g3}");
    }

    static double[,] Logits(Tensor image, Tensor text, double scale, double bias)
    {
        float[] a = image.ToSingles(), b = text.ToSingles();
        var logits = new double[10, 10];
        for (int i = 0; i < 10; i++)
            for (int j = 0; j < 10; j++)
            {
                double dot = 0;
                for (int e = 0; e < 6; e++) dot += (double)a[6 * i + e] * b[6 * j + e];
                logits[i, j] = scale * dot + bias;
            }
        return logits;
    }

    [Theory]
    [InlineData(ContrastiveObjective.InfoNce)]
    [InlineData(ContrastiveObjective.MultiPositive)]
    [InlineData(ContrastiveObjective.Sigmoid)]
    public void The_order_of_the_rows_does_not_matter(ContrastiveObjective objective)
    {
        int[] rows = [.. Enumerable.Range(0, 10)];
        new Random(7).Shuffle(rows);
        Tensor order = tensor([.. rows.Select(r => (long)r)]), scale = tensor(14.3f);
        Tensor image = Leaf(Embeds(10, 8)), text = Leaf(Embeds(10, 9));
        Tensor loss = Loss(objective, image, text, scale, Positive(s_groups));
        loss.backward();
        Tensor movedImage = Leaf(image.index_select(0, order)), movedText = Leaf(text.index_select(0, order));
        Tensor moved = Loss(objective, movedImage, movedText, scale, Positive([.. rows.Select(r => s_groups[r])]));
        moved.backward();
        Difference.Check("loss", loss.ToSingles(), moved.ToSingles(), Rounding, Rounding);
        Difference.Check("image gradient", image.grad!.index_select(0, order).ToSingles(), movedImage.grad!.ToSingles(), Rounding);
        Difference.Check("text gradient", text.grad!.index_select(0, order).ToSingles(), movedText.grad!.ToSingles(), Rounding);
    }

    [Theory]
    [InlineData(ContrastiveObjective.InfoNce)]
    [InlineData(ContrastiveObjective.MultiPositive)]
    [InlineData(ContrastiveObjective.Sigmoid)]
    public void Pictures_and_texts_may_change_places(ContrastiveObjective objective)
    {
        Tensor image = Embeds(10, 10), text = Embeds(10, 11), positive = Positive(s_groups);
        float[] there = Loss(objective, image, text, tensor(5f), positive).ToSingles(), back = Loss(objective, text, image, tensor(5f), positive).ToSingles();
        Difference.Check("loss", there, back, Rounding, Rounding);
    }
}
