using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Losses of masked modelling: what was hidden is to be told from what was not.</summary>
public static class MaskedLoss
{
    /// <summary>The label of a place where nothing is to be predicted.</summary>
    public const long Ignored = -100;

    /// <summary>Masked language modelling (Devlin et al. 2019, arXiv:1810.04805, section 3.1): cross entropy of the tokens that were
    /// hidden.</summary>
    /// <param name="logits">[.., V].</param>
    /// <param name="labels">Int64 [..]: the token of a hidden place, <see cref="Ignored"/> elsewhere.</param>
    /// <param name="labelSmoothing">Share of the probability that is wanted evenly for all tokens, 0 to below 1.</param>
    /// <returns>A scalar, the mean over hidden places; 0 where there are none.</returns>
    public static Tensor Tokens(Tensor logits, Tensor labels, double labelSmoothing = 0)
    {
        if (labelSmoothing is not (>= 0 and < 1))
            throw new ArgumentOutOfRangeException(nameof(labelSmoothing), labelSmoothing, "must be at least 0 and below 1.");
        using DisposeScope scope = NewDisposeScope();
        Tensor hidden = labels.With(Ignored, (l, ignored) => l.ne(ignored)).flatten().nonzero().squeeze(1); // [M]
        Tensor chosen = F.log_softmax(logits.reshape(-1, logits.shape[^1]).index_select(0, hidden), 1); // [M, V]
        Tensor right = chosen.gather(1, labels.flatten().index_select(0, hidden).unsqueeze(1)).sum();
        Tensor each = right.Times(1 - labelSmoothing).Plus(chosen.sum().Times(labelSmoothing / logits.shape[^1]));
        return (-each).Over(Math.Max(1, hidden.shape[0])).MoveToOuterDisposeScope();
    }

    /// <summary>Masked image modelling (BEiT: Bao et al. 2022, arXiv:2106.08254, section 2.3): cross entropy of the visual tokens of
    /// the patches that were hidden.</summary>
    /// <param name="logits">[B, N, V].</param>
    /// <param name="codes">Int64 [B, N]: the visual token of every patch.</param>
    /// <param name="masked">Bool [B, N]: true for a hidden patch.</param>
    /// <returns>A scalar, the mean over hidden patches; 0 where there are none.</returns>
    public static Tensor Codes(Tensor logits, Tensor codes, Tensor masked)
    {
        using DisposeScope scope = NewDisposeScope();
        return Tokens(logits, where(masked, codes, codes.With(Ignored, (c, ignored) => full_like(c, ignored)))).MoveToOuterDisposeScope();
    }

    /// <summary>Share of hidden places whose largest logit is the right one.</summary>
    /// <param name="logits">[.., V].</param>
    /// <param name="labels">Int64 [..].</param>
    /// <param name="masked">Bool [..]: true for a hidden place.</param>
    /// <returns>0 to 1; not a number where nothing was hidden.</returns>
    public static double Accuracy(Tensor logits, Tensor labels, Tensor masked)
    {
        using DisposeScope scope = NewDisposeScope();
        return (double)Right(logits, labels, masked) / masked.sum().item<long>();
    }

    /// <summary>Hidden places whose largest logit is the right one.</summary>
    internal static long Right(Tensor logits, Tensor labels, Tensor masked)
    {
        using DisposeScope scope = NewDisposeScope();
        return logits.argmax(-1).eq(labels).logical_and(masked).sum().item<long>();
    }

    /// <summary>The masked autoencoder's loss (He et al. 2022, arXiv:2111.06377, section 3): mean squared error of the pixels of the
    /// patches that were hidden.</summary>
    /// <param name="predicted">[B, N, P * P * C], channels last, as <see cref="MLNetMultimodal.Models.Families.Mae.Decode"/> gives
    /// them.</param>
    /// <param name="pixels">[B, C, H, W], what the encoder saw a part of.</param>
    /// <param name="masked">Bool [B, N]: true for a hidden patch.</param>
    /// <param name="normalized">True: the pixels of each patch are wanted at mean 0 and variance 1.</param>
    /// <returns>A scalar, the mean over hidden patches; 0 where there are none.</returns>
    public static Tensor Pixels(Tensor predicted, Tensor pixels, Tensor masked, bool normalized)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor each = (predicted - Patches(pixels, predicted.shape[1], normalized)).Squared().mean([-1]); // [B, N]
        Tensor weights = masked.to(each.dtype);
        return ((each * weights).sum() / weights.sum().With(1, (sum, one) => sum.clamp_min(one))).MoveToOuterDisposeScope();
    }

    /// <summary>What <see cref="Pixels"/> wants of hidden patches, on average: one number, a scalar.</summary>
    internal static Tensor PixelMean(Tensor pixels, Tensor masked, bool normalized)
    {
        using DisposeScope scope = NewDisposeScope();
        return Patches(pixels, masked.shape[1], normalized).masked_select(masked.unsqueeze(-1)).mean().MoveToOuterDisposeScope();
    }

    /// <summary>[B, C, H, W] -> [B, N, P * P * C], channels last.</summary>
    static Tensor Patches(Tensor pixels, long patches, bool normalized)
    {
        long batch = pixels.shape[0], channels = pixels.shape[1], side = (long)Math.Round(Math.Sqrt(patches)), size = pixels.shape[2] / side;
        Tensor target = pixels.reshape(batch, channels, side, size, side, size).permute(0, 2, 4, 3, 5, 1).reshape(batch, patches, size * size * channels);
        if (!normalized) return target;
        Tensor mean = target.mean([-1], keepdim: true), variance = target.var(-1, unbiased: true, keepdim: true);
        return (target - mean) / variance.Plus(1e-6).sqrt();
    }
}
