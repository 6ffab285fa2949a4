using Microsoft.ML;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Training;

/// <summary>Reads a column of pictures out of a data view, at the size that a model sees.</summary>
/// <param name="column">Its name.</param>
/// <param name="folder">Where relative paths start; null for the working folder.</param>
/// <param name="cancellation">Ends the reading with an <see cref="OperationCanceledException"/>.</param>
sealed class PictureReader(string column, string? folder, CancellationToken cancellation)
{
    const int Chunk = 64; // pictures that are held encoded

    /// <summary>The pictures of all rows.</summary>
    /// <param name="data">The rows.</param>
    /// <param name="images">How pictures are made.</param>
    /// <param name="cache">Folder of <see cref="PictureStore.OnDisk"/>; null keeps them in memory.</param>
    /// <exception cref="InvalidDataException">A picture cannot be read; the message names the row.</exception>
    public PictureStore Read(IDataView data, ImagePreprocessing images, string? cache) => cache is null
        ? PictureStore.InMemory(images, Decode(Rows(data, c => c.Take()), images))
        : PictureStore.OnDisk(cache, images, hash =>
        {
            foreach (ImageColumn picture in Rows(data, c => c)) picture.AppendTo(hash);
        }, () => Decode(Rows(data, c => c.Take()), images));

    IEnumerable<T> Rows<T>(IDataView data, Func<ImageColumn, T> each)
    {
        using DataViewRowCursor cursor = data.GetRowCursor([data.Schema[column]]);
        using var pictures = new ImageColumn(cursor, column, folder);
        while (cursor.MoveNext())
        {
            cancellation.ThrowIfCancellationRequested();
            yield return each(pictures);
        }
    }

    /// <summary>Decodes pictures on all cores, in their order.</summary>
    /// <param name="encoded">Each decodes one, on any thread.</param>
    /// <param name="images">How pictures are made.</param>
    /// <exception cref="InvalidDataException">A picture cannot be read: the first one's reason.</exception>
    public static IEnumerable<RgbImage> Decode(IEnumerable<Func<RgbImage>> encoded, ImagePreprocessing images) =>
        encoded.Chunk(Chunk).SelectMany(chunk => ParallelDecoding.Run(chunk.Length, i => images.ResizeAndCrop(chunk[i]())));
}
