using System.Runtime.CompilerServices;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Training;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Parity.Tests;

public sealed class ResidualQuantizerTests : IDisposable
{
    readonly DisposeScope _scope;

    public ResidualQuantizerTests()
    {
        RuntimeHelpers.RunModuleConstructor(typeof(ResidualQuantizer).Module.ModuleHandle); // torch is arranged before it is touched
        _scope = NewDisposeScope();
    }

    public void Dispose() => _scope.Dispose();

    static Tensor Of(TensorData data) => tensor(data.ToSingles(), [.. data.Shape]);

    static TensorData Data(Tensor x) => x.dtype == ScalarType.Int64
        ? TensorData.From(x.contiguous().data<long>().ToArray(), x.shape) : TensorData.From(x.detach().contiguous().data<float>().ToArray(), x.shape);

    static Tensor Latent(int seed, int batch = 4, int frames = 64)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return randn(batch, 8, frames, generator: generator);
    }

    static Tensor[] Tables(int seed, int codebooks = 2, int codes = 16)
    {
        using var generator = new Generator((ulong)seed, CPU);
        return [.. Enumerable.Range(0, codebooks).Select(_ => randn(codes, 8, generator: generator))];
    }

    [Theory, InlineData("encodec"), InlineData("encodec-stereo")]
    public void A_training_step_is_that_of_the_reference(string name)
    {
        var golden = new Golden(name);
        Safetensors weights = golden.Read("model.safetensors");
        Tensor[] tables = [.. Enumerable.Range(0, 4).Select(k => Of(weights[$"quantizer.layers.{k}.codebook.embed"]))];
        using var quantizer = new ResidualQuantizer(tables, new() { ExpireBelow = 0 });
        Tensor latent = Of(golden.Inputs["train_latent"]).requires_grad_();
        (Tensor quantized, Tensor codes, Tensor commitment) = quantizer.Train(latent);
        ((quantized * Of(golden.Inputs["train_weight"])).sum() + 10 * commitment).backward();
        Assert.Equal(golden.Outputs["train.codes"].ToInt64s(), Data(codes).ToInt64s());
        golden.Compare("train.quantized", Data(quantized));
        golden.Compare("train.penalty", Data(commitment));
        golden.Compare("train.latent_grad", Data(latent.grad!));
        for (int k = 0; k < tables.Length; k++)
        {
            golden.Compare($"train.layer{k}.cluster_size", Data(quantizer.Counts(k)));
            golden.Compare($"train.layer{k}.embed_avg", Data(quantizer.Sums(k)));
            golden.Compare($"train.layer{k}.embed", Data(tables[k]));
        }
    }

    [Fact]
    public void Codebooks_that_start_from_data_code_it_better_than_drawn_ones()
    {
        float Loss(bool fromData)
        {
            using var quantizer = new ResidualQuantizer(Tables(seed: 1));
            if (fromData) quantizer.Initialize(Latent(2));
            return quantizer.Train(Latent(2)).Commitment.item<float>();
        }
        float drawn = Loss(fromData: false), started = Loss(fromData: true);
        Assert.True(started < 0.7f * drawn, $"commitment {started:g4} from data, {drawn:g4} drawn");
    }

    [Fact]
    public void Codes_that_nobody_uses_begin_anew_at_vectors_of_the_batch()
    {
        Tensor[] far = [full([16, 8], 100f) + arange(16).unsqueeze(1)];
        using var quantizer = new ResidualQuantizer(far, new() { ExpireBelow = 1.9 });
        Tensor latent = Latent(3);
        for (int i = 0; i < 8; i++) quantizer.Train(latent); // counts fall from 2 by 1 % a step
        Assert.True(far[0].abs().max().item<float>() < 20, $"the farthest code is at {far[0].abs().max().item<float>():g4}");
    }

    [Fact]
    public void One_seed_gives_one_result()
    {
        float[] Run(int seed)
        {
            Tensor[] tables = Tables(seed: 1, codes: 64);
            using var quantizer = new ResidualQuantizer(tables, new() { Seed = seed, ExpireBelow = 2 });
            quantizer.Initialize(Latent(4));
            quantizer.Train(Latent(5));
            return Data(tables[1]).ToSingles();
        }
        Assert.Equal(Run(7), Run(7));
        Assert.NotEqual(Run(7), Run(8));
    }

    [Fact]
    public void No_tensor_is_left_alive()
    {
        using var quantizer = new ResidualQuantizer(Tables(seed: 1));
        void Step()
        {
            using DisposeScope step = NewDisposeScope();
            Tensor latent = Latent(6).requires_grad_();
            (Tensor quantized, _, Tensor commitment) = quantizer.Train(latent, codebooks: 1);
            (quantized.square().mean() + commitment).backward();
        }
        Step();
        long before = DisposeScopeManager.Statistics.ThreadTotalLiveCount;
        for (int i = 0; i < 5; i++) Step();
        Assert.Equal(before, DisposeScopeManager.Statistics.ThreadTotalLiveCount);
    }
}
