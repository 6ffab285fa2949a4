using System.Numerics.Tensors;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Training;

/// <summary>Varies sounds and makes them ready for a model. One seed, epoch and index give one result, on any thread. Thread-safe.</summary>
/// <remarks>In this order: speed, noise, loudness, shift; the spectrogram; warp and stretch, filter, masks.</remarks>
sealed class AudioAugmentation
{
    const int SpeedSteps = 100; // few ratios, so that the resampler's tables stay small

    readonly AudioAugmentationOptions _options;
    readonly AudioPreprocessing _sounds;
    readonly SpectrogramPreprocessing? _spectrogram;
    readonly double[] _binHz = [];
    readonly int _seed;

    /// <summary>For one preprocessing.</summary>
    /// <param name="options">What is done.</param>
    /// <param name="sounds">What the model takes.</param>
    /// <param name="seed">Another seed varies differently.</param>
    /// <exception cref="ArgumentException">The options' ranges are empty, or are for spectrograms and the model takes samples.</exception>
    public AudioAugmentation(AudioAugmentationOptions options, AudioPreprocessing sounds, int seed)
    {
        if (options.NoiseMinSnrDb > options.NoiseMaxSnrDb)
            throw new ArgumentException($"NoiseMinSnrDb ({options.NoiseMinSnrDb}) must not be above NoiseMaxSnrDb ({options.NoiseMaxSnrDb}).", nameof(options));
        (_options, _sounds, _spectrogram, _seed) = (options, sounds, sounds.Spectrogram, seed);
        if (_spectrogram is null)
        {
            if (options.VariesSpectrogram)
                throw new ArgumentException("FrequencyWarp, TimeStretch, Filter and masks vary spectrograms, but the model takes samples.", nameof(options));
            return;
        }
        LogMelConfig mel = _spectrogram.LogMel;
        double low = mel.Scale.ToMel(mel.MinHz), high = mel.Scale.ToMel(HighestHz);
        _binHz = [.. Enumerable.Range(0, mel.MelBins).Select(i => mel.Scale.ToHz(low + (high - low) * (i + 1) / (mel.MelBins + 1)))];
    }

    double HighestHz => _spectrogram!.LogMel.MaxHz ?? _spectrogram.LogMel.SampleRateHz / 2.0;

    /// <summary>What the model takes of a sound, varied.</summary>
    /// <param name="sound">One channel, at the preprocessing's rate.</param>
    /// <param name="epoch">Each epoch varies anew.</param>
    /// <param name="index">The sound's place in the data, whatever the order of the epoch.</param>
    /// <returns>As <see cref="AudioPreprocessing.Apply"/>.</returns>
    public float[] Apply(Waveform sound, int epoch, long index)
    {
        var random = new SampleRandom(_seed, epoch, index);
        float[] values = _sounds.Apply(new(Vary(ref random, sound), sound.SampleRateHz));
        if (!_options.VariesSpectrogram) return values;
        float[] spectrogram = _spectrogram!.BinsFirst ? Transposed(values, Bins, Frames) : values; // [T, F]
        float silence = TensorPrimitives.Min<float>(spectrogram);
        if (_options.FrequencyWarp > 0 || _options.TimeStretch > 0) spectrogram = Warp(ref random, spectrogram, silence);
        if (_options.Filter > 0) Filter(ref random, spectrogram, silence);
        Mask(ref random, spectrogram, silence);
        return _spectrogram.BinsFirst ? Transposed(spectrogram, Frames, Bins) : spectrogram;
    }

    int Frames => _spectrogram!.Frames;

    int Bins => _spectrogram!.LogMel.MelBins;

    static float[] Transposed(float[] values, int rows, int columns)
    {
        var result = new float[values.Length];
        for (int i = 0; i < values.Length; i++) result[i % columns * rows + i / columns] = values[i];
        return result;
    }

    float[] Vary(ref SampleRandom random, Waveform sound)
    {
        float[] samples = sound.Channel(0).ToArray();
        if (_options.Speed > 0)
        {
            int faster = (int)Math.Round(SpeedSteps * random.Between(1 - _options.Speed, 1 + _options.Speed));
            if (faster != SpeedSteps) samples = SincResampler.Resample(samples, faster, SpeedSteps);
        }
        if (random.Chance(_options.Noise)) AddNoise(ref random, samples);
        if (_options.GainDb > 0) TensorPrimitives.Multiply(samples, (float)Math.Pow(10, random.Between(-_options.GainDb, _options.GainDb) / 20), samples);
        if (_options.ShiftMs == 0) return samples;
        int before = random.UpTo((int)(_options.ShiftMs / 1000 * sound.SampleRateHz));
        return [.. new float[before], .. samples];
    }

    void AddNoise(ref SampleRandom random, Span<float> samples)
    {
        double snr = random.Between(_options.NoiseMinSnrDb, _options.NoiseMaxSnrDb), colour = random.Next(), last = 0;
        var noise = new float[samples.Length];
        for (int i = 0; i < noise.Length; i++)
        {
            double white = random.Next() + random.Next() + random.Next() - 1.5; // nearly normal
            noise[i] = (float)(last = colour * last + white);
        }
        float power = TensorPrimitives.SumOfSquares<float>(samples), own = TensorPrimitives.SumOfSquares<float>(noise);
        if (own > 0) TensorPrimitives.MultiplyAdd(noise, MathF.Sqrt(power / own) * (float)Math.Pow(10, -snr / 20), samples, samples);
    }

    /// <summary>Each place of the result is read, evenly between its four neighbours, where its frequency and time come from.</summary>
    float[] Warp(ref SampleRandom random, float[] spectrogram, float silence)
    {
        double pitch = random.Between(1 - _options.FrequencyWarp, 1 + _options.FrequencyWarp), slower = random.Between(1 - _options.TimeStretch, 1 + _options.TimeStretch);
        double[] from = [.. _binHz.Select(hz => BinOf(hz / pitch))];
        var result = new float[spectrogram.Length];
        for (int t = 0; t < Frames; t++)
        {
            double time = t / slower;
            int early = (int)time;
            Span<float> row = result.AsSpan(t * Bins, Bins);
            for (int f = 0; f < Bins; f++)
            {
                int low = (int)from[f];
                double a = Between(early, low, from[f] - low), b = Between(early + 1, low, from[f] - low);
                row[f] = (float)(a + (b - a) * (time - early));
            }
        }
        return result;

        double Between(int t, int f, double share)
        {
            double low = At(t, f), high = At(t, f + 1);
            return low + (high - low) * share;
        }

        float At(int t, int f) => t < Frames ? spectrogram[t * Bins + Math.Min(f, Bins - 1)] : silence;
    }

    /// <summary>Where a frequency lies among the bins, 0 to F - 1.</summary>
    double BinOf(double hz)
    {
        LogMelConfig mel = _spectrogram!.LogMel;
        double low = mel.Scale.ToMel(mel.MinHz), high = mel.Scale.ToMel(HighestHz);
        return Math.Clamp((mel.Scale.ToMel(hz) - low) / (high - low) * (Bins + 1) - 1, 0, Bins - 1);
    }

    void Filter(ref SampleRandom random, Span<float> spectrogram, float silence)
    {
        var gains = new float[Bins];
        int at = 0, points = 3 + random.UpTo(3);
        double gain = Gain(ref random);
        for (int p = 1; p < points; p++)
        {
            int to = p == points - 1 ? Bins - 1 : Math.Min(Bins - 1, at + random.UpTo(2 * Bins / points));
            double next = Gain(ref random);
            for (int f = at; f <= to; f++) gains[f] = (float)(gain + (next - gain) * (f - at) / Math.Max(1, to - at));
            (at, gain) = (to, next);
        }
        for (int t = 0; t < Frames; t++)
        {
            Span<float> row = spectrogram.Slice(t * Bins, Bins);
            TensorPrimitives.Add(row, gains, row);
        }
        TensorPrimitives.Max(spectrogram, silence, spectrogram);
    }

    double Gain(ref SampleRandom random) => random.Between(-_options.Filter, _options.Filter) / Math.Abs(_spectrogram!.Std);

    void Mask(ref SampleRandom random, Span<float> spectrogram, float silence)
    {
        for (int i = 0; i < _options.TimeMasks; i++)
        {
            int count = Math.Min(Frames, random.UpTo(_options.TimeMaskFrames)), start = random.UpTo(Frames - count);
            spectrogram.Slice(start * Bins, count * Bins).Fill(silence);
        }
        for (int i = 0; i < _options.FrequencyMasks; i++)
        {
            int count = Math.Min(Bins, random.UpTo(_options.FrequencyMaskBins)), start = random.UpTo(Bins - count);
            for (int t = 0; t < Frames; t++) spectrogram.Slice(t * Bins + start, count).Fill(silence);
        }
    }
}
