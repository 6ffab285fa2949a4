using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Families;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Training of an ALBEF: towers and multimodal encoder together.</summary>
sealed class MatchingTask : ITrainingTask<MatchingBatch>, IDisposable
{
    const int ValidationRows = 16;

    readonly AlbefModel _definition;
    readonly TorchModel _model;
    readonly MatchingSet _train;
    readonly MatchingSet? _validation;
    readonly MatchingBatcher _batcher;
    readonly MatchingBatcher? _validationBatcher;
    readonly MomentumEncoder? _momentum;
    readonly MatchingStep _step;

    public MatchingTask(ImageTextMatchingOptions options, AlbefModel definition, TorchModel model, ImagePreprocessing images, TextTokenizer texts,
        MatchingSet train, MatchingSet? validation)
    {
        if (train.Count < 2) throw new ArgumentException($"matching needs at least 2 rows, but the data has {train.Count}.", nameof(train));
        if (validation is { Count: 0 }) throw new ArgumentException("the validation data has no rows.", nameof(validation));
        (_definition, _model, _train, _validation) = (definition, model, train, validation);
        Parameters = model.Trained();
        _momentum = options.HasMomentum ? new(definition.Config, model, definition, options.QueueSize, options.Momentum) : null;
        _step = new(options, definition.Config, model, _momentum);
        MatchingBatcher Batcher(MatchingSet set, AugmentationOptions augmentation) => new(set, definition, images, texts, augmentation, options.Seed);
        _batcher = Batcher(train, options.Augmentation);
        _validationBatcher = validation is null ? null : Batcher(validation, new());
    }

    public IReadOnlyList<NamedParameter> Parameters { get; }

    public IReadOnlyDictionary<string, Tensor> State => _momentum?.State ?? new Dictionary<string, Tensor>();

    public int Rows => _train.Count;

    public string Metric => "matching";

    public IReadOnlyDictionary<string, string> Description => new Dictionary<string, string> { ["config"] = _definition.ToConfigJson() };

    /// <summary>Units shuffled, the rows of each one after the other.</summary>
    public int[] Order(int seed, int epoch) => [.. EpochOrder.Of(_train.Units.Count, seed, epoch).SelectMany(u => _train.Units[u])];

    public MatchingBatch Make(ReadOnlyMemory<int> rows, int epoch) => _batcher.Make(rows, epoch);

    public float Backward(MatchingBatch batch, TrainingPosition at) => _step.Backward(batch).Total;

    public void AfterStep(TrainingPosition at)
    {
        ContrastiveLoss.LimitScale(_model.Parameters[_definition.LogitScale!]);
        _momentum?.Follow();
    }

    public TrainedWeights Weights() => new(_model.ToWeights());

    /// <summary>The share of pictures whose caption scores highest among the texts of 16 rows.</summary>
    public double? Validate()
    {
        if (_validation is not { } set) return null;
        int right = set.Units.SelectMany(u => u).Chunk(ValidationRows).Sum(chunk => _step.Right(_validationBatcher!.Make(chunk, 0)));
        return (double)right / set.Count;
    }

    public void Dispose() => _momentum?.Dispose();
}
