using System.Diagnostics;
using System.Globalization;
using MLNetMultimodal.Models.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training;

/// <summary>What a training ended with.</summary>
/// <param name="Weights">The best weights that were seen: by validation where there is one, else the last.</param>
/// <param name="Steps">Optimizer steps taken, over all resumes.</param>
/// <param name="Completed">False where it was cancelled.</param>
/// <param name="Validation">The best validation result; null without validation data.</param>
/// <param name="Loss">Mean loss of the last 100 steps of this run; null where it took none, because the training had been
/// done.</param>
/// <param name="Elapsed">Time of this run, validation included.</param>
sealed record TrainingResult(TrainedWeights Weights, int Steps, bool Completed, double? Validation, double? Loss, TimeSpan Elapsed);

/// <summary>The training itself, for every trainer: epochs, schedule, moving average, validation, checkpoints, logs.</summary>
sealed class TrainingLoop<TBatch> : IDisposable
{
    readonly TrainingOptions _options;
    readonly ITrainingTask<TBatch> _task;
    readonly CheckpointStore? _store;
    readonly string? _initialize, _base;
    readonly AdamWOptimizer _optimizer;
    readonly Ema? _ema;
    readonly WarmupCosine _schedule;
    readonly Queue<double> _losses = new();
    EarlyStopping? _earlyStopping;
    readonly Stopwatch _clock = new(), _waiting = new();
    double _elapsedBefore;
    int _at;
    double? _best;
    long? _bestStep;
    TrainedWeights? _bestWeights;

    /// <summary>Prepares a training.</summary>
    /// <param name="options">Length, schedule, files.</param>
    /// <param name="task">What is trained; the caller owns it.</param>
    /// <param name="initialize">The folder that the weights come from, for messages; null for random weights.</param>
    /// <param name="baseFingerprint">What that folder held, see <see cref="BaseFingerprint"/>.</param>
    public TrainingLoop(TrainingOptions options, ITrainingTask<TBatch> task, string? initialize = null, string? baseFingerprint = null)
    {
        (_options, _task, _initialize, _base) = (options, task, initialize, baseFingerprint);
        _store = options.Checkpoints is { } folder ? new CheckpointStore(folder) : null;
        _optimizer = new AdamWOptimizer(task.Parameters, new() { WeightDecay = options.WeightDecay, Beta2 = options.Beta2 });
        _ema = options.EmaDecay > 0 ? new Ema(task.Parameters, options.EmaDecay) : null;
        _earlyStopping = options.EarlyStoppingPatience is { } patience ? new EarlyStopping(patience) : null;
        _schedule = new()
        {
            Peak = options.LearningRate,
            Floor = options.FinalRateShare * options.LearningRate,
            Steps = TotalSteps,
            WarmupSteps = (long)(options.WarmupShare * TotalSteps),
        };
    }

    int BatchSize => Math.Min(_options.BatchSize, _task.Rows);

    int StepsPerEpoch => _task.Rows / BatchSize;

    int TotalSteps => StepsPerEpoch * _options.Epochs;

    public TrainingResult Run()
    {
        _clock.Start();
        using var logs = _options.Logs is { } folder ? new TensorBoardWriter(folder) : null;
        Resume();
        bool stopped = _earlyStopping?.Stops ?? false;
        Task<TBatch>? ahead = null;
        int first = _at;
        while (_at < TotalSteps && !stopped && !_options.Cancellation.IsCancellationRequested)
        {
            _waiting.Start();
            TBatch batch = (ahead ?? MakeAsync(_at)).GetAwaiter().GetResult();
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
        return new(_bestWeights ?? CurrentWeights(), _at, completed, _best, _losses.Count > 0 ? _losses.Average() : null, _clock.Elapsed);
    }

    Task<TBatch> MakeAsync(int step)
    {
        int epoch = step / StepsPerEpoch, start = step % StepsPerEpoch * BatchSize;
        return Task.Run(() => _task.Make(Order(epoch).AsMemory(start, BatchSize), epoch));
    }

    (int Epoch, int[] Rows) _order = (-1, []);

    int[] Order(int epoch)
    {
        if (_order.Epoch != epoch) _order = (epoch, _task.Order(_options.Seed, epoch));
        return _order.Rows;
    }

    (float Loss, double GradientNorm) TakeStep(TBatch batch)
    {
        using DisposeScope scope = NewDisposeScope();
        var at = new TrainingPosition(_at, TotalSteps);
        _optimizer.ClearGradients();
        float loss = _task.Backward(batch, at);
        if (!float.IsFinite(loss))
            throw new InvalidOperationException($"the loss is {loss} at step {_at}; lower LearningRate ({_options.LearningRate}) or GradientClip.");
        double norm = _optimizer.ClipGradients(_options.GradientClip);
        _optimizer.Step(_schedule.At(_at));
        using (no_grad()) _task.AfterStep(at);
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
        if (validated is { } metric) logs.Scalar($"validation/{_task.Metric}", metric, _at);
    }

    TrainedWeights CurrentWeights()
    {
        using IDisposable? averaged = _ema?.Swap();
        return _task.Weights();
    }

    /// <summary>What the result depends on; a checkpoint of another training is refused.</summary>
    Dictionary<string, string> Description() => new(_options.Describe().Concat(_task.Description), StringComparer.Ordinal)
    {
        ["rows"] = _task.Rows.ToString(CultureInfo.InvariantCulture),
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
        Random = _task.Generators.ToDictionary(g => g.Key, g => RandomStates.Get(g.Value), StringComparer.Ordinal),
        TaskState = _task.State.ToDictionary(t => t.Key, t => t.Value.ToTensorData(), StringComparer.Ordinal),
    });

    void Resume()
    {
        if (_store?.LoadLatest() is not { } latest) return;
        if (_initialize is { } folder) latest.State.CheckBase(_base, folder, _store.PathOf(latest.State.Step));
        latest.State.CheckOptions(Description(), _store.PathOf(latest.State.Step));
        if (latest.State.BestStep is { } best)
        {
            Restore(best == latest.State.Step ? latest : _store.Load(best));
            (_best, _bestStep, _bestWeights) = (latest.State.BestMetric, best, CurrentWeights());
        }
        Restore(latest);
        _optimizer.LoadState(latest.Optimizer);
        foreach (var (name, generator) in _task.Generators) RandomStates.Set(latest.Random[name], generator);
        (_at, _elapsedBefore) = ((int)latest.State.Step, latest.State.ElapsedSeconds);
        if (_earlyStopping is not null) _earlyStopping = _earlyStopping with { Best = _best, Waited = latest.State.EvaluationsWithoutGain };
    }

    IReadOnlyDictionary<string, TensorData> AllWeights() => _task.Parameters.ToDictionary(p => p.Name, p => p.Value.ToTensorData(), StringComparer.Ordinal);

    void Restore(TrainingCheckpoint checkpoint)
    {
        StoredState.Check("the checkpoint's weights", _task.Parameters.ToDictionary(p => p.Name, p => (DType.F32, p.Value.shape), StringComparer.Ordinal), checkpoint.Weights);
        foreach (NamedParameter parameter in _task.Parameters) StoredState.CopyTo(checkpoint.Weights[parameter.Name], parameter.Value);
        StoredState.Check("the checkpoint's state", _task.State.ToDictionary(t => t.Key, t => (t.Value.ToDType(), t.Value.shape), StringComparer.Ordinal), checkpoint.TaskState);
        foreach (var (name, tensor) in _task.State) StoredState.CopyTo(checkpoint.TaskState[name], tensor);
        if (_ema is not null && checkpoint.Average is { } average) _ema.LoadState(average);
    }

    double? Validate()
    {
        using IDisposable? averaged = _ema?.Swap();
        if (_task.Validate() is not { } metric) return null;
        if (_best is { } best && metric < best) return metric; // of equals the later: it has seen more
        (_best, _bestStep, _bestWeights) = (metric, _at, _task.Weights());
        return metric;
    }

    public void Dispose()
    {
        _ema?.Dispose();
        _optimizer.Dispose();
    }
}
