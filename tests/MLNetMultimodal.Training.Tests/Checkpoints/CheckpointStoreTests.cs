using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Training.Tests;

public sealed class CheckpointStoreTests : IDisposable
{
    readonly string _folder = Directory.CreateTempSubdirectory("checkpoint-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    static TrainingCheckpoint At(long step, long? best = null) => new()
    {
        State = new()
        {
            Step = step,
            Epoch = 2,
            Index = 640,
            BestMetric = best is null ? null : 0.1 + 0.2,
            BestStep = best,
            EvaluationsWithoutGain = 1,
            ElapsedSeconds = 12.5,
            Options = new Dictionary<string, string> { ["LearningRate"] = "0.001", ["Objective"] = "\"InfoNce\"" },
        },
        Weights = new Dictionary<string, TensorData> { ["w"] = TensorData.From([1f, step], 2) },
        Optimizer = new Dictionary<string, TensorData> { ["exp_avg.w"] = TensorData.From([0.1f, 0.2f], 2), ["step.w"] = TensorData.From([step]) },
        Average = new Dictionary<string, TensorData> { ["w"] = TensorData.From([0.5f, 0.5f], 2) },
        TaskState = new Dictionary<string, TensorData> { ["queue"] = TensorData.From([3f, step], 2) },
        Random = new Dictionary<string, TensorData> { ["torch"] = new(DType.U8, [3], new byte[] { 1, 2, 3 }) },
    };

    static void AssertSame(IReadOnlyDictionary<string, TensorData>? expected, IReadOnlyDictionary<string, TensorData>? found)
    {
        Assert.NotNull(expected);
        Assert.NotNull(found);
        Assert.Equal(expected.Keys.Order(), found.Keys.Order());
        foreach (var (name, tensor) in expected)
        {
            Assert.Equal(tensor.Type, found[name].Type);
            Assert.Equal(tensor.Shape, found[name].Shape);
            Assert.Equal(tensor.Bytes.ToArray(), found[name].Bytes.ToArray());
        }
    }

    [Fact]
    public void What_is_saved_comes_back_to_the_bit()
    {
        TrainingCheckpoint saved = At(7, best: 7);
        var store = new CheckpointStore(_folder);
        store.Save(saved);
        TrainingCheckpoint loaded = store.LoadLatest()!;
        Assert.Equal(saved.State with { Options = loaded.State.Options }, loaded.State);
        Assert.Equal(saved.State.Options, loaded.State.Options);
        AssertSame(saved.Weights, loaded.Weights);
        AssertSame(saved.Optimizer, loaded.Optimizer);
        AssertSame(saved.Average, loaded.Average);
        AssertSame(saved.TaskState, loaded.TaskState);
        AssertSame(saved.Random, loaded.Random);
    }

    [Fact]
    public void Without_an_average_there_is_none()
    {
        var store = new CheckpointStore(_folder);
        store.Save(At(1) with { Average = null });
        Assert.Null(store.LoadLatest()!.Average);
    }

    [Fact]
    public void An_empty_or_missing_folder_has_no_checkpoint()
    {
        Assert.Null(new CheckpointStore(_folder).LoadLatest());
        Assert.Null(new CheckpointStore(Path.Combine(_folder, "none")).LoadLatest());
    }

    [Fact]
    public void The_latest_has_the_highest_step_and_not_the_last_name()
    {
        var store = new CheckpointStore(_folder);
        foreach (long step in new long[] { 9, 100, 20 }) store.Save(At(step));
        Assert.Equal(100, store.LoadLatest()!.State.Step);
    }

    [Fact]
    public void The_last_and_the_best_are_kept()
    {
        var store = new CheckpointStore(_folder, keepLast: 2);
        foreach (long step in new long[] { 1, 2, 3, 4, 5 }) store.Save(At(step, best: 2));
        Assert.Equal([2, 4, 5], store.Steps());
        Assert.Equal(3, Directory.GetFileSystemEntries(_folder).Length);
    }

    [Fact]
    public void A_step_that_is_saved_again_is_replaced()
    {
        var store = new CheckpointStore(_folder);
        store.Save(At(3));
        store.Save(At(3) with { Weights = new Dictionary<string, TensorData> { ["w"] = TensorData.From([8f], 1) } });
        Assert.Equal([8f], store.Load(3).Weights["w"].ToSingles());
        Assert.Single(Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public void What_was_half_written_is_ignored_and_cleaned()
    {
        var store = new CheckpointStore(_folder);
        store.Save(At(3));
        Directory.Move(store.Save(At(4)), store.PathOf(4) + ".partial");
        File.Delete(Path.Combine(store.PathOf(4) + ".partial", "training_state.json"));
        Assert.Equal([3], store.Steps());
        Assert.Equal(3, store.LoadLatest()!.State.Step);
        Assert.Single(Directory.GetFileSystemEntries(_folder));
    }

    [Fact]
    public void An_interrupted_replacement_brings_the_old_one_back()
    {
        var store = new CheckpointStore(_folder);
        Directory.Move(store.Save(At(3)), store.PathOf(3) + ".replaced");
        Assert.Equal(3, store.LoadLatest()!.State.Step);
        Assert.Equal([3], store.Steps());
    }

    [Fact]
    public void Other_files_of_the_folder_stay()
    {
        var store = new CheckpointStore(_folder, keepLast: 1);
        foreach (string name in new[] { "checkpoint-mine", "checkpoint-mine.partial", "checkpoint-01", "runs" }) Directory.CreateDirectory(Path.Combine(_folder, name));
        store.Save(At(1));
        store.Save(At(2));
        Assert.Equal(["checkpoint-01", "checkpoint-2", "checkpoint-mine", "checkpoint-mine.partial", "runs"],
            Directory.GetDirectories(_folder).Select(d => Path.GetFileName(d)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Stopping_after_any_change_of_the_folder_leaves_a_whole_checkpoint()
    {
        // A stand-in for kill -9: the state of the folder is copied whenever it changes and opened as another process would.
        var store = new CheckpointStore(_folder, keepLast: 1);
        store.Save(At(1));
        string copies = Directory.CreateTempSubdirectory("checkpoint-tests-").FullName;
        using var stop = new CancellationTokenSource();
        int opened = 0;
        Task watching = Task.Run(() =>
        {
            for (int i = 0; !stop.IsCancellationRequested; i++)
            {
                string copy = Path.Combine(copies, $"{i}");
                if (!TryCopy(_folder, copy)) continue;
                Assert.NotNull(new CheckpointStore(copy).LoadLatest());
                Interlocked.Increment(ref opened);
            }
        });
        try
        {
            // On a busy machine it can take a while before a copy falls between two changes.
            for (long step = 2; step < 60 || (Volatile.Read(ref opened) == 0 && !watching.IsCompleted && step < 1000); step++)
                store.Save(At(step / 2));
            while (Volatile.Read(ref opened) == 0 && !watching.IsCompleted) await Task.Delay(1);
        }
        finally
        {
            await stop.CancelAsync();
            await Task.WhenAny(watching); // its error comes below
            Directory.Delete(copies, recursive: true);
        }
        await watching;
    }

    /// <summary>False where the folder changed meanwhile, so that the copy is of no single moment.</summary>
    static bool TryCopy(string from, string to)
    {
        try
        {
            string before = Listing(from);
            foreach (string folder in Directory.GetDirectories(from))
            {
                Directory.CreateDirectory(Path.Combine(to, Path.GetFileName(folder)));
                foreach (string file in Directory.GetFiles(folder)) File.Copy(file, Path.Combine(to, Path.GetFileName(folder), Path.GetFileName(file)));
            }
            return Directory.Exists(to) && before == Listing(from);
        }
        catch (IOException)
        {
            return false;
        }

        static string Listing(string root) => string.Join('|', Directory.EnumerateFileSystemEntries(root, "*", SearchOption.AllDirectories)
            .Order(StringComparer.Ordinal).Select(f => $"{f} {(File.Exists(f) ? new FileInfo(f).Length : 0)} {File.GetLastWriteTimeUtc(f).Ticks}"));
    }

    [Fact]
    public void A_damaged_file_is_named()
    {
        var store = new CheckpointStore(_folder);
        string path = Path.Combine(store.Save(At(5)), "optimizer.safetensors");
        using (FileStream file = File.OpenWrite(path)) file.SetLength(file.Length - 1);
        Assert.Contains("optimizer.safetensors", Assert.Throws<InvalidDataException>(() => store.LoadLatest()).Message);
        File.Delete(path);
        Assert.Contains("optimizer.safetensors", Assert.Throws<FileNotFoundException>(() => store.LoadLatest()).Message);
    }

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{\"Step\": 5}")]
    [InlineData("{\"Step\": -5, \"Epoch\": 0, \"Index\": 0, \"Options\": {}}")]
    [InlineData("{\"Step\": 5, \"Epoch\": 0, \"Index\": 0, \"Options\": null}")]
    [InlineData("{\"Step\": 5, \"Epoch\": 0, \"Index\": 0, \"Options\": {}, \"More\": 1}")]
    [InlineData("{\"Step\": 1e99, \"Epoch\": 0, \"Index\": 0, \"Options\": {}}")]
    [InlineData("{\"Step\": 6, \"Epoch\": 0, \"Index\": 0, \"Options\": {}}")]
    public void A_senseless_state_is_refused(string json)
    {
        var store = new CheckpointStore(_folder);
        File.WriteAllText(Path.Combine(store.Save(At(5)), "training_state.json"), json);
        Assert.Contains("training_state.json", Assert.Throws<InvalidDataException>(() => store.LoadLatest()).Message);
    }

    sealed record Options(double LearningRate, ContrastiveObjective Objective, string Folder, float[] Mean);

    [Fact]
    public void Other_options_are_refused_by_name()
    {
        var before = new Options(1e-3, default, "a", [0.5f]);
        IReadOnlyDictionary<string, string> described = TrainingState.Describe(before, nameof(Options.Folder));
        TrainingState state = At(1).State with { Options = described };
        state.CheckOptions(TrainingState.Describe(before with { Folder = "b" }, nameof(Options.Folder)), "c");
        var e = Assert.Throws<InvalidOperationException>(() =>
            state.CheckOptions(TrainingState.Describe(before with { LearningRate = 5e-4, Mean = [1] }, nameof(Options.Folder)), "c"));
        Assert.Contains("LearningRate was 0.001 and is 0.0005; Mean was [0.5] and is [1]", e.Message);
    }
}
