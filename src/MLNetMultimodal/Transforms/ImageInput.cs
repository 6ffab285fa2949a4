using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Transforms;

/// <summary>What a tower makes of the rows of a batch.</summary>
/// <param name="embeds">[B, E].</param>
/// <param name="errors">[B], what is wrong with a row; null where nothing is.</param>
class EmbedPart(float[] embeds, Exception?[] errors)
{
    public float[] Embeds => embeds;

    public Exception?[] Errors => errors;

    /// <summary>The row's embedding, [E], all NaN where it is missing.</summary>
    /// <exception cref="InvalidDataException">The row's item cannot be read and <paramref name="onError"/> is <see
    /// cref="OnError.Throw"/>.</exception>
    public ReadOnlySpan<float> Embedding(int slot, OnError onError)
    {
        int width = embeds.Length / errors.Length;
        Span<float> embedding = embeds.AsSpan(slot * width, width);
        if (errors[slot] is not { } error) return embedding;
        if (onError == OnError.Throw) throw error;
        embedding.Fill(float.NaN);
        return embedding;
    }

    public int Failures(int count) => errors.Take(count).Count(static e => e is not null);
}

/// <summary>Pictures of a batch.</summary>
/// <param name="rows">B.</param>
/// <param name="width">E.</param>
/// <param name="pixels">[B, 3, H, W].</param>
sealed class ImagePart(int rows, int width, float[] pixels) : EmbedPart(new float[rows * width], new Exception?[rows])
{
    public float[] Pixels => pixels;

    public MLImage[] Images { get; } = new MLImage[rows];

    public ReadOnlyMemory<char>[] Paths { get; } = new ReadOnlyMemory<char>[rows];

    public VBuffer<byte>[] Files { get; } = new VBuffer<byte>[rows];
}

/// <summary>From a column of pictures to embeddings: decoding and preprocessing on any thread, then the image tower for the whole
/// batch.</summary>
sealed class ImageInput(MultimodalModel model, string column, string? folder)
{
    readonly int _pixels = 3 * model.Images.Height * model.Images.Width;

    public DataViewSchema.Column Find(DataViewSchema schema)
    {
        DataViewSchema.Column found = Columns.Find(schema, column);
        Columns.CheckImages(column, Columns.ItemType(found), Columns.IsVector(found));
        return found;
    }

    public ImagePart NewPart(int rows) => new(rows, model.EmbeddingWidth, new float[rows * _pixels]);

    public Action<ImagePart, int> Reader(DataViewRow input)
    {
        DataViewSchema.Column found = Find(input.Schema);
        switch (found.Type)
        {
            case ImageDataViewType:
                ValueGetter<MLImage> image = input.GetGetter<MLImage>(found);
                return (part, slot) => image(ref part.Images[slot]);
            case TextDataViewType:
                ValueGetter<ReadOnlyMemory<char>> path = input.GetGetter<ReadOnlyMemory<char>>(found);
                return (part, slot) => path(ref part.Paths[slot]);
            default:
                ValueGetter<VBuffer<byte>> file = input.GetGetter<VBuffer<byte>>(found);
                return (part, slot) => file(ref part.Files[slot]);
        }
    }

    /// <summary>Decodes and preprocesses; what goes wrong is kept for the row.</summary>
    public void Prepare(ImagePart part, int slot, long row)
    {
        Span<float> pixels = part.Pixels.AsSpan(slot * _pixels, _pixels);
        part.Errors[slot] = null;
        try
        {
            model.Images.Apply(Decode(part, slot), pixels);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            pixels.Clear();
            part.Errors[slot] = new InvalidDataException($"row {row}, column '{column}': the picture{Named(part, slot)} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>[B, 3, H, W] -> [B, E].</summary>
    public void Run(ImagePart part, int count)
    {
        if (part.Failures(count) == count) return;
        model.EmbedPixels(part.Pixels.AsMemory(0, count * _pixels), count, part.Embeds.AsSpan(0, count * model.EmbeddingWidth));
    }

    RgbImage Decode(ImagePart part, int slot)
    {
        if (part.Images[slot] is { } image) return ImageColumn.Pixels(image);
        if (!part.Paths[slot].IsEmpty) return ImageDecoder.Decode(Resolve(part.Paths[slot].ToString()));
        if (part.Files[slot].Length == 0) throw new InvalidDataException("there is none: the column is empty in this row.");
        return part.Files[slot].IsDense
            ? ImageDecoder.Decode(part.Files[slot].GetValues(), "the encoded picture")
            : ImageDecoder.Decode([.. part.Files[slot].DenseValues()], "the encoded picture");
    }

    string Resolve(string path) => folder is null ? path : Path.Combine(folder, path);

    string Named(ImagePart part, int slot) => part.Paths[slot].IsEmpty ? "" : $" '{Resolve(part.Paths[slot].ToString())}'";
}
