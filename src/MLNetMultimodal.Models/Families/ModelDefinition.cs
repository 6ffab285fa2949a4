using System.Text.Json;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>A sense.</summary>
public enum Modality
{
    /// <summary>Still pictures.</summary>
    Image,

    /// <summary>Written language.</summary>
    Text,

    /// <summary>Sound.</summary>
    Audio,
}

/// <summary>A model: its programs and what stands in its config. Weights are not part of it.</summary>
public interface IModelDefinition
{
    /// <summary><c>model_type</c> of config.json.</summary>
    string ModelType { get; }

    /// <summary>E, the width of the shared embedding space.</summary>
    int EmbeddingWidth { get; }

    /// <summary>One program per sense; its first output is the embedding, [B, E], of length 1.</summary>
    IReadOnlyDictionary<Modality, IProgram> Encoders { get; }

    /// <summary>The whole model: all inputs, all outputs that the reference implementation names.</summary>
    IProgram Full { get; }

    /// <summary>Name of the scalar weight whose exponential multiplies similarities; null where the family has none.</summary>
    string? LogitScale { get; }

    /// <summary>Buffers that older checkpoints carry and that are computed here; they are ignored when weights are
    /// loaded.</summary>
    IReadOnlyList<string> IgnoredWeights { get; }

    /// <summary>The config in the published schema.</summary>
    string ToConfigJson();
}

/// <summary>How a family is recognised and made.</summary>
/// <param name="ModelType"><c>model_type</c> of its config.json.</param>
/// <param name="Create">Makes the model from the root of config.json.</param>
public sealed record ModelFamily(string ModelType, Func<JsonElement, IModelDefinition> Create);

/// <summary>The families that this library knows.</summary>
public static class ModelFamilies
{
    /// <summary>All of them. A stranger's family is put beside them: <c>[.. ModelFamilies.BuiltIn, new("mine", config =>
    /// …)]</c>.</summary>
    public static IReadOnlyList<ModelFamily> BuiltIn { get; } = [new("clip", json => new ClipModel(ClipConfig.FromJson(json)))];

    /// <summary>Makes the model that a config.json describes.</summary>
    /// <param name="configJson">Content of config.json.</param>
    /// <param name="name">Where it comes from, for messages.</param>
    /// <param name="families">Families to choose from; null for <see cref="BuiltIn"/>.</param>
    /// <exception cref="InvalidDataException">Not JSON, no <c>model_type</c>, or sizes that make no sense.</exception>
    /// <exception cref="NotSupportedException">The family is unknown; the message lists those known and how to add
    /// one.</exception>
    public static IModelDefinition Create(ReadOnlyMemory<byte> configJson, string name, IReadOnlyList<ModelFamily>? families = null)
    {
        families ??= BuiltIn;
        try
        {
            using JsonDocument document = JsonDocument.Parse(configJson, new() { MaxDepth = 32 });
            JsonElement root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("model_type", out JsonElement type) || type.ValueKind != JsonValueKind.String)
                throw new InvalidDataException($"config.json of '{name}' has no model_type; it names the family, for example \"clip\".");
            ModelFamily family = families.FirstOrDefault(f => f.ModelType == type.GetString()) ?? throw new NotSupportedException(
                $"config.json of '{name}' has the model_type '{type.GetString()}'; known are {string.Join(", ", families.Select(f => f.ModelType))}. "
                + "Another family is added by giving its ModelFamily beside ModelFamilies.BuiltIn.");
            return family.Create(root);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or FormatException or OverflowException or ArgumentException)
        {
            throw new InvalidDataException($"config.json of '{name}' cannot be read: {e.Message}", e);
        }
    }
}
