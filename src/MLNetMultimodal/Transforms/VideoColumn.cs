using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Video;

namespace MLNetMultimodal.Transforms;

/// <summary>Videos of a batch: files, or frames.</summary>
/// <param name="rows">The most rows.</param>
sealed class VideoPart(int rows)
{
    public FilePart Files { get; } = new(rows);

    public VBuffer<byte>[] Frames { get; } = new VBuffer<byte>[rows];

    /// <summary>Of <see cref="Frames"/>, their sizes in pixels; 0 where the column holds files.</summary>
    public int Height { get; set; }

    /// <inheritdoc cref="Height"/>
    public int Width { get; set; }
}

/// <summary>A column of videos: paths as text, bytes of files, or frames [T, H, W, 3], as LoadVideo makes them.</summary>
/// <param name="column">Its name.</param>
/// <param name="folder">Where relative paths start; null for the working directory.</param>
/// <param name="takesFrames">Whether frames are videos too.</param>
sealed class VideoColumn(string column, string? folder, bool takesFrames) : InputColumn<VideoPart>(column)
{
    /// <summary>Paths or bytes.</summary>
    public override void Check(DataViewType itemType, bool isVector)
    {
        if (isVector ? itemType != NumberDataViewType.Byte : itemType is not TextDataViewType)
            throw new ArgumentException($"column '{Name}' must hold videos: paths as text"
                + $"{(takesFrames ? ", encoded files or frames" : " or encoded files")} as a vector of Byte, "
                + $"but is {Columns.Describe(itemType, isVector)}.");
    }

    /// <exception cref="ArgumentException">The column holds vectors that are neither files nor frames.</exception>
    protected override void Check(DataViewSchema.Column found)
    {
        if (found.Type is VectorDataViewType { Dimensions.Length: > 1 } && !(takesFrames && HoldsFrames(found)))
            throw new ArgumentException($"column '{Name}' must hold videos, but holds {found.Type}"
                + $"{(takesFrames ? "; frames are [T, H, W, 3]" : ", which is no file")}.");
    }

    public override VideoPart NewPart(int rows) => new(rows);

    public override Action<VideoPart, int> Reader(DataViewRow input)
    {
        DataViewSchema.Column found = Find(input.Schema);
        if (!HoldsFrames(found))
        {
            Action<FilePart, int> file = FilePart.Reader(input, found);
            return (part, slot) => file(part.Files, slot);
        }
        var type = (VectorDataViewType)found.Type;
        ValueGetter<VBuffer<byte>> frames = input.GetGetter<VBuffer<byte>>(found);
        return (part, slot) =>
        {
            (part.Height, part.Width) = (type.Dimensions[1], type.Dimensions[2]);
            frames(ref part.Frames[slot]);
        };
    }

    public override InvalidDataException Unreadable(VideoPart part, int slot, long row, Exception reason) =>
        FilePart.Unreadable(row, Name, "the video", part.Files.Path(slot, folder), reason);

    /// <summary>Opens the file of a slot, which for bytes is a copy that is deleted afterwards.</summary>
    /// <param name="part">The videos.</param>
    /// <param name="slot">Which.</param>
    /// <param name="use">Decodes what is wanted.</param>
    /// <exception cref="InvalidDataException">There is none.</exception>
    public TResult Open<TResult>(VideoPart part, int slot, Func<VideoDecoder, string, TResult> use)
    {
        if (part.Files.Path(slot, folder) is { } path) return use(VideoDecoder.Default, path);
        string copy = Path.Combine(Path.GetTempPath(), $"video-{Guid.NewGuid():N}.tmp");
        try
        {
            using (var file = new FileStream(copy, FileMode.CreateNew, FileAccess.Write)) file.Write(part.Files.Content(slot));
            return use(new VideoDecoder { Name = "the encoded video" }, copy);
        }
        finally
        {
            File.Delete(copy);
        }
    }

    /// <summary>The pictures of a slot that holds frames; null where it holds a file.</summary>
    /// <exception cref="InvalidDataException">There are none.</exception>
    public static IEnumerable<RgbImage>? Frames(VideoPart part, int slot)
    {
        if (part.Height == 0) return null;
        int size = 3 * part.Height * part.Width;
        byte[] pixels = [.. part.Frames[slot].DenseValues()];
        return pixels.Length > 0 && pixels.Length % size == 0
            ? pixels.Chunk(size).Select(frame => new RgbImage(part.Width, part.Height, frame)) : throw FilePart.Missing();
    }

    static bool HoldsFrames(DataViewSchema.Column found) =>
        found.Type is VectorDataViewType { Dimensions: [_, > 0, > 0, 3] };
}
