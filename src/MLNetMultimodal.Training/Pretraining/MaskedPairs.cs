using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Training;

/// <summary>Whole pictures with texts of which words are hidden, and with texts of other rows.</summary>
/// <param name="pictures">Of all rows, nothing hidden; closed with this.</param>
/// <param name="texts">Of the same rows.</param>
sealed class MaskedPairs(MaskedPictures pictures, MaskedTexts texts) : IMaskedRows
{
    public int Count => pictures.Count;

    public MaskedBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        TensorData pixels = pictures.Make(rows, epoch).Whole["pixel_values"];
        MaskedBatch words = texts.Make(rows, epoch);
        var whole = new Dictionary<string, TensorData> { ["pixel_values"] = pixels, ["input_ids"] = words.Whole["input_ids"] };
        var inputs = new Dictionary<string, TensorData>(whole) { ["masked_input_ids"] = words.Inputs["input_ids"], ["wrong_input_ids"] = Wrong(whole["input_ids"]) };
        return new(inputs, whole, words.Masked, words.Labels);
    }

    /// <summary>For each text the next of the batch that is another; itself where all are the same. The rows of a batch are in no
    /// order.</summary>
    static TensorData Wrong(TensorData texts)
    {
        int count = (int)texts.Shape[0], length = (int)texts.Shape[1];
        long[] ids = texts.ToInt64s(), wrong = new long[ids.Length];
        for (int i = 0; i < count; i++)
        {
            int other = Enumerable.Range(1, count).Select(step => (i + step) % count).First(k => k == i || !Text(k).SequenceEqual(Text(i)));
            Text(other).CopyTo(wrong.AsSpan(i * length));
        }
        return TensorData.From(wrong, count, length);

        Span<long> Text(int row) => ids.AsSpan(row * length, length);
    }

    public void Dispose()
    {
        pictures.Dispose();
        texts.Dispose();
    }
}
