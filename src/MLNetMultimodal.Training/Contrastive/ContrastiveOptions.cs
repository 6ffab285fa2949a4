using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="ContrastiveTrainer"/> does.</summary>
public sealed record ContrastiveOptions : TrainingOptions
{
    /// <summary>Column of the pictures: an image, the path of one, or the bytes of an encoded one.</summary>
    public required string Image { get; init; }

    /// <summary>Column of the captions: a text, or a vector of texts that all describe the picture, of which each epoch takes
    /// one.</summary>
    public required string Text { get; init; }

    /// <summary>Column, text or key, that says which rows belong together: each caption of a group is right for each picture of
    /// it.
    /// Null, the default: rows with the same captions.</summary>
    public string? Group { get; init; }

    /// <summary>Texts that captions are put into, for <c>{}</c>; each epoch takes one for each row. Default: the caption
    /// alone.</summary>
    public IReadOnlyList<string> Templates
    {
        get;
        init => field = value.Count > 0 && value.All(t => t.Contains("{}", StringComparison.Ordinal)) ? value
            : throw new ArgumentException("Templates must be texts that contain {}, for example \"a photo of a {}.\".", nameof(value));
    } = ["{}"];

    /// <summary>Folder that relative picture paths start from; null for the working folder.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>Folder in which decoded pictures at the model's size are kept, in place of memory: for data that is larger than
    /// memory, and for runs to come, which find them there where pictures and preprocessing are the same. Augmentation comes after
    /// it. A file of 3 * H * W bytes a row is written. Null, the default, keeps them in memory.</summary>
    public string? Cache { get; init; }

    /// <summary>A model to start from, with its tokenizer and preprocessing: a folder, or one of the hub, <c>hub:owner/name</c>
    /// or <c>hub:owner/name@revision</c> (<see cref="ModelFiles.FromFolder"/>); null, the default, starts from random
    /// weights.</summary>
    public string? Initialize { get; init; }

    /// <summary>Which weights are trained: towers frozen, last layers, layer-wise rates, low-rank adapters. Default: all of
    /// them.</summary>
    public FineTuningOptions FineTuning { get; init; } = new();

    /// <summary>Makes the sizes of a model that starts from random weights, from the size of the vocabulary.
    /// Default: <see cref="ClipConfig.Small32"/>.</summary>
    public Func<int, ClipConfig> Model { get; init; } = vocabulary => ClipConfig.Small32(vocabulary);

    /// <summary>Largest vocabulary of the tokenizer that is trained on the captions when the model starts from random weights,
    /// at least <see cref="BpeTrainingOptions.MinVocabularySize"/>. Default 1,000.</summary>
    public int VocabularySize { get; init => field = AtLeast(value, BpeTrainingOptions.MinVocabularySize, nameof(VocabularySize)); } = 1000;

    /// <summary>How similarities become a loss. Default <see cref="ContrastiveObjective.MultiPositive"/>.</summary>
    public ContrastiveObjective Objective { get; init; } = ContrastiveObjective.MultiPositive;

    /// <summary>Rows that go through the model at once; smaller than <see cref="TrainingOptions.BatchSize"/> saves memory at the price of a
    /// second forward pass,
    /// with the same loss and gradients. Null, the default: all of the batch.</summary>
    public int? MicroBatchSize { get; init => field = value is { } v ? AtLeast(v, 1, nameof(MicroBatchSize)) : null; }

    /// <summary>Share of patches that a training step drops, 0 to below 1 (FLIP, arXiv:2212.00794). Default 0.</summary>
    public double PatchDropout { get; init => field = Fraction(value, nameof(PatchDropout)); }

    /// <summary>How pictures are varied. Default: not at all.</summary>
    public AugmentationOptions Augmentation { get; init; } = new();

    private protected override int MinBatchSize => 2; // a row is told from at least one other

    private protected override IReadOnlyCollection<string> NotDescribed =>
        [nameof(Image), nameof(Text), nameof(Group), nameof(ImageFolder), nameof(Cache), nameof(Model)];
}
