using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Transforms;

/// <summary>Pictures of a batch: files, or MLImages.</summary>
/// <param name="rows">The most rows.</param>
sealed class PicturePart(int rows)
{
    public FilePart Files { get; } = new(rows);

    public MLImage?[] Images { get; } = new MLImage?[rows];
}

/// <summary>A column of pictures: MLImage, paths as text, or bytes of files.</summary>
/// <param name="column">Its name.</param>
/// <param name="folder">Where relative paths start; null for the working directory.</param>
sealed class PictureColumn(string column, string? folder) : InputColumn<PicturePart>(column)
{
    public override void Check(DataViewType itemType, bool isVector) => Columns.CheckImages(Name, itemType, isVector);

    protected override void Check(DataViewSchema.Column found)
    {
    }

    public override PicturePart NewPart(int rows) => new(rows);

    public override Action<PicturePart, int> Reader(DataViewRow input)
    {
        DataViewSchema.Column found = Find(input.Schema);
        if (found.Type is ImageDataViewType)
        {
            ValueGetter<MLImage> image = input.GetGetter<MLImage>(found);
            return (part, slot) => image(ref part.Images[slot]!);
        }
        Action<FilePart, int> file = FilePart.Reader(input, found);
        return (part, slot) => file(part.Files, slot);
    }

    /// <summary>Preprocesses the picture of a slot.</summary>
    /// <param name="part">The batch.</param>
    /// <param name="slot">Which of its rows.</param>
    /// <param name="images">How.</param>
    /// <param name="pixels">[3, H, W].</param>
    /// <exception cref="InvalidDataException">There is none, or it cannot be read.</exception>
    public void Fill(PicturePart part, int slot, ImagePreprocessing images, Span<float> pixels)
    {
        if (part.Images[slot] is { } image)
            images.Apply(ImageColumn.Pixels(image, out bool blueFirst), image.Width, image.Height, blueFirst, pixels);
        else if (part.Files.Path(slot, folder) is { } path) images.ApplyToFile(path, pixels);
        else images.ApplyToEncoded(part.Files.Content(slot), pixels);
    }

    public override InvalidDataException Unreadable(PicturePart part, int slot, long row, Exception reason) =>
        FilePart.Unreadable(row, Name, "the picture", part.Files.Path(slot, folder), reason);
}
