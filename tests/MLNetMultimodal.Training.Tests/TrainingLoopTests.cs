using System.Runtime.CompilerServices;
using MLNetMultimodal.Models.Checkpoints;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training.Tests;

public sealed class TrainingLoopTests : IDisposable
{
    readonly string _folder = Directory.CreateTempSubdirectory("loop-tests-").FullName;

    static TrainingLoopTests() => RuntimeHelpers.RunModuleConstructor(typeof(TrainingOptions).Module.ModuleHandle);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Pulls a weight towards the mean of the rows, by way of a tensor that only the task changes.</summary>
    sealed class MeanTask(int rows, Func<int, double?>? validation = null) : ITrainingTask<float[]>, IDisposable
    {
        readonly Parameter _weight = new(tensor(new[] { 5f }), requires_grad: true);
        readonly Tensor _mean = zeros(1);
        readonly Generator _noise = new(7, CPU);
        int _validations;

        public IReadOnlyList<NamedParameter> Parameters => [new("weight", _weight, false)];

        public IReadOnlyDictionary<string, Tensor> State => new Dictionary<string, Tensor> { ["mean"] = _mean };

        public IReadOnlyDictionary<string, Generator> Generators => new Dictionary<string, Generator> { ["noise"] = _noise };

        public int Rows => rows;

        public string Metric => "closeness";

        public IReadOnlyDictionary<string, string> Description => new Dictionary<string, string>();

        public List<TrainingPosition> Positions { get; } = [];

        public float[] Make(ReadOnlyMemory<int> batch, int epoch) => [.. batch.ToArray().Select(r => (float)r)];

        public float Backward(float[] batch, TrainingPosition at)
        {
            using IDisposable scope = NewDisposeScope();
            Positions.Add(at);
            using (no_grad()) _mean.mul_(0.9).add_(0.1 * batch.Average() + 0.01 * rand(1, generator: _noise));
            Tensor loss = (_weight - _mean).square().sum();
            loss.backward();
            return loss.item<float>();
        }

        public double? Validate() => validation?.Invoke(_validations++);

        public TrainedWeights Weights() => new(new Dictionary<string, TensorData> { ["weight"] = _weight.ToTensorData(), ["mean"] = _mean.ToTensorData() });

        public void Dispose()
        {
            _weight.Dispose();
            _mean.Dispose();
            _noise.Dispose();
        }
    }

    ContrastiveOptions Options(CancellationToken cancellation = default) =>
        new() { Image = "i", Text = "t", Epochs = 3, BatchSize = 4, CheckpointSteps = 2, Checkpoints = _folder, LearningRate = 0.1, Cancellation = cancellation };

    static TrainingResult Run(TrainingOptions options, MeanTask task)
    {
        using (task)
        {
            using var loop = new TrainingLoop<float[]>(options, task);
            return loop.Run();
        }
    }

    static byte[] Bytes(TrainingResult result, string name) => result.Weights.Values[name].Bytes.ToArray();

    [Fact]
    public void A_resumed_training_has_the_tensors_of_its_task_and_what_it_draws()
    {
        TrainingResult whole = Run(Options() with { Checkpoints = null }, new MeanTask(20));
        using var stop = new CancellationTokenSource();
        TrainingResult half = Run(Options(stop.Token) with { Progress = new StopAt(7, stop) }, new MeanTask(20));
        Assert.Equal((7, false), (half.Steps, half.Completed));
        var resumed = new MeanTask(20);
        TrainingResult rest = Run(Options(), resumed);
        Assert.Equal((15, true), (rest.Steps, rest.Completed));
        Assert.Equal(new TrainingPosition(7, 15), resumed.Positions[0]);
        Assert.Equal(Bytes(whole, "weight"), Bytes(rest, "weight"));
        Assert.Equal(Bytes(whole, "mean"), Bytes(rest, "mean"));
    }

    [Fact]
    public void The_weights_of_the_best_validation_are_returned()
    {
        double?[] metrics = [0.1, 0.9, 0.2];
        TrainingResult best = Run(Options() with { Checkpoints = null }, new MeanTask(20, i => metrics[i]));
        TrainingResult second = Run(Options() with { Checkpoints = null, Epochs = 3 }, new MeanTask(20, i => i < 2 ? metrics[i] : null));
        Assert.Equal(0.9, best.Validation);
        Assert.Equal(Bytes(second, "weight"), Bytes(best, "weight"));
        Assert.NotEqual(Bytes(Run(Options() with { Checkpoints = null }, new MeanTask(20)), "weight"), Bytes(best, "weight"));
    }

    [Fact]
    public void A_task_whose_tensors_have_changed_their_shape_is_refused()
    {
        Run(Options() with { Epochs = 1 }, new MeanTask(20));
        string file = Directory.EnumerateFiles(_folder, "task.safetensors", SearchOption.AllDirectories).Max(StringComparer.Ordinal)!;
        Safetensors.Write(file, new Dictionary<string, TensorData> { ["mean"] = TensorData.From([1f, 2f], 2) });
        var e = Assert.Throws<InvalidDataException>(() => Run(Options() with { Epochs = 1 }, new MeanTask(20)));
        Assert.Contains("mean is F32 [2] instead of F32 [1]", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0, 0.5)]
    [InlineData(0.25, 0.625)]
    [InlineData(1, 1)]
    public void The_learning_rate_falls_to_a_share_of_itself(double share, double halfWay)
    {
        var rates = new Rates();
        Run(Options() with { Checkpoints = null, Epochs = 4, WarmupShare = 0, FinalRateShare = share, Progress = rates }, new MeanTask(20));
        Assert.Equal((20, 0.1), (rates.Count, rates[0]));
        Assert.Equal(0.1 * halfWay, rates[10], 12);
        Assert.InRange(rates[19], 0.1 * share, 0.1 * share + 1e-3);
    }

    sealed class Rates : List<double>, IProgress<TrainingStep>
    {
        public void Report(TrainingStep value) => Add(value.LearningRate);
    }

    sealed class StopAt(int step, CancellationTokenSource source) : IProgress<TrainingStep>
    {
        public void Report(TrainingStep value)
        {
            if (value.Step == step) source.Cancel();
        }
    }
}
