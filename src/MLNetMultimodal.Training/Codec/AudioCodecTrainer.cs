using System.Text;
using System.Text.Json.Nodes;
using Microsoft.ML;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Transforms;
using static TorchSharp.torch;

namespace MLNetMultimodal.Training;

/// <summary>Adds the trainer to <c>ml.Multimodal.Trainers</c>.</summary>
public static class AudioCodecCatalog
{
    extension(MultimodalTrainers trainers)
    {
        /// <summary>Trains a neural codec to give back the sounds that it has coded (EnCodec: Défossez et al. 2022,
        /// arXiv:2210.13438), without the paper's discriminators: waveform, spectrogram and commitment losses, codebooks that
        /// follow the data.</summary>
        /// <param name="options">Column, codec and training.</param>
        public AudioCodecTrainer AudioCodec(AudioCodecOptions options) => new(trainers.Environment, options);
    }
}

/// <summary>Training of a neural audio codec. Its transformer adds a sound's codes, as <c>AudioTokens</c> does; the folder that it
/// writes is what <c>AudioTokens</c>, <c>DecodeAudio</c> and <see cref="Inference.AudioCodec"/> load. One fit at a time: torch uses
/// all cores of the machine.</summary>
public sealed class AudioCodecTrainer : IEstimator<CodecTransformer>
{
    const string Decibels = "0.00 dB";

    readonly IHostEnvironment _env;
    readonly AudioCodecOptions _options;

    internal AudioCodecTrainer(IHostEnvironment env, AudioCodecOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        (_env, _options) = (env, options);
    }

    /// <summary>Trains on all rows; nothing is held back.</summary>
    /// <param name="input">Sounds, which are read once and kept in memory, mono and at the codec's rate. Silent ones are left
    /// out.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type, no sound is left, or a window of the
    /// spectral loss is longer than a segment.</exception>
    /// <exception cref="InvalidDataException">A sound cannot be read or holds a sample that is no finite number, or a file of
    /// <see cref="AudioCodecOptions.Initialize"/> or of a checkpoint is not sound.</exception>
    /// <exception cref="InvalidOperationException">The loss is not finite, or a checkpoint is of a training with other
    /// options.</exception>
    /// <exception cref="NotSupportedException">The model is no codec, or one of several channels or of sounds in
    /// pieces.</exception>
    /// <exception cref="OperationCanceledException">Cancelled while the data was being read.</exception>
    public CodecTransformer Fit(IDataView input) => Fit(input, null);

    /// <summary>Trains on <paramref name="train"/> and keeps the weights that are best on <paramref name="validation"/>, which is
    /// looked at after each epoch: the mean scale-invariant signal-to-distortion ratio of its recordings, in decibels, at the
    /// highest bit rate.</summary>
    /// <param name="train">Sounds.</param>
    /// <param name="validation">The same column; null keeps the last weights.</param>
    /// <inheritdoc cref="Fit(IDataView)" path="/exception"/>
    public CodecTransformer Fit(IDataView train, IDataView? validation)
    {
        _options.Begin(shape => GetOutputSchema(shape), train, validation);
        (EncodecModel definition, TorchModel model, string? fingerprint) = Start();
        using (model)
        {
            int segment = CodecTask.SegmentSamples(_options, definition.Config);
            SoundSet sounds = Read(train);
            SoundSet? held = validation is null ? null : Read(validation);
            using IChannel log = _env.Register("AudioCodec").Start("Fit");
            AudioCodecOptions logged = _options with { Progress = new EpochLog(log, _options.Progress, Decibels) };
            using var task = new CodecTask(logged, definition, model, sounds, held);
            using var loop = new TrainingLoop<SoundBatch>(logged, task, _options.Initialize, fingerprint);
            TrainingResult result = loop.Run();
            ModelFiles files = TrainedModel.Finish(_options, definition, result, Card(definition, sounds, result),
                [("preprocessor_config.json", Encoding.UTF8.GetBytes(Preprocessor(definition.Config)))]);
            return new(_env, new(Tokens, null), SharedModel.Of(AudioCodec.Load(files), owned: true));

            SoundSet Read(IDataView data) => SoundSet.Read(_env, _options, definition.Config.SampleRateHz, segment, data);
        }
    }

    (EncodecModel, TorchModel, string? Fingerprint) Start()
    {
        if (_options.Initialize is not { } folder)
        {
            var definition = new EncodecModel(_options.Model);
            CodecTransformer.CheckIsWhole(definition.Config, nameof(AudioCodecOptions.Model));
            return (definition, TorchModel.Create(definition.Full, _options.Seed, device(_options.Device)), null);
        }
        using var start = new StartFolder(folder);
        if (start.Definition is not EncodecModel known)
            throw new NotSupportedException($"'{folder}' is no codec; an 'encodec' is one.");
        CodecTransformer.CheckIsWhole(known.Config, folder);
        var (model, fingerprint) = start.Load(known, [], _options);
        return (known, model, fingerprint);
    }

    AudioTokensOptions Tokens => new()
    {
        Output = _options.Codes,
        Audio = _options.Audio,
        AudioFolder = _options.AudioFolder,
        AudioSampleRateHz = _options.AudioSampleRateHz,
        OnError = _options.OnError,
    };

    string Card(EncodecModel definition, SoundSet sounds, TrainingResult result)
    {
        EncodecConfig c = definition.Config;
        return TrainedModel.Card($"to give back {sounds.Sounds.Count:n0} recordings in segments", _options, definition, sounds.Rows, result, "SI-SDR", _options.Initialize, Decibels)
            + FormattableString.Invariant($"""
            {c.SampleRateHz} Hz mono, {c.FrameRateHz} frames a second of {c.Codebooks} codes of {Math.Log2(c.CodebookSize):0.##} bits: {c.Codebooks * c.FrameRateHz * Math.Log2(c.CodebookSize) / 1000:0.###} kbit/s.
            Loss: {_options.SdrWeight} x negative SDR + {_options.AbsoluteWeight} x mean absolute error + {_options.SpectralWeight} x spectral loss (windows {string.Join(", ", _options.SpectralWindows)}) + {_options.CommitmentWeight} x commitment.

            """);
    }

    /// <summary>As Hugging Face's <c>EncodecFeatureExtractor</c> writes it.</summary>
    static string Preprocessor(EncodecConfig c) => new JsonObject
    {
        ["feature_extractor_type"] = "EncodecFeatureExtractor",
        ["feature_size"] = c.Channels,
        ["sampling_rate"] = c.SampleRateHz,
        ["padding_side"] = "right",
        ["padding_value"] = 0.0,
        ["return_attention_mask"] = true,
        ["chunk_length_s"] = null,
        ["overlap"] = null,
    }.ToJsonString(new() { WriteIndented = true }) + "\n";

    /// <summary>The columns after the fitted transformer.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">The column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema) => Tokens.After(inputSchema);
}
