using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Training;

/// <summary>Towers that stay as they are while a model is trained.</summary>
public enum FrozenTowers
{
    /// <summary>None: both are trained.</summary>
    None,

    /// <summary>The image encoder, its projection too: texts learn to match it (LiT: Zhai et al. 2022, arXiv:2111.07991).</summary>
    Image,

    /// <summary>The text encoder, its projection too.</summary>
    Text,

    /// <summary>The audio encoder, its projection too.</summary>
    Audio,

    /// <summary>All but the heads: what comes after the last block of each encoder.</summary>
    AllButHeads,
}

/// <summary>Which weights of a model are trained, and how fast. The logit scale always is, but for <see cref="Lora"/>, whose
/// published layout has no place for it.</summary>
public sealed record FineTuningOptions
{
    /// <summary>Towers that stay as they are. Default none.</summary>
    public FrozenTowers Frozen { get; init; }

    /// <summary>Blocks of each encoder that are trained, counted from the end, with what comes after them; null, the default, all
    /// and what comes before them. At least 0.</summary>
    public int? LastLayers
    {
        get;
        init => field = value is not < 0 ? value : throw new ArgumentOutOfRangeException(nameof(LastLayers), value, "LastLayers must be at least 0.");
    }

    /// <summary>What the learning rate is multiplied with from each block to the one before it (Clark et al. 2020,
    /// arXiv:2003.10555), above 0 to 1. Default 1: all learn at one rate.</summary>
    public double LayerDecay
    {
        get;
        init => field = value is > 0 and <= 1 ? value : throw new ArgumentOutOfRangeException(nameof(LayerDecay), value, "LayerDecay must be above 0 and at most 1.");
    } = 1;

    /// <summary>Low-rank adapters, which are trained instead of all else; null, the default, trains the weights
    /// themselves.</summary>
    public LoraConfig? Lora { get; init; }
}
