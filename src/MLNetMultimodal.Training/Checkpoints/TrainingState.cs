using System.Text.Json;
using System.Text.Json.Serialization;

namespace MLNetMultimodal.Training;

/// <summary>Where a training stands, beside its tensors.</summary>
sealed record TrainingState
{
    /// <summary>Steps done; the schedule goes on from here.</summary>
    public required long Step { get; init; }

    /// <summary>Passes over the data that are complete.</summary>
    public required int Epoch { get; init; }

    /// <summary>Samples of the present pass that are used up; the next one is at this place of the epoch's order.</summary>
    public required long Index { get; init; }

    /// <summary>The best validation metric so far; null before the first evaluation.</summary>
    public double? BestMetric { get; init; }

    /// <summary>The step of <see cref="BestMetric"/>; its checkpoint is kept.</summary>
    public long? BestStep { get; init; }

    /// <summary>Evaluations since the best one.</summary>
    public int EvaluationsWithoutGain { get; init; }

    /// <summary>Seconds trained so far, over all runs.</summary>
    public double ElapsedSeconds { get; init; }

    /// <summary>The model that a fine-tuning began with, see <see cref="BaseFingerprint"/>; null for one from random
    /// weights.</summary>
    public string? Base { get; init; }

    /// <summary>What the result depends on, by name; see <see cref="TrainingState.Describe"/>.</summary>
    public required IReadOnlyDictionary<string, string> Options { get; init; }

    /// <summary>Every public property of an options record as JSON, so that a difference can be named.</summary>
    /// <param name="options">The record.</param>
    /// <param name="except">Properties that may differ when resuming, such as paths.</param>
    public static IReadOnlyDictionary<string, string> Describe(object options, params IReadOnlyCollection<string> except) =>
        options.GetType().GetProperties().Where(p => !except.Contains(p.Name)) // first: what is left out need not be data
            .ToDictionary(p => p.Name, p => JsonSerializer.Serialize(p.GetValue(options), p.PropertyType, s_described), StringComparer.Ordinal);

    static readonly JsonSerializerOptions s_described = new() { Converters = { new JsonStringEnumConverter() }, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals };
    static readonly JsonSerializerOptions s_stored = new(s_described)
    {
        WriteIndented = true,
        MaxDepth = 8,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectNullableAnnotations = true,
    };

    /// <summary>As the file <c>training_state.json</c>.</summary>
    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, s_stored);

    /// <summary>Reads <see cref="ToJson"/> strictly.</summary>
    /// <param name="json">The file's content.</param>
    /// <param name="name">Its path, for messages.</param>
    /// <exception cref="InvalidDataException">Not such a file, or a number out of range.</exception>
    public static TrainingState Parse(ReadOnlySpan<byte> json, string name)
    {
        try
        {
            TrainingState state = JsonSerializer.Deserialize<TrainingState>(json, s_stored) ?? throw new InvalidDataException($"'{name}' is empty.");
            bool sound = state is { Step: >= 0, Epoch: >= 0, Index: >= 0, EvaluationsWithoutGain: >= 0, ElapsedSeconds: >= 0 and < double.PositiveInfinity };
            return sound ? state : throw new InvalidDataException($"'{name}' has a number out of range: {state with { Options = new Dictionary<string, string>() }}.");
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"'{name}' cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Checks that a fine-tuning goes on from the model it began with.</summary>
    /// <param name="now">The fingerprint of the model now.</param>
    /// <param name="folder">Its folder, for the message.</param>
    /// <param name="name">The checkpoint, for the message.</param>
    /// <exception cref="InvalidOperationException">It is another model.</exception>
    public void CheckBase(string? now, string folder, string name)
    {
        if (Base != now)
            throw new InvalidOperationException($"the checkpoint '{name}' goes on from another model than '{folder}' now holds: its "
                + $"config, preprocessing, tokenizer and weights had the fingerprint {Base ?? "none"}, and have {now ?? "none"}. "
                + "Put the folder back as it was, or use another folder for Checkpoints to begin anew.");
    }

    /// <summary>Checks that a training with these options may go on from this state.</summary>
    /// <param name="options">The options now.</param>
    /// <param name="name">The checkpoint, for the message.</param>
    /// <exception cref="InvalidOperationException">They differ: the message names each with both values.</exception>
    public void CheckOptions(IReadOnlyDictionary<string, string> options, string name)
    {
        string[] different = [.. Options.Keys.Union(options.Keys).Order(StringComparer.Ordinal)
            .Where(k => Options.GetValueOrDefault(k) != options.GetValueOrDefault(k))
            .Select(k => $"{k} was {Options.GetValueOrDefault(k, "absent")} and is {options.GetValueOrDefault(k, "absent")}")];
        if (different.Length > 0)
            throw new InvalidOperationException(
                $"the checkpoint '{name}' was trained with other options: {string.Join("; ", different)}. Use the same options, or another folder to begin anew.");
    }
}
