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

    public FilePart Files { get; } = new(rows);

    public override Exception? Error(int slot) => Errors[slot];

    protected override ReadOnlySpan<float> Values(int slot) => Embeds.AsSpan(slot * Width, Width);
}

/// <summary>From a column of pictures to embeddings: decoding and preprocessing on any thread, then the image tower for the whole
/// batch.</summary>
sealed class ImageInput(MultimodalModel model, string column, string? folder, bool reducedScaleJpeg) : EmbedInput
{
    readonly ImagePreprocessing _images = reducedScaleJpeg ? model.Images with { ReducedScaleJpeg = true } : model.Images;
    readonly int _pixels = 3 * model.Images.Height * model.Images.Width;

    public override DataViewSchema.Column Find(DataViewSchema schema) => Columns.FindImages(schema, column);

    public override EmbedPart NewPart(int rows) => new ImagePart(rows, model.EmbeddingWidth, new float[rows * _pixels]);

    public override Action<EmbedPart, int> Reader(DataViewRow input)
    {
        DataViewSchema.Column found = Find(input.Schema);
        if (found.Type is ImageDataViewType)
        {
            ValueGetter<MLImage> image = input.GetGetter<MLImage>(found);
            return (part, slot) => image(ref ((ImagePart)part).Images[slot]);
        }
        Action<FilePart, int> file = FilePart.Reader(input, found);
        return (part, slot) => file(((ImagePart)part).Files, slot);
    }

    public override void Prepare(EmbedPart images, int slot, long row)
    {
        var part = (ImagePart)images;
        Span<float> pixels = part.Pixels.AsSpan(slot * _pixels, _pixels);
        part.Errors[slot] = null;
        try
        {
            Fill(part, slot, pixels);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            pixels.Clear();
            part.Errors[slot] = FilePart.Unreadable(row, column, "the picture", part.Files.Path(slot, folder), e);
        }
    }

    /// <summary>[B, 3, H, W] -> [B, E].</summary>
    public override void Run(EmbedPart images, int count)
    {
        var part = (ImagePart)images;
        if (part.Failures(count) == count) return;
        model.EmbedPixels(part.Pixels.AsMemory(0, count * _pixels), count, part.Embeds.AsSpan(0, count * model.EmbeddingWidth));
    }

    void Fill(ImagePart part, int slot, Span<float> pixels)
    {
        if (part.Images[slot] is { } image)
            _images.Apply(ImageColumn.Pixels(image, out bool blueFirst), image.Width, image.Height, blueFirst, pixels);
        else if (part.Files.Path(slot, folder) is { } path) _images.ApplyToFile(path, pixels);
        else _images.ApplyToEncoded(part.Files.Content(slot), pixels);
    }
}
