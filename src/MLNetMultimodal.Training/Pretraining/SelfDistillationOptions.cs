using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="SelfDistillationTrainer"/> does.</summary>
public sealed record SelfDistillationOptions : TrainingOptions
{
    /// <summary>Column of the pictures: an image, the path of one, or the bytes of an encoded one; null for none. Just one of
    /// <see cref="Image"/>, <see cref="Text"/> and <see cref="Audio"/> is set.</summary>
    public string? Image { get; init; }

    /// <summary>Column of texts; null for none.</summary>
    public string? Text { get; init; }

    /// <summary>Column of sounds: a path as text, the bytes of a sound file, or mono samples whose rate is
    /// <see cref="AudioSampleRateHz"/> or the column's annotation <c>SampleRateHz</c>; null for none.</summary>
    public string? Audio { get; init; }

    /// <summary>Folder that relative sound paths start from; null for the working folder.</summary>
    public string? AudioFolder { get; init; }

    /// <summary>Samples per second of a column of samples; null for the column's annotation.</summary>
    public int? AudioSampleRateHz { get; init; }

    /// <summary>The most of a sound that a step hears, seconds, above 0; of longer sounds each epoch hears another part. Default
    /// 4.</summary>
    public double MaxSeconds { get; init => field = Positive(value, nameof(MaxSeconds)); } = 4;

    /// <summary>Folder that relative picture paths start from; null for the working folder.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>Folder in which decoded pictures at the model's size are kept, in place of memory, see
    /// <see cref="ContrastiveOptions.Cache"/>. Null, the default, keeps them in memory.</summary>
    public string? Cache { get; init; }

    /// <summary>A model whose encoder is gone on from: for pictures a Vision Transformer or masked autoencoder, for texts a BERT, for
    /// sounds a data2vec; a folder, or one of the hub (<see cref="ModelFiles.FromFolder"/>). Null, the default, starts from random
    /// weights.</summary>
    public string? Initialize { get; init; }

    /// <summary>Sizes of a model of pictures that starts from random weights. Default: <see cref="VitConfig.Small28"/>.</summary>
    public VitConfig ImageModel { get; init; } = VitConfig.Small28;

    /// <summary>Makes the sizes of a model of texts that starts from random weights, from the tokenizer's vocabulary and its padding.
    /// Default: <see cref="BertConfig.Small"/>.</summary>
    public Func<int, int, BertConfig> TextModel { get; init; } = BertConfig.Small;

    /// <summary>Largest vocabulary of the tokenizer that is trained on the texts when the model starts from random weights, at least
    /// <see cref="BpeTrainingOptions.MinVocabularySize"/>. Default 4,000.</summary>
    public int VocabularySize { get; init => field = AtLeast(value, BpeTrainingOptions.MinVocabularySize, nameof(VocabularySize)); } = 4000;

    /// <summary>Sizes of a model of sounds that starts from random weights; sounds are heard at 16 kHz, at mean 0 and variance 1.
    /// Default: the published base model.</summary>
    public Data2VecAudioConfig AudioModel { get; init; } = new();

    /// <summary>Sizes of a decoder for pictures, which is thrown away: the student is given the patches it may see only, and the decoder
    /// predicts the others (data2vec 2.0: Baevski et al. 2022, arXiv:2212.07525, section 3.1). Hidden patches cost little then, so that a
    /// step is several times faster. Null, the default, has none: a mask token stands for a hidden patch in the encoder.</summary>
    public TransformerConfig? Decoder { get; init; }

    /// <summary>How many times a target of a picture is used in a step, each time with other patches hidden, at least 1; the batch of the
    /// student is so many times larger (section 3.2 there). Default 1.</summary>
    public int MasksPerTarget { get; init => field = AtLeast(value, 1, nameof(MasksPerTarget)); } = 1;

    /// <summary>What the student predicts; null, the default, for <see cref="Data2VecLoss.Pictures"/>,
    /// <see cref="Data2VecLoss.SparsePictures"/> with a <see cref="Decoder"/>, <see cref="Data2VecLoss.Texts"/> or
    /// <see cref="Data2VecLoss.Sounds"/>.</summary>
    public Data2VecLoss? Objective { get; init; }

    /// <summary>Share of the input that is hidden from the student, above 0 to 1: of patches, in rectangles, or each alone with a
    /// <see cref="Decoder"/>; of words; of tokens of a sound, in spans of <see cref="SpanTokens"/> that may overlap. Null, the default,
    /// for 0.6, 0.75 with a decoder, 0.15 or 0.65.</summary>
    public double? MaskShare
    {
        get;
        init => field = value is null or > 0 and <= 1 ? value : throw Wrong(nameof(MaskShare), value, "above 0 and at most 1");
    }

    /// <summary>Tokens of a sound that are hidden in one span, at least 1. Default 10.</summary>
    public int SpanTokens { get; init => field = AtLeast(value, 1, nameof(SpanTokens)); } = 10;

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

    private protected override string? ValidationWanted => "self-distillation has none; it cannot stop early";

    private protected override IReadOnlyCollection<string> NotDescribed =>
        [nameof(Image), nameof(ImageFolder), nameof(Cache), nameof(Text), nameof(Audio), nameof(AudioFolder), nameof(ImageModel), nameof(TextModel), nameof(AudioModel)];
}
