using Microsoft.ML;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Training.Tests;

public sealed class ContrastiveResumeTests : IDisposable
{
    // 3 steps an epoch, and all that a result can depend on.
    static readonly ContrastiveOptions s_options = TrainerFolder.Short with
    {
        Text = "Captions",
        Group = "Label",
        Templates = ["{}", "some {}"],
        Epochs = 5,
        MicroBatchSize = 3,
        PatchDropout = 0.5,
        Augmentation = new() { HorizontalFlip = 0.5f, TranslatePixels = 1, Erase = 0.3f },
    };

    readonly TrainerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    IDataView Train => _folder.View(26, seed: 1);

    /// <summary>Trains until a step is reported.</summary>
    /// <returns>The weights, and the steps that were taken.</returns>
    (byte[] Weights, List<TrainingStep> Steps) Run(ContrastiveOptions options, IDataView? validation = null, long? cancelAt = null)
    {
        using var cancellation = new CancellationTokenSource();
        var steps = new List<TrainingStep>();
        byte[] weights = _folder.Weights(options with
        {
            Cancellation = cancellation.Token,
            Progress = new OnStep(s =>
            {
                steps.Add(s);
                if (s.Step == cancelAt) cancellation.Cancel();
            }),
        }, Train, validation);
        return (weights, steps);
    }

    [Theory]
    [InlineData(ContrastiveObjective.MultiPositive, 0.9, 1)]
    [InlineData(ContrastiveObjective.MultiPositive, 0.9, 3)]
    [InlineData(ContrastiveObjective.MultiPositive, 0.9, 7)]
    [InlineData(ContrastiveObjective.MultiPositive, 0.9, 14)]
    [InlineData(ContrastiveObjective.Sigmoid, 0.0, 7)]
    public void A_resumed_training_ends_with_the_weights_of_an_undisturbed_one(ContrastiveObjective objective, double emaDecay, int cancelAt)
    {
        ContrastiveOptions options = s_options with { Objective = objective, EmaDecay = emaDecay };
        var undisturbed = Run(options);
        Assert.Equal(15, undisturbed.Steps.Count);

        options = options with { Checkpoints = _folder.At("checkpoints"), CheckpointSteps = 4 };
        var cancelled = Run(options, cancelAt: cancelAt);
        Assert.Equal(cancelAt, cancelled.Steps.Count);
        Assert.NotEqual(undisturbed.Weights, cancelled.Weights);
        Assert.True(_folder.Has($"checkpoints/checkpoint-{cancelAt}"));

        var resumed = Run(options);
        Assert.Equal(undisturbed.Steps.Skip(cancelAt).Select(s => (s.Step, s.Epoch, s.Loss, s.GradientNorm, s.LearningRate)),
            resumed.Steps.Select(s => (s.Step, s.Epoch, s.Loss, s.GradientNorm, s.LearningRate)));
        Assert.Equal(undisturbed.Weights, resumed.Weights);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(6)]
    [InlineData(9)]
    [InlineData(11)]
    public void Validation_and_early_stopping_go_on_too(int cancelAt)
    {
        ContrastiveOptions options = s_options with { Epochs = 40, EarlyStoppingPatience = 3 };
        IDataView validation = StripedPictures.Swapped(_folder.Ml, 20, seed: 2);
        var undisturbed = Run(options, validation);
        Assert.InRange(undisturbed.Steps.Count, 12, 3 * 40 - 1);
        Assert.True(undisturbed.Steps.Max(s => s.ValidationMetric) > undisturbed.Steps[^1].ValidationMetric);
        Assert.True(undisturbed.Steps.Count % 3 == 0);

        options = options with { Checkpoints = _folder.At("checkpoints") };
        Run(options, validation, cancelAt);
        var resumed = Run(options, validation);
        Assert.Equal(undisturbed.Steps.Skip(cancelAt).Select(s => (s.Step, s.Loss, s.ValidationMetric)), resumed.Steps.Select(s => (s.Step, s.Loss, s.ValidationMetric)));
        Assert.Equal(undisturbed.Weights, resumed.Weights);

        var again = Run(options, validation);
        Assert.Empty(again.Steps); // it had stopped
        Assert.Equal(undisturbed.Weights, again.Weights);
    }

    [Fact]
    public void A_finished_training_is_not_done_again()
    {
        ContrastiveOptions options = s_options with { Checkpoints = _folder.At("checkpoints"), Output = _folder.At("output") };
        var first = Run(options);
        Directory.Delete(_folder.At("output"), recursive: true);
        var second = Run(options);
        Assert.Empty(second.Steps);
        Assert.Equal(first.Weights, second.Weights);
        Assert.Equal(first.Weights, File.ReadAllBytes(_folder.At("output/model.safetensors")));
        Assert.DoesNotContain("NaN", File.ReadAllText(_folder.At("output/README.md")));
    }

    [Fact]
    public void A_cancelled_training_returns_the_best_so_far()
    {
        ContrastiveOptions options = s_options with { Epochs = 20, Checkpoints = _folder.At("checkpoints"), Output = _folder.At("output") };
        var cancelled = Run(options, StripedPictures.Swapped(_folder.Ml, 20, seed: 2), cancelAt: 3 * 12 + 1);
        var store = new CheckpointStore(_folder.At("checkpoints"));
        TrainingState last = store.LoadLatest()!.State;
        Assert.Equal(37, last.Step);
        Assert.True(last.BestStep < 36, $"the best step is {last.BestStep}");
        Assert.Equal(cancelled.Steps.Max(s => s.ValidationMetric), last.BestMetric);
        Assert.Equal(cancelled.Weights, File.ReadAllBytes(_folder.At("output/model.safetensors")));
        using Safetensors output = Safetensors.Parse(cancelled.Weights, "weights");
        IReadOnlyDictionary<string, TensorData> best = store.Load(last.BestStep!.Value).Average!;
        Assert.All(output, w => Assert.Equal(best[w.Key].Bytes.ToArray(), w.Value.Bytes.ToArray()));
        Assert.Contains("cancelled", File.ReadAllText(_folder.At("output/README.md")));
    }

    [Fact]
    public void Without_validation_the_last_average_is_returned()
    {
        var cancelled = Run(s_options with { Checkpoints = _folder.At("checkpoints") }, cancelAt: 5);
        IReadOnlyDictionary<string, TensorData> average = new CheckpointStore(_folder.At("checkpoints")).LoadLatest()!.Average!;
        using Safetensors output = Safetensors.Parse(cancelled.Weights, "weights");
        Assert.All(output, w => Assert.Equal(average[w.Key].Bytes.ToArray(), w.Value.Bytes.ToArray()));
    }

    [Fact]
    public void What_was_cancelled_before_the_first_step_leaves_nothing()
    {
        using var cancellation = new CancellationTokenSource();
        PictureRow[] rows = StripedPictures.Rows(26, seed: 1);
        int reads = 0;
        IEnumerable<PictureRow> Rows()
        {
            foreach (PictureRow row in rows)
            {
                if (++reads == 26 + 10) cancellation.Cancel(); // captions are read first
                yield return row;
            }
        }
        ContrastiveOptions options = s_options with
        {
            Checkpoints = _folder.At("checkpoints"),
            Output = _folder.At("output"),
            Logs = _folder.At("logs"),
            Cancellation = cancellation.Token,
        };
        Assert.Throws<OperationCanceledException>(() => _folder.Fit(options, _folder.Ml.Data.LoadFromEnumerable(Rows())));
        Assert.True(reads >= 36);
        Assert.Throws<OperationCanceledException>(() => _folder.Fit(options, Train));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_folder.Root));
    }

    [Fact]
    public void Other_options_are_refused_by_name_and_paths_may_differ()
    {
        ContrastiveOptions options = s_options with { Checkpoints = _folder.At("checkpoints") };
        Run(options, cancelAt: 4);
        ContrastiveOptions other = options with { LearningRate = 0.5, Templates = ["{}"], Objective = ContrastiveObjective.InfoNce };
        var e = Assert.Throws<InvalidOperationException>(() => Run(other with { Output = _folder.At("output") }));
        Assert.All(["LearningRate was 0.003 and is 0.5", "Templates", "Objective", "checkpoint-4"], part => Assert.Contains(part, e.Message));
        Assert.DoesNotContain("Epochs", e.Message);
        Assert.False(_folder.Has("output"));
        var fewer = Assert.Throws<InvalidOperationException>(() => _folder.Fit(options, _folder.View(20, seed: 1)));
        Assert.Contains("rows", fewer.Message);

        Directory.Move(_folder.At("checkpoints"), _folder.At("moved"));
        var moved = Run(options with { Checkpoints = _folder.At("moved"), CheckpointSteps = 2, Output = _folder.At("output"), Logs = _folder.At("logs") });
        Assert.Equal(5, moved.Steps[0].Step);
    }
}
