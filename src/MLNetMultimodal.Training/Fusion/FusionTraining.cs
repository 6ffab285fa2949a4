using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Some rows, ready for the engine.</summary>
/// <param name="Inputs">By name.</param>
/// <param name="Labels">[B].</param>
sealed record FusionTrainingBatch(IReadOnlyDictionary<string, TensorData> Inputs, float[] Labels);

/// <summary>Training of a fusion model on labelled rows.</summary>
sealed class FusionTraining : ITrainingTask<FusionTrainingBatch>
{
    /// <summary>Statistics of the training data, which no gradient changes.</summary>
    public static readonly IReadOnlySet<string> Constants = new HashSet<string> { "features.mean", "features.scale", "label.mean", "label.scale" };

    static readonly (string Tower, Modality Modality)[] Towers =
        [("vision_model.", Modality.Image), ("text_model.", Modality.Text), ("audio_model.", Modality.Audio)];

    readonly CrossModalFusionOptions _options;
    readonly CrossModalFusionModel _definition;
    readonly FusionPreprocessing _preprocessing;
    readonly TorchModel _model;
    readonly FusionSet _train;
    readonly FusionSet? _validation;
    readonly TorchOps _ops;
    readonly Augmentation? _augmentation;
    readonly float[] _weights;
    readonly (float Mean, float Scale) _label;

    /// <param name="options">How.</param>
    /// <param name="preprocessing">How rows were prepared.</param>
    /// <param name="definition">The model.</param>
    /// <param name="model">Its weights.</param>
    /// <param name="train">Rows.</param>
    /// <param name="validation">Other rows; null for none.</param>
    /// <param name="started">Towers that did not start from random weights.</param>
    public FusionTraining(CrossModalFusionOptions options, FusionPreprocessing preprocessing, CrossModalFusionModel definition, TorchModel model,
        FusionSet train, FusionSet? validation, IReadOnlySet<Modality> started)
    {
        (_options, _definition, _preprocessing, _model, _train, _validation) = (options, definition, preprocessing, model, train, validation);
        Parameters = [.. Trained(model, options, started)];
        _ops = model.Ops(new() { BFloat16 = options.BFloat16 });
        if (preprocessing.Images is { } images) _augmentation = NewAugmentation(options, images);
        _weights = ClassWeights();
        _label = definition.Config.Task == FusionTask.Regression
            ? (model.Parameters["label.mean"].item<float>(), model.Parameters["label.scale"].item<float>()) : (0, 1);
    }

    static IEnumerable<NamedParameter> Trained(TorchModel model, CrossModalFusionOptions options, IReadOnlySet<Modality> started)
    {
        foreach (ParameterSpec spec in model.Specs)
        {
            bool isStarted = Towers.Any(t => spec.Name.StartsWith(t.Tower, StringComparison.Ordinal) && started.Contains(t.Modality));
            double rate = Constants.Contains(spec.Name) ? 0 : isStarted ? options.TowerLearningRate : 1;
            model.Parameters[spec.Name].requires_grad = rate > 0;
            if (rate > 0) yield return new(spec.Name, model.Parameters[spec.Name], spec.Decays, rate);
        }
    }

    static Augmentation NewAugmentation(CrossModalFusionOptions options, ImagePreprocessing images)
    {
        var (mean, std) = (images.Mean ?? (0, 0, 0), images.Std ?? (1, 1, 1));
        return new(options.Augmentation, images.Height, images.Width, [mean.R, mean.G, mean.B], [std.R, std.G, std.B], options.Seed);
    }

    /// <summary>How much a row of each class counts; the mean over the training rows is 1.</summary>
    float[] ClassWeights()
    {
        if (_definition.Config.Task == FusionTask.Regression) return [1];
        IReadOnlyList<string> names = _definition.Config.Task == FusionTask.Binary ? ["False", "True"] : _definition.Config.Labels;
        if (_options.ClassWeights?.Keys.FirstOrDefault(k => !names.Contains(k)) is { } unknown)
            throw new ArgumentException($"ClassWeights names the class '{unknown}'; the classes are {string.Join(", ", names)}.");
        double[] counts = new double[names.Count];
        foreach (float label in _train.Labels) counts[(int)label]++;
        double[] weights = [.. names.Select((name, i) => (_options.ClassWeights?.GetValueOrDefault(name, 1) ?? 1)
            / (_options.BalanceClasses ? Math.Max(1, counts[i]) : 1))];
        double mean = weights.Zip(counts, (w, n) => w * n).Sum() / _train.Count;
        return [.. weights.Select(w => (float)(w / mean))];
    }

    public IReadOnlyList<NamedParameter> Parameters { get; }

    public int Rows => _train.Count;

    public string Metric => _definition.Config.Task == FusionTask.Regression ? "r_squared" : "accuracy";

    public IReadOnlyDictionary<string, string> Description => new Dictionary<string, string> { ["config"] = _definition.ToConfigJson() };

    public FusionTrainingBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        int[] chosen = rows.ToArray();
        FusionRow[] seen = [.. chosen.Select(row => Drop(_train.Rows[row], epoch, row))];
        var inputs = _preprocessing.ToTensors(seen, write: (i, pixels) =>
            _augmentation!.Apply(seen[i].Picture!.Pixels, seen[i].Picture!.Height, seen[i].Picture!.Width, epoch, chosen[i], pixels));
        return new(inputs, [.. chosen.Select(row => _train.Labels[row])]);
    }

    /// <summary>The row without what this epoch takes away from it.</summary>
    FusionRow Drop(FusionRow row, int epoch, int index)
    {
        var random = new SampleRandom(_options.Seed ^ 0x0D20, epoch, index);
        double p = _options.ModalityDropout;
        if (random.Chance(p / 4)) return new(null, null, null, null); // or rows without anything would hardly ever be seen
        bool picture = random.Chance(p), text = random.Chance(p), sound = random.Chance(p), numbers = random.Chance(p);
        return new(picture ? null : row.Picture, text ? null : row.Tokens, sound ? null : row.Sound, numbers ? null : row.Numbers);
    }

    public float Backward(FusionTrainingBatch batch, TrainingPosition at)
    {
        using DisposeScope scope = NewDisposeScope();
        Dictionary<string, Tensor> outputs = Run(_definition.Learner, batch.Inputs);
        Tensor loss = Loss(outputs["logits"], batch.Labels);
        if (outputs.TryGetValue("router_logits", out Tensor? router))
            foreach (Tensor layer in router.chunk(_definition.Config.Bottleneck.Layers, 1))
                loss = loss.Plus(LoadBalancingLoss.Of(layer, _definition.Config.Bottleneck.ChosenExperts).Times(_options.ExpertBalance));
        loss.backward();
        return loss.item<float>();
    }

    Dictionary<string, Tensor> Run(IProgram program, IReadOnlyDictionary<string, TensorData> inputs) =>
        program.Run(_ops, inputs.ToDictionary(i => i.Key, i => i.Value.ToTensor().to(_model.Device))).ToDictionary(o => o.Item1, o => o.Item2);

    /// <summary>The mean over rows, each weighted as its class counts.</summary>
    Tensor Loss(Tensor logits, float[] labels)
    {
        logits = logits.to(ScalarType.Float32);
        switch (_definition.Config.Task)
        {
            case FusionTask.Multiclass:
                Tensor classes = tensor([.. labels.Select(l => (long)l)]).to(_model.Device), weights = tensor(_weights).to(_model.Device);
                Tensor logProbabilities = F.log_softmax(logits, 1);                                     // [B, C]
                Tensor own = logProbabilities.gather(1, classes.unsqueeze(1)).squeeze(1);               // [B]
                double smoothing = _options.LabelSmoothing;
                Tensor losses = -own.Times(1 - smoothing).Plus(logProbabilities.mean([1]).Times(smoothing));
                return (losses * weights.index_select(0, classes)).mean();
            case FusionTask.Binary:
                Tensor yes = tensor(labels).to(_model.Device);
                Tensor share = tensor([.. labels.Select(l => _weights[(int)l])]).to(_model.Device);
                return F.binary_cross_entropy_with_logits(logits.squeeze(1), yes, share);
            default:
                Tensor wanted = tensor([.. labels.Select(l => (l - _label.Mean) / _label.Scale)]).to(_model.Device);
                return F.mse_loss(logits.squeeze(1), wanted);
        }
    }

    public TrainedWeights Weights() => new(_model.ToWeights(), _model.Adapter());

    public double? Validate()
    {
        if (_validation is not { } set) return null;
        const int batch = 256;
        var scores = new List<float[]>();
        using IDisposable noGradients = no_grad();
        for (int start = 0; start < set.Count; start += batch)
        {
            using DisposeScope scope = NewDisposeScope();
            FusionRow[] rows = [.. set.Rows.Skip(start).Take(batch)];
            scores.AddRange(Run(_definition.Predictor, _preprocessing.ToTensors(rows))["scores"].ToSingles().Chunk(_definition.Config.Outputs));
        }
        return _definition.Config.Task switch
        {
            FusionTask.Multiclass => Share((s, label) => s.IndexOf(s.Max()) == (int)label),
            FusionTask.Binary => Share((s, label) => s[0] > 0 == label > 0),
            _ => RSquared(),
        };

        double Share(Func<float[], float, bool> isRight) => (double)scores.Zip(set.Labels, isRight).Count(right => right) / set.Count;

        double RSquared()
        {
            double mean = set.Labels.Average(), total = set.Labels.Sum(l => (l - mean) * (l - mean));
            double missed = scores.Zip(set.Labels, (s, l) => ((double)s[0] - l) * (s[0] - l)).Sum();
            return total > 0 ? 1 - missed / total : -missed;
        }
    }
}
