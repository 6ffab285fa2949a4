using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="ImageTokenizerTrainer"/> does.</summary>
public sealed record ImageTokenizerOptions : TrainingOptions
{
    /// <summary>The column that the transformer adds, as <c>ImageTokens</c> does; default <c>Tokens</c>.</summary>
    public string Tokens { get; init; } = "Tokens";

    /// <summary>Column of the pictures: an image, the path of one, or the bytes of an encoded one.</summary>
    public required string Image { get; init; }

    /// <summary>Folder that relative picture paths start from; null for the working folder.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>Folder in which decoded pictures at the model's size are kept, in place of memory, see
    /// <see cref="ContrastiveOptions.Cache"/>. Null, the default, keeps them in memory.</summary>
    public string? Cache { get; init; }

    /// <summary>Sizes of a tokenizer that starts from random weights. Default: for pictures of 28 pixels, 49 tokens of 512
    /// codes.</summary>
    public VqTokenizerConfig Model { get; init; } = new();

    /// <summary>A tokenizer to go on from, in place of <see cref="Model"/>, with its preprocessing: a folder, or one of the hub
    /// (<see cref="ModelFiles.FromFolder"/>); null, the default, starts from random weights.</summary>
    public string? Initialize { get; init; }

    /// <summary>How pictures are varied. Default: not at all.</summary>
    public AugmentationOptions Augmentation { get; init; } = new();

    /// <summary>Weight of the commitment loss, which keeps the encoder near the codes' vectors (van den Oord et al. 2017,
    /// arXiv:1711.00937, equation 3), at least 0. Default 0.25, as there.</summary>
    public double CommitmentWeight { get; init => field = Weight(value, nameof(CommitmentWeight)); } = 0.25;

    /// <summary>Share of the steps in which a tokenizer from random weights is not quantised yet, so that its codes start from vectors
    /// that mean something; 0 to below 1. Default 0.1.</summary>
    public double UnquantizedShare { get; init => field = Fraction(value, nameof(UnquantizedShare)); } = 0.1;

    /// <summary>Decay of the moving averages that the codes' vectors are made of, 0 to below 1. Default 0.99. A high
    /// <see cref="TrainingOptions.EmaDecay"/> suits it badly in a short training: the averaged encoder is then far behind the
    /// codes.</summary>
    public double CodebookDecay { get; init => field = Fraction(value, nameof(CodebookDecay)); } = 0.99;

    /// <summary>A code that is used less than this share of an equal use of all codes begins anew at a vector of the batch; at least 0,
    /// and 0 never does that. Default 0.1.</summary>
    public double ExpireBelow { get; init => field = Weight(value, nameof(ExpireBelow)); } = 0.1;

    private protected override IReadOnlyCollection<string> NotDescribed => [nameof(Tokens), nameof(Image), nameof(ImageFolder), nameof(Cache), nameof(Model)];

    static double Weight(double value, string name) => value >= 0 && double.IsFinite(value) ? value : throw Wrong(name, value, "at least 0");
}
