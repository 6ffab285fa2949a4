using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="ImageTextMatchingTrainer"/> does.</summary>
public sealed record ImageTextMatchingOptions : TrainingOptions
{
    /// <summary>Column of the pictures: an image, the path of one, or the bytes of an encoded one.</summary>
    public required string Image { get; init; }

    /// <summary>Column of the captions: a text, or a vector of texts that all describe the picture, of which each epoch takes
    /// one.</summary>
    public required string Text { get; init; }

    /// <summary>Column of hard negatives, a text or a vector of texts: captions that are wrong for the row's picture, such as its
    /// own with two words swapped. They are compared with every picture of the batch. Null, the default: the wrong texts of a
    /// picture are the captions of the other rows.</summary>
    public string? NegativeText { get; init; }

    /// <summary>Column, text or key: rows with equal values follow each other, and so come in one batch but where it ends between them;
    /// pictures and captions that differ in a detail are told from each other then. Null, the default: batches are drawn row by row.</summary>
    public string? Together { get; init; }

    /// <summary>Folder that relative picture paths start from; null for the working folder.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>Folder in which decoded pictures at the model's size are kept, in place of memory, as
    /// <see cref="ContrastiveOptions.Cache"/> says. Null, the default, keeps them in memory.</summary>
    public string? Cache { get; init; }

    /// <summary>A model to start from, with its tokenizer and preprocessing: a folder, or one of the hub, <c>hub:owner/name</c>
    /// or <c>hub:owner/name@revision</c> (<see cref="ModelFiles.FromFolder"/>); null, the default, starts from random
    /// weights.</summary>
    public string? Initialize { get; init; }

    /// <summary>Makes the sizes of a model that starts from random weights, from the size of the vocabulary. Default:
    /// <see cref="AlbefConfig.Small48"/>. <see cref="AlbefFusion.None"/> trains a dual encoder, on the same batches.</summary>
    public Func<int, AlbefConfig> Model { get; init; } = vocabulary => AlbefConfig.Small48(vocabulary);

    /// <summary>Largest vocabulary of the tokenizer that is trained on the captions when the model starts from random weights,
    /// at least <see cref="BpeTrainingOptions.MinVocabularySize"/>. Default 1,000.</summary>
    public int VocabularySize { get; init => field = AtLeast(value, BpeTrainingOptions.MinVocabularySize, nameof(VocabularySize)); } = 1000;

    /// <summary>What the contrast of embeddings counts in the loss, at least 0. Default 1.</summary>
    public double ContrastWeight { get; init => field = Weight(value, nameof(ContrastWeight)); } = 1;

    /// <summary>What the matching of pairs counts in the loss, at least 0; without effect where the model does not fuse. Default
    /// 1.</summary>
    public double MatchingWeight { get; init => field = Weight(value, nameof(MatchingWeight)); } = 1;

    /// <summary>Share of the wrong pairs that are drawn from the batch evenly, 0 to 1; the others are drawn the more often the more alike
    /// they are. Default 0. Where the most alike differ in a detail only, as with <see cref="Together"/>, a model from random weights
    /// first learns from easier ones.</summary>
    public double EvenShare { get; init => field = Share(value, nameof(EvenShare)); }

    /// <summary>What masked words count in the loss, at least 0; 0 leaves them out. Without effect where no words meet patches. Default
    /// 1.</summary>
    public double MaskingWeight { get; init => field = Weight(value, nameof(MaskingWeight)); } = 1;

    /// <summary>Share of the words that are masked, 0 to below 1; one of each text always is. Default 0.15, as in BERT.</summary>
    public double MaskShare { get; init => field = Fraction(value, nameof(MaskShare)); } = 0.15;

    /// <summary>Rows whose embeddings of earlier steps are kept, by a momentum encoder, as further wrong answers of the contrast (MoCo:
    /// He et al. 2020, arXiv:1911.05722); at least 0. Default 0: a batch is enough for small models, and the momentum encoder costs
    /// a forward pass.</summary>
    public int QueueSize { get; init => field = AtLeast(value, 0, nameof(QueueSize)); }

    /// <summary>Share that the momentum encoder's own similarities have in the targets of the contrast (ALBEF's momentum distillation,
    /// section 3.3: 0.4), 0 to below 1. Default 0: what belongs together is right, all else wrong.</summary>
    public double Distillation { get; init => field = Fraction(value, nameof(Distillation)); }

    /// <summary>Part of the momentum encoder that a step keeps, 0 to below 1. Default 0.995, as in ALBEF.</summary>
    public double Momentum { get; init => field = Fraction(value, nameof(Momentum)); } = 0.995;

    /// <summary>How pictures are varied. Default: not at all. Mirroring makes "left of" wrong.</summary>
    public AugmentationOptions Augmentation { get; init; } = new();

    internal bool HasMomentum => QueueSize > 0 || Distillation > 0;

    private protected override int MinBatchSize => 2; // a row is told from at least one other

    private protected override IReadOnlyCollection<string> NotDescribed =>
        [nameof(Image), nameof(Text), nameof(NegativeText), nameof(Together), nameof(ImageFolder), nameof(Cache), nameof(Model)];

    static double Weight(double value, string name) => value >= 0 && double.IsFinite(value) ? value : throw Wrong(name, value, "at least 0");
}
