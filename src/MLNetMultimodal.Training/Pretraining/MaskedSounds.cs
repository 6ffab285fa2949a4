using Microsoft.ML;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Training;

/// <summary>Sounds of which spans of tokens are hidden. The sounds of a batch are cut to one length, that of the shortest.</summary>
/// <param name="sounds">Samples of each row.</param>
/// <param name="maxSamples">The most samples of a batch's sounds; longer ones are cut, each epoch elsewhere.</param>
/// <param name="tokens">Number of tokens of so many samples.</param>
/// <param name="share">Share of the tokens that spans would cover if they did not overlap.</param>
/// <param name="span">Tokens of a span.</param>
/// <param name="seed">Another seed hides others.</param>
sealed class MaskedSounds(IReadOnlyList<float[]> sounds, int maxSamples, Func<int, int> tokens, double share, int span, int seed) : IMaskedRows
{
    public int Count => sounds.Count;

    /// <summary>The samples of all rows, as the model hears them.</summary>
    /// <param name="data">The rows.</param>
    /// <param name="column">The column.</param>
    /// <param name="heard">How sounds are made.</param>
    /// <param name="minSamples">The fewest samples of a sound.</param>
    /// <param name="cancellation">Ends the reading with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="InvalidDataException">A sound cannot be read or is too short; the message names the row.</exception>
    public static List<float[]> Read(IDataView data, SoundColumn column, AudioPreprocessing heard, int minSamples, CancellationToken cancellation)
    {
        var sounds = new List<float[]>();
        using DataViewRowCursor cursor = data.GetRowCursor([data.Schema[column.Name]]);
        Action<SoundPart, int> read = column.Reader(cursor);
        SoundPart part = column.NewPart(1);
        while (cursor.MoveNext())
        {
            cancellation.ThrowIfCancellationRequested();
            read(part, 0);
            try
            {
                sounds.Add(heard.Apply(column.Decode(part, 0, heard)));
            }
            catch (Exception e) when (e is IOException or InvalidDataException or NotSupportedException or UnauthorizedAccessException)
            {
                throw column.Unreadable(part, 0, cursor.Position, e);
            }
            if (sounds[^1].Length < minSamples)
                throw new InvalidDataException($"row {cursor.Position}, column '{column.Name}': the sound has {sounds[^1].Length} samples; the model wants at least {minSamples}.");
        }
        return sounds;
    }

    public MaskedBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        int count = rows.Length, length = Math.Min(maxSamples, rows.ToArray().Min(r => sounds[r].Length)), places = tokens(length);
        var samples = new float[count * length];
        var masked = new bool[count * places];
        for (int i = 0; i < count; i++)
        {
            float[] sound = sounds[rows.Span[i]];
            var random = new SampleRandom(seed ^ 0x3A5C, epoch, rows.Span[i]);
            int start = epoch == IMaskedRows.Evaluation ? 0 : random.UpTo(sound.Length - length);
            sound.AsSpan(start, length).CopyTo(samples.AsSpan(i * length));
            Masking.Spans(ref random, share, span, masked.AsSpan(i * places, places));
        }
        var whole = new Dictionary<string, TensorData> { ["input_values"] = TensorData.From(samples, count, length) };
        TensorData mask = new(DType.BOOL, [count, places], Array.ConvertAll(masked, m => m ? (byte)1 : (byte)0));
        return new(new Dictionary<string, TensorData>(whole) { ["mask_time_indices"] = mask }, whole, mask);
    }

    public void Dispose()
    {
    }
}
