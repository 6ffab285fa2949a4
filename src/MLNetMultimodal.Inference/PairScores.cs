using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Inference;

/// <summary>What a model that looks at picture and text together says of B pairs.</summary>
/// <param name="LogOdds">[B], the logarithm of the odds that picture and text belong together; above 0 for rather yes.</param>
/// <param name="ImageEmbeds">[B, E], rows of length 1.</param>
/// <param name="TextEmbeds">[B, E], rows of length 1.</param>
/// <param name="Attention">[B, layers, L, 1 + N], where each token of the text looks: the picture's class token, then its patches row by
/// row; rows sum to 1. Null where it was not asked for.</param>
public sealed record PairScores(float[] LogOdds, float[] ImageEmbeds, float[] TextEmbeds, TensorData? Attention)
{
    /// <summary>The probability that pair <paramref name="index"/> belongs together, 0 to 1.</summary>
    public float Probability(int index) => 1 / (1 + MathF.Exp(-LogOdds[index]));

    internal static PairScores Of(IReadOnlyDictionary<string, TensorData> outputs)
    {
        float[] logits = outputs["itm_logits"].ToSingles(); // [B, 2]
        return new([.. Enumerable.Range(0, logits.Length / 2).Select(i => logits[2 * i + 1] - logits[2 * i])],
            outputs["image_embeds"].ToSingles(), outputs["text_embeds"].ToSingles(), outputs.GetValueOrDefault("cross_attentions"));
    }
}
