using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Pictures of a step.</summary>
/// <param name="Pixels">[B, C, H, W].</param>
/// <param name="Count">B.</param>
sealed record PixelBatch(float[] Pixels, int Count);

/// <summary>Training of a VQ-VAE: encoder, quantiser and decoder at once (van den Oord et al. 2017, arXiv:1711.00937, equation
/// 3).</summary>
sealed class TokenizerTask : ITrainingTask<PixelBatch>, IDisposable
{
    const int EvaluationBatch = 250;
    const int VectorsPerCode = 8; // of what k-means starts from
    const string Counts = "quantizer.cluster_size", Sums = "quantizer.embed_avg";

    readonly ImageTokenizerOptions _options;
    readonly VqTokenizerModel _definition;
    readonly VqTokenizerConfig _config;
    readonly TorchModel _model;
    readonly TorchOps _ops;
    readonly PictureStore _train;
    readonly PictureStore? _validation;
    readonly Augmentation _augmentation;
    readonly ResidualQuantizer _quantizer;
    readonly Tensor _started; // [1], 1 once the codes are trained

    /// <summary>Prepares a training.</summary>
    /// <param name="options">Losses and codes.</param>
    /// <param name="definition">The tokenizer.</param>
    /// <param name="model">Its weights; the caller owns them.</param>
    /// <param name="images">How pictures become pixels.</param>
    /// <param name="train">Pictures; the caller owns them.</param>
    /// <param name="validation">Pictures that are only looked at; null for none.</param>
    public TokenizerTask(ImageTokenizerOptions options, VqTokenizerModel definition, TorchModel model, ImagePreprocessing images, PictureStore train,
        PictureStore? validation)
    {
        (_options, _definition, _config, _model, _train, _validation) = (options, definition, definition.Config, model, train, validation);
        _augmentation = Augmentation.For(images, options.Augmentation, options.Seed);
        _ops = model.Ops(new() { BFloat16 = options.BFloat16 });
        Tensor table = model.Parameters[VqTokenizer.CodebookName];
        table.requires_grad = false;
        double equal = (double)Math.Min(options.BatchSize, train.Count) * _config.Tokens / _config.CodebookSize;
        _quantizer = new([table], new() { Decay = options.CodebookDecay, ExpireBelow = options.ExpireBelow * equal, Seed = options.Seed }, equal);
        _started = (options.Initialize is null ? zeros(1, ScalarType.Float32, model.Device) : ones(1, ScalarType.Float32, model.Device)).DetachFromDisposeScope();
        Parameters = [.. model.Trained().Where(p => p.Name != VqTokenizer.CodebookName)];
        State = new Dictionary<string, Tensor>
        {
            ["started"] = _started,
            [VqTokenizer.CodebookName] = table,
            [Counts] = _quantizer.Counts(0),
            [Sums] = _quantizer.Sums(0),
        };
        Generators = new Dictionary<string, Generator> { ["codebook"] = _quantizer.Generator };
    }

    public IReadOnlyList<NamedParameter> Parameters { get; }

    public IReadOnlyDictionary<string, Tensor> State { get; }

    public IReadOnlyDictionary<string, Generator> Generators { get; }

    public int Rows => _train.Count;

    public string Metric => "explained_variance";

    public IReadOnlyDictionary<string, string> Description => new Dictionary<string, string> { ["config"] = _definition.ToConfigJson() };

    public PixelBatch Make(ReadOnlyMemory<int> rows, int epoch)
    {
        int size = _augmentation.Length;
        var pixels = new float[rows.Length * size];
        for (int i = 0; i < rows.Length; i++)
            _augmentation.Apply(_train.Pixels(rows.Span[i]), _train.Height, _train.Width, epoch, rows.Span[i], pixels.AsSpan(i * size, size));
        return new(pixels, rows.Length);
    }

    public float Backward(PixelBatch batch, TrainingPosition at)
    {
        using DisposeScope scope = NewDisposeScope();
        if (_started.item<float>() == 0 && at.Step >= _options.UnquantizedShare * at.Steps) StartCodes();
        Tensor pixels = ToTensor(batch), latent = VqTokenizer.Encode(_ops, _config, pixels);             // [B, C, H, W] -> [B, N, D]
        Tensor? commitment = null;
        if (_started.item<float>() != 0)
        {
            (Tensor quantized, _, commitment) = _quantizer.Train(latent.transpose(1, 2));
            latent = quantized.transpose(1, 2);
        }
        Tensor loss = (VqTokenizer.Decode(_ops, _config, latent) - pixels).Squared().mean();
        if (commitment is not null) loss = loss.Plus(commitment.Times(_options.CommitmentWeight));
        loss.backward();
        return loss.item<float>();
    }

    Tensor ToTensor(PixelBatch batch) => tensor(batch.Pixels, [batch.Count, _config.Channels, _config.ImageSize, _config.ImageSize]).to(_model.Device);

    /// <summary>K-means over vectors of pictures from all over the data.</summary>
    void StartCodes()
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        int batch = Math.Min(_options.BatchSize, Rows), wanted = (VectorsPerCode * _config.CodebookSize + _config.Tokens - 1) / _config.Tokens;
        var latents = new List<Tensor>();
        for (int start = 0; start < wanted; start += batch)
        {
            using DisposeScope part = NewDisposeScope();
            int[] rows = [.. Enumerable.Range(start, batch).Select(i => (int)((long)i * 7919 % Rows))];
            latents.Add(VqTokenizer.Encode(_ops, _config, ToTensor(Make(rows, start))).transpose(1, 2).MoveToOuterDisposeScope());
        }
        _quantizer.Initialize(cat(latents));
        _started.With(1, (s, one) => s.fill_(one));
    }

    /// <summary>How many equally frequent codes would be as hard to tell as those in use: e to the power of their entropy.</summary>
    public double Perplexity()
    {
        float[] counts = _quantizer.Counts(0).ToSingles();
        double sum = counts.Sum(c => (double)c);
        return Math.Exp(-counts.Where(c => c > 0).Sum(c => c / sum * Math.Log(c / sum)));
    }

    /// <summary>The share of the pixels' variance that is painted from codes.</summary>
    public double? Validate()
    {
        if (_validation is null) return null;
        using IDisposable noGradients = no_grad();
        int size = _augmentation.Length;
        double sum = 0, squares = 0, errors = 0;
        for (int start = 0; start < _validation.Count; start += EvaluationBatch)
        {
            using DisposeScope scope = NewDisposeScope();
            int count = Math.Min(EvaluationBatch, _validation.Count - start);
            var values = new float[count * size];
            for (int i = 0; i < count; i++)
                _augmentation.Plain(_validation.Pixels(start + i), _validation.Height, _validation.Width, values.AsSpan(i * size, size));
            Tensor pixels = ToTensor(new(values, count)), latent = VqTokenizer.Encode(_ops, _config, pixels);
            if (_started.item<float>() != 0) latent = VqTokenizer.Dequantize(_ops, _config, VqTokenizer.Quantize(_ops, _config, latent));
            errors += (VqTokenizer.Decode(_ops, _config, latent) - pixels).Squared().sum(ScalarType.Float64).item<double>();
            sum += pixels.sum(ScalarType.Float64).item<double>();
            squares += pixels.Squared().sum(ScalarType.Float64).item<double>();
        }
        double spread = squares - sum * sum / ((double)_validation.Count * size);
        return spread > 0 ? 1 - errors / spread : 0;
    }

    /// <summary>The weights, and the state of the table.</summary>
    public TrainedWeights Weights()
    {
        var weights = new Dictionary<string, TensorData>(_model.ToWeights(), StringComparer.Ordinal);
        foreach (string name in new[] { Counts, Sums }) weights[name] = State[name].ToTensorData();
        return new(weights);
    }

    public void Dispose()
    {
        _quantizer.Dispose();
        _started.Dispose();
    }
}
