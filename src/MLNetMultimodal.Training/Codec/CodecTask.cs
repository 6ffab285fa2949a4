using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Segments of a step.</summary>
/// <param name="Samples">[B, T].</param>
/// <param name="Count">B.</param>
/// <param name="Codebooks">How many codebooks code them.</param>
sealed record SoundBatch(float[] Samples, int Count, int Codebooks);

/// <summary>Training of EnCodec without a discriminator: encoder, residual quantiser and decoder at once (Défossez et al. 2022,
/// arXiv:2210.13438, section 3).</summary>
sealed class CodecTask : ITrainingTask<SoundBatch>, IDisposable
{
    const string Codebooks = "quantizer.layers.";
    const int VectorsPerCode = 4; // of what k-means starts from

    readonly AudioCodecOptions _options;
    readonly EncodecConfig _config;
    readonly EncodecModel _definition;
    readonly TorchModel _model;
    readonly TorchOps _ops;
    readonly SoundSet _train;
    readonly SoundSet? _validation;
    readonly ResidualQuantizer _quantizer;
    readonly Tensor _started; // [1], 1 once the codebooks are trained
    readonly int _segment;

    /// <summary>Prepares a training.</summary>
    /// <param name="options">Losses and codebooks.</param>
    /// <param name="definition">The codec.</param>
    /// <param name="model">Its weights; the caller owns them.</param>
    /// <param name="train">Sounds.</param>
    /// <param name="validation">Sounds that are only looked at; null for none.</param>
    public CodecTask(AudioCodecOptions options, EncodecModel definition, TorchModel model, SoundSet train, SoundSet? validation)
    {
        (_options, _definition, _config, _model, _train, _validation) = (options, definition, definition.Config, model, train, validation);
        _segment = SegmentSamples(options, _config);
        _ops = model.Ops(new() { BFloat16 = options.BFloat16 });
        Tensor[] tables = [.. Enumerable.Range(0, _config.Codebooks).Select(k => model.Parameters[$"{Codebooks}{k}.codebook.embed"])];
        foreach (Tensor table in tables) table.requires_grad_(false);
        double equal = (double)Math.Min(options.BatchSize, train.Rows) * (_segment / _config.HopSamples) / _config.CodebookSize;
        _quantizer = new(tables, new() { Decay = options.CodebookDecay, ExpireBelow = options.ExpireBelow * equal, Seed = options.Seed }, equal);
        _started = (options.Initialize is null ? zeros(1, ScalarType.Float32, model.Device) : ones(1, ScalarType.Float32, model.Device)).DetachFromDisposeScope();
        Parameters = [.. model.Trained().Where(p => !p.Name.StartsWith(Codebooks, StringComparison.Ordinal))];
        State = BuildState();
        Generators = new Dictionary<string, Generator> { ["codebooks"] = _quantizer.Generator };
        if (options.Initialize is null) MatchLoudness();
    }

    /// <summary>T of the segments that are trained on: whole frames.</summary>
    /// <exception cref="ArgumentException">A window of the spectral loss is longer.</exception>
    public static int SegmentSamples(AudioCodecOptions options, EncodecConfig config)
    {
        int hop = config.HopSamples, frames = Math.Max(1, (int)Math.Ceiling(options.SegmentSeconds * config.SampleRateHz / hop)), samples = frames * hop;
        if (options.SpectralWeight > 0 && options.SpectralWindows.Max() > samples)
            throw new ArgumentException($"{nameof(AudioCodecOptions.SpectralWindows)} must be at most a segment of {samples} samples, but one is "
                + $"{options.SpectralWindows.Max()}; lengthen {nameof(AudioCodecOptions.SegmentSeconds)} or leave it out.", nameof(options));
        return samples;
    }

    Dictionary<string, Tensor> BuildState()
    {
        var state = new Dictionary<string, Tensor>(StringComparer.Ordinal) { ["started"] = _started };
        for (int k = 0; k < _config.Codebooks; k++)
        {
            state[$"{Codebooks}{k}.codebook.embed"] = _model.Parameters[$"{Codebooks}{k}.codebook.embed"];
            state[$"{Codebooks}{k}.codebook.cluster_size"] = _quantizer.Counts(k);
            state[$"{Codebooks}{k}.codebook.embed_avg"] = _quantizer.Sums(k);
        }
        return state;
    }

    public IReadOnlyList<NamedParameter> Parameters { get; }

    public IReadOnlyDictionary<string, Tensor> State { get; }

    public IReadOnlyDictionary<string, Generator> Generators { get; }

    public int Rows => _train.Rows;

    public string Metric => "si_sdr_db";

    public IReadOnlyDictionary<string, string> Description => new Dictionary<string, string> { ["config"] = _definition.ToConfigJson() };

    /// <summary>Activations bend where their input is about 1, but sound is much softer: the first layer makes it louder, and the
    /// last one softer again.</summary>
    void MatchLoudness()
    {
        using IDisposable noGradients = no_grad();
        double power = _train.Sounds.Average(sound => sound.Average(s => (double)s * s));
        double gain = Math.Clamp(1 / Math.Sqrt(power), 1, 100);
        string weight = _config.UsesWeightNorm ? "weight_g" : "weight", last = _model.Specs.Last(s => s.Name.StartsWith("decoder.", StringComparison.Ordinal)
            && s.Name.EndsWith(weight, StringComparison.Ordinal)).Name;
        _model.Parameters[$"encoder.layers.0.conv.{weight}"].With(gain, (w, g) => w.mul_(g));
        _model.Parameters[last].With(1 / gain, (w, g) => w.mul_(g));
    }

    public SoundBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        var samples = new float[rows.Length * _segment];
        for (int i = 0; i < rows.Length; i++)
        {
            int row = rows.Span[i];
            _train.Cut(row, new SampleRandom(_options.Seed, epoch, row), _options.GainDb, samples.AsSpan(i * _segment, _segment));
        }
        var random = new SampleRandom(_options.Seed, epoch, -1L - rows.Span[0]);
        bool drawn = random.Chance(_options.BandwidthDropout);
        float kbps = _config.BandwidthsKbps[drawn ? random.UpTo(_config.BandwidthsKbps.Count - 1) : ^1];
        return new(samples, rows.Length, _config.CodebooksAt(kbps));
    }

    public float Backward(SoundBatch batch, TrainingPosition at)
    {
        using DisposeScope scope = NewDisposeScope();
        if (_started.item<float>() == 0 && at.Step >= _options.UnquantizedShare * at.Steps) StartCodebooks();
        Tensor sound = Sound(batch), latent = Encodec.Encode(_ops, _config, sound);                     // [B, 1, T] -> [B, D, L]
        Tensor? commitment = null;
        if (_started.item<float>() != 0) (latent, _, commitment) = _quantizer.Train(latent, batch.Codebooks);
        Tensor loss = Loss(sound.squeeze(1), Encodec.Decode(_ops, _config, latent).squeeze(1));
        if (commitment is not null) loss = loss.Plus(commitment.Times(_options.CommitmentWeight));
        loss.backward();
        return loss.item<float>();
    }

    Tensor Sound(SoundBatch batch) => tensor(batch.Samples, [batch.Count, 1, _segment]).to(_model.Device);

    Tensor Loss(Tensor original, Tensor reproduced)
    {
        Tensor loss = zeros(1, device: original.device).squeeze();
        if (_options.SdrWeight > 0) loss = loss.Plus(ReconstructionLoss.NegativeSdr(original, reproduced).Times(_options.SdrWeight));
        if (_options.AbsoluteWeight > 0) loss = loss.Plus(ReconstructionLoss.Absolute(original, reproduced).Times(_options.AbsoluteWeight));
        if (_options.SpectralWeight > 0)
            loss = loss.Plus(ReconstructionLoss.Spectral(original, reproduced, _options.SpectralWindows).Times(_options.SpectralWeight));
        return loss;
    }

    /// <summary>K-means over latents of segments from all over the data.</summary>
    void StartCodebooks()
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        int frames = _segment / _config.HopSamples, batch = Math.Min(_options.BatchSize, Rows);
        int wanted = (VectorsPerCode * _config.CodebookSize + frames - 1) / frames;
        var latents = new List<Tensor>();
        for (int start = 0; start < wanted; start += batch)
        {
            using DisposeScope part = NewDisposeScope();
            int[] rows = [.. Enumerable.Range(start, batch).Select(i => (int)((long)i * 7919 % Rows))];
            latents.Add(Encodec.Encode(_ops, _config, Sound(Make(rows, start))).MoveToOuterDisposeScope());
        }
        _quantizer.Initialize(cat(latents));
        _started.With(1, (s, one) => s.fill_(one));
    }

    /// <summary>Mean SI-SDR of whole recordings, through all codebooks.</summary>
    public double? Validate()
    {
        if (_validation is null) return null;
        using IDisposable noGradients = no_grad();
        return _validation.Sounds.Average(sound =>
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor latent = Encodec.Encode(_ops, _config, tensor(sound, [1, 1, sound.Length]).to(_model.Device));
            if (_started.item<float>() != 0) latent = Encodec.Quantize(_ops, _config, _config.Codebooks, latent).Quantized;
            float[] heard = Encodec.Decode(_ops, _config, latent).to(CPU).data<float>().ToArray();
            return Math.Max(-100, SoundQuality.SiSdr(sound, heard.AsSpan(0, sound.Length)));
        });
    }

    /// <summary>The weights, and the state of the codebooks under the names under which the published checkpoints hold it.</summary>
    public TrainedWeights Weights()
    {
        var weights = new Dictionary<string, TensorData>(_model.ToWeights(), StringComparer.Ordinal);
        foreach (var (name, tensor) in State.Where(s => s.Key.StartsWith(Codebooks, StringComparison.Ordinal))) weights[name] = tensor.ToTensorData();
        for (int k = 0; k < _config.Codebooks; k++) weights[$"{Codebooks}{k}.codebook.inited"] = _started.ToTensorData();
        return new(weights);
    }

    public void Dispose()
    {
        _quantizer.Dispose();
        _started.Dispose();
    }
}
