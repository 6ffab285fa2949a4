using System.Globalization;

namespace MLNetMultimodal.Models.Ops;

/// <summary>One dimension of a shape: a size known from the config, or a symbol (a batch, a length) that is known only when the
/// model runs.</summary>
public readonly record struct Dim
{
    readonly string? _symbol;

    Dim(string? symbol, int size) => (_symbol, Size) = (symbol, size);

    /// <summary>The size; for a symbol the size that is typical for it, which summaries count with.</summary>
    public int Size { get; }

    /// <summary>The symbol's name; null for a known size.</summary>
    public string? Symbol => _symbol;

    /// <summary>True for a size known from the config.</summary>
    public bool IsKnown => _symbol is null;

    /// <summary>A size that is known only when the model runs.</summary>
    /// <param name="name">For example <c>batch</c> or <c>sequence</c>.</param>
    /// <param name="typical">The size that summaries count with.</param>
    public static Dim Dynamic(string name, int typical = 1) => new(name, typical);

    /// <summary>A known size.</summary>
    public static implicit operator Dim(int size) => new(null, size);

    /// <summary>The product of two dimensions.</summary>
    public static Dim operator *(Dim a, Dim b) => (a.IsKnown, b.IsKnown) switch
    {
        (true, true) => a.Size * b.Size,
        (true, _) when a.Size == 1 => b,
        (_, true) when b.Size == 1 => a,
        _ => Dynamic($"{a}*{b}", a.Size * b.Size),
    };

    /// <summary>The sum of two dimensions.</summary>
    public static Dim operator +(Dim a, Dim b) => a.IsKnown && b.IsKnown ? a.Size + b.Size : Dynamic($"{a}+{b}", a.Size + b.Size);

    /// <summary>The size or the symbol.</summary>
    public override string ToString() => _symbol ?? Size.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Types of the elements that go into and out of a model.</summary>
public enum ElementType
{
    /// <summary>32-bit float.</summary>
    Float32,

    /// <summary>64-bit integer: token ids, indices.</summary>
    Int64,

    /// <summary>Boolean: masks.</summary>
    Bool,
}

/// <summary>An input of a model: name, type and shape.</summary>
/// <param name="Name">For example <c>pixel_values</c>.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Dimensions; the first is the batch.</param>
public sealed record TensorSpec(string Name, ElementType Type, params Dim[] Shape)
{
    /// <summary>For example <c>pixel_values Float32 [batch, 3, 224, 224]</c>.</summary>
    public override string ToString() => $"{Name} {Type} [{string.Join(", ", Shape)}]";
}
