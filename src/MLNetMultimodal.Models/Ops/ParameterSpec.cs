namespace MLNetMultimodal.Models.Ops;

/// <summary>A weight that a program asks for.</summary>
/// <param name="Name">Name as in the checkpoint.</param>
/// <param name="Shape">Sizes; empty for a scalar.</param>
/// <param name="Init">What it starts from; never <see cref="InitKind.Default"/>.</param>
/// <param name="Decays">True for matrices and kernels, which weight decay applies to; false for biases, norms, embeddings of
/// positions and scalars.</param>
public sealed record ParameterSpec(string Name, IReadOnlyList<int> Shape, Init Init, bool Decays)
{
    /// <summary>Number of elements.</summary>
    public long Count => Shape.Aggregate(1L, (n, d) => n * d);

    /// <summary>For example <c>logit_scale []</c>.</summary>
    public override string ToString() => $"{Name} [{string.Join(", ", Shape)}]";
}
