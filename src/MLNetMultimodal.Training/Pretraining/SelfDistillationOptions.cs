using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="SelfDistillationTrainer"/> does.</summary>
public sealed record SelfDistillationOptions : TrainingOptions
{
    /// <summary>Column of the pictures: an image, the path of one, or the bytes of an encoded one.</summary>
    public required string Image { get; init; }

    /// <summary>Folder that relative picture paths start from; null for the working folder.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>Folder in which decoded pictures at the model's size are kept, in place of memory, see
    /// <see cref="ContrastiveOptions.Cache"/>. Null, the default, keeps them in memory.</summary>
    public string? Cache { get; init; }

    /// <summary>A Vision Transformer or masked autoencoder whose encoder is gone on from: a folder, or one of the hub
    /// (<see cref="ModelFiles.FromFolder"/>); null, the default, starts from random weights.</summary>
    public string? Initialize { get; init; }

    /// <summary>Sizes of a model that starts from random weights. Default: <see cref="VitConfig.Small28"/>.</summary>
    public VitConfig Model { get; init; } = VitConfig.Small28;

    /// <summary>What the student predicts. Default <see cref="Data2VecLoss.Pictures"/>.</summary>
    public Data2VecLoss Objective { get; init; } = Data2VecLoss.Pictures;

    /// <summary>Share of a picture's patches that is hidden from the student, above 0 to 1. Default 0.6.</summary>
    public double MaskShare
    {
        get;
        init => field = value is > 0 and <= 1 ? value : throw Wrong(nameof(MaskShare), value, "above 0 and at most 1");
    } = 0.6;

    /// <summary>What the teacher keeps of itself in a step at first, 0 to below 1; the rest comes from the student. Default
    /// 0.99.</summary>
    public double TeacherDecay { get; init => field = Fraction(value, nameof(TeacherDecay)); } = 0.99;

    /// <summary>What it keeps at last, 0 to 1. Default 0.999.</summary>
    public double TeacherDecayEnd { get; init => field = Share(value, nameof(TeacherDecayEnd)); } = 0.999;

    /// <summary>Share of the steps in which it goes evenly from the one to the other, 0 to 1. Default 0.3.</summary>
    public double TeacherRampShare { get; init => field = Share(value, nameof(TeacherRampShare)); } = 0.3;

    /// <summary>How pictures are varied, for student and teacher alike. Default: not at all.</summary>
    public AugmentationOptions Augmentation { get; init; } = new();

    /// <summary>What the teacher keeps of itself after a step.</summary>
    internal double TeacherDecayAt(TrainingPosition at)
    {
        double ramp = TeacherRampShare * at.Steps;
        return at.Step >= ramp ? TeacherDecayEnd : TeacherDecay + (TeacherDecayEnd - TeacherDecay) * at.Step / ramp;
    }

    private protected override IReadOnlyCollection<string> NotDescribed => [nameof(Image), nameof(ImageFolder), nameof(Cache), nameof(Model)];
}
