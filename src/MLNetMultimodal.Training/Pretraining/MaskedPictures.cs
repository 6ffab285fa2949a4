using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Training;

/// <summary>Pictures of which patches are hidden.</summary>
/// <param name="pictures">All rows; they are closed with this.</param>
/// <param name="images">How a model sees them.</param>
/// <param name="augmentation">How they are varied.</param>
/// <param name="side">Patches along an edge.</param>
/// <param name="hidden">Patches that are hidden, 0 to side * side.</param>
/// <param name="inBlocks">True: rectangles, for a model that sees a mask, <c>bool_masked_pos</c>. False: single patches, for one that
/// sees the others only, <c>ids_keep</c> and <c>ids_restore</c>.</param>
/// <param name="seed">Another seed hides others.</param>
sealed class MaskedPictures(PictureStore pictures, ImagePreprocessing images, AugmentationOptions augmentation, int side, int hidden, bool inBlocks, int seed)
    : IMaskedRows
{
    readonly Augmentation _augmentation = Augmentation.For(images, augmentation, seed);

    public int Count => pictures.Count;

    public MaskedBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        int count = rows.Length, patches = side * side, kept = patches - hidden, size = _augmentation.Length;
        var pixels = new float[count * size];
        var masked = new bool[count * patches];
        long[] order = new long[count * patches], places = new long[count * patches];
        Parallel.For(0, count, new() { MaxDegreeOfParallelism = Math.Max(1, Environment.ProcessorCount / 2) }, i =>
        {
            int row = rows.Span[i];
            Span<float> own = pixels.AsSpan(i * size, size);
            if (epoch == IMaskedRows.Evaluation) _augmentation.Plain(pictures.Pixels(row), pictures.Height, pictures.Width, own);
            else _augmentation.Apply(pictures.Pixels(row), pictures.Height, pictures.Width, epoch, row, own);
            var random = new SampleRandom(seed ^ 0x3A5C, epoch, row); // other numbers than the augmentation's
            Range all = (i * patches)..((i + 1) * patches);
            if (inBlocks)
            {
                Masking.Blocks(ref random, side, hidden, masked.AsSpan(all));
                return;
            }
            Span<long> mine = order.AsSpan(all);
            Masking.Shuffle(ref random, mine);
            for (int k = 0; k < patches; k++)
            {
                places[i * patches + mine[k]] = k;
                masked[i * patches + mine[k]] = k >= kept;
            }
        });
        var whole = new Dictionary<string, TensorData> { ["pixel_values"] = TensorData.From(pixels, count, 3, images.Height, images.Width) };
        TensorData mask = new(DType.BOOL, [count, patches], Array.ConvertAll(masked, m => m ? (byte)1 : (byte)0));
        var inputs = new Dictionary<string, TensorData>(whole);
        if (inBlocks) inputs["bool_masked_pos"] = mask;
        else
        {
            long[] seen = [.. Enumerable.Range(0, count).SelectMany(i => order.AsSpan(i * patches, kept).ToArray())];
            inputs["ids_keep"] = TensorData.From(seen, count, kept);
            inputs["ids_restore"] = TensorData.From(places, count, patches);
        }
        return new(inputs, whole, mask);
    }

    public void Dispose() => pictures.Dispose();
}
