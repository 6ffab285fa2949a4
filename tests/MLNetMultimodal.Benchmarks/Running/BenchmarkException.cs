namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>A measurement that cannot be made, or that means nothing because the two sides do not compute the same.</summary>
sealed class BenchmarkException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>A program that a section needs is not installed.</summary>
sealed class MissingProgramException(string message) : Exception(message);
