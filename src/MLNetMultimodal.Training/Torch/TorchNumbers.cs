using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Operations of tensors with numbers, and sums of tensors, which scale the second one by a number of their own.</summary>
/// <remarks>TorchSharp makes a <see cref="Scalar"/> of a number and lets go of it before the native call that reads it is done. A garbage
/// collection at that moment, started by a thread that prepares data, finalizes it, and the call reads freed memory: "Expected false to be
/// true" from <c>c10::Scalar</c>, seen once in about a thousand steps. Here a number lives until torch is done with it. A test of the
/// architecture reads that nothing else in this project makes one.</remarks>
static class TorchNumbers
{
    public static Tensor Plus(this Tensor a, Tensor b)
    {
        using Scalar one = 1L.ToScalar();
        return a.add(b, one);
    }

    public static Tensor Plus(this Tensor a, long c)
    {
        using Scalar number = c.ToScalar(), one = 1L.ToScalar();
        return a.add(number, one);
    }

    public static Tensor Plus(this Tensor a, double c)
    {
        using Scalar number = c.ToScalar(), one = 1L.ToScalar();
        return a.add(number, one);
    }

    public static Tensor Times(this Tensor a, double c) => a.With(c, (x, number) => x.mul(number));

    public static Tensor Over(this Tensor a, double c) => a.With(c, (x, number) => x.div(number));

    public static Tensor Squared(this Tensor a) => a.With(2, (x, two) => x.pow(two));

    /// <summary>0 to count - 1, Int64.</summary>
    public static Tensor Range(long count, Device device)
    {
        using Scalar first = 0L.ToScalar(), end = count.ToScalar(), step = 1L.ToScalar();
        return arange(first, end, step, ScalarType.Int64, device);
    }

    /// <summary>An operation with a whole number.</summary>
    public static Tensor With(this Tensor x, long number, Func<Tensor, Scalar, Tensor> operation)
    {
        using Scalar held = number.ToScalar();
        return operation(x, held);
    }

    /// <inheritdoc cref="With(Tensor, long, Func{Tensor, Scalar, Tensor})"/>
    public static Tensor With(this Tensor x, double number, Func<Tensor, Scalar, Tensor> operation)
    {
        using Scalar held = number.ToScalar();
        return operation(x, held);
    }
}
