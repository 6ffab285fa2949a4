using System.Numerics.Tensors;

namespace MLNetMultimodal.Media.Audio;

/// <summary>
/// Sound in memory: one run of samples per channel, each usually within -1 to 1. It is a plain holder of its array: safe to
/// read from several threads.
/// </summary>
public sealed class Waveform
{
    readonly float[] _samples; // [channels, T]

    /// <summary>Wraps samples without copying them.</summary>
    /// <param name="samples">[channels, T], one channel after the other; every value finite. Full scale is -1 to 1, and more is
    /// allowed.</param>
    /// <param name="sampleRateHz">Samples of a channel per second, 1 to <see cref="AudioReader.MaxSampleRateHz"/>.</param>
    /// <param name="channels">1 to <see cref="AudioReader.MaxChannels"/>.</param>
    /// <exception cref="ArgumentException">The samples do not divide into the channels, or one of them is not
    /// finite.</exception>
    public Waveform(float[] samples, int sampleRateHz, int channels = 1)
    {
        ArgumentNullException.ThrowIfNull(samples);
        AudioReader.CheckRate(sampleRateHz, nameof(sampleRateHz));
        AudioReader.CheckChannels(channels, nameof(channels));
        if (samples.Length % channels != 0)
            throw new ArgumentException($"samples must be [{channels}, T], but has {samples.Length} values.", nameof(samples));
        if (samples.Length > 0 && !TensorPrimitives.IsFiniteAll<float>(samples))
        {
            int at = Array.FindIndex(samples, x => !float.IsFinite(x));
            throw new ArgumentException($"samples must be finite, but sample {at} is {samples[at]}.", nameof(samples));
        }
        (_samples, SampleRateHz, Channels, Length) = (samples, sampleRateHz, channels, samples.Length / channels);
    }

    /// <summary>Samples of a channel per second.</summary>
    public int SampleRateHz { get; }

    /// <summary>How many channels there are.</summary>
    public int Channels { get; }

    /// <summary>T, samples per channel; 0 for no sound at all.</summary>
    public int Length { get; }

    /// <summary>How long the sound is.</summary>
    public TimeSpan Duration => TimeSpan.FromSeconds((double)Length / SampleRateHz);

    /// <summary>[channels, T], one channel after the other.</summary>
    public ReadOnlySpan<float> Samples => _samples;

    /// <summary>One channel.</summary>
    /// <param name="channel">0 to <see cref="Channels"/> - 1; 0 is the left one.</param>
    /// <returns>[T].</returns>
    public ReadOnlySpan<float> Channel(int channel)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(channel);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(channel, Channels);
        return _samples.AsSpan(channel * Length, Length);
    }

    /// <summary>The mean of the channels.</summary>
    /// <returns>[1, T]; this sound itself where it has one channel.</returns>
    public Waveform ToMono()
    {
        if (Channels == 1)
            return this;
        float[] mono = new float[Length];
        for (int c = 0; c < Channels; c++)
            TensorPrimitives.Add(mono, Channel(c), mono);
        TensorPrimitives.Divide(mono, Channels, mono);
        return new(mono, SampleRateHz);
    }

    /// <summary>The same sound at another rate, as torchaudio resamples it (see <see cref="SincResampler"/>).</summary>
    /// <param name="sampleRateHz">The wanted rate.</param>
    /// <returns>[channels, ceil(T * sampleRateHz / SampleRateHz)]; this sound itself where it has that rate.</returns>
    public Waveform Resample(int sampleRateHz)
    {
        AudioReader.CheckRate(sampleRateHz, nameof(sampleRateHz));
        if (sampleRateHz == SampleRateHz)
            return this;
        float[] first = SincResampler.Resample(Channel(0), SampleRateHz, sampleRateHz);
        float[] all = Channels == 1 ? first : new float[Channels * first.Length];
        for (int c = 0; c < Channels && Channels > 1; c++)
            (c == 0 ? first : SincResampler.Resample(Channel(c), SampleRateHz, sampleRateHz)).CopyTo(all, c * first.Length);
        return new(all, sampleRateHz, Channels);
    }

    /// <summary>A part of the sound; what lies beyond its end is left out.</summary>
    /// <param name="start">The first sample, at least 0.</param>
    /// <param name="length">How many samples per channel, at least 0.</param>
    /// <returns>[channels, at most length].</returns>
    public Waveform Slice(int start, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        start = Math.Min(start, Length);
        length = Math.Min(length, Length - start);
        float[] part = new float[Channels * length];
        for (int c = 0; c < Channels; c++)
            Channel(c).Slice(start, length).CopyTo(part.AsSpan(c * length));
        return new(part, SampleRateHz, Channels);
    }
}
