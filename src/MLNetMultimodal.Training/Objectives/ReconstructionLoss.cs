using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Losses of reproduced sounds, [B, T] each.</summary>
public static class ReconstructionLoss
{
    /// <summary>What of a signal's power per sample is too little to count: -70 dB of full scale.</summary>
    const double SilentPower = 1e-7;

    /// <summary>Negative signal-to-distortion ratio: the error of the waveform itself, phase and all, in proportion to each sound's
    /// own power. It is a bound of the scale-invariant ratio (Le Roux et al. 2019, arXiv:1811.02508, section 2), which it equals
    /// at the best scale; unlike that one it tells a sound from its opposite, so that a model cannot learn both. Power below
    /// -70 dB of full scale counts on both sides of the ratio, so that silence is neither rewarded nor punished.</summary>
    /// <param name="original">[B, T].</param>
    /// <param name="reproduced">[B, T].</param>
    /// <returns>A scalar in decibels, the mean over the batch.</returns>
    public static Tensor NegativeSdr(Tensor original, Tensor reproduced)
    {
        double silent = SilentPower * original.shape[1];
        Tensor sound = original.Squared().sum(1), lost = (reproduced - original).Squared().sum(1);      // [B]
        return (lost.Plus(silent) / sound.Plus(silent)).log10().mean().Times(10);
    }

    /// <summary>Mean absolute error of the waveform, in which loud sounds count more than soft ones.</summary>
    /// <param name="original">[B, T].</param>
    /// <param name="reproduced">[B, T].</param>
    /// <returns>A scalar.</returns>
    public static Tensor Absolute(Tensor original, Tensor reproduced) => (reproduced - original).abs().mean();

    /// <summary>Multi-resolution spectral loss (Yamamoto et al. 2020, arXiv:1910.11480, section 2.2): for each window the error of
    /// the magnitudes relative to their norm, and the mean absolute error of their logarithms. The phase does not count.</summary>
    /// <param name="original">[B, T].</param>
    /// <param name="reproduced">[B, T].</param>
    /// <param name="windows">Lengths of the Hann windows, in samples, each at most T; the hop is a quarter of it.</param>
    /// <returns>A scalar, the mean over the windows.</returns>
    public static Tensor Spectral(Tensor original, Tensor reproduced, IReadOnlyList<int> windows)
    {
        const float floor = 1e-3f; // magnitudes below it are noise
        Tensor sum = zeros(1, device: original.device);
        foreach (int length in windows)
        {
            using Tensor window = hann_window(length, device: original.device);
            Tensor x = Magnitudes(original), y = Magnitudes(reproduced);                                // [B, F, T']
            sum = sum.Plus((x - y).norm() / x.norm().Plus(floor)).Plus((x.Plus(floor).log() - y.Plus(floor).log()).abs().mean());

            Tensor Magnitudes(Tensor sound)
            {
                Tensor parts = view_as_real(stft(sound, length, length / 4, length, window, center: true, pad_mode: PaddingModes.Reflect, onesided: true, return_complex: true));
                return parts.Squared().sum(-1).Plus(1e-12).sqrt(); // smooth where there is nothing
            }
        }
        return sum.squeeze().Over(windows.Count);
    }
}
