using System.IO.Hashing;
using System.Text;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>Tells whether a fine-tuning goes on from the model it began with, since its checkpoints hold only what is
/// trained.</summary>
static class BaseFingerprint
{
    /// <summary>Of a model of pictures and texts.</summary>
    public static string Of(
        IModelDefinition definition, ImagePreprocessing images, TextTokenizer texts, IReadOnlyDictionary<string, TensorData> weights) =>
        Of(definition.ToConfigJson(),
            texts.Files.Select(f => (f.Key, f.Value)).Append(("preprocessor_config.json", Encoding.UTF8.GetBytes(images.ToJson()))), weights);

    /// <summary>XXH128 of a model's config, preprocessing, tokenizer and weights, in hexadecimal. A weight is read once, where
    /// it is mapped.</summary>
    public static string Of(
        string config, IEnumerable<(string Name, ReadOnlyMemory<byte> Content)> files, IReadOnlyDictionary<string, TensorData> weights)
    {
        var hash = new XxHash128();
        Append(hash, config);
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
