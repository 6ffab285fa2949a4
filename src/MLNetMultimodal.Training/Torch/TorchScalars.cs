using System.Collections.Concurrent;
using TorchSharp;

namespace MLNetMultimodal.Training;

/// <summary>Numbers that operations of tensors take, held for the life of the process.</summary>
/// <remarks>TorchSharp makes a <see cref="Scalar"/> of a number and lets go of it before the native call that reads it is done. A garbage
/// collection at that moment, started by a thread that prepares data, finalizes it, and the call reads freed memory: "Expected false to be
/// true" from <c>c10::Scalar</c>, seen once in about a thousand steps. The numbers of a model's program are few and known, so they are
/// kept.</remarks>
static class TorchScalars
{
    static readonly ConcurrentDictionary<float, Scalar> s_held = new();
    static readonly ConcurrentDictionary<long, Scalar> s_heldIntegers = new();

    public static Scalar Of(float value) => s_held.GetOrAdd(value, v => v.ToScalar());

    public static Scalar Of(long value) => s_heldIntegers.GetOrAdd(value, v => v.ToScalar());
}
