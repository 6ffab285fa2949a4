using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>What <see cref="ContrastiveTrainer"/> does.</summary>
public sealed record ContrastiveOptions
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

    /// <summary>Times that each row is seen. Default 10.</summary>
    public int Epochs { get; init => field = AtLeast(value, 1, nameof(Epochs)); } = 10;

    /// <summary>B, rows that are compared with each other in a step. Default 64; small batches learn faster per second on a
    /// CPU.</summary>
    public int BatchSize { get; init => field = AtLeast(value, 2, nameof(BatchSize)); } = 64;

    /// <summary>Rows that go through the model at once; smaller than <see cref="BatchSize"/> saves memory at the price of a
    /// second forward pass,
    /// with the same loss and gradients. Null, the default: all of the batch.</summary>
    public int? MicroBatchSize { get; init => field = value is { } v ? AtLeast(v, 1, nameof(MicroBatchSize)) : null; }

    /// <summary>Highest learning rate, reached after the warm-up. Default 1e-3.</summary>
    public double LearningRate { get; init => field = Positive(value, nameof(LearningRate)); } = 1e-3;

    /// <summary>Share of the steps in which the learning rate rises from 0, before it falls to 0 along a cosine; 0 to 1. Default
    /// 0.05.</summary>
    public double WarmupShare { get; init => field = Share(value, nameof(WarmupShare)); } = 0.05;

    /// <summary>Decoupled weight decay of matrices and kernels; norms, biases, positions and scalars have none. Default
    /// 0.05.</summary>
    public double WeightDecay { get; init => field = value >= 0 ? value : throw Wrong(nameof(WeightDecay), value, "at least 0"); } = 0.05;

    /// <summary>Decay of AdamW's second moment, 0 to below 1. Default 0.98, as CLIP was trained.</summary>
    public double Beta2 { get; init => field = Fraction(value, nameof(Beta2)); } = 0.98;

    /// <summary>Longest gradient, over all weights, that a step takes; longer ones are shortened. Default 1.</summary>
    public double GradientClip { get; init => field = Positive(value, nameof(GradientClip)); } = 1;

    /// <summary>Decay of the moving average of the weights that is validated and returned, 0 to below 1; 0 turns it off. Default
    /// 0.999.</summary>
    public double EmaDecay { get; init => field = Fraction(value, nameof(EmaDecay)); } = 0.999;

    /// <summary>Share of patches that a training step drops, 0 to below 1 (FLIP, arXiv:2212.00794). Default 0.</summary>
    public double PatchDropout { get; init => field = Fraction(value, nameof(PatchDropout)); }

    /// <summary>True: matrix products run in bfloat16 on float32 weights; faster where the processor has the instructions.
    /// Default false.</summary>
    public bool BFloat16 { get; init; }

    /// <summary>How pictures are varied. Default: not at all.</summary>
    public AugmentationOptions Augmentation { get; init; } = new();

    /// <summary>Where to compute: <c>cpu</c> or <c>cuda</c> or <c>cuda:1</c>. Default cpu.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Threads that torch computes with, process-wide; 0, the default, leaves torch's own choice of one per core. 1 pays
    /// for small models
    /// on a machine that does other work too: threads that wait for each other lose more than they gain.</summary>
    public int Threads { get; init => field = AtLeast(value, 0, nameof(Threads)); }

    /// <summary>Same seed, same data, same machine: same weights. Default 1.</summary>
    public int Seed { get; init; } = 1;

    /// <summary>Validations without a better result after which training ends; null, the default, never ends early. Needs
    /// validation data.</summary>
    public int? EarlyStoppingPatience { get; init => field = value is { } v ? AtLeast(v, 1, nameof(EarlyStoppingPatience)) : null; }

    /// <summary>Folder for checkpoints; a training that finds one there goes on from it. Null, the default, keeps none.</summary>
    public string? Checkpoints { get; init; }

    /// <summary>Steps between two checkpoints. Default 500.</summary>
    public int CheckpointSteps { get; init => field = AtLeast(value, 1, nameof(CheckpointSteps)); } = 500;

    /// <summary>Folder for TensorBoard event files; null, the default, writes none.</summary>
    public string? Logs { get; init; }

    /// <summary>Folder that the finished model is written to; null, the default, only returns it.</summary>
    public string? Output { get; init; }

    /// <summary>Told after every step.</summary>
    public IProgress<TrainingStep>? Progress { get; init; }

    /// <summary>Ends the training after the current step: the best model so far is returned, and a checkpoint is written where
    /// <see cref="Checkpoints"/> is set. While the data is still being read, <c>Fit</c> ends with an
    /// <see cref="OperationCanceledException"/>.</summary>
    public CancellationToken Cancellation { get; init; }

    /// <summary>What a resumed training must have in common with the one that wrote the checkpoint: all but paths, progress and
    /// cancellation.</summary>
    internal IReadOnlyDictionary<string, string> Describe() => TrainingState.Describe(this,
        nameof(Image), nameof(Text), nameof(Group), nameof(ImageFolder), nameof(Cache), nameof(Model), nameof(Device), nameof(Threads), nameof(Checkpoints), nameof(CheckpointSteps),
        nameof(Logs), nameof(Output), nameof(Progress), nameof(Cancellation));

    static int AtLeast(int value, int min, string name) => value >= min ? value : throw Wrong(name, value, $"at least {min}");

    static double Positive(double value, string name) => value > 0 && double.IsFinite(value) ? value : throw Wrong(name, value, "above 0");

    static double Fraction(double value, string name) => value is >= 0 and < 1 ? value : throw Wrong(name, value, "at least 0 and below 1");

    static double Share(double value, string name) => value is >= 0 and <= 1 ? value : throw Wrong(name, value, "between 0 and 1");

    static ArgumentOutOfRangeException Wrong(string name, object value, string wanted) => new(name, value, $"{name} must be {wanted}, but is {value}.");
}
