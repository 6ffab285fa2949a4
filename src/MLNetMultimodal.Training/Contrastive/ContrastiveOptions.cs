using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="ContrastiveTrainer"/> does. Two of <see cref="Image"/>, <see cref="Text"/> and <see cref="Audio"/> name the
/// columns whose items belong together.</summary>
public sealed record ContrastiveOptions : TrainingOptions
{
    /// <summary>Column of the pictures: an image, the path of one, or the bytes of an encoded one; null for none.</summary>
    public string? Image { get; init; }

    /// <summary>Column of the captions: a text, or a vector of texts that all describe the picture or sound, of which each epoch
    /// takes one; null for none.</summary>
    public string? Text { get; init; }

    /// <summary>Column of the sounds: the path of a file, its bytes, or mono samples as Vector&lt;Single&gt; whose rate is
    /// <see cref="AudioSampleRateHz"/> or the column's annotation <c>SampleRateHz</c>; null for none.</summary>
    public string? Audio { get; init; }

    /// <summary>Column, text or key, that says which rows belong together: each item of a group fits the items of the other sense
    /// in it. Null, the default: rows with the same captions; without captions each row is alone.</summary>
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

    /// <summary>Folder that relative sound paths start from; null for the working folder.</summary>
    public string? AudioFolder { get; init; }

    /// <summary>Samples per second of a column <see cref="Audio"/> of samples, at least 1; null for the column's annotation
    /// <c>SampleRateHz</c>. Sounds in files say it themselves.</summary>
    public int? AudioSampleRateHz { get; init => field = value is { } v ? AtLeast(v, 1, nameof(AudioSampleRateHz)) : null; }

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

    /// <summary>Makes the sizes of a model of pictures and texts that starts from random weights, from the size of the vocabulary.
    /// Default: <see cref="ClipConfig.Small32"/>.</summary>
    public Func<int, ClipConfig> Model { get; init; } = vocabulary => ClipConfig.Small32(vocabulary);

    /// <summary>Makes the sizes of a model of sounds that starts from random weights, from the size of the vocabulary, 0 without
    /// texts. Its audio tower takes what <see cref="Sounds"/> makes. Null, the default: <see cref="AudioDualEncoderConfig.Small"/>
    /// or <see cref="AudioDualEncoderConfig.SmallWithImages"/>.</summary>
    public Func<int, AudioDualEncoderConfig>? AudioModel { get; init; }

    /// <summary>What a model that starts from random weights hears of a sound; it must be what a feature extractor of Hugging Face's
    /// can say (<see cref="SpectrogramPreprocessing.ToJson"/>). Default: a second at 16 kHz, 64 mel bins.</summary>
    public SpectrogramPreprocessing Sounds { get; init; } = SpectrogramPreprocessing.Clap(sampleRateHz: 16_000, seconds: 1);

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

    /// <summary>How sounds are varied. Default: not at all.</summary>
    public AudioAugmentationOptions AudioAugmentation { get; init; } = new();

    private protected override int MinBatchSize => 2; // a row is told from at least one other

    private protected override IReadOnlyCollection<string> NotDescribed =>
    [
        nameof(Image), nameof(Text), nameof(Audio), nameof(Group), nameof(ImageFolder), nameof(AudioFolder), nameof(AudioSampleRateHz),
        nameof(Cache), nameof(Model), nameof(AudioModel),
    ];

    internal void Validate()
    {
        string[] named = [.. new[] { (nameof(Image), Image), (nameof(Text), Text), (nameof(Audio), Audio) }.Where(c => c.Item2 is not null).Select(c => c.Item1)];
        if (named.Length != 2)
            throw new ArgumentException("two of Image, Text and Audio must name the columns whose items belong together, "
                + $"but {(named.Length == 0 ? "none does" : $"{string.Join(", ", named)} {(named.Length == 1 ? "does" : "do")}")}.");
    }
}
