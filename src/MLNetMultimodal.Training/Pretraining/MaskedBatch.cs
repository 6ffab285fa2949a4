using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Training;

/// <summary>Rows of which a model sees a part.</summary>
/// <param name="Inputs">What the program that is trained takes, by name.</param>
/// <param name="Whole">The same without anything hidden, for a teacher or as what is to be told.</param>
/// <param name="Masked">Bool [B, L]: true for a hidden place. Where each row is hidden in several ways, B is as many times that of
/// <paramref name="Whole"/>, the ways of a row beside each other, and so it is for what of <paramref name="Inputs"/> is not whole.</param>
/// <param name="Labels">Int64 [B, L]: what stands in a hidden place, <see cref="MaskedLoss.Ignored"/> elsewhere; null where the
/// input itself is to be told.</param>
sealed record MaskedBatch(
    IReadOnlyDictionary<string, TensorData> Inputs, IReadOnlyDictionary<string, TensorData> Whole, TensorData Masked, TensorData? Labels = null);

/// <summary>Rows of one sense in memory, from which masked batches are drawn: what is varied and hidden follows from seed, epoch and
/// row alone.</summary>
interface IMaskedRows : IDisposable
{
    /// <summary>The epoch of an evaluation: nothing is varied, and the same is hidden each time.</summary>
    const int Evaluation = -1;

    /// <summary>How many there are.</summary>
    int Count { get; }

    /// <summary>Makes a batch, on any thread, one at a time.</summary>
    /// <param name="rows">Which rows.</param>
    /// <param name="epoch">The pass over the data, from 0; or <see cref="Evaluation"/>.</param>
    MaskedBatch Make(ReadOnlyMemory<int> rows, int epoch);
}
