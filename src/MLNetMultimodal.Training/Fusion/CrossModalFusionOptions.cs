using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="CrossModalFusionTrainer"/> does. At least one of <see cref="Image"/>, <see cref="Text"/>,
/// <see cref="Audio"/> and <see cref="Features"/> is set.</summary>
public sealed record CrossModalFusionOptions : TrainingOptions
{
    /// <summary>Column of what is to be predicted: of a multiclass trainer a key (UInt32), as <c>MapValueToKey</c> makes it, of a binary
    /// one Boolean, of a regression Single. Rows whose label is missing are left out. Default <c>Label</c>.</summary>
    public string Label { get; init; } = "Label";

    /// <inheritdoc cref="CrossModalPredictOptions.Image"/>
    public string? Image { get; init; }

    /// <inheritdoc cref="CrossModalPredictOptions.Text"/>
    public string? Text { get; init; }

    /// <inheritdoc cref="CrossModalPredictOptions.Audio"/>
    public string? Audio { get; init; }

    /// <inheritdoc cref="CrossModalPredictOptions.Features"/>
    public string? Features { get; init; }

    /// <inheritdoc cref="CrossModalPredictOptions.ImageFolder"/>
    public string? ImageFolder { get; init; }

    /// <inheritdoc cref="CrossModalPredictOptions.AudioFolder"/>
    public string? AudioFolder { get; init; }

    /// <inheritdoc cref="CrossModalPredictOptions.AudioSampleRateHz"/>
    public int? AudioSampleRateHz { get; init; }

    /// <summary>What happens where a picture or a sound cannot be read, in training and in predicting; default
    /// <see cref="OnError.Throw"/>. With <see cref="OnError.Missing"/> it counts as missing.</summary>
    public OnError OnError { get; init; }

    /// <inheritdoc cref="CrossModalPredictOptions.Score"/>
    public string Score { get; init; } = "Score";

    /// <inheritdoc cref="CrossModalPredictOptions.PredictedLabel"/>
    public string PredictedLabel { get; init; } = "PredictedLabel";

    /// <inheritdoc cref="CrossModalPredictOptions.Probability"/>
    public string Probability { get; init; } = "Probability";

    /// <inheritdoc cref="CrossModalPredictOptions.Attention"/>
    public string? Attention { get; init; }

    /// <summary>Probability that a training step takes a row's picture, text, sound or numbers away, each by itself, and
    /// with a quarter of it all of them, so that what is missing later does little harm (ModDrop: Neverova et al. 2014,
    /// arXiv:1501.00102, section 4.2); 0 to below 1. Default 0.2; 0 is right for a single sense.</summary>
    public double ModalityDropout { get; init => field = Fraction(value, nameof(ModalityDropout)); } = 0.2;

    /// <summary>True: every class counts alike, however many rows it has. Default false.</summary>
    public bool BalanceClasses { get; init; }

    /// <summary>How much a row of a class counts, by the class's name, of a binary trainer <c>True</c> and <c>False</c>; above 0. Classes
    /// that are not named count 1. Null, the default, for all 1. It multiplies with <see cref="BalanceClasses"/>.</summary>
    public IReadOnlyDictionary<string, double>? ClassWeights
    {
        get;
        init => field = value is null || value.Values.All(w => w > 0 && double.IsFinite(w)) ? value
            : throw Wrong(nameof(ClassWeights), string.Join(", ", value), "weights above 0");
    }

    /// <summary>How much of a class's probability the others share in what is learned, 0 to below 1 (Szegedy et al. 2016,
    /// arXiv:1512.00567, section 7). Default 0. Of a multiclass trainer only.</summary>
    public double LabelSmoothing { get; init => field = Fraction(value, nameof(LabelSmoothing)); }

    /// <summary>Part of the rows, drawn by the seed, that is kept from training where no validation data is given: the weights that are
    /// best on it are returned; 0 to below 1. Default 0, none.</summary>
    public double ValidationShare { get; init => field = Fraction(value, nameof(ValidationShare)); }

    /// <summary>A CLIP whose towers of pictures and texts the model starts with, with their preprocessing and tokenizer: a folder, or one
    /// of the hub (<see cref="ModelFiles.FromFolder"/>). Null, the default, starts from random weights.</summary>
    public string? Initialize { get; init; }

    /// <summary>An audio spectrogram transformer whose tower the model starts with, with its preprocessing. Null, the default, starts
    /// from random weights.</summary>
    public string? InitializeAudio { get; init; }

    /// <summary>What the learning rate of towers that <see cref="Initialize"/> or <see cref="InitializeAudio"/> gave is multiplied with;
    /// 0 leaves them as they are. Default 0.1.</summary>
    public double TowerLearningRate
    {
        get;
        init => field = value >= 0 && double.IsFinite(value) ? value : throw Wrong(nameof(TowerLearningRate), value, "at least 0");
    } = 0.1;

    /// <summary>D, width of the fused tokens, and of towers that start from random weights; a multiple of <see cref="Heads"/>. Default
    /// 64.</summary>
    public int Width { get; init => field = AtLeast(value, 8, nameof(Width)); } = 64;

    /// <summary>Heads of every attention. Default 4.</summary>
    public int Heads { get; init => field = AtLeast(value, 1, nameof(Heads)); } = 4;

    /// <summary>Blocks of each tower that starts from random weights. Default 2; of the numbers' tower 1.</summary>
    public int TowerLayers { get; init => field = AtLeast(value, 1, nameof(TowerLayers)); } = 2;

    /// <summary>Layers in which all tokens of all senses look at each other; 0 leaves fusion to the latents alone, and costs less where
    /// tokens are many. Default 1.</summary>
    public int JointLayers { get; init => field = AtLeast(value, 0, nameof(JointLayers)); } = 1;

    /// <summary>M, learned tokens that collect from all others. Default 4.</summary>
    public int Latents { get; init => field = AtLeast(value, 1, nameof(Latents)); } = 4;

    /// <summary>Layers in which they do. Default 1.</summary>
    public int LatentLayers { get; init => field = AtLeast(value, 1, nameof(LatentLayers)); } = 1;

    /// <summary>r, the width of the latents' cross-attention, less than <see cref="Width"/> makes it low-rank; a multiple of
    /// <see cref="Heads"/>. Null, the default, for <see cref="Width"/>.</summary>
    public int? Rank { get; init => field = value is { } v ? AtLeast(v, 1, nameof(Rank)) : null; }

    /// <summary>True: what the latents collect passes a gate that is shut at first. Default false.</summary>
    public bool Gated { get; init; }

    /// <summary>E, experts of the latents' feed-forward part, of which each latent goes through <see cref="ChosenExperts"/>; 0, the
    /// default, for a dense one.</summary>
    public int Experts { get; init => field = value is 0 or >= 2 ? value : throw Wrong(nameof(Experts), value, "0 or at least 2"); }

    /// <summary>k, at most <see cref="Experts"/>. Default 2.</summary>
    public int ChosenExperts { get; init => field = AtLeast(value, 1, nameof(ChosenExperts)); } = 2;

    /// <summary>Weight of <see cref="LoadBalancingLoss"/>. Default 0.01.</summary>
    public double ExpertBalance { get; init => field = value >= 0 ? value : throw Wrong(nameof(ExpertBalance), value, "at least 0"); } = 0.01;

    /// <summary>How the latents become one row. Default their mean.</summary>
    public FusionPooling Pooling { get; init; }

    /// <summary>Width of the middle of a gated adapter after each tower, for towers that are left as they are; 0, the default, for
    /// none.</summary>
    public int AdapterWidth { get; init => field = AtLeast(value, 0, nameof(AdapterWidth)); }

    /// <summary>Changes the sizes that follow from the other options, for what these do not say; what it makes must fit the
    /// preprocessing. Default: as they are.</summary>
    public Func<CrossModalFusionConfig, CrossModalFusionConfig> Configure { get; init; } = config => config;

    /// <summary>Edge of the pictures that a tower from random weights takes, a multiple of 8. Default 32.</summary>
    public int ImageSize
    {
        get;
        init => field = value >= 8 && value % 8 == 0 ? value : throw Wrong(nameof(ImageSize), value, "a multiple of 8");
    } = 32;

    /// <summary>How pictures are varied. Default: not at all.</summary>
    public AugmentationOptions Augmentation { get; init; } = new();

    /// <summary>Largest vocabulary of the tokenizer that is trained on the texts where <see cref="Initialize"/> gives none, at least
    /// <see cref="BpeTrainingOptions.MinVocabularySize"/>. Default 1,000.</summary>
    public int VocabularySize { get; init => field = AtLeast(value, BpeTrainingOptions.MinVocabularySize, nameof(VocabularySize)); } = 1000;

    /// <summary>The most tokens of a text, where <see cref="Initialize"/> does not say it. Default 32.</summary>
    public int ContextLength { get; init => field = AtLeast(value, 2, nameof(ContextLength)); } = 32;

    /// <summary>The spectrogram that a tower of sounds from random weights takes. Default: Kaldi's filter bank of 64 bins at 16 kHz, 128
    /// frames, which are 1.3 s.</summary>
    public SpectrogramPreprocessing Spectrogram { get; init; } =
        SpectrogramPreprocessing.Ast(128) with { LogMel = LogMelConfig.Kaldi(melBins: 64) };

    private protected override string? ValidationWanted => ValidationShare > 0 ? null : "set ValidationShare, or use Fit(train, validation)";

    private protected override IReadOnlyCollection<string> NotDescribed =>
    [
        nameof(Label), nameof(Image), nameof(Text), nameof(Audio), nameof(Features), nameof(ImageFolder), nameof(AudioFolder), nameof(Score),
        nameof(PredictedLabel), nameof(Probability), nameof(Attention), nameof(Configure), nameof(Spectrogram),
    ];

    internal CrossModalPredictOptions Predict(string? labelType) => new()
    {
        Image = Image,
        Text = Text,
        Audio = Audio,
        Features = Features,
        ImageFolder = ImageFolder,
        AudioFolder = AudioFolder,
        AudioSampleRateHz = AudioSampleRateHz,
        OnError = OnError,
        Score = Score,
        PredictedLabel = PredictedLabel,
        Probability = Probability,
        Attention = Attention,
        LabelType = labelType,
    };

    TransformerConfig Blocks(int layers) => new(layers, Width, 2 * Width, Heads, Activation.Gelu);

    /// <summary>The sizes of a model, with the towers that are given.</summary>
    internal CrossModalFusionConfig Config(FusionTask task, IReadOnlyList<string> labels, VisionConfig? vision, ClipTextConfig? text, AstConfig? audio,
        IReadOnlyList<string>? features) => Configure(new()
        {
            Task = task,
            Labels = labels,
            Vision = vision,
            Text = text,
            Audio = audio,
            Features = features is null ? null : new() { Names = features, Blocks = Blocks(1) },
            Joint = Blocks(JointLayers),
            Bottleneck = new(LatentLayers, Latents, Width, Width, 2 * Width, Heads)
            {
                Rank = Rank ?? Width,
                Gated = Gated,
                Experts = Experts,
                ChosenExperts = ChosenExperts,
            },
            Pooling = Pooling,
            AdapterWidth = AdapterWidth,
        });

    internal VisionConfig NewVision => new() { ImageSize = ImageSize, PatchSize = 8, StemChannels = [16, 32, 64], Blocks = Blocks(TowerLayers) };

    internal ClipTextConfig NewText(TextTokenizer texts) => new()
    {
        VocabularySize = texts.VocabularySize,
        ContextLength = texts.ContextLength,
        EndTokenId = texts.EndId,
        Blocks = Blocks(TowerLayers),
    };

    internal AstConfig NewAudio => new()
    {
        Frames = Spectrogram.Frames,
        MelBins = Spectrogram.LogMel.MelBins,
        PatchSize = 16,
        Stride = 16,
        Blocks = Blocks(TowerLayers) with { Names = AstConfig.Tiny.Blocks.Names, NormEpsilon = 1e-12f },
    };
}
