using Microsoft.ML;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Training.Native;

namespace MLNetMultimodal.Training;

/// <summary>What all trainers share: length and schedule of a training, moving average, checkpoints, logs. A trainer's own options
/// derive from it.</summary>
public abstract record TrainingOptions
{
    private protected TrainingOptions()
    {
    }

    /// <summary>Times that each row is seen. Default 10.</summary>
    public int Epochs { get; init => field = AtLeast(value, 1, nameof(Epochs)); } = 10;

    /// <summary>B, rows of a step. Default 64; small batches learn faster per second on a CPU.</summary>
    public int BatchSize { get; init => field = AtLeast(value, MinBatchSize, nameof(BatchSize)); } = 64;

    /// <summary>Highest learning rate, reached after the warm-up. Default 1e-3.</summary>
    public double LearningRate { get; init => field = Positive(value, nameof(LearningRate)); } = 1e-3;

    /// <summary>Share of the steps in which the learning rate rises from 0, before it falls along a cosine; 0 to 1. Default
    /// 0.05.</summary>
    public double WarmupShare { get; init => field = Share(value, nameof(WarmupShare)); } = 0.05;

    /// <summary>What the learning rate falls to, as a share of <see cref="LearningRate"/>, 0 to 1: 0, the default, lets a training come to
    /// rest; 1 keeps the rate, for one that another goes on from.</summary>
    public double FinalRateShare { get; init => field = Share(value, nameof(FinalRateShare)); }

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

    /// <summary>True: matrix products run in bfloat16 on float32 weights: faster where the processor multiplies bfloat16 faster than
    /// float32, as with AMX; slower with AVX512_BF16 alone, and several times slower where it is emulated. Default false.</summary>
    public bool BFloat16 { get; init; }

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

    /// <summary>Checks the data's columns, and makes torch ready.</summary>
    /// <param name="check">Checks the columns.</param>
    /// <param name="train">The rows.</param>
    /// <param name="validation">Rows to evaluate on; null for none.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, or there is nothing to stop early by.</exception>
    internal void Begin(Action<SchemaShape> check, IDataView train, IDataView? validation)
    {
        check(MlNet.ShapeOf(train.Schema));
        if (validation is not null) check(MlNet.ShapeOf(validation.Schema));
        else if (EarlyStoppingPatience is not null && ValidationWanted is { } remedy)
            throw new ArgumentException($"EarlyStoppingPatience needs validation data: {remedy}.", nameof(validation));
        TorchNative.EnsureLoaded();
        if (Threads > 0) TorchSharp.torch.set_num_threads(Threads);
    }

    /// <summary>How to give rows to evaluate on; null where they are taken from those to train on.</summary>
    private protected virtual string? ValidationWanted => "use Fit(train, validation)";

    /// <summary>What a resumed training must have in common with the one that wrote the checkpoint: all but paths, progress and
    /// cancellation.</summary>
    internal IReadOnlyDictionary<string, string> Describe() => TrainingState.Describe(this, [nameof(Device), nameof(Threads), nameof(Checkpoints),
        nameof(CheckpointSteps), nameof(Logs), nameof(Output), nameof(Progress), nameof(Cancellation), .. NotDescribed]);

    /// <summary>The fewest rows of a batch.</summary>
    private protected virtual int MinBatchSize => 1;

    /// <summary>The derived record's properties that may differ when resuming: columns, paths, functions.</summary>
    private protected abstract IReadOnlyCollection<string> NotDescribed { get; }

    private protected static int AtLeast(int value, int min, string name) => value >= min ? value : throw Wrong(name, value, $"at least {min}");

    private protected static double Positive(double value, string name) => value > 0 && double.IsFinite(value) ? value : throw Wrong(name, value, "above 0");

    private protected static double Fraction(double value, string name) => value is >= 0 and < 1 ? value : throw Wrong(name, value, "at least 0 and below 1");

    private protected static double Share(double value, string name) => value is >= 0 and <= 1 ? value : throw Wrong(name, value, "between 0 and 1");

    private protected static ArgumentOutOfRangeException Wrong(string name, object value, string wanted) => new(name, value, $"{name} must be {wanted}, but is {value}.");
}
