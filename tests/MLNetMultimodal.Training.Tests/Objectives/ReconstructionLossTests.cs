using System.Numerics;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Training.Native;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training.Tests;

public sealed class ReconstructionLossTests : IDisposable
{
    /// <summary>Float32 sums over hundreds of samples and a Fourier transform, against double precision; relative.</summary>
    const double Rounding = 1e-4;

    const int Batch = 3, Samples = 240;

    readonly DisposeScope _scope;

    public ReconstructionLossTests()
    {
        TorchNative.EnsureLoaded();
        _scope = NewDisposeScope();
    }

    public void Dispose() => _scope.Dispose();

    static float[] Sound(int seed, float offset = 0)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, Batch * Samples).Select(i => offset + 0.3f * MathF.Sin(i * 0.1f * (1 + i / Samples)) + 0.1f * (random.NextSingle() - 0.5f))];
    }

    static Tensor Of(float[] values) => tensor(values, [Batch, Samples]);

    static void Close(double expected, Tensor got) =>
        Assert.True(Math.Abs(expected - got.item<float>()) <= Rounding * Math.Max(1, Math.Abs(expected)), $"expected {expected}, got {got.item<float>()}");

    [Fact]
    public void The_signal_to_distortion_ratio_is_that_of_plain_loops()
    {
        float[] x = Sound(1), y = Sound(2, offset: 0.05f);
        double mean = Enumerable.Range(0, Batch).Average(b =>
        {
            double sound = 0, lost = 0;
            for (int i = b * Samples; i < (b + 1) * Samples; i++) (sound, lost) = (sound + x[i] * x[i], lost + (x[i] - y[i]) * (x[i] - y[i]));
            return 10 * Math.Log10(sound / lost);
        });
        Close(-mean, ReconstructionLoss.NegativeSdr(Of(x), Of(y)));
        Close(0, ReconstructionLoss.NegativeSdr(Of(x), zeros(Batch, Samples)));
        Close(10 * Math.Log10(4), ReconstructionLoss.NegativeSdr(Of(x), -Of(x))); // the opposite is worse than nothing
    }

    [Fact]
    public void At_the_best_scale_it_is_the_scale_invariant_ratio()
    {
        float[] x = [.. Enumerable.Range(0, Batch * Samples).Select(i => MathF.Sin(i * MathF.Tau / 24))]; // whole periods: no mean
        float[] y = [.. x.Select((v, i) => 0.5f * (v + 0.3f * MathF.Sin(i * MathF.Tau / 8)))];
        double best = SoundQuality.SiSdr(x.AsSpan(0, Samples), y.AsSpan(0, Samples));
        Close(-best, ReconstructionLoss.NegativeSdr(Of(x), Of(y) * 2));
        Assert.True(ReconstructionLoss.NegativeSdr(Of(x), Of(y)).item<float>() > -best + 1, "another scale must cost");
    }

    [Fact]
    public void The_signal_to_distortion_ratio_bears_silence()
    {
        Tensor silence = zeros(Batch, Samples), sound = Of(Sound(1)).requires_grad_();
        Close(0, ReconstructionLoss.NegativeSdr(silence, silence));
        Tensor loss = ReconstructionLoss.NegativeSdr(silence, sound);
        loss.backward();
        Assert.True(loss.item<float>() > 0 && sound.grad!.isfinite().all().item<bool>(), $"the loss of sound for silence is {loss.item<float>()}");
    }

    [Fact]
    public void The_absolute_error_is_that_of_plain_loops() =>
        Close(Sound(1).Zip(Sound(2)).Average(p => Math.Abs((double)p.First - p.Second)), ReconstructionLoss.Absolute(Of(Sound(1)), Of(Sound(2))));

    [Fact]
    public void The_spectral_loss_is_that_of_plain_loops()
    {
        int[] windows = [16, 64];
        float[] x = Sound(1), y = Sound(2);
        Close(windows.Average(w => Plain(x, y, w)), ReconstructionLoss.Spectral(Of(x), Of(y), windows));
        Close(0, ReconstructionLoss.Spectral(Of(x), Of(x), windows));
    }

    static double Plain(float[] x, float[] y, int window)
    {
        double[] a = [.. Enumerable.Range(0, Batch).SelectMany(b => Magnitudes(x.AsSpan(b * Samples, Samples), window))];
        double[] b = [.. Enumerable.Range(0, Batch).SelectMany(i => Magnitudes(y.AsSpan(i * Samples, Samples), window))];
        double distance = Math.Sqrt(a.Zip(b).Sum(p => (p.First - p.Second) * (p.First - p.Second)));
        return distance / (Math.Sqrt(a.Sum(v => v * v)) + 1e-3) + a.Zip(b).Average(p => Math.Abs(Math.Log(p.First + 1e-3) - Math.Log(p.Second + 1e-3)));
    }

    /// <summary>Windows centred on multiples of the hop, the sound mirrored at its ends.</summary>
    static double[] Magnitudes(ReadOnlySpan<float> sound, int window)
    {
        var result = new List<double>();
        for (int center = 0; center <= sound.Length; center += window / 4)
        {
            for (int k = 0; k <= window / 2; k++)
            {
                Complex sum = 0;
                for (int i = 0; i < window; i++)
                {
                    int at = Math.Abs(center - window / 2 + i);
                    if (at >= sound.Length) at = 2 * (sound.Length - 1) - at;
                    double weight = 0.5 - 0.5 * Math.Cos(2 * Math.PI * i / window);
                    sum += weight * sound[at] * Complex.Exp(new(0, -2 * Math.PI * k * i / window));
                }
                result.Add(sum.Magnitude);
            }
        }
        return [.. result];
    }

    [Fact]
    public void Gradients_reach_the_reproduction_through_every_loss()
    {
        Tensor x = Of(Sound(1));
        foreach (Func<Tensor, Tensor> loss in (Func<Tensor, Tensor>[])[
            y => ReconstructionLoss.NegativeSdr(x, y), y => ReconstructionLoss.Absolute(x, y), y => ReconstructionLoss.Spectral(x, y, [32])])
        {
            Tensor y = Of(Sound(2)).requires_grad_();
            loss(y).backward();
            Assert.True(y.grad!.isfinite().all().item<bool>() && y.grad!.abs().sum(1).min().item<float>() > 0, "a sound of the batch has no gradient");
        }
    }
}
