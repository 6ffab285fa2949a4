namespace MLNetMultimodal.Media.Audio;

/// <summary>
/// Sound that is read piece by piece, so that its length does not matter for memory. This is what a decoder gives: derive from
/// it to plug in another one (see <see cref="AudioDecoder.Openers"/>). One thread at a time.
/// </summary>
public abstract class AudioReader : IDisposable
{
    /// <summary>The highest rate that is taken for a true one, 768,000 Hz.</summary>
    public const int MaxSampleRateHz = 768_000;

    /// <summary>The most channels that are taken for true, 256.</summary>
    public const int MaxChannels = 256;

    /// <summary>The most samples, of all channels together, that are read into memory at once, 536,870,912 (2 GiB): beyond it, a
    /// small file that claims to last for ever could fill the memory.</summary>
    public const int MaxSamples = 1 << 29;

    const int BlockMoments = 1 << 14;

    /// <summary>Says what the reader will give.</summary>
    /// <param name="name">What messages call the sound, such as its path.</param>
    /// <param name="sampleRateHz">Samples of a channel per second.</param>
    /// <param name="channels">How many channels there are.</param>
    /// <exception cref="InvalidDataException">No sound has such a rate or so many channels; the message names it.</exception>
    protected AudioReader(string name, int sampleRateHz, int channels)
    {
        if (sampleRateHz is < 1 or > MaxSampleRateHz)
            throw new InvalidDataException($"'{name}' claims {sampleRateHz} samples per second, " +
                $"but 1 to {MaxSampleRateHz} are possible.");
        if (channels is < 1 or > MaxChannels)
            throw new InvalidDataException($"'{name}' claims {channels} channels, but 1 to {MaxChannels} are possible.");
        (Name, SampleRateHz, Channels) = (name, sampleRateHz, channels);
    }

    /// <summary>What messages call the sound.</summary>
    public string Name { get; }

    /// <summary>Samples of a channel per second.</summary>
    public int SampleRateHz { get; }

    /// <summary>How many channels there are.</summary>
    public int Channels { get; }

    /// <summary>Reads on.</summary>
    /// <param name="interleaved">[T, channels], the channels of a moment beside each other; room for at least one moment. Only
    /// whole moments are written.</param>
    /// <returns>How many values were written, a multiple of <see cref="Channels"/>; 0 only at the end.</returns>
    /// <exception cref="InvalidDataException">The sound is cut off or damaged here; the message names it.</exception>
    /// <exception cref="OperationCanceledException">The token that the reader was opened with is cancelled.</exception>
    public abstract int Read(Span<float> interleaved);

    /// <summary>The same sound at another rate or with other channels. Rates are changed as <see cref="SincResampler"/>
    /// does.</summary>
    /// <param name="sampleRateHz">The wanted rate; null for the sound's own.</param>
    /// <param name="channels">1 for the mean of the channels; 2 for the first two, or one twice; null for the sound's
    /// own.</param>
    /// <returns>A reader that owns this one; this one itself where nothing is to be done.</returns>
    public AudioReader Convert(int? sampleRateHz, int? channels)
    {
        if (sampleRateHz is { } rate)
            CheckRate(rate, nameof(sampleRateHz));
        if (channels is not (null or 1 or 2))
            throw new ArgumentOutOfRangeException(nameof(channels), channels,
                "channels must be 1, 2 or null for the sound's own.");
        return (sampleRateHz ?? SampleRateHz) == SampleRateHz && (channels ?? Channels) == Channels ? this
            : new ConvertedAudioReader(this, sampleRateHz ?? SampleRateHz, channels ?? Channels);
    }

    /// <summary>Reads on without keeping what is read.</summary>
    /// <param name="moments">How many samples per channel to leave out, at least 0.</param>
    /// <returns>How many were left out: fewer where the sound ends before.</returns>
    public long Skip(long moments)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(moments);
        float[] ignored = new float[BlockMoments * Channels];
        long left = moments;
        while (left > 0 && Read(ignored.AsSpan(0, (int)Math.Min(left, BlockMoments) * Channels)) is var got and > 0)
            left -= got / Channels;
        return moments - left;
    }

    /// <summary>Reads the rest, or the beginning of the rest, into memory.</summary>
    /// <param name="atMost">The most samples per channel that are read; null for all.</param>
    /// <returns>The sound; of no length at the end.</returns>
    /// <exception cref="InvalidDataException">The sound is damaged, or has more than <see cref="MaxSamples"/>.</exception>
    public Waveform ReadWaveform(long? atMost = null)
    {
        if (atMost is { } most)
            ArgumentOutOfRangeException.ThrowIfNegative(most, nameof(atMost));
        var blocks = new List<float[]>(); // [T, Channels] each
        float[] block = new float[BlockMoments * Channels];
        long left = atMost ?? long.MaxValue, moments = 0;
        while (left > 0 && Read(block.AsSpan(0, (int)Math.Min(left, BlockMoments) * Channels)) is var got and > 0)
        {
            blocks.Add(block[..got]);
            (left, moments) = (left - got / Channels, moments + got / Channels);
            if (moments * Channels > MaxSamples)
                throw new InvalidDataException($"'{Name}' has more than {MaxSamples} samples; " +
                    "read it in parts, or at a lower rate.");
        }
        float[] planar = new float[moments * Channels]; // [Channels, T]
        int at = 0;
        foreach (float[] part in blocks)
        {
            for (int c = 0; c < Channels; c++)
                for (int i = c, to = (int)(c * moments) + at; i < part.Length; i += Channels)
                    planar[to++] = part[i];
            at += part.Length / Channels;
        }
        return new(planar, SampleRateHz, Channels);
    }

    /// <summary>Frees what is behind the reader, such as a file.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees what is behind the reader.</summary>
    /// <param name="disposing">True.</param>
    protected virtual void Dispose(bool disposing) { }

    internal static void CheckRate(int sampleRateHz, string name)
    {
        if (sampleRateHz is < 1 or > MaxSampleRateHz)
            throw new ArgumentOutOfRangeException(name, sampleRateHz, $"{name} must be 1 to {MaxSampleRateHz} Hz.");
    }

    internal static void CheckChannels(int channels, string name)
    {
        if (channels is < 1 or > MaxChannels)
            throw new ArgumentOutOfRangeException(name, channels, $"{name} must be 1 to {MaxChannels}.");
    }
}
