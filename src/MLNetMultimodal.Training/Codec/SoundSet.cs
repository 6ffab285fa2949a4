using System.Numerics.Tensors;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;

namespace MLNetMultimodal.Training;

/// <summary>Recordings in memory, mono and at one rate, and the segments they are cut into.</summary>
sealed class SoundSet
{
    readonly List<float[]> _sounds = [];
    readonly List<int> _recordings = []; // [rows]: the recording that a segment is of

    /// <summary>The recordings, none of them silent.</summary>
    public IReadOnlyList<float[]> Sounds => _sounds;

    /// <summary>Segments of an epoch.</summary>
    public int Rows => _recordings.Count;

    /// <summary>The recording that a row's segment is cut from.</summary>
    public float[] Of(int row) => _sounds[_recordings[row]];

    /// <summary>Reads a column of sounds, on worker threads; silent recordings are left out.</summary>
    /// <param name="env">Is told how many were left out.</param>
    /// <param name="options">The column.</param>
    /// <param name="sampleRateHz">The wanted rate.</param>
    /// <param name="segment">Samples of a segment.</param>
    /// <param name="data">The rows.</param>
    /// <exception cref="ArgumentException">No sound is left.</exception>
    /// <exception cref="InvalidDataException">A sound cannot be read, or holds a sample that is no finite number; the message
    /// names the row.</exception>
    /// <exception cref="OperationCanceledException">Cancelled: part of the data is no data to train on.</exception>
    public static SoundSet Read(IHostEnvironment env, AudioCodecOptions options, int sampleRateHz, int segment, IDataView data)
    {
        LoadAudioOptions load = Load(options, sampleRateHz);
        IDataView samples = new SoundEstimator(env, new(load, null)).Fit(data).Transform(data);
        using DataViewRowCursor cursor = samples.GetRowCursor([samples.Schema[load.Output]]);
        ValueGetter<VBuffer<float>> getter = cursor.GetGetter<VBuffer<float>>(samples.Schema[load.Output]);
        var (set, buffer, silent) = (new SoundSet(), default(VBuffer<float>), 0);
        while (cursor.MoveNext())
        {
            options.Cancellation.ThrowIfCancellationRequested();
            getter(ref buffer);
            float[] sound = [.. buffer.DenseValues()];
            if (!TensorPrimitives.IsFiniteAll<float>(sound))
                throw new InvalidDataException($"row {cursor.Position}, column '{options.Audio}': the sound holds a sample that is no finite number.");
            if (sound.All(s => s == 0)) silent++;
            else set.Add(sound, segment);
        }
        if (set.Sounds.Count == 0) throw new ArgumentException($"column '{options.Audio}' has no sound to train on: {silent} rows are silent or missing.", nameof(data));
        if (silent == 0) return set;
        using IChannel channel = env.Register("AudioCodec").Start("Read");
        channel.Warning(MessageSensitivity.None, $"{silent} rows of column '{options.Audio}' are silent or missing and were left out.");
        return set;
    }

    /// <summary>How the column is read.</summary>
    public static LoadAudioOptions Load(AudioCodecOptions options, int sampleRateHz) => new()
    {
        Audio = options.Audio,
        AudioFolder = options.AudioFolder,
        AudioSampleRateHz = options.AudioSampleRateHz,
        SampleRateHz = sampleRateHz,
        OnError = options.OnError,
    };

    void Add(float[] sound, int segment)
    {
        for (int start = 0; start < sound.Length; start += segment) _recordings.Add(_sounds.Count);
        _sounds.Add(sound);
    }

    /// <summary>Cuts a segment at a place that follows from seed, epoch and row. Up to a quarter of it may lie outside the
    /// recording, where it is silent; silent segments are drawn again a few times.</summary>
    public void Cut(int row, SampleRandom random, double gainDb, Span<float> segment)
    {
        const int tries = 8;
        const float audible = 1e-3f; // -60 dB of full scale
        float[] sound = Of(row);
        int beyond = segment.Length / 4, places = Math.Max(0, sound.Length - segment.Length) + 2 * beyond;
        for (int i = 0; i < tries; i++)
        {
            Copy(sound, random.UpTo(places) - beyond, segment);
            if (TensorPrimitives.MaxMagnitude<float>(segment) is > audible or < -audible) break;
        }
        if (gainDb == 0) return;
        double gain = Math.Pow(10, random.Between(-gainDb, gainDb) / 20) * (random.Chance(0.5) ? -1 : 1);
        TensorPrimitives.Multiply(segment, (float)gain, segment);
    }

    static void Copy(float[] sound, int start, Span<float> segment)
    {
        segment.Clear();
        int first = Math.Max(0, start), count = Math.Min(sound.Length - first, start + segment.Length - first);
        if (count > 0) sound.AsSpan(first, count).CopyTo(segment[(first - start)..]);
    }
}
