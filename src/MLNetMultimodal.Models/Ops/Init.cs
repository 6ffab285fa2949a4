namespace MLNetMultimodal.Models.Ops;

/// <summary>How a weight is drawn when a model is trained from scratch.</summary>
public enum InitKind
{
    /// <summary>The operation's own rule: matrices normal with standard deviation 1/sqrt(fan-in), biases 0, norm scales 1,
    /// embeddings normal 0.02.</summary>
    Default,

    /// <summary>Normal around 0 with standard deviation <see cref="Init.Value"/>.</summary>
    Normal,

    /// <summary>The constant <see cref="Init.Value"/>.</summary>
    Constant,
}

/// <summary>The distribution that a weight starts from.</summary>
/// <param name="Kind">The rule.</param>
/// <param name="Value">Standard deviation or constant; unused by <see cref="InitKind.Default"/>.</param>
public readonly record struct Init(InitKind Kind, float Value)
{
    /// <summary>All zeros.</summary>
    public static Init Zeros => new(InitKind.Constant, 0);

    /// <summary>All ones.</summary>
    public static Init Ones => new(InitKind.Constant, 1);

    /// <summary>Normal around 0.</summary>
    /// <param name="std">Standard deviation, at least 0.</param>
    public static Init Normal(float std) => new(InitKind.Normal, std);

    /// <summary>Every element <paramref name="value"/>.</summary>
    public static Init Constant(float value) => new(InitKind.Constant, value);

    /// <summary>This rule, or <paramref name="other"/> where this is the default.</summary>
    public Init Or(Init other) => Kind == InitKind.Default ? other : this;
}
