using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Transforms;

/// <summary>Pictures of a batch.</summary>
/// <param name="rows">The most rows.</param>
/// <param name="width">E.</param>
/// <param name="pixels">[B, 3, H, W].</param>
sealed class ImagePart(int rows, int width, float[] pixels) : EmbedPart(rows, width)
{
    public float[] Pixels => pixels;

    /// <summary>[B, E].</summary>
    public float[] Embeds { get; } = new float[rows * width];

    public Exception?[] Errors { get; } = new Exception?[rows];

    public MLImage[] Images { get; } = new MLImage[rows];

    public ReadOnlyMemory<char>[] Paths { get; } = new ReadOnlyMemory<char>[rows];

    public VBuffer<byte>[] Files { get; } = new VBuffer<byte>[rows];

    public override Exception? Error(int slot) => Errors[slot];

    protected override ReadOnlySpan<float> Values(int slot) => Embeds.AsSpan(slot * Width, Width);
}

/// <summary>From a column of pictures to embeddings: decoding and preprocessing on any thread, then the image tower for the whole
/// batch.</summary>
sealed class ImageInput(MultimodalModel model, string column, string? folder, bool reducedScaleJpeg)
{
    readonly ImagePreprocessing _images = reducedScaleJpeg ? model.Images with { ReducedScaleJpeg = true } : model.Images;
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
            Fill(part, slot, pixels);
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

    void Fill(ImagePart part, int slot, Span<float> pixels)
    {
        if (part.Images[slot] is { } image)
            _images.Apply(ImageColumn.Pixels(image, out bool blueFirst), image.Width, image.Height, blueFirst, pixels);
        else if (!part.Paths[slot].IsEmpty) _images.ApplyToFile(Resolve(part.Paths[slot].ToString()), pixels);
        else if (part.Files[slot].Length == 0) throw new InvalidDataException("there is none: the column is empty in this row.");
        else if (part.Files[slot].IsDense) _images.ApplyToEncoded(part.Files[slot].GetValues(), pixels);
        else _images.ApplyToEncoded([.. part.Files[slot].DenseValues()], pixels);
    }

    string Resolve(string path) => folder is null ? path : Path.Combine(folder, path);

    string Named(ImagePart part, int slot) => part.Paths[slot].IsEmpty ? "" : $" '{Resolve(part.Paths[slot].ToString())}'";
}
