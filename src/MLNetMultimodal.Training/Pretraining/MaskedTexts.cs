using Microsoft.ML;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training;

/// <summary>Texts of which words are hidden.</summary>
/// <param name="texts">Token ids of each row.</param>
/// <param name="tokenizer">What they were made with.</param>
/// <param name="config">Padding and mask of the model.</param>
/// <param name="share">Share of the words that is hidden.</param>
/// <param name="seed">Another seed hides others.</param>
sealed class MaskedTexts(IReadOnlyList<IReadOnlyList<int>> texts, TextTokenizer tokenizer, BertConfig config, double share, int seed) : IMaskedRows
{
    readonly int _maskId = config.MaskId ?? throw new InvalidDataException("the model's config.json has no mask_token_id; masked training wants one.");

    public int Count => texts.Count;

    /// <summary>All texts of a column.</summary>
    /// <exception cref="OperationCanceledException">Cancelled: part of the data is no data to train on.</exception>
    public static IEnumerable<string> Read(IDataView data, string column, CancellationToken cancellation)
    {
        using DataViewRowCursor cursor = data.GetRowCursor([data.Schema[column]]);
        ValueGetter<ReadOnlyMemory<char>> getter = cursor.GetGetter<ReadOnlyMemory<char>>(data.Schema[column]);
        ReadOnlyMemory<char> text = default;
        while (cursor.MoveNext())
        {
            cancellation.ThrowIfCancellationRequested();
            getter(ref text);
            yield return text.ToString();
        }
    }

    public MaskedBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        int count = rows.Length, length = rows.ToArray().Max(r => texts[r].Count);
        long[] whole = new long[count * length], keep = new long[count * length], labels = new long[count * length];
        Array.Fill(whole, config.PadId);
        Array.Fill(labels, MaskedLoss.Ignored);
        for (int i = 0; i < count; i++)
            for (int k = 0; k < texts[rows.Span[i]].Count; k++)
            {
                int id = texts[rows.Span[i]][k];
                (whole[i * length + k], keep[i * length + k]) = (id, id == config.PadId ? 0 : 1);
            }
        long[] ids = [.. whole];
        for (int i = 0; i < count; i++)
        {
            var random = new SampleRandom(seed ^ 0x3A5C, epoch, rows.Span[i]);
            int start = i * length;
            int[] words = [.. Enumerable.Range(0, length).Where(k => keep[start + k] == 1 && !IsSpecial((int)whole[start + k]))];
            Masking.Words(ref random, share, words, _maskId, config.VocabularySize, ids.AsSpan(start, length), labels.AsSpan(start, length));
        }
        TensorData mask = TensorData.From(keep, count, length);
        return new(
            new Dictionary<string, TensorData> { ["input_ids"] = TensorData.From(ids, count, length), ["attention_mask"] = mask },
            new Dictionary<string, TensorData> { ["input_ids"] = TensorData.From(whole, count, length), ["attention_mask"] = mask },
            new(DType.BOOL, [count, length], Array.ConvertAll(labels, l => l == MaskedLoss.Ignored ? (byte)0 : (byte)1)),
            TensorData.From(labels, count, length));
    }

    bool IsSpecial(int id) => id == tokenizer.EndId || id == tokenizer.PadId || id == tokenizer.BeginId || id == _maskId;

    public void Dispose()
    {
    }
}
