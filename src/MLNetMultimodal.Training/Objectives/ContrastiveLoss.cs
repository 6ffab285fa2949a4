using F = TorchSharp.torch.nn.functional;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>How similarities of pictures and texts become a loss.</summary>
public enum ContrastiveObjective
{
    /// <summary>Each picture picks its own text among the batch, and each text its picture: CLIP's symmetric cross entropy
    /// (Radford et al. 2021, arXiv:2103.00020, figure 3). Equal captions in a batch count as wrong answers.</summary>
    InfoNce,

    /// <summary>The same, but every pair of the batch that belongs together counts as right, in equal shares
    /// (UniCL: Yang et al. 2022, arXiv:2204.03610, section 3). For class-labelled data, where captions repeat.</summary>
    MultiPositive,

    /// <summary>Each pair on its own: does it belong together or not (SigLIP: Zhai et al. 2023, arXiv:2303.15343, section
    /// 3.2).</summary>
    Sigmoid,
}

/// <summary>Contrastive losses on embeddings of length 1.</summary>
public static class ContrastiveLoss
{
    /// <summary>CLIP's loss: row i of one matches row i of the other.</summary>
    /// <param name="image">[B, E].</param>
    /// <param name="text">[B, E].</param>
    /// <param name="scale">Multiplies similarities; a scalar.</param>
    /// <returns>A scalar.</returns>
    public static Tensor InfoNce(Tensor image, Tensor text, Tensor scale)
    {
        Tensor logits = scale * image.matmul(text.t());                                                 // [B, B]
        Tensor own = TorchNumbers.Range(logits.shape[0], logits.device);
        return F.cross_entropy(logits, own).Plus(F.cross_entropy(logits.t(), own)).Over(2);
    }

    /// <summary>CLIP's loss with several right answers: cross entropy against the positives in equal shares, both ways.</summary>
    /// <param name="image">[B, E].</param>
    /// <param name="text">[B, E].</param>
    /// <param name="scale">Multiplies similarities; a scalar.</param>
    /// <param name="positive">[B, B], 1 where picture i and text j belong together, else 0; every row and column has a 1.</param>
    /// <returns>A scalar; equals <see cref="InfoNce"/> where only the diagonal is positive.</returns>
    public static Tensor MultiPositive(Tensor image, Tensor text, Tensor scale, Tensor positive)
    {
        Tensor logits = scale * image.matmul(text.t());                                                 // [B, B]
        return Rows(logits, positive).Plus(Rows(logits.t(), positive.t())).Over(2);
    }

    /// <summary>Cross entropy of each row against its right answers in equal shares; the mean over rows.</summary>
    /// <param name="logits">[n, m].</param>
    /// <param name="positive">[n, m], 1 for a right answer, else 0; every row has a 1.</param>
    internal static Tensor Rows(Tensor logits, Tensor positive) =>
        -(F.log_softmax(logits, 1) * positive / positive.sum(1, keepdim: true)).sum(1).mean();

    /// <summary>SigLIP's loss: the logistic loss of all pairs, divided by the number of rows.</summary>
    /// <param name="image">[B, E].</param>
    /// <param name="text">[B, E].</param>
    /// <param name="scale">Multiplies similarities; a scalar.</param>
    /// <param name="bias">Added to scaled similarities; a scalar, -10 at the start in the paper.</param>
    /// <param name="positive">[B, B], 1 where picture i and text j belong together, else 0.</param>
    /// <returns>A scalar.</returns>
    public static Tensor Sigmoid(Tensor image, Tensor text, Tensor scale, Tensor bias, Tensor positive)
    {
        Tensor logits = (scale * image.matmul(text.t())).Plus(bias);                                    // [B, B]
        return -F.logsigmoid(logits * positive.Times(2).Plus(-1)).sum().Over(logits.shape[0]);
    }

    /// <summary>Keeps the scale, whose logarithm is learnt, at most 100 (Radford et al. 2021, section 2.5).</summary>
    internal static void LimitScale(Tensor logScale) => logScale.With(Math.Log(100), (x, most) => x.clamp_(null, most));
}
