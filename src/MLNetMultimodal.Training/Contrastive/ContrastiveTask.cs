using MLNetMultimodal.Models.Families;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Parameter = TorchSharp.Modules.Parameter;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Contrastive training of pairs.</summary>
sealed class ContrastiveTask : ITrainingTask<PairBatch>, IDisposable
{
    const int EvaluationBatch = 250;

    readonly ContrastiveOptions _options;
    readonly IModelDefinition _definition;
    readonly PairSet _train;
    readonly PairSet? _validation;
    readonly TorchModel _model;
    readonly Generator _generator;
    readonly Parameter? _bias;
    readonly bool _ownsBias = true;
    readonly ContrastiveStep _step;

    public ContrastiveTask(ContrastiveOptions options, IModelDefinition definition, TorchModel model, PairSet train, PairSet? validation)
    {
        if (train.Count < 2) throw new ArgumentException($"contrastive training needs at least 2 rows, but the data has {train.Count}.", nameof(train));
        if (validation is { Count: 0 }) throw new ArgumentException("the validation data has no rows.", nameof(validation));
        (_options, _definition, _model, _train, _validation) = (options, definition, model, train, validation);
        _generator = new Generator(unchecked((ulong)options.Seed), model.Device);
        List<NamedParameter> parameters = [.. TrainableParameters.Select(definition, model, options.FineTuning)];
        if (options.Objective == ContrastiveObjective.Sigmoid && model.Parameters.TryGetValue("logit_bias", out Parameter? known)) (_bias, _ownsBias) = (known, false);
        else if (options.Objective == ContrastiveObjective.Sigmoid)
        {
            using DisposeScope scope = NewDisposeScope();
            _bias = (Parameter)new Parameter(tensor(-10f).to(model.Device), requires_grad: true).DetachFromDisposeScope();
            parameters.Add(new("logit_bias", _bias, false));
        }
        Parameters = parameters;
        Generators = new Dictionary<string, Generator> { ["patch_dropout"] = _generator };
        _step = new ContrastiveStep(definition, model, (train.First.Modality, train.Second.Modality), options, _generator, _bias);
    }

    public IReadOnlyList<NamedParameter> Parameters { get; }

    public IReadOnlyDictionary<string, Generator> Generators { get; }

    public int Rows => _train.Count;

    public string Metric => "top1";

    public IReadOnlyDictionary<string, string> Description => new Dictionary<string, string> { ["config"] = _definition.ToConfigJson() };

    public PairBatch Make(ReadOnlyMemory<int> rows, int epoch) => _train.Make(rows, epoch);

    public float Backward(PairBatch batch, TrainingPosition at) => _step.Backward(batch);

    public void AfterStep(TrainingPosition at) => ContrastiveLoss.LimitScale(_model.Parameters[_definition.LogitScale!]);

    public TrainedWeights Weights() => new(_model.ToWeights(), _model.Adapter(_options.Initialize));

    public double? Validate() => _validation is null ? null : Top1(_validation);

    // Zero-shot: what a group has of the second sense, its prompts for one, is averaged to one embedding, and each picture or sound
    // picks the nearest group.
    double Top1(PairSet set)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        var ops = _model.Ops();
        Tensor groups = stack(set.Members.Select(rows => F.normalize(Embeds(ops, set.Second, rows).mean([0]), 2, -1))); // [G, E]
        int right = 0;
        foreach (int[] rows in Enumerable.Range(0, set.Count).Chunk(EvaluationBatch))
        {
            using DisposeScope part = NewDisposeScope();
            long[] picked = Embeds(ops, set.First, rows).matmul(groups.t()).argmax(1).to(CPU).data<long>().ToArray(); // [B, G] -> [B]
            right += rows.Where((row, i) => picked[i] == set.Group(row)).Count();
        }
        return (double)right / set.Count;
    }

    /// <summary>Embeddings of what the rows hold, [U, E].</summary>
    Tensor Embeds(TorchOps ops, PairItems items, IReadOnlyList<int> rows)
    {
        if (items.Modality == Modality.Text) return Part(rows);
        return cat([.. rows.Chunk(EvaluationBatch).Select(Part)]);

        Tensor Part(IReadOnlyList<int> some)
        {
            using DisposeScope part = NewDisposeScope();
            return ContrastiveStep.Embed(_definition, ops, items.Modality, items.Plain(some).ToTensor(_model.Device)).MoveToOuterDisposeScope();
        }
    }

    public void Dispose()
    {
        if (_ownsBias) _bias?.Dispose();
        _generator.Dispose();
    }
}
