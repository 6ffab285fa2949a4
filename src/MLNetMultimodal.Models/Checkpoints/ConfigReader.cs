using System.Globalization;
using System.Text.Json;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Checkpoints;

/// <summary>Reads a config.json strictly: a wrong type or a senseless size is an error that names the field.</summary>
/// <param name="json">An object of the config.</param>
/// <param name="path">Where it stands, for messages: empty for the root.</param>
public readonly struct ConfigReader(JsonElement json, string path = "")
{
    /// <summary>True where the field is there and not null.</summary>
    public bool Has(string field) => json.TryGetProperty(field, out JsonElement e) && e.ValueKind != JsonValueKind.Null;

    /// <summary>An object inside this one; an empty one where it is missing.</summary>
    public ConfigReader Section(string field)
    {
        if (!Has(field)) return new(JsonDocument.Parse("{}").RootElement, Full(field));
        JsonElement e = json.GetProperty(field);
        return e.ValueKind == JsonValueKind.Object ? new(e, Full(field)) : throw Wrong(field, "an object", e);
    }

    /// <summary>A whole number.</summary>
    /// <param name="field">The field.</param>
    /// <param name="otherwise">Its value where it is missing.</param>
    /// <param name="min">Smallest sensible value.</param>
    /// <param name="max">Largest sensible value.</param>
    /// <exception cref="InvalidDataException">Not a whole number, or out of range.</exception>
    public int Int(string field, int otherwise, int min = 1, int max = 1 << 20)
    {
        if (!Has(field)) return otherwise;
        JsonElement e = json.GetProperty(field);
        return e.ValueKind == JsonValueKind.Number && e.TryGetInt32(out int value) && value >= min && value <= max
            ? value : throw Wrong(field, $"a whole number from {min} to {max}", e);
    }

    /// <summary>A finite number.</summary>
    /// <exception cref="InvalidDataException">Not a number.</exception>
    public float Single(string field, float otherwise)
    {
        if (!Has(field)) return otherwise;
        JsonElement e = json.GetProperty(field);
        return e.ValueKind == JsonValueKind.Number && e.TryGetSingle(out float value) && float.IsFinite(value) ? value : throw Wrong(field, "a number", e);
    }

    /// <summary>A text.</summary>
    /// <exception cref="InvalidDataException">Not a text.</exception>
    public string Text(string field, string otherwise)
    {
        if (!Has(field)) return otherwise;
        JsonElement e = json.GetProperty(field);
        return e.ValueKind == JsonValueKind.String ? e.GetString()! : throw Wrong(field, "a text", e);
    }

    /// <summary>True or false.</summary>
    /// <exception cref="InvalidDataException">Neither.</exception>
    public bool Flag(string field, bool otherwise)
    {
        if (!Has(field)) return otherwise;
        JsonElement e = json.GetProperty(field);
        return e.ValueKind is JsonValueKind.True or JsonValueKind.False ? e.GetBoolean() : throw Wrong(field, "true or false", e);
    }

    /// <summary>The sizes of a Transformer, as Hugging Face's configs name them.</summary>
    /// <param name="otherwise">Values of the fields that are missing.</param>
    /// <param name="minLayers">The fewest blocks.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public TransformerConfig Blocks(TransformerConfig otherwise, int minLayers = 1)
    {
        TransformerConfig blocks = otherwise with
        {
            Layers = Int("num_hidden_layers", otherwise.Layers, minLayers, max: 1024),
            Width = Int("hidden_size", otherwise.Width),
            MlpWidth = Int("intermediate_size", otherwise.MlpWidth),
            Heads = Int("num_attention_heads", otherwise.Heads),
            Activation = ActivationNames.Parse(Text("hidden_act", otherwise.Activation.ConfigName())),
            NormEpsilon = Single("layer_norm_eps", otherwise.NormEpsilon),
        };
        return blocks.Width % blocks.Heads == 0 ? blocks : throw new InvalidDataException(
            $"{Full("hidden_size")} {blocks.Width} must be a multiple of num_attention_heads {blocks.Heads}.");
    }

    /// <summary>A list of whole numbers; empty where it is missing.</summary>
    /// <exception cref="InvalidDataException">Not such a list, or a value out of range.</exception>
    public IReadOnlyList<int> Ints(string field, int min = 1, int max = 1 << 20)
    {
        if (!Has(field)) return [];
        JsonElement e = json.GetProperty(field);
        if (e.ValueKind != JsonValueKind.Array || e.GetArrayLength() > 64) throw Wrong(field, "a list of at most 64 whole numbers", e);
        var values = new List<int>();
        foreach (JsonElement item in e.EnumerateArray())
            values.Add(item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int v) && v >= min && v <= max
                ? v : throw Wrong(field, $"whole numbers from {min} to {max}", e));
        return values;
    }

    /// <summary>A list of texts; empty where it is missing.</summary>
    /// <param name="field">The field.</param>
    /// <param name="most">The most texts.</param>
    /// <exception cref="InvalidDataException">Not such a list.</exception>
    public IReadOnlyList<string> Texts(string field, int most)
    {
        if (!Has(field)) return [];
        JsonElement e = json.GetProperty(field);
        bool fits = e.ValueKind == JsonValueKind.Array && e.GetArrayLength() <= most && e.EnumerateArray().All(i => i.ValueKind == JsonValueKind.String);
        return fits ? [.. e.EnumerateArray().Select(i => i.GetString()!)] : throw Wrong(field, $"a list of at most {most} texts", e);
    }

    /// <summary>The texts of an object whose fields are the numbers from 0 on, such as <c>id2label</c>; empty where it is missing.</summary>
    /// <exception cref="InvalidDataException">Not such an object.</exception>
    public IReadOnlyList<string> Labels(string field)
    {
        if (!Has(field)) return [];
        JsonElement e = json.GetProperty(field);
        if (e.ValueKind != JsonValueKind.Object) throw Wrong(field, "an object of texts", e);
        var labels = new List<string>();
        while (e.TryGetProperty(labels.Count.ToString(CultureInfo.InvariantCulture), out JsonElement label) && label.ValueKind == JsonValueKind.String)
            labels.Add(label.GetString()!);
        return labels.Count == e.EnumerateObject().Count() ? labels : throw Wrong(field, "an object of texts named 0, 1, 2 and so on", e);
    }

    /// <summary>A list of finite numbers; empty where it is missing.</summary>
    /// <exception cref="InvalidDataException">Not such a list.</exception>
    public IReadOnlyList<float> Singles(string field)
    {
        if (!Has(field)) return [];
        JsonElement e = json.GetProperty(field);
        if (e.ValueKind != JsonValueKind.Array || e.GetArrayLength() > 64) throw Wrong(field, "a list of at most 64 numbers", e);
        var values = new List<float>();
        foreach (JsonElement item in e.EnumerateArray())
            values.Add(item.ValueKind == JsonValueKind.Number && item.TryGetSingle(out float v) && float.IsFinite(v) ? v : throw Wrong(field, "a list of numbers", e));
        return values;
    }

    string Full(string field) => path.Length == 0 ? field : $"{path}.{field}";

    InvalidDataException Wrong(string field, string wanted, JsonElement found) => new($"{Full(field)} must be {wanted}, but is {found.GetRawText()}.");
}
