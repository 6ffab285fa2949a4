using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Training;

/// <summary>Whole pictures with texts of which words are hidden.</summary>
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
        return new(new Dictionary<string, TensorData>(whole) { ["masked_input_ids"] = words.Inputs["input_ids"] }, whole, words.Masked, words.Labels);
    }

    public void Dispose()
    {
        pictures.Dispose();
        texts.Dispose();
    }
}
