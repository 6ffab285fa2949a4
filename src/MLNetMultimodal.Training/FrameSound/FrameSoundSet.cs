using Microsoft.ML;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Training;

/// <summary>A clip as it is kept in memory.</summary>
/// <param name="Frames">T pictures at the model's size.</param>
/// <param name="Spectrogram">[frames, bins].</param>
sealed record FrameSoundItem(RgbImage[] Frames, float[] Spectrogram);

/// <summary>Reads the clips of a view.</summary>
static class FrameSoundSet
{
    /// <exception cref="InvalidDataException">A video cannot be read, or has no sound; the message names row and file.</exception>
    public static IReadOnlyList<FrameSoundItem> Read(IDataView data, VideoColumn column, FrameSoundClip clip, CancellationToken cancellation)
    {
        var items = new List<FrameSoundItem>();
        using DataViewRowCursor cursor = data.GetRowCursor([column.Find(data.Schema)]);
        VideoPart part = column.NewPart(1);
        Action<VideoPart, int> read = column.Reader(cursor);
        while (cursor.MoveNext())
        {
            cancellation.ThrowIfCancellationRequested();
            read(part, 0);
            try
            {
                var (frames, spectrogram) = column.Open(part, 0, clip.Read);
                items.Add(new(frames, spectrogram));
            }
            catch (Exception e) when (e is IOException or InvalidDataException or ArgumentException)
            {
                throw column.Unreadable(part, 0, cursor.Position, e);
            }
        }
        return items;
    }
}
