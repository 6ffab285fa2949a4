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

    /// <summary>Sines and cosines of the place in a square grid, for positions [.., <see cref="Init.Value"/> + side * side, D]: the
    /// first rows are 0 (He et al. 2022, arXiv:2111.06377, appendix A.1).</summary>
    Grid,
}

/// <summary>The distribution that a weight starts from.</summary>
/// <param name="Kind">The rule.</param>
/// <param name="Value">Standard deviation, constant or rows; unused by <see cref="InitKind.Default"/>.</param>
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

    /// <summary>Sines and cosines of the place in a square grid: half of the numbers tell the column, half the row, each at
    /// wavelengths from 2 pi to almost 2 pi <paramref name="range"/>.</summary>
    /// <param name="prefix">Rows before the grid, which are 0.</param>
    /// <param name="range">The longest wavelength by the shortest; 10,000 in the paper. A small grid is told apart by more of the numbers
    /// where it is less.</param>
    public static Init Grid(int prefix, float range = 10_000) => new(InitKind.Grid, prefix) { Range = range };

    /// <summary>Of <see cref="InitKind.Grid"/>: the longest wavelength by the shortest.</summary>
    public float Range { get; init; }

    /// <summary>This rule, or <paramref name="other"/> where this is the default.</summary>
    public Init Or(Init other) => Kind == InitKind.Default ? other : this;
}
