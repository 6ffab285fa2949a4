using System.Globalization;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Training;

/// <summary>All that a training needs to go on as if it had never stopped. Plain data.</summary>
sealed record TrainingCheckpoint
{
    /// <summary>Position, best metric and options.</summary>
    public required TrainingState State { get; init; }

    /// <summary>The weights by name.</summary>
    public required IReadOnlyDictionary<string, TensorData> Weights { get; init; }

    /// <summary>The optimizer's state, see <see cref="AdamWOptimizer.ToState"/>.</summary>
    public required IReadOnlyDictionary<string, TensorData> Optimizer { get; init; }

    /// <summary>The moving average, see <see cref="Ema.ToState"/>; null where there is none.</summary>
    public IReadOnlyDictionary<string, TensorData>? Average { get; init; }

    /// <summary>Tensors that change without the optimizer, see <see cref="ITrainingTask{TBatch}.State"/>; empty where there are
    /// none.</summary>
    public IReadOnlyDictionary<string, TensorData> TaskState { get; init; } = new Dictionary<string, TensorData>();

    /// <summary>States of random generators by name, see <see cref="RandomStates"/>; empty where nothing is drawn.</summary>
    public IReadOnlyDictionary<string, TensorData> Random { get; init; } = new Dictionary<string, TensorData>();
}

/// <summary>Checkpoints of one training: folders <c>checkpoint-STEP</c> in one folder. One process at a time writes.</summary>
/// <remarks>
/// A checkpoint is written under another name, flushed to the disk with its folder, and renamed, so that every folder of that
/// name is whole, whenever the process
/// or the machine stops. One that is removed is renamed first for the same reason. What an interruption leaves behind is cleaned
/// up by the next use.
/// </remarks>
/// <param name="folder">Where the checkpoints lie; made where it is missing.</param>
/// <param name="keepLast">How many of the last are kept, at least 1; the best one is kept too.</param>
sealed class CheckpointStore(string folder, int keepLast = 3)
{
    const string Prefix = "checkpoint-", Partial = ".partial", Replaced = ".replaced";
    const string WeightsFile = "model.safetensors", AverageFile = "average.safetensors", OptimizerFile = "optimizer.safetensors";
    const string RandomFile = "random.safetensors", TaskFile = "task.safetensors", StateFile = "training_state.json";

    readonly int _keepLast = keepLast >= 1 ? keepLast : throw new ArgumentOutOfRangeException(nameof(keepLast), keepLast, "must be at least 1.");

    /// <summary>Steps of the checkpoints there are, in rising order.</summary>
    public IReadOnlyList<long> Steps()
    {
        if (!Directory.Exists(folder)) return [];
        return [.. Directory.EnumerateDirectories(folder, Prefix + "*").Select(d => StepOf(Path.GetFileName(d))).OfType<long>().Order()];
    }

    /// <summary>The folder of a step's checkpoint, whether it is there or not.</summary>
    public string PathOf(long step) => Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{Prefix}{step}"));

    /// <summary>Writes a checkpoint and removes those that are no longer kept.</summary>
    /// <returns>Its folder.</returns>
    /// <exception cref="IOException">The folder cannot be written; earlier checkpoints are untouched.</exception>
    public string Save(TrainingCheckpoint checkpoint)
    {
        string path = PathOf(checkpoint.State.Step), partial = path + Partial;
        Directory.CreateDirectory(folder);
        Recover();
        Directory.CreateDirectory(partial);
        Safetensors.Write(Path.Combine(partial, WeightsFile), checkpoint.Weights);
        Safetensors.Write(Path.Combine(partial, OptimizerFile), checkpoint.Optimizer);
        if (checkpoint.Average is not null) Safetensors.Write(Path.Combine(partial, AverageFile), checkpoint.Average);
        if (checkpoint.TaskState.Count > 0) Safetensors.Write(Path.Combine(partial, TaskFile), checkpoint.TaskState);
        Safetensors.Write(Path.Combine(partial, RandomFile), checkpoint.Random);
        AtomicFile.Write(Path.Combine(partial, StateFile), stream => stream.Write(checkpoint.State.ToJson()));
        FolderSync.Flush(partial);
        if (Directory.Exists(path)) Directory.Move(path, path + Replaced);
        Directory.Move(partial, path);
        FolderSync.Flush(folder);
        Recover();
        Prune(checkpoint.State.BestStep);
        return path;
    }

    /// <summary>The checkpoint of the highest step, after cleaning up what an interruption left behind.</summary>
    /// <returns>Null where there is none.</returns>
    /// <exception cref="InvalidDataException">It is damaged: the message names the file.</exception>
    public TrainingCheckpoint? LoadLatest()
    {
        if (!Directory.Exists(folder)) return null;
        Recover();
        return Steps() is [.., long last] ? Load(last) : null;
    }

    /// <summary>The checkpoint of a step, in memory.</summary>
    /// <exception cref="FileNotFoundException">There is none, or a file of it is missing.</exception>
    /// <exception cref="InvalidDataException">It is damaged: the message names the file.</exception>
    public TrainingCheckpoint Load(long step)
    {
        string path = PathOf(step), stateFile = Path.Combine(path, StateFile);
        if (!File.Exists(stateFile)) throw new FileNotFoundException($"'{path}' is not a checkpoint: it has no {StateFile}.", stateFile);
        TrainingState state = TrainingState.Parse(File.ReadAllBytes(stateFile), stateFile);
        if (state.Step != step) throw new InvalidDataException($"'{stateFile}' is of step {state.Step}, but the folder's name says {step}.");
        return new()
        {
            State = state,
            Weights = Read(path, WeightsFile),
            Optimizer = Read(path, OptimizerFile),
            Average = File.Exists(Path.Combine(path, AverageFile)) ? Read(path, AverageFile) : null,
            TaskState = File.Exists(Path.Combine(path, TaskFile)) ? Read(path, TaskFile) : [],
            Random = Read(path, RandomFile),
        };
    }

    static Dictionary<string, TensorData> Read(string path, string file)
    {
        using var stored = Safetensors.Open(Path.Combine(path, file));
        return stored.ToDictionary(t => t.Key, t => new TensorData(t.Value.Type, t.Value.Shape, t.Value.Bytes.ToArray()), StringComparer.Ordinal);
    }

    /// <summary>Removes what was being written or removed, and brings back what was being replaced.</summary>
    void Recover()
    {
        foreach (string left in Directory.EnumerateDirectories(folder, $"{Prefix}*{Replaced}").ToArray())
        {
            string whole = left[..^Replaced.Length];
            if (StepOf(Path.GetFileName(whole)) is null) continue;
            if (Directory.Exists(whole)) Remove(left);
            else Directory.Move(left, whole);
        }
        foreach (string left in Directory.EnumerateDirectories(folder, $"{Prefix}*{Partial}").ToArray())
            if (StepOf(Path.GetFileName(left)[..^Partial.Length]) is not null) Directory.Delete(left, recursive: true);
    }

    void Prune(long? best)
    {
        foreach (long step in Steps().SkipLast(_keepLast).Where(s => s != best)) Remove(PathOf(step));
    }

    static void Remove(string path)
    {
        string partial = (path.EndsWith(Replaced, StringComparison.Ordinal) ? path[..^Replaced.Length] : path) + Partial;
        Directory.Move(path, partial);
        Directory.Delete(partial, recursive: true);
    }

    /// <summary>The step in <c>checkpoint-STEP</c>, as written by <see cref="PathOf"/>; null for any other name.</summary>
    static long? StepOf(string name) =>
        name.StartsWith(Prefix, StringComparison.Ordinal) && long.TryParse(name.AsSpan(Prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long step)
            && name.Length == Prefix.Length + step.ToString(CultureInfo.InvariantCulture).Length ? step : null;
}
