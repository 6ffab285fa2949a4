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
/// <param name="masks">How many times a picture is in a batch, each time with other patches hidden; its pixels are there once.</param>
sealed class MaskedPictures(
    PictureStore pictures, ImagePreprocessing images, AugmentationOptions augmentation, int side, int hidden, bool inBlocks, int seed, int masks = 1) : IMaskedRows
{
    readonly Augmentation _augmentation = Augmentation.For(images, augmentation, seed);

    public int Count => pictures.Count;

    public MaskedBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        int count = rows.Length, patches = side * side, kept = patches - hidden, size = _augmentation.Length;
        var pixels = new float[count * size];
        var masked = new bool[count * masks * patches];
        long[] order = new long[masked.Length], places = new long[masked.Length];
        Parallel.For(0, count, new() { MaxDegreeOfParallelism = Math.Max(1, Environment.ProcessorCount / 2) }, i =>
        {
            int row = rows.Span[i];
            Span<float> own = pixels.AsSpan(i * size, size);
            if (epoch == IMaskedRows.Evaluation) _augmentation.Plain(pictures.Pixels(row), pictures.Height, pictures.Width, own);
            else _augmentation.Apply(pictures.Pixels(row), pictures.Height, pictures.Width, epoch, row, own);
            var random = new SampleRandom(seed ^ 0x3A5C, epoch, row); // other numbers than the augmentation's
            for (int m = i * masks; m < (i + 1) * masks; m++) Hide(ref random, m * patches);
        });
        var whole = new Dictionary<string, TensorData> { ["pixel_values"] = TensorData.From(pixels, count, 3, images.Height, images.Width) };
        TensorData mask = new(DType.BOOL, [count * masks, patches], Array.ConvertAll(masked, m => m ? (byte)1 : (byte)0));
        var inputs = new Dictionary<string, TensorData>(whole);
        if (inBlocks) inputs["bool_masked_pos"] = mask;
        else
        {
            long[] seen = [.. Enumerable.Range(0, count * masks).SelectMany(i => order.AsSpan(i * patches, kept).ToArray())];
            inputs["ids_keep"] = TensorData.From(seen, count * masks, kept);
            inputs["ids_restore"] = TensorData.From(places, count * masks, patches);
        }
        return new(inputs, whole, mask);

        void Hide(ref SampleRandom random, int start)
        {
            if (inBlocks)
            {
                Masking.Blocks(ref random, side, hidden, masked.AsSpan(start, patches));
                return;
            }
            Span<long> mine = order.AsSpan(start, patches);
            Masking.Shuffle(ref random, mine);
            for (int k = 0; k < patches; k++)
            {
                places[start + mine[k]] = k;
                masked[start + mine[k]] = k >= kept;
            }
        }
    }

    public void Dispose() => pictures.Dispose();
}
