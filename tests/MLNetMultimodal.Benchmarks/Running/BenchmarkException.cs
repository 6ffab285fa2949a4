namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>A measurement that means nothing, because what is compared does not compute the same, or that cannot be made.</summary>
sealed class BenchmarkException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>A program that a section needs is not installed.</summary>
sealed class MissingProgramException(string message) : Exception(message);
