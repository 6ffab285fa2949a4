using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using MLNetMultimodal.Training.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training.Tests;

public sealed class TorchOpsTests : IDisposable
{
    const int Rows = 3, Patches = 16;

    /// <summary>bfloat16 keeps 8 bits of a number: 0.4 % for each product, over some ten layers of ClipConfig.Tiny whose errors
    /// partly cancel.</summary>
    const double BFloat16Error = 0.03;

    static readonly Dictionary<string, Parameter> s_noWeights = [];

    readonly IDisposable _scope;

    public TorchOpsTests()
    {
        TorchNative.EnsureLoaded();
        _scope = NewDisposeScope();
    }

    public void Dispose() => _scope.Dispose();

    // Token t of row b holds (b, t).
    static Tensor Tokens(int rows, int tokens) =>
        tensor([.. Enumerable.Range(0, rows * tokens).SelectMany(i => new float[] { i / tokens, i % tokens })], [rows, tokens, 2]);

    static Tensor Drop(double share, ulong seed, Tensor tokens, int prefix)
    {
        using var generator = new Generator(seed, CPU);
        return new TorchOps(s_noWeights, new() { PatchDropout = share, Generator = generator }).PatchDropout(tokens, prefix);
    }

    static Tensor Random(int seed, params long[] shape)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn(shape, generator: generator);
    }

    [Theory]
    [InlineData(0.5, 1, 8)]
    [InlineData(0.25, 1, 12)]
    [InlineData(0.75, 2, 4)]
    [InlineData(0.5, 0, 8)]
    [InlineData(0.999, 1, 1)]
    public void Patch_dropout_keeps_the_prefix_and_the_share_of_patches(double share, int prefix, int kept)
    {
        float[] got = Drop(share, 1, Tokens(Rows, prefix + Patches), prefix).ToSingles();
        Assert.Equal(Rows * (prefix + kept) * 2, got.Length);
        for (int row = 0; row < Rows; row++)
        {
            float[][] tokens = [.. got.Skip(row * (prefix + kept) * 2).Take((prefix + kept) * 2).Chunk(2)];
            Assert.All(tokens, t => Assert.Equal(row, t[0]));
            Assert.Equal(Enumerable.Range(0, prefix).Select(i => (float)i), tokens.Take(prefix).Select(t => t[1]));
            Assert.Equal(kept, tokens.Skip(prefix).Select(t => t[1]).Where(t => t >= prefix && t < prefix + Patches).Distinct().Count());
        }
    }

    [Fact]
    public void Patch_dropout_depends_on_its_generator_alone()
    {
        float[] first = Drop(0.5, 1, Tokens(Rows, 17), 1).ToSingles();
        random.manual_seed(99);
        Assert.Equal(first, Drop(0.5, 1, Tokens(Rows, 17), 1).ToSingles());
        Assert.NotEqual(first, Drop(0.5, 2, Tokens(Rows, 17), 1).ToSingles());
    }

    [Fact]
    public void Patch_dropout_keeps_each_patch_equally_often()
    {
        const int rows = 4000;
        const double fiveSigma = 5 * 0.5; // of a count of coin flips, for each root of their number
        float[] got = Drop(0.5, 3, Tokens(rows, 17), 1).ToSingles();
        int[] counts = new int[17];
        for (int i = 1; i < got.Length; i += 2) counts[(int)got[i]]++;
        Assert.Equal(rows, counts[0]);
        Assert.All(counts[1..], c => Assert.True(Math.Abs(c - rows / 2) < fiveSigma * Math.Sqrt(rows), $"kept {c} of {rows} times"));
    }

    [Fact]
    public void Without_patch_dropout_all_tokens_stay()
    {
        Tensor tokens = Tokens(Rows, 17);
        Assert.Equal(tokens.ToSingles(), new TorchOps(s_noWeights).PatchDropout(tokens, 1).ToSingles());
    }

    [Fact]
    public void Patch_dropout_without_a_generator_is_refused()
    {
        var e = Assert.Throws<ArgumentException>(() => new TorchOps(s_noWeights, new() { PatchDropout = 0.5 }));
        Assert.Contains("Generator", e.Message);
    }

    [Theory]
    [InlineData(Modality.Image)]
    [InlineData(Modality.Text)]
    public void In_bfloat16_embeddings_are_close_to_those_of_float32(Modality modality)
    {
        var clip = new ClipModel(ClipConfig.Tiny);
        using TorchModel model = TorchModel.Create(clip.Full, seed: 1);
        IProgram program = clip.Encoders[modality];
        Tensor input = modality == Modality.Image ? Random(2, 5, 3, 8, 8) : tensor(new long[] { 48, 3, 7, 49, 48, 5, 49, 49, 48, 7, 3, 49 }, [3, 4]);
        var inputs = new Dictionary<string, Tensor> { [program.Inputs[0].Name] = input };
        Tensor full = program.Run(new TorchOps(model.Parameters), inputs)[0].Value;
        Tensor half = program.Run(new TorchOps(model.Parameters, new() { BFloat16 = true }), inputs)[0].Value;
        Assert.Equal(ScalarType.Float32, half.dtype);
        Assert.NotEqual(full.ToSingles(), half.ToSingles());
        Difference.Check("embeddings", full.ToSingles(), half.ToSingles(), BFloat16Error);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void Attention_in_bfloat16_has_the_masks_of_float32(bool causal, bool hidesAll)
    {
        Tensor q = Random(4, 2, 2, 5, 4), k = Random(5, 2, 2, 5, 4), v = Random(6, 2, 2, 5, 4);
        Tensor keep = tensor([true, true, true, false, false, !hidesAll, !hidesAll, false, false, false], [2, 5]);
        Tensor full = new TorchOps(s_noWeights).Attention(q, k, v, new(keep, causal));
        Tensor half = new TorchOps(s_noWeights, new() { BFloat16 = true })
            .Attention(q.to(ScalarType.BFloat16), k.to(ScalarType.BFloat16), v.to(ScalarType.BFloat16), new(keep, causal));
        Difference.Check("attention", full.ToSingles(), half.ToSingles(), BFloat16Error);
    }
}
