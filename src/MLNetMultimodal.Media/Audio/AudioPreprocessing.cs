using System.Numerics.Tensors;

namespace MLNetMultimodal.Media.Audio;

/// <summary>
/// From a sound to what an audio tower takes: a log-mel spectrogram of one size, or the samples themselves. Reads the
/// <c>preprocessor_config.json</c> of Hugging Face's feature extractors. Immutable and thread-safe.
/// </summary>
public sealed record AudioPreprocessing
{
    const float VarianceEpsilon = 1e-7f; // that of Hugging Face's Wav2Vec2FeatureExtractor

    AudioPreprocessing() { }

    /// <summary>The spectrogram that is made; null where the model takes samples.</summary>
    public SpectrogramPreprocessing? Spectrogram { get; private init; }

    /// <summary>Samples of a second that are heard.</summary>
    public int SampleRateHz { get; private init; }

    /// <summary>True: samples are brought to mean 0 and variance 1, each sound by itself. Of a model that takes samples
    /// only.</summary>
    public bool Normalizes { get; private init; }

    /// <summary>The fewest samples of a sound, below which the model has no token for it; default 1.</summary>
    /// <value>At least 1.</value>
    public int MinSamples
    {
        get;
        init => field = value >= 1 ? value
            : throw new ArgumentOutOfRangeException(nameof(MinSamples), value, "MinSamples must be at least 1.");
    } = 1;

    /// <summary>The most samples that are heard; the rest of a longer sound is left out and not read. Default: what the
    /// spectrogram takes, or 30 s of a model that takes samples, whose memory grows with their square.</summary>
    /// <value>At least 1; that of a spectrogram is given by its frames.</value>
    public int MaxSamples
    {
        get => Spectrogram?.MaxSamples ?? field;
        init => field = value >= 1 && Spectrogram is null ? value
            : throw new ArgumentOutOfRangeException(nameof(MaxSamples), value,
                "MaxSamples must be at least 1, and follows from the Frames of a spectrogram.");
    }

    /// <summary>The preprocessing of a model that takes a spectrogram.</summary>
    /// <param name="spectrogram">How it is made.</param>
    public static AudioPreprocessing FromSpectrogram(SpectrogramPreprocessing spectrogram)
    {
        ArgumentNullException.ThrowIfNull(spectrogram);
        return new() { Spectrogram = spectrogram, SampleRateHz = spectrogram.LogMel.SampleRateHz };
    }

    /// <summary>The preprocessing of a model that takes samples, such as wav2vec 2.0 (Baevski et al. 2020,
    /// arXiv:2006.11477).</summary>
    /// <param name="sampleRateHz">Samples per second.</param>
    /// <param name="normalizes">True: mean 0 and variance 1.</param>
    public static AudioPreprocessing FromSamples(int sampleRateHz = 16_000, bool normalizes = true)
    {
        AudioReader.CheckRate(sampleRateHz, nameof(sampleRateHz));
        return new() { SampleRateHz = sampleRateHz, Normalizes = normalizes, MaxSamples = 30 * sampleRateHz };
    }

    /// <summary>Sizes of what is made of a sound: [T, F] or [F, T] of a spectrogram, [T] of samples.</summary>
    /// <param name="samples">Samples of the sound; of no account for a spectrogram.</param>
    public IReadOnlyList<int> Shape(int samples) => Spectrogram is not { } s ? [Math.Min(samples, MaxSamples)]
        : s.BinsFirst ? [s.LogMel.MelBins, s.Frames] : [s.Frames, s.LogMel.MelBins];

    /// <summary>Computes what the model takes.</summary>
    /// <param name="sound">The sound, at any rate, of any number of channels, which are mixed.</param>
    /// <returns>Values of <see cref="Shape"/>, row-major.</returns>
    /// <exception cref="ArgumentException">The sound is too short, or louder than numbers can say.</exception>
    public float[] Apply(Waveform sound)
    {
        ArgumentNullException.ThrowIfNull(sound);
        long heard = (long)MaxSamples * sound.SampleRateHz / SampleRateHz + sound.SampleRateHz; // and what the filter needs
        if (sound.Length > heard) sound = sound.Slice(0, (int)heard);
        sound = sound.Resample(SampleRateHz);
        if (sound.Length > MaxSamples) sound = sound.Slice(0, MaxSamples);
        if (sound.Length < MinSamples)
            throw new ArgumentException($"sound must have at least {MinSamples} samples at {SampleRateHz} Hz, " +
                $"but has {sound.Length}.", nameof(sound));
        if (Spectrogram is { } spectrogram)
        {
            float[] values = new float[spectrogram.Frames * spectrogram.LogMel.MelBins];
            spectrogram.Apply(sound, values);
            return values;
        }
        float[] samples = sound.ToMono().Samples.ToArray();
        if (Normalizes) Normalize(samples);
        return samples;
    }

    /// <summary>Reads what is heard of a sound file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="cancellation">Stops reading.</param>
    /// <returns>The sound, at <see cref="SampleRateHz"/>, of at most <see cref="MaxSamples"/>.</returns>
    /// <inheritdoc cref="AudioDecoder.Decode(string, int?, int?, CancellationToken)" path="/exception"/>
    public Waveform Decode(string path, CancellationToken cancellation = default) =>
        Heard(AudioDecoder.Default.Open(path, cancellation));

    /// <summary>Reads what is heard of a sound that lies in memory.</summary>
    /// <param name="encoded">The bytes of its file.</param>
    /// <param name="cancellation">Stops reading.</param>
    /// <returns>The sound, at <see cref="SampleRateHz"/>, of at most <see cref="MaxSamples"/>.</returns>
    /// <exception cref="InvalidDataException">As for a file.</exception>
    public Waveform Decode(ReadOnlyMemory<byte> encoded, CancellationToken cancellation = default) =>
        Heard(AudioDecoder.Default.Open(encoded, cancellation: cancellation));

    /// <summary>
    /// Finds the preprocessing among a model's files: the <c>feature_extractor</c> of <c>processor_config.json</c>, as
    /// transformers 5 writes it, else <c>preprocessor_config.json</c>.
    /// </summary>
    /// <param name="tryRead">The bytes of a file of the model, null where it has none of that name.</param>
    /// <returns>The preprocessing; null where the model has neither.</returns>
    /// <exception cref="InvalidDataException">A file is not sound, or asks for what is not supported here.</exception>
    public static AudioPreprocessing? TryLoad(Func<string, ReadOnlyMemory<byte>?> tryRead) =>
        FeatureExtractorConfig.TryLoad(tryRead, FeatureExtractorConfig.ReadAny);

    /// <summary>Reads <c>preprocessor_config.json</c> of AST, Whisper, CLAP or wav2vec 2.0, or the
    /// <c>feature_extractor</c> of a <c>processor_config.json</c>.</summary>
    /// <param name="utf8Json">The file's bytes; they may come from anyone.</param>
    /// <exception cref="InvalidDataException">The bytes are no such file, or ask for what is not supported here; the message
    /// names the field.</exception>
    public static AudioPreprocessing FromJson(ReadOnlySpan<byte> utf8Json) =>
        FeatureExtractorConfig.Parse(utf8Json, FeatureExtractorConfig.FileName, FeatureExtractorConfig.ReadAny);

    /// <summary>Writes <c>preprocessor_config.json</c>, as Hugging Face's feature extractors read it.</summary>
    /// <returns>The text of the file; <see cref="MinSamples"/> and <see cref="MaxSamples"/> do not stand in it.</returns>
    /// <exception cref="InvalidOperationException">No feature extractor makes such a spectrogram.</exception>
    public string ToJson() => Spectrogram?.ToJson() ?? FeatureExtractorConfig.Wav2Vec2(SampleRateHz, Normalizes);

    Waveform Heard(AudioReader reader) =>
        AudioDecoder.ReadAll(reader, SampleRateHz, Spectrogram?.FirstChannelOnly == true ? null : 1, MaxSamples);

    static void Normalize(Span<float> samples)
    {
        TensorPrimitives.Subtract(samples, TensorPrimitives.Sum<float>(samples) / samples.Length, samples);
        float variance = TensorPrimitives.SumOfSquares<float>(samples) / samples.Length;
        if (!float.IsFinite(variance))
            throw new ArgumentException("sound is louder than its power can be computed; scale it to -1 to 1.");
        TensorPrimitives.Divide(samples, MathF.Sqrt(variance + VarianceEpsilon), samples);
    }
}
