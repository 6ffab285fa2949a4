using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Inference;

/// <summary>What makes embeddings of one sense. Thread-safe.</summary>
interface IEncoder
{
    /// <summary>One input to embeddings of length 1.</summary>
    /// <param name="input">Pixels or token ids, row-major.</param>
    /// <param name="shape">The input's sizes.</param>
    /// <param name="output">[B, E].</param>
    void Run<T>(ReadOnlyMemory<T> input, ReadOnlySpan<long> shape, Span<float> output) where T : unmanaged;

    /// <summary>Raw tensors in, raw tensors out.</summary>
    /// <param name="inputs">Tensors by name; others are left aside.</param>
    IReadOnlyDictionary<string, TensorData> Run(IReadOnlyDictionary<string, TensorData> inputs);
}
