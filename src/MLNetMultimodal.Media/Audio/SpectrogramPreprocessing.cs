using System.Numerics.Tensors;

namespace MLNetMultimodal.Media.Audio;

/// <summary>
/// From a sound to what an audio tower takes: a log-mel spectrogram of fixed length, normalised. Reads the
/// <c>preprocessor_config.json</c> of Hugging Face's feature extractors. Immutable and thread-safe.
/// </summary>
public sealed record SpectrogramPreprocessing
{
    readonly LogMelSpectrogram _spectrogram = null!;

    /// <summary>The spectrogram's settings.</summary>
    public required LogMelConfig LogMel
    {
        get => _spectrogram.Config;
        init { ArgumentNullException.ThrowIfNull(value); _spectrogram = new(value); }
    }

    /// <summary>T, the frames of the result, to which sounds are cut or filled up.</summary>
    /// <value>1 to 1048576.</value>
    public required int Frames
    {
        get;
        init => field = value is >= 1 and <= 1 << 20 ? value
            : throw new ArgumentOutOfRangeException(nameof(Frames), value, "Frames must be 1 to 1048576.");
    }

    /// <summary>What fills a sound that is too short.</summary>
    public SpectrogramPadding Padding { get; init; }

    /// <summary>True: only the first channel is heard; false: the mean of all.</summary>
    public bool FirstChannelOnly { get; init; }

    /// <summary>True: the mean of the samples of all channels is subtracted first.</summary>
    public bool SubtractsMean { get; init; }

    /// <summary>What is subtracted from the spectrogram; default 0.</summary>
    public float Mean { get; init; }

    /// <summary>What the spectrogram is divided by after <see cref="Mean"/> is subtracted.</summary>
    /// <value>Not 0; default 1.</value>
    public float Std
    {
        get;
        init => field = value != 0 ? value : throw new ArgumentOutOfRangeException(nameof(Std), value, "Std must not be 0.");
    } = 1;

    /// <summary>True: the result is [F, T]; false: [T, F].</summary>
    public bool BinsFirst { get; init; }

    /// <summary>The samples per channel that count, at <see cref="LogMelConfig.SampleRateHz"/>: of a longer sound the rest need
    /// not be read.</summary>
    public int MaxSamples => (int)Math.Min(LogMel.SamplesOf(Frames), Array.MaxLength);

    /// <summary>AST (Gong et al. 2021, arXiv:2104.01778): Kaldi's filter bank, normalised by AudioSet's mean and twice its
    /// deviation.</summary>
    /// <param name="frames">T: 1024, about 10 s, for AudioSet; 128, about 1 s, for Speech Commands.</param>
    /// <returns>The preprocessing; the result is [T, 128].</returns>
    public static SpectrogramPreprocessing Ast(int frames = 1024) => new()
    {
        LogMel = LogMelConfig.Kaldi(),
        Frames = frames,
        Mean = -4.2677393f,
        Std = 2 * 4.5689974f,
    };

    /// <summary>ImageBind (Girdhar et al. 2023, arXiv:2305.05665): Kaldi's filter bank of the first channel of a clip of 2
    /// s.</summary>
    /// <param name="frames">T.</param>
    /// <returns>The preprocessing; the result is [128, T].</returns>
    public static SpectrogramPreprocessing ImageBind(int frames = 204) => new()
    {
        LogMel = LogMelConfig.Kaldi(),
        Frames = frames,
        FirstChannelOnly = true,
        SubtractsMean = true,
        Mean = -4.268f,
        Std = 9.138f,
        BinsFirst = true,
    };

    /// <summary>Whisper (Radford et al. 2022, arXiv:2212.04356): 30 s of its log-mel.</summary>
    /// <param name="melBins">F: 80, or 128 since large-v3.</param>
    /// <returns>The preprocessing; the result is [F, 3000].</returns>
    public static SpectrogramPreprocessing Whisper(int melBins = 80) => new()
    {
        LogMel = LogMelConfig.Whisper(melBins),
        Frames = 3000,
        Padding = SpectrogramPadding.Silence,
        Mean = -4,
        Std = 4,
        BinsFirst = true,
    };

    /// <summary>CLAP (Wu et al. 2022, arXiv:2211.06687) without fusion: 10 s in dB. Of a longer sound the beginning is taken,
    /// where the reference takes a part at random.</summary>
    /// <returns>The preprocessing; the result is [1001, 64].</returns>
    public static SpectrogramPreprocessing Clap() => new()
    {
        LogMel = LogMelConfig.Clap(),
        Frames = 1001,
        Padding = SpectrogramPadding.Repeats,
    };

    /// <summary>CLAP's dB spectrogram for small models of short sounds: windows of 32 ms every 10 ms, filled up with silence.</summary>
    /// <param name="sampleRateHz">The rate, a multiple of 1000, of which half is the end of the highest band.</param>
    /// <param name="seconds">What is heard of a sound, 1 to 600.</param>
    /// <param name="melBins">F.</param>
    /// <returns>The preprocessing; the result is [100 seconds + 1, F].</returns>
    public static SpectrogramPreprocessing Clap(int sampleRateHz, int seconds, int melBins = 64)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(sampleRateHz % 1000, 0, nameof(sampleRateHz));
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(seconds);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(seconds, 600);
        int window = sampleRateHz / 1000 * 32;
        return new()
        {
            LogMel = LogMelConfig.Clap() with
            {
                SampleRateHz = sampleRateHz,
                WindowSamples = window,
                FftSamples = window,
                HopSamples = sampleRateHz / 100,
                MelBins = melBins,
                MaxHz = sampleRateHz / 2.0,
            },
            Frames = 100 * seconds + 1,
            Padding = SpectrogramPadding.Silence,
        };
    }

    /// <summary>Computes what the model takes.</summary>
    /// <param name="sound">The sound, at <see cref="LogMelConfig.SampleRateHz"/>.</param>
    /// <param name="destination">[T, F], or [F, T] where <see cref="BinsFirst"/>; at least that long.</param>
    /// <exception cref="ArgumentException">The sound has another rate, is shorter than one window, or is louder than numbers
    /// can say; or the destination is too short.</exception>
    public void Apply(Waveform sound, Span<float> destination)
    {
        ArgumentNullException.ThrowIfNull(sound);
        int bins = LogMel.MelBins, length = checked(Frames * bins);
        if (sound.SampleRateHz != LogMel.SampleRateHz)
            throw new ArgumentException($"sound must have {LogMel.SampleRateHz} samples per second, " +
                $"but has {sound.SampleRateHz}; decode it at that rate, or call Resample.", nameof(sound));
        if (destination.Length < length)
            throw new ArgumentException($"destination must hold [{Frames}, {bins}], {length} values, " +
                $"but has {destination.Length}.", nameof(destination));
        if (sound.Length == 0 || (Padding == SpectrogramPadding.Frames && _spectrogram.Frames(sound.Length) == 0))
            throw new ArgumentException("sound must have at least " +
                $"{(Padding == SpectrogramPadding.Frames ? LogMel.WindowSamples : 1)} " +
                $"samples, one window, but has {sound.Length}.", nameof(sound));
        float[] spectrogram = _spectrogram.Compute(Samples(sound)); // [some T, F]
        int count = Math.Min(spectrogram.Length, length);
        Span<float> values = BinsFirst ? new float[length] : destination[..length]; // [T, F]
        spectrogram.AsSpan(0, count).CopyTo(values);
        values[count..].Clear();
        TensorPrimitives.Subtract(values, Mean, values);
        TensorPrimitives.Divide(values, Std, values);
        if (!TensorPrimitives.IsFiniteAll<float>(values))
            throw new ArgumentException("sound is louder than its power can be computed; scale it to -1 to 1.", nameof(sound));
        for (int i = 0; BinsFirst && i < length; i++) // [T, F] -> [F, T]
            destination[i % bins * Frames + i / bins] = values[i];
    }

    /// <summary>
    /// Finds the preprocessing among a model's files: the <c>feature_extractor</c> of <c>processor_config.json</c>, as
    /// transformers 5 writes it, else <c>preprocessor_config.json</c>.
    /// </summary>
    /// <param name="tryRead">The bytes of a file of the model, null where it has none of that name.</param>
    /// <returns>The preprocessing; null where the model has neither.</returns>
    /// <exception cref="InvalidDataException">A file is not sound, or asks for what is not supported here.</exception>
    public static SpectrogramPreprocessing? TryLoad(Func<string, ReadOnlyMemory<byte>?> tryRead) =>
        FeatureExtractorConfig.TryLoad(tryRead, FeatureExtractorConfig.Read);

    /// <summary>
    /// Reads <c>preprocessor_config.json</c>, or the <c>feature_extractor</c> of a <c>processor_config.json</c>, of AST,
    /// Whisper or CLAP. What it leaves out is as the class that it names has it.
    /// </summary>
    /// <param name="utf8Json">The file's bytes; they may come from anyone.</param>
    /// <returns>The preprocessing.</returns>
    /// <exception cref="InvalidDataException">The bytes are no such file, or ask for what is not supported here; the message
    /// names the field.</exception>
    public static SpectrogramPreprocessing FromJson(ReadOnlySpan<byte> utf8Json) =>
        FeatureExtractorConfig.Parse(utf8Json, FeatureExtractorConfig.FileName, FeatureExtractorConfig.Read);

    /// <summary>Writes <c>preprocessor_config.json</c>, as Hugging Face's feature extractor of AST, Whisper or CLAP reads
    /// it.</summary>
    /// <returns>The text of the file.</returns>
    /// <exception cref="InvalidOperationException">None of the three classes has these settings.</exception>
    public string ToJson() => FeatureExtractorConfig.Write(this) ?? throw new InvalidOperationException(
        "No feature extractor of AST, Whisper or CLAP has these settings, so preprocessor_config.json cannot say them.");

    // One channel, cut or filled up.
    float[] Samples(Waveform sound)
    {
        int length = Math.Min(sound.Length, MaxSamples);
        float mean = SubtractsMean ? TensorPrimitives.Sum(sound.Samples) / sound.Samples.Length : 0;
        ReadOnlySpan<float> heard = (FirstChannelOnly ? sound.Channel(0) : sound.ToMono().Samples)[..length];
        float[] samples = new float[Padding == SpectrogramPadding.Frames ? length : MaxSamples];
        int repeats = Padding == SpectrogramPadding.Repeats ? MaxSamples / length : 1;
        for (int i = 0; i < repeats; i++)
            TensorPrimitives.Subtract(heard, mean, samples.AsSpan(i * length, length));
        return samples;
    }
}
