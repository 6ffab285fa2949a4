using System.Diagnostics;
using System.Globalization;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Parameter = TorchSharp.Modules.Parameter;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>What a training ended with.</summary>
/// <param name="Weights">The best weights that were seen: by validation where there is one, else the last.</param>
/// <param name="Adapter">The adapters that are merged into the weights; null without LoRA.</param>
/// <param name="Steps">Optimizer steps taken, over all resumes.</param>
/// <param name="Completed">False where it was cancelled.</param>
/// <param name="Validation">The best validation result: share of pictures for which the right group's captions score highest;
/// null without validation data.</param>
/// <param name="Loss">Mean loss of the last 100 steps of this run; null where it took none, because the training had been
/// done.</param>
/// <param name="Elapsed">Time of this run, validation included.</param>
sealed record ContrastiveResult(IReadOnlyDictionary<string, TensorData> Weights, LoraAdapter? Adapter, int Steps, bool Completed,
    double? Validation, double? Loss, TimeSpan Elapsed);

/// <summary>The training itself: epochs, schedule, moving average, validation, checkpoints.</summary>
sealed class ContrastiveLoop : IDisposable
{
    readonly ContrastiveOptions _options;
    readonly IModelDefinition _definition;
    readonly PairSet _train;
    readonly PairSet? _validation;
    readonly ImagePreprocessing _images;
    readonly TextTokenizer _texts;
    readonly TorchModel _model;
    readonly IReadOnlyList<NamedParameter> _parameters;
    readonly CheckpointStore? _store;
    readonly string? _base;
    readonly Generator _generator;
    readonly Parameter? _bias;
    readonly bool _ownsBias = true;
    readonly AdamWOptimizer _optimizer;
    readonly Ema? _ema;
    readonly ContrastiveStep _step;
    readonly PairBatcher _batcher;
    readonly WarmupCosine _schedule;
    readonly Queue<double> _losses = new();
    EarlyStopping? _earlyStopping;
    readonly Stopwatch _clock = new(), _waiting = new();
    double _elapsedBefore;
    int _at;
    double? _best;
    long? _bestStep;
    (IReadOnlyDictionary<string, TensorData> Weights, LoraAdapter? Adapter)? _bestWeights;

    public ContrastiveLoop(ContrastiveOptions options, IModelDefinition definition, TorchModel model, ImagePreprocessing images, TextTokenizer texts,
        PairSet train, PairSet? validation, string? baseFingerprint)
    {
        if (train.Count < 2) throw new ArgumentException($"contrastive training needs at least 2 rows, but the data has {train.Count}.", nameof(train));
        if (validation is { Count: 0 }) throw new ArgumentException("the validation data has no rows.", nameof(validation));
        (_options, _definition, _model, _images, _texts, _train, _validation) = (options, definition, model, images, texts, train, validation);
        _generator = new Generator(unchecked((ulong)options.Seed), model.Device);
        List<NamedParameter> parameters = [.. TrainableParameters.Select(definition, model, options.FineTuning)];
        if (options.Objective == ContrastiveObjective.Sigmoid && model.Parameters.TryGetValue("logit_bias", out Parameter? known)) (_bias, _ownsBias) = (known, false);
        else if (options.Objective == ContrastiveObjective.Sigmoid)
        {
            using DisposeScope scope = NewDisposeScope();
            _bias = (Parameter)new Parameter(tensor(-10f).to(model.Device), requires_grad: true).DetachFromDisposeScope();
            parameters.Add(new("logit_bias", _bias, false));
        }
        (_parameters, _base) = (parameters, baseFingerprint);
        _store = options.Checkpoints is { } folder ? new CheckpointStore(folder) : null;
        _optimizer = new AdamWOptimizer(parameters, new() { WeightDecay = options.WeightDecay, Beta2 = options.Beta2 });
        _ema = options.EmaDecay > 0 ? new Ema(parameters, options.EmaDecay) : null;
        _step = new ContrastiveStep(definition, model, options, _generator, _bias);
        _batcher = new PairBatcher(train, definition, images, texts, NewAugmentation(options, images), options.Templates, options.Seed);
        _earlyStopping = options.EarlyStoppingPatience is { } patience && validation is not null ? new EarlyStopping(patience) : null;
        _schedule = new() { Peak = options.LearningRate, Steps = TotalSteps, WarmupSteps = (long)(options.WarmupShare * TotalSteps) };
    }

    static Augmentation NewAugmentation(ContrastiveOptions options, ImagePreprocessing images)
    {
        var (mean, std) = (images.Mean ?? (0, 0, 0), images.Std ?? (1, 1, 1));
        return new(options.Augmentation, images.Height, images.Width, [mean.R, mean.G, mean.B], [std.R, std.G, std.B], options.Seed);
    }

    int BatchSize => Math.Min(_options.BatchSize, _train.Count);

    int StepsPerEpoch => _train.Count / BatchSize;

    int TotalSteps => StepsPerEpoch * _options.Epochs;

    public ContrastiveResult Run()
    {
        _clock.Start();
        using var logs = _options.Logs is { } folder ? new TensorBoardWriter(folder) : null;
        Resume();
        bool stopped = _earlyStopping?.Stops ?? false;
        Task<PairBatch>? ahead = null;
        int first = _at;
        while (_at < TotalSteps && !stopped && !_options.Cancellation.IsCancellationRequested)
        {
            _waiting.Start();
            PairBatch batch = (ahead ?? MakeAsync(_at)).GetAwaiter().GetResult();
            _waiting.Stop();
            ahead = _at + 1 < TotalSteps ? MakeAsync(_at + 1) : null;
            var (loss, norm) = TakeStep(batch);
            _at++;
            Remember(loss);
            double? validated = _at % StepsPerEpoch == 0 ? Validate() : null;
            Report(first, loss, norm, validated, logs);
            if (validated is { } metric) _earlyStopping = _earlyStopping?.Next(metric);
            stopped = _earlyStopping?.Stops ?? false;
            bool best = validated is not null && _bestStep == _at;
            if (_store is not null && (best || stopped || _at == TotalSteps || _at % _options.CheckpointSteps == 0)) SaveCheckpoint();
        }
        ahead?.Wait();
        bool completed = stopped || _at == TotalSteps;
        if (!completed && _store is not null && _at > first) SaveCheckpoint();
        (IReadOnlyDictionary<string, TensorData> weights, LoraAdapter? adapter) = _bestWeights ?? CurrentWeights();
        return new(weights, adapter, _at, completed, _best, _losses.Count > 0 ? _losses.Average() : null, _clock.Elapsed);
    }

    Task<PairBatch> MakeAsync(int step)
    {
        int epoch = step / StepsPerEpoch, start = step % StepsPerEpoch * BatchSize;
        return Task.Run(() => _batcher.Make(Order(epoch).AsMemory(start, BatchSize), epoch));
    }

    (int Epoch, int[] Rows) _order = (-1, []);

    int[] Order(int epoch)
    {
        if (_order.Epoch != epoch) _order = (epoch, _train.Order(_options.Seed, epoch));
        return _order.Rows;
    }

    (float Loss, double GradientNorm) TakeStep(PairBatch batch)
    {
        using DisposeScope scope = NewDisposeScope();
        _optimizer.ClearGradients();
        float loss = _step.Backward(batch);
        if (!float.IsFinite(loss))
            throw new InvalidOperationException($"the loss is {loss} at step {_at}; lower LearningRate ({_options.LearningRate}) or GradientClip.");
        double norm = _optimizer.ClipGradients(_options.GradientClip);
        _optimizer.Step(_schedule.At(_at));
        using (no_grad()) _model.Parameters[_definition.LogitScale!].clamp_(null, Math.Log(100)); // as in CLIP, section 2.5
        _ema?.Update();
        return (loss, norm);
    }

    void Remember(double loss)
    {
        _losses.Enqueue(loss);
        if (_losses.Count > 100) _losses.Dequeue();
    }

    void Report(int first, float loss, double norm, double? validated, TensorBoardWriter? logs)
    {
        double perSecond = (_at - first) * (double)BatchSize / _clock.Elapsed.TotalSeconds;
        _options.Progress?.Report(new()
        {
            Epoch = (_at - 1) / StepsPerEpoch + 1,
            Step = _at,
            Steps = TotalSteps,
            Loss = loss,
            LearningRate = _schedule.At(_at - 1),
            GradientNorm = norm,
            SamplesPerSecond = perSecond,
            Elapsed = _clock.Elapsed,
            DataWait = _waiting.Elapsed,
            Remaining = TimeSpan.FromSeconds((TotalSteps - _at) * (double)BatchSize / perSecond),
            ValidationMetric = validated,
        });
        if (logs is null) return;
        logs.Scalar("train/loss", loss, _at);
        logs.Scalar("train/learning_rate", _schedule.At(_at - 1), _at);
        logs.Scalar("train/gradient_norm", norm, _at);
        logs.Scalar("train/samples_per_second", perSecond, _at);
        logs.Scalar("train/data_wait_share", _waiting.Elapsed / _clock.Elapsed, _at);
        if (validated is { } metric) logs.Scalar("validation/top1", metric, _at);
    }

    (IReadOnlyDictionary<string, TensorData>, LoraAdapter?) CurrentWeights()
    {
        using IDisposable? averaged = _ema?.Swap();
        return (_model.ToWeights(), _model.Adapter(_options.Initialize));
    }

    /// <summary>What the result depends on; a checkpoint of another training is refused.</summary>
    IReadOnlyDictionary<string, string> Description() => new Dictionary<string, string>(_options.Describe(), StringComparer.Ordinal)
    {
        ["config"] = _definition.ToConfigJson(),
        ["rows"] = _train.Count.ToString(CultureInfo.InvariantCulture),
    };

    void SaveCheckpoint() => _store!.Save(new()
    {
        State = new()
        {
            Step = _at,
            Epoch = _at / StepsPerEpoch,
            Index = _at % StepsPerEpoch * BatchSize,
            BestMetric = _best,
            BestStep = _bestStep,
            EvaluationsWithoutGain = _earlyStopping?.Waited ?? 0,
            ElapsedSeconds = _elapsedBefore + _clock.Elapsed.TotalSeconds,
            Base = _base,
            Options = Description(),
        },
        Weights = AllWeights(),
        Optimizer = _optimizer.ToState(),
        Average = _ema?.ToState(),
        Random = new Dictionary<string, TensorData> { ["patch_dropout"] = RandomStates.Get(_generator) },
    });

    void Resume()
    {
        if (_store?.LoadLatest() is not { } latest) return;
        if (_options.Initialize is { } folder) latest.State.CheckBase(_base, folder, _store.PathOf(latest.State.Step));
        latest.State.CheckOptions(Description(), _store.PathOf(latest.State.Step));
        if (latest.State.BestStep is { } best)
        {
            Restore(best == latest.State.Step ? latest : _store.Load(best));
            (_best, _bestStep, _bestWeights) = (latest.State.BestMetric, best, CurrentWeights());
        }
        Restore(latest);
        _optimizer.LoadState(latest.Optimizer);
        RandomStates.Set(latest.Random["patch_dropout"], _generator);
        (_at, _elapsedBefore) = ((int)latest.State.Step, latest.State.ElapsedSeconds);
        if (_earlyStopping is not null) _earlyStopping = _earlyStopping with { Best = _best, Waited = latest.State.EvaluationsWithoutGain };
    }

    IReadOnlyDictionary<string, TensorData> AllWeights() => _parameters.ToDictionary(p => p.Name, p => p.Value.ToTensorData(), StringComparer.Ordinal);

    void Restore(TrainingCheckpoint checkpoint)
    {
        StoredState.Check("the checkpoint's weights", _parameters.ToDictionary(p => p.Name, p => (DType.F32, p.Value.shape), StringComparer.Ordinal), checkpoint.Weights);
        foreach (NamedParameter parameter in _parameters) StoredState.CopyTo(checkpoint.Weights[parameter.Name], parameter.Value);
        if (_ema is not null && checkpoint.Average is { } average) _ema.LoadState(average);
    }

    double? Validate()
    {
        if (_validation is null) return null;
        using IDisposable? averaged = _ema?.Swap();
        double metric = Top1(_validation);
        if (_best is { } best && metric < best) return metric; // of equals the later: it has seen more
        (_best, _bestStep, _bestWeights) = (metric, _at, (_model.ToWeights(), _model.Adapter(_options.Initialize)));
        return metric;
    }

    // Zero-shot: the prompts of a group are averaged to one embedding, and each picture picks the nearest group.
    double Top1(PairSet set)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        var ops = _model.Ops();
        Tensor groups = GroupEmbeds(set, ops);                                                          // [G, E]
        int right = 0, size = 3 * _images.Height * _images.Width;
        const int batch = 250;
        for (int start = 0; start < set.Count; start += batch)
        {
            using DisposeScope part = NewDisposeScope();
            int count = Math.Min(batch, set.Count - start);
            var pixels = new float[count * size];
            Parallel.For(0, count, i => _images.Normalize(set.Pictures.Picture(start + i), pixels.AsSpan(i * size, size)));
            Tensor embeds = Embed(ops, Modality.Image, tensor(pixels, [count, 3, _images.Height, _images.Width]).to(_model.Device));
            long[] picked = embeds.matmul(groups.t()).argmax(1).to(CPU).data<long>().ToArray();         // [B, G] -> [B]
            for (int i = 0; i < count; i++)
                if (picked[i] == set.Group(start + i)) right++;
        }
        return (double)right / set.Count;
    }

    Tensor GroupEmbeds(PairSet set, TorchOps ops)
    {
        var captions = new SortedSet<string>?[set.GroupNames.Count];
        for (int row = 0; row < set.Count; row++) (captions[set.Group(row)] ??= new(StringComparer.Ordinal)).UnionWith(set.Captions(row));
        return stack(captions.Select(c => Prompts([.. PairBatcher.Texts(c!, _options.Templates)])));

        Tensor Prompts(string[] prompts)
        {
            using DisposeScope part = NewDisposeScope();
            int length = _definition.PaddedLength(prompts.Max(p => _texts.Encode(p).Count));
            var ids = new long[prompts.Length * length];
            _texts.EncodeBatch(prompts, length, ids, []);
            Tensor embeds = Embed(ops, Modality.Text, tensor(ids, [prompts.Length, length]).to(_model.Device));
            return F.normalize(embeds.mean([0]), 2, -1).MoveToOuterDisposeScope();
        }
    }

    Tensor Embed(TorchOps ops, Modality modality, Tensor input)
    {
        var program = _definition.Encoders[modality];
        return program.Run(ops, new Dictionary<string, Tensor> { [program.Inputs[0].Name] = input })[0].Value;
    }

    public void Dispose()
    {
        _ema?.Dispose();
        _optimizer.Dispose();
        if (_ownsBias) _bias?.Dispose();
        _generator.Dispose();
    }
}
