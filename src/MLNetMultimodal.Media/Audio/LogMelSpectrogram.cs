using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace MLNetMultimodal.Media.Audio;

/// <summary>Computes log-mel spectrograms. Thread-safe. Its tables take some time to compute, so keep it.</summary>
public sealed class LogMelSpectrogram
{
    readonly RealFft _transform;
    readonly MelFilters _filters;
    readonly float[] _window;

    /// <summary>Computes the tables.</summary>
    /// <param name="config">The settings.</param>
    /// <exception cref="ArgumentException">Settings do not fit each other; the message names them.</exception>
    public LogMelSpectrogram(LogMelConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        Config = config.Checked();
        _transform = new(config.FftSamples);
        _filters = new(config);
        double period = config.WindowSamples - (config.SymmetricWindow && config.WindowSamples > 1 ? 1 : 0);
        _window = [.. Enumerable.Range(0, config.WindowSamples).Select(i =>
            (float)(0.5 - 0.5 * Math.Cos(2 * Math.PI * i / period)))];
    }

    /// <summary>The settings.</summary>
    public LogMelConfig Config { get; }

    /// <summary>How many frames a sound has.</summary>
    /// <param name="samples">Its samples, at least 0.</param>
    /// <returns>The frames; 0 where it is shorter than a window.</returns>
    public int Frames(int samples)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(samples);
        return samples == 0 ? 0 : Config.FramesOf(samples);
    }

    /// <summary>Computes the spectrogram of one channel.</summary>
    /// <param name="samples">[T], finite, at <see cref="LogMelConfig.SampleRateHz"/>.</param>
    /// <returns>[<see cref="Frames"/>, <see cref="LogMelConfig.MelBins"/>].</returns>
    /// <exception cref="ArgumentException">The spectrogram does not fit an array.</exception>
    public float[] Compute(ReadOnlySpan<float> samples)
    {
        int frames = Frames(samples.Length), bins = Config.MelBins;
        if ((long)frames * bins > Array.MaxLength)
            throw new ArgumentException($"samples has {samples.Length} values, whose {frames} frames of {bins} bands " +
                "do not fit an array; compute in parts.", nameof(samples));
        float[] spectrogram = new float[frames * bins];
        var work = new Work(Config);
        for (int t = 0; t < frames; t += Vector<float>.Count)
        {
            int count = Math.Min(Vector<float>.Count, frames - t);
            for (int lane = 0; lane < count; lane++)
            {
                Cut(samples, t + lane, work.Window);
                Shape(work.Window, work.Before);
                Spread(work.Window, lane, work.Frames);
            }
            work.Frames.AsSpan(Config.WindowSamples).Clear();
            _transform.Power(work.Frames, work.Power, work.Spare);
            _filters.Apply(work.Power, work.Bands);
            for (int lane = 0; lane < count; lane++)
                Gather(work.Bands, lane, spectrogram.AsSpan((t + lane) * bins, bins));
        }
        TakeLogarithm(spectrogram);
        return spectrogram;
    }

    /// <summary>Whether the other one computes the same.</summary>
    /// <param name="obj">Another one.</param>
    /// <returns>True where the settings are equal.</returns>
    public override bool Equals(object? obj) => obj is LogMelSpectrogram other && other.Config == Config;

    /// <inheritdoc/>
    public override int GetHashCode() => Config.GetHashCode();

    // What one call needs beside its result.
    sealed class Work(LogMelConfig config)
    {
        public readonly float[] Window = new float[config.WindowSamples], Before = new float[config.WindowSamples];
        public readonly Vector<float>[] Frames = new Vector<float>[config.FftSamples],
            Spare = new Vector<float>[config.FftSamples],
            Power = new Vector<float>[config.FftSamples / 2 + 1], Bands = new Vector<float>[config.MelBins];
    }

    static void Spread(ReadOnlySpan<float> values, int lane, Span<Vector<float>> lanes)
    {
        Span<float> to = MemoryMarshal.Cast<Vector<float>, float>(lanes);
        for (int i = 0; i < values.Length; i++)
            to[i * Vector<float>.Count + lane] = values[i];
    }

    static void Gather(ReadOnlySpan<Vector<float>> lanes, int lane, Span<float> values)
    {
        ReadOnlySpan<float> from = MemoryMarshal.Cast<Vector<float>, float>(lanes);
        for (int i = 0; i < values.Length; i++)
            values[i] = from[i * Vector<float>.Count + lane];
    }

    // The samples under window t; beyond the ends the sound is mirrored.
    void Cut(ReadOnlySpan<float> samples, int t, Span<float> window)
    {
        long start = (long)t * Config.HopSamples - (Config.Centered ? Config.FftSamples / 2 : 0);
        if (start >= 0 && start + window.Length <= samples.Length)
        {
            samples.Slice((int)start, window.Length).CopyTo(window);
            return;
        }
        int period = Math.Max(1, 2 * (samples.Length - 1));
        for (int i = 0; i < window.Length; i++)
        {
            int at = (int)((start + i) % period + period) % period;
            window[i] = samples[at < samples.Length ? at : period - at];
        }
    }

    void Shape(Span<float> window, Span<float> before)
    {
        if (Config.RemovesDcOffset)
            TensorPrimitives.Subtract(window, TensorPrimitives.Sum<float>(window) / window.Length, window);
        if (Config.Preemphasis != 0)
        {
            before[0] = window[0];
            window[..^1].CopyTo(before[1..]); // the sample before each; the first one's is itself
            TensorPrimitives.MultiplyAdd(before, -Config.Preemphasis, window, window);
        }
        TensorPrimitives.Multiply(window, _window, window);
    }

    void TakeLogarithm(Span<float> values)
    {
        if (values.IsEmpty)
            return;
        TensorPrimitives.Max(values, Config.Floor, values);
        if (Config.Log == SpectrogramLog.Natural)
            TensorPrimitives.Log<float>(values, values);
        else
            TensorPrimitives.Log10<float>(values, values);
        if (Config.Log == SpectrogramLog.Decibel)
            TensorPrimitives.Multiply(values, 10, values);
        if (Config.MaxBelowPeak is { } range)
            TensorPrimitives.Max(values, TensorPrimitives.Max<float>(values) - range, values);
    }
}
