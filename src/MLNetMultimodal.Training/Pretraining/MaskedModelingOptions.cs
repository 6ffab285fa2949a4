using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="MaskedModelingTrainer"/> does.</summary>
public sealed record MaskedModelingOptions : TrainingOptions
{
    /// <summary>Column of the pictures: an image, the path of one, or the bytes of an encoded one.</summary>
    public required string Image { get; init; }

    /// <summary>Folder that relative picture paths start from; null for the working folder.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>Folder in which decoded pictures at the model's size are kept, in place of memory, see
    /// <see cref="ContrastiveOptions.Cache"/>. Null, the default, keeps them in memory.</summary>
    public string? Cache { get; init; }

    /// <summary>A masked autoencoder to go on from, with its decoder and preprocessing: a folder, or one of the hub
    /// (<see cref="ModelFiles.FromFolder"/>); null, the default, starts from random weights.</summary>
    public string? Initialize { get; init; }

    /// <summary>Sizes of a model that starts from random weights. Default: <see cref="MaeConfig.Small28"/>.</summary>
    public MaeConfig Model { get; init; } = MaeConfig.Small28;

    /// <summary>How pictures are varied. Default: not at all; the paper crops and mirrors only.</summary>
    public AugmentationOptions Augmentation { get; init; } = new();

    private protected override IReadOnlyCollection<string> NotDescribed => [nameof(Image), nameof(ImageFolder), nameof(Cache), nameof(Model)];
}
