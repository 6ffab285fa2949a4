using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training.Tests;

public sealed class MatchingStepTests
{
    const int Rows = 6, Length = 6;

    static readonly ImageTextMatchingOptions s_options = new() { Image = "Image", Text = "Text", BatchSize = Rows, MaskShare = 0.4 };

    public MatchingStepTests()
    {
        TorchNative.EnsureLoaded();
        set_num_threads(1); // for tensors of this size threads cost more than they give
    }

    // Six pictures, four captions of which two rows share one each, and two hard negatives; padding at the end of odd texts.
    static MatchingBatch Batch(int seed = 1)
    {
        var random = new Random(seed);
        float[] pixels = [.. Enumerable.Range(0, Rows * 3 * 8 * 8).Select(_ => (float)(2 * random.NextDouble() - 1))];
        const int texts = 6;
        var ids = new long[texts * Length];
        for (int i = 0; i < ids.Length; i++) ids[i] = i % Length == Length - 1 && i / Length % 2 == 1 ? 0 : random.Next(1, 49);
        long[] caption = [0, 1, 2, 1, 3, 0];
        bool[] positive = [.. caption.SelectMany(c => Enumerable.Range(0, texts).Select(t => t == c))];
        return new(pixels, ids, Length, caption, caption, positive, seed);
    }

    static AlbefConfig Config(AlbefFusion fusion) => AlbefConfig.Tiny with { Fusion = fusion };

    static TorchModel Model(AlbefConfig config) => TorchModel.Create(new AlbefModel(config).Full, seed: 3);

    [Theory]
    [InlineData(AlbefFusion.CrossAttention, 0, false)]
    [InlineData(AlbefFusion.CrossAttention, 8, false)]
    [InlineData(AlbefFusion.CrossAttention, 0, true)]
    [InlineData(AlbefFusion.CoAttention, 0, false)]
    [InlineData(AlbefFusion.MergedAttention, 0, false)]
    [InlineData(AlbefFusion.Late, 0, false)]
    [InlineData(AlbefFusion.None, 0, false)]
    public void Every_weight_gets_a_gradient(AlbefFusion fusion, int queue, bool bfloat16)
    {
        using DisposeScope scope = NewDisposeScope();
        AlbefConfig config = Config(fusion);
        using TorchModel model = Model(config);
        using MomentumEncoder? momentum = queue == 0 ? null : new(config, model, new AlbefModel(config), queue, 0.9);
        MatchingLosses losses = new MatchingStep(s_options with { QueueSize = queue, BFloat16 = bfloat16 }, config, model, momentum).Backward(Batch());
        Assert.Equal(fusion != AlbefFusion.None, losses.Matching > 0);
        Assert.Equal(config.FusesTokens, losses.Masking > 0);
        Assert.Equal(losses.Contrast + losses.Matching + losses.Masking, losses.Total, 1e-4);
        foreach (var (name, weight) in model.Parameters)
        {
            float[] gradient = weight.grad?.ToSingles() ?? [];
            Assert.True(gradient.Length > 0, $"{name} has no gradient");
            Assert.All(gradient, v => Assert.True(float.IsFinite(v), name));
            // A softmax does not see what is added to all scores, and that is all that a bias of the keys does.
            if (!name.EndsWith("k_proj.bias", StringComparison.Ordinal) && !name.EndsWith("key.bias", StringComparison.Ordinal))
                Assert.True(gradient.Any(v => v != 0), $"the gradient of {name} is 0");
        }
    }

    [Fact]
    public void Wrong_pairs_are_never_right_ones_and_like_ones_come_more_often()
    {
        MatchingBatch batch = Batch();
        int texts = batch.Texts;
        var similarity = new float[Rows * texts];
        similarity[4] = 3; // picture 0 and the hard negative 4
        var random = new Random(1);
        int drawn = 0, alike = 0;
        for (int i = 0; i < 500; i++)
        {
            var (pictures, words) = MatchingStep.Pairs(similarity, batch, evenShare: 0, random);
            Assert.Equal(pictures.Length, words.Length);
            Assert.Equal(pictures.Length, pictures.Zip(words).Distinct().Count());
            for (int p = 0; p < pictures.Length; p++)
                Assert.Equal(p < Rows, batch.Positive[pictures[p] * texts + words[p]]);
            long own = words[Rows..][Array.IndexOf(pictures[Rows..], 0)];
            (drawn, alike) = (drawn + 1, alike + (own == 4 ? 1 : 0));
        }
        // e^3 against five texts, of which one is right: 20.1 / (20.1 + 4) = 0.834
        Assert.InRange(alike / (double)drawn, 0.78, 0.89);
    }

    [Fact]
    public void A_batch_in_which_all_is_right_has_no_wrong_pairs()
    {
        MatchingBatch batch = Batch() with { Positive = [.. Enumerable.Repeat(true, Rows * 6)] };
        Assert.Equal(Rows, MatchingStep.Pairs(new float[Rows * 6], batch, evenShare: 0, new Random(1)).Images.Length);
    }

    // The queue holds what the momentum encoder made, and a caption that comes again is right there too.
    [Fact]
    public void Rows_of_the_queue_are_wrong_answers_unless_their_caption_is_the_same()
    {
        using DisposeScope scope = NewDisposeScope();
        AlbefConfig config = Config(AlbefFusion.None);
        using TorchModel model = Model(config);
        using var momentum = new MomentumEncoder(config, model, new AlbefModel(config), queueSize: 4, keep: 1);
        var step = new MatchingStep(s_options with { QueueSize = 4 }, config, model, momentum);
        float alone = step.Backward(Batch()).Contrast;
        float same = step.Backward(Batch()).Contrast, other = step.Backward(Batch() with { Group = [9, 8, 7, 8, 6, 9] }).Contrast;
        Assert.Equal(4, momentum.State["queue.filled"][0].item<long>());
        Assert.True(other > alone, $"{other} with four wrong answers more is not above {alone}");
        Assert.True(same < other, $"{same} with four right answers is not below {other}");
    }

    [Fact]
    public void The_queue_forgets_its_oldest_rows()
    {
        using DisposeScope scope = NewDisposeScope();
        AlbefConfig config = Config(AlbefFusion.None);
        using TorchModel model = Model(config);
        using var momentum = new MomentumEncoder(config, model, new AlbefModel(config), queueSize: 5, keep: 1);
        Tensor Row(params long[] captions) => tensor([.. captions.SelectMany(c => Enumerable.Repeat((float)c, config.ProjectionWidth))], [captions.Length, config.ProjectionWidth]);
        momentum.Enqueue(Row(1, 2, 3), Row(1, 2, 3), tensor(new long[] { 1, 2, 3 }));
        momentum.Enqueue(Row(4, 5, 6), Row(4, 5, 6), tensor(new long[] { 4, 5, 6 }));
        Assert.Equal([6, 2, 3, 4, 5], momentum.State["queue.captions"].data<long>().ToArray());
        Assert.Equal([6, 2, 3, 4, 5], momentum.State["queue.images"].select(1, 0).ToSingles().Select(v => (long)v));
        Assert.Equal([5, 1], momentum.State["queue.filled"].data<long>().ToArray());
    }

    [Fact]
    public void The_momentum_encoder_follows_the_weights()
    {
        using DisposeScope scope = NewDisposeScope();
        AlbefConfig config = Config(AlbefFusion.None);
        using TorchModel model = Model(config);
        using var momentum = new MomentumEncoder(config, model, new AlbefModel(config), queueSize: 0, keep: 0.75);
        using (no_grad()) model.Parameters["logit_scale"].fill_(4);
        momentum.Follow();
        Assert.Equal(0.75 * config.LogitScaleInit + 0.25 * 4, momentum.State["momentum.logit_scale"].item<float>(), 1e-5);
    }

    [Fact]
    public void Distillation_takes_its_share_of_the_targets()
    {
        using DisposeScope scope = NewDisposeScope();
        AlbefConfig config = Config(AlbefFusion.None);
        using TorchModel model = Model(config);
        float Loss(double share)
        {
            using var momentum = new MomentumEncoder(config, model, new AlbefModel(config), queueSize: 0, keep: 0.9);
            return new MatchingStep(s_options with { Distillation = share }, config, model, momentum).Backward(Batch()).Contrast;
        }
        // The loss is linear in the targets, and with the teacher equal to the pupil its own part is the entropy, which is the smallest.
        float hard = Loss(0), half = Loss(0.5), most = Loss(0.99);
        Assert.Equal((hard - half) / 0.5, (hard - most) / 0.99, 1e-4);
        Assert.True(most < hard, $"{most} is not below {hard}");
    }

    [Fact]
    public void Steps_leave_no_tensor_behind()
    {
        AlbefConfig config = Config(AlbefFusion.CrossAttention);
        using TorchModel model = Model(config);
        using var momentum = new MomentumEncoder(config, model, new AlbefModel(config), 16, 0.9);
        var step = new MatchingStep(s_options with { QueueSize = 16, Distillation = 0.4 }, config, model, momentum);
        long after = 0;
        for (int i = 1; i <= 30; i++)
        {
            step.Backward(Batch(i));
            momentum.Follow();
            step.Right(Batch(i));
            if (i == 10) after = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        }
        Assert.Equal(after, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }
}
