using System.IO.Hashing;
using System.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>Tells whether a fine-tuning goes on from the model it began with, since its checkpoints hold only what is
/// trained.</summary>
static class BaseFingerprint
{
    /// <summary>XXH128 of the model's config, preprocessing, tokenizer and weights, in hexadecimal. A weight is read once, where
    /// it is mapped.</summary>
    public static string Of(
        IModelDefinition definition, IReadOnlyList<(string Name, ReadOnlyMemory<byte> Content)> files, IReadOnlyDictionary<string, TensorData> weights)
    {
        var hash = new XxHash128();
        Append(hash, definition.ToConfigJson());
        foreach (var (file, content) in files.OrderBy(f => f.Name, StringComparer.Ordinal))
        {
            Append(hash, $"{file} {content.Length}");
            hash.Append(content.Span);
        }
        foreach (var (name, tensor) in weights.OrderBy(w => w.Key, StringComparer.Ordinal))
        {
            Append(hash, $"{name} {tensor.Type} [{string.Join(", ", tensor.Shape)}]");
            hash.Append(tensor.Bytes.Span);
        }
        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }

    static void Append(XxHash128 hash, string text)
    {
        hash.Append(Encoding.UTF8.GetBytes(text));
        hash.Append([0]);
    }
}
