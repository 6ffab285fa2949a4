namespace MLNetMultimodal.Models.Checkpoints;

/// <summary>Models between two models.</summary>
public static class WeightInterpolation
{
    /// <summary>(1 - alpha) zeroShot + alpha fineTuned for every weight (WiSE-FT: Wortsman et al. 2022, arXiv:2109.01903, section
    /// 3): between the two, a model often keeps what the first knew and has most of what the second learned.</summary>
    /// <param name="zeroShot">Weights before fine-tuning.</param>
    /// <param name="fineTuned">Weights after it, of the same names and shapes.</param>
    /// <param name="alpha">0 gives the first, 1 the second, exactly; 0 to 1.</param>
    /// <returns>New F32 weights.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="alpha"/> is not from 0 to 1.</exception>
    /// <exception cref="InvalidDataException">The weights are not of one model: the message names one that differs.</exception>
    public static IReadOnlyDictionary<string, TensorData> Between(
        IReadOnlyDictionary<string, TensorData> zeroShot, IReadOnlyDictionary<string, TensorData> fineTuned, double alpha)
    {
        if (alpha is not (>= 0 and <= 1)) throw new ArgumentOutOfRangeException(nameof(alpha), alpha, "alpha must be from 0 to 1.");
        if (zeroShot.Keys.Concat(fineTuned.Keys).FirstOrDefault(n => !zeroShot.ContainsKey(n) || !fineTuned.ContainsKey(n)) is { } lonely)
            throw new InvalidDataException($"only one of the two models has the weight '{lonely}'.");
        return zeroShot.ToDictionary(w => w.Key, w =>
        {
            TensorData other = fineTuned[w.Key];
            if (!w.Value.Shape.SequenceEqual(other.Shape))
                throw new InvalidDataException($"'{w.Key}' is [{string.Join(", ", w.Value.Shape)}] in one and [{string.Join(", ", other.Shape)}] in the other model.");
            float[] from = w.Value.ToSingles(), to = other.ToSingles();
            for (int i = 0; i < from.Length; i++) from[i] = (float)((1 - alpha) * from[i] + alpha * to[i]);
            return TensorData.From(from, w.Value.Shape);
        }, StringComparer.Ordinal);
    }
}
