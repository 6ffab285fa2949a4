using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="MaskedModelingTrainer"/> does.</summary>
public sealed record MaskedModelingOptions : TrainingOptions
{
    /// <summary>Column of the pictures: an image, the path of one, or the bytes of an encoded one; null for none. Just one of
    /// <see cref="Image"/> and <see cref="Text"/> is set, but for <see cref="Vlmo"/>.</summary>
    public string? Image { get; init; }

    /// <summary>Column of texts; null for none.</summary>
    public string? Text { get; init; }

    /// <summary>Folder that relative picture paths start from; null for the working folder.</summary>
    public string? ImageFolder { get; init; }

    /// <summary>Folder in which decoded pictures at the model's size are kept, in place of memory, see
    /// <see cref="ContrastiveOptions.Cache"/>. Null, the default, keeps them in memory.</summary>
    public string? Cache { get; init; }

    /// <summary>A masked autoencoder, BEiT, BERT or VLMo to go on from, with its preprocessing or tokenizer: a folder, or one of the hub
    /// (<see cref="ModelFiles.FromFolder"/>); null, the default, starts from random weights.</summary>
    public string? Initialize { get; init; }

    /// <summary>Sizes of a model that paints pictures and starts from random weights; the share that is hidden is one of them. Default:
    /// <see cref="MaeConfig.Small28"/>.</summary>
    public MaeConfig ImageModel { get; init; } = MaeConfig.Small28;

    /// <summary>A tokenizer of pictures, as <see cref="ImageTokenizerTrainer"/> writes it, a folder or one of the hub: the codes of hidden
    /// patches are to be told, by a BEiT (Bao et al. 2022, arXiv:2106.08254), which sees pictures as the tokenizer does. Null, the default:
    /// their pixels are to be painted, by a masked autoencoder.</summary>
    public string? Tokenizer { get; init; }

    /// <summary>Makes the sizes of a model of pictures that starts from random weights, from those of the <see cref="Tokenizer"/>.
    /// Default: <see cref="BeitConfig.Small"/>.</summary>
    public Func<VqTokenizerConfig, BeitConfig> TokenModel { get; init; } = c => BeitConfig.Small(c.ImageSize, c.PatchSize, c.CodebookSize);

    /// <summary>Share of the patches whose codes are to be told, above 0 to 1; they are hidden in rectangles. Default 0.4, as in BEiT.
    /// Without effect where pixels are painted: <see cref="MaeConfig.MaskRatio"/> says it there.</summary>
    public double PatchShare
    {
        get;
        init => field = value is > 0 and <= 1 ? value : throw Wrong(nameof(PatchShare), value, "above 0 and at most 1");
    } = 0.4;

    /// <summary>Makes the sizes of a model of texts that starts from random weights, from the tokenizer's vocabulary and its padding.
    /// Default: <see cref="BertConfig.Small"/>.</summary>
    public Func<int, int, BertConfig> TextModel { get; init; } = BertConfig.Small;

    /// <summary>Sizes of a VLMo that starts from random weights, in place of a model of one sense (Bao et al. 2022, arXiv:2111.02358). It is
    /// trained in stages, each of which starts (<see cref="Initialize"/>) from the folder that the one before wrote
    /// (<see cref="TrainingOptions.Output"/>): first <see cref="Image"/> alone with a <see cref="Tokenizer"/>, which teaches attention and
    /// vision experts; then <see cref="Text"/> alone with <see cref="Frozen"/> = <see cref="Models.Families.Vlmo.SharedWeights"/>, which
    /// teaches the language experts; then both, which teaches all by contrast, matching and masked words. The vocabulary, its padding and its mask
    /// are those of the tokenizer that the first texts bring, whatever stands here. Null, the default: a model of one sense.</summary>
    public VlmoConfig? Vlmo { get; init; }

    /// <summary>Names of weights that stay bit for bit as they are; <c>*</c> stands for any part of a name. What the stage does not use
    /// stays as it is too. Default none.</summary>
    public IReadOnlyList<string> Frozen { get; init; } = [];

    /// <summary>Largest vocabulary of the tokenizer that is trained on the texts when the model starts from random weights, at least
    /// <see cref="BpeTrainingOptions.MinVocabularySize"/>. Default 4,000.</summary>
    public int VocabularySize { get; init => field = AtLeast(value, BpeTrainingOptions.MinVocabularySize, nameof(VocabularySize)); } = 4000;

    /// <summary>Share of a text's words that are to be told, above 0 to 1. Default 0.15.</summary>
    public double WordShare
    {
        get;
        init => field = value is > 0 and <= 1 ? value : throw Wrong(nameof(WordShare), value, "above 0 and at most 1");
    } = 0.15;

    /// <summary>How pictures are varied. Default: not at all; the paper crops and mirrors only.</summary>
    public AugmentationOptions Augmentation { get; init; } = new();

    private protected override IReadOnlyCollection<string> NotDescribed =>
        [nameof(Image), nameof(ImageFolder), nameof(Cache), nameof(Text), nameof(ImageModel), nameof(Tokenizer), nameof(TokenModel), nameof(TextModel), nameof(Vlmo)];
}
