using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of EnCodec, in the schema of Hugging Face's <c>EncodecConfig</c>.</summary>
public sealed record EncodecConfig
{
    /// <summary>Rate of the sound in samples per second and channel.</summary>
    public int SampleRateHz { get; init; } = 24_000;

    /// <summary>Channels of the sound: 1 or 2.</summary>
    public int Channels { get; init; } = 1;

    /// <summary>Bit rates in kilobits per second that the codec was trained for, ascending.</summary>
    public IReadOnlyList<float> BandwidthsKbps { get; init; } = [1.5f, 3, 6, 12, 24];

    /// <summary>True: each piece of sound is divided by its loudness, which is stored beside its codes.</summary>
    public bool Normalizes { get; init; }

    /// <summary>Length of the pieces that are coded one by one, in seconds; null codes the sound as a whole.</summary>
    public float? SegmentSeconds { get; init; }

    /// <summary>Share of a piece that the next one covers too, 0 to below 1.</summary>
    public float Overlap { get; init; }

    /// <summary>D, width of a latent frame and of a code vector.</summary>
    public int LatentWidth { get; init; } = 128;

    /// <summary>Channels of the first and last layers; each halving of the rate doubles them.</summary>
    public int Filters { get; init; } = 32;

    /// <summary>Residual blocks at each rate.</summary>
    public int ResidualLayers { get; init; } = 1;

    /// <summary>Factors by which the decoder raises the rate, from the latent to the sound; the encoder takes them backwards.</summary>
    public IReadOnlyList<int> Ratios { get; init; } = [8, 5, 4, 2];

    /// <summary>True: weight normalisation; false: a group norm of one group after each convolution.</summary>
    public bool UsesWeightNorm { get; init; } = true;

    /// <summary>Kernel of the encoder's first and the decoder's first convolution, in steps.</summary>
    public int Kernel { get; init; } = 7;

    /// <summary>Kernel of the encoder's and the decoder's last convolution, in steps.</summary>
    public int LastKernel { get; init; } = 7;

    /// <summary>Kernel of a residual block's first convolution, in steps.</summary>
    public int ResidualKernel { get; init; } = 3;

    /// <summary>Dilation of the residual block j is this to the power of j.</summary>
    public int DilationGrowth { get; init; } = 2;

    /// <summary>True: no step sees a later one.</summary>
    public bool IsCausal { get; init; } = true;

    /// <summary>True: signals are continued by their mirror image; false: by zeros.</summary>
    public bool Reflects { get; init; } = true;

    /// <summary>A residual block is this many times narrower inside.</summary>
    public int Compression { get; init; } = 2;

    /// <summary>Layers of the LSTM at the lowest rate; 0 for none.</summary>
    public int LstmLayers { get; init; } = 2;

    /// <summary>Share of a transposed convolution's surplus that is cut off at the end in a causal codec, 0 to 1.</summary>
    public float TrimRight { get; init; } = 1;

    /// <summary>Code vectors in each codebook.</summary>
    public int CodebookSize { get; init; } = 1024;

    /// <summary>True: a residual block's shortcut is a convolution; false: it is the identity.</summary>
    public bool HasConvShortcut { get; init; } = true;

    /// <summary>Samples per latent frame.</summary>
    public int HopSamples => Ratios.Aggregate(1, (p, r) => p * r);

    /// <summary>Latent frames per second, rounded up.</summary>
    public int FrameRateHz => (SampleRateHz + HopSamples - 1) / HopSamples;

    /// <summary>K, the number of codebooks: as many as the highest bit rate pays for.</summary>
    public int Codebooks => CodebooksAt(BandwidthsKbps[^1]);

    /// <summary>Samples of a piece; null codes the sound as a whole.</summary>
    public int? SegmentSamples => SegmentSeconds is { } seconds ? (int)(seconds * SampleRateHz) : null;

    /// <summary>Samples from the start of a piece to the start of the next.</summary>
    public int? SegmentStride => SegmentSamples is { } samples ? Math.Max(1, (int)((1 - Overlap) * samples)) : null;

    /// <summary>The number of codebooks that a bit rate pays for, at least 1: each takes log2(codebook size) bits a frame.</summary>
    /// <param name="kbps">Kilobits per second.</param>
    public int CodebooksAt(float kbps) => Math.Max(1, (int)Math.Floor(1000.0 * kbps / (FrameRateHz * Math.Log2(CodebookSize)) + 1e-9));

    /// <summary>Small enough to train in minutes: 8 kHz, 320 samples a frame of 25 Hz, 64 codes.</summary>
    public static EncodecConfig Tiny { get; } = new()
    {
        SampleRateHz = 8000,
        BandwidthsKbps = [1.5f, 3],
        LatentWidth = 32,
        Filters = 8,
        Ratios = [8, 5, 4, 2],
        LstmLayers = 1,
        CodebookSize = 64,
    };

    /// <summary>Speech at 8 kHz, trained in minutes on one core: 50 frames a second of up to 6 codes of 10 bits, 3 kbit/s. Each
    /// frame sees what comes after it too.</summary>
    public static EncodecConfig Small8k { get; } = new()
    {
        SampleRateHz = 8000,
        BandwidthsKbps = [1.5f, 3],
        LatentWidth = 24,
        Filters = 16,
        Ratios = [5, 4, 8],
        IsCausal = false,
        LstmLayers = 0,
        HasConvShortcut = false,
    };

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static EncodecConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        var otherwise = new EncodecConfig();
        IReadOnlyList<int> ratios = root.Ints("upsampling_ratios", max: 64);
        IReadOnlyList<float> bandwidths = root.Singles("target_bandwidths");
        var config = new EncodecConfig
        {
            SampleRateHz = root.Int("sampling_rate", otherwise.SampleRateHz),
            Channels = root.Int("audio_channels", 1, max: 2),
            BandwidthsKbps = bandwidths.Count > 0 ? bandwidths : otherwise.BandwidthsKbps,
            Normalizes = root.Flag("normalize", false),
            SegmentSeconds = root.Has("chunk_length_s") ? root.Single("chunk_length_s", 1) : null,
            Overlap = root.Single("overlap", 0),
            LatentWidth = root.Int("hidden_size", otherwise.LatentWidth, max: 8192),
            Filters = root.Int("num_filters", otherwise.Filters, max: 4096),
            ResidualLayers = root.Int("num_residual_layers", 1, max: 64),
            Ratios = ratios.Count > 0 ? ratios : otherwise.Ratios,
            UsesWeightNorm = Choice(root, "norm_type", "weight_norm", "time_group_norm"),
            Kernel = root.Int("kernel_size", otherwise.Kernel, max: 255),
            LastKernel = root.Int("last_kernel_size", otherwise.LastKernel, max: 255),
            ResidualKernel = root.Int("residual_kernel_size", otherwise.ResidualKernel, max: 255),
            DilationGrowth = root.Int("dilation_growth_rate", otherwise.DilationGrowth, max: 64),
            IsCausal = root.Flag("use_causal_conv", true),
            Reflects = Choice(root, "pad_mode", "reflect", "constant"),
            Compression = root.Int("compress", otherwise.Compression, max: 64),
            LstmLayers = root.Int("num_lstm_layers", otherwise.LstmLayers, min: 0, max: 16),
            TrimRight = root.Single("trim_right_ratio", 1),
            CodebookSize = root.Int("codebook_size", otherwise.CodebookSize, min: 2, max: 1 << 16),
            HasConvShortcut = root.Flag("use_conv_shortcut", true),
        };
        config.Validate();
        int width = root.Has("codebook_dim") ? root.Int("codebook_dim", config.LatentWidth) : config.LatentWidth;
        return width == config.LatentWidth ? config
            : throw new InvalidDataException($"codebook_dim {width} must be hidden_size {config.LatentWidth}.");
    }

    static bool Choice(ConfigReader json, string field, string yes, string no) => json.Text(field, yes) is var value && value == yes
        || (value == no ? false : throw new InvalidDataException($"{field} must be {yes} or {no}, but is '{value}'."));

    void Validate()
    {
        if (Ratios.Aggregate(1L, (p, r) => p * r) > 1 << 20)
            throw new InvalidDataException($"upsampling_ratios {string.Join(", ", Ratios)} make frames of more than {1 << 20} samples.");
        if (Filters % Compression != 0) throw new InvalidDataException($"num_filters {Filters} must be a multiple of compress {Compression}.");
        if (BandwidthsKbps.Any(b => b is <= 0 or > 1e6f) || !BandwidthsKbps.Order().SequenceEqual(BandwidthsKbps))
            throw new InvalidDataException($"target_bandwidths must be positive and ascending, but are {string.Join(", ", BandwidthsKbps)}.");
        if (Codebooks > 1024) throw new InvalidDataException($"target_bandwidths and codebook_size make {Codebooks} codebooks; at most 1024 make sense.");
        if (Overlap is < 0 or >= 1) throw new InvalidDataException($"overlap must be at least 0 and below 1, but is {Overlap}.");
        if (TrimRight is < 0 or > 1) throw new InvalidDataException($"trim_right_ratio must be 0 to 1, but is {TrimRight}.");
        if (SegmentSeconds is { } seconds && (seconds is <= 0 or > 3600 || SegmentSamples < 1))
            throw new InvalidDataException($"chunk_length_s must be above 0 and at most 3600, but is {seconds}.");
    }

    /// <summary>Writes a config.json that Hugging Face's <c>EncodecConfig</c> reads.</summary>
    public string ToJson()
    {
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray("EncodecModel"),
            ["model_type"] = "encodec",
            ["sampling_rate"] = SampleRateHz,
            ["audio_channels"] = Channels,
            ["target_bandwidths"] = new JsonArray([.. BandwidthsKbps.Select(b => JsonValue.Create(b))]),
            ["normalize"] = Normalizes,
            ["chunk_length_s"] = SegmentSeconds,
            ["overlap"] = SegmentSeconds is null ? null : Overlap,
            ["hidden_size"] = LatentWidth,
            ["codebook_dim"] = LatentWidth,
            ["codebook_size"] = CodebookSize,
            ["num_filters"] = Filters,
            ["num_residual_layers"] = ResidualLayers,
            ["upsampling_ratios"] = new JsonArray([.. Ratios.Select(r => JsonValue.Create(r))]),
            ["norm_type"] = UsesWeightNorm ? "weight_norm" : "time_group_norm",
            ["kernel_size"] = Kernel,
            ["last_kernel_size"] = LastKernel,
            ["residual_kernel_size"] = ResidualKernel,
            ["dilation_growth_rate"] = DilationGrowth,
            ["use_causal_conv"] = IsCausal,
            ["pad_mode"] = Reflects ? "reflect" : "constant",
            ["compress"] = Compression,
            ["num_lstm_layers"] = LstmLayers,
            ["trim_right_ratio"] = TrimRight,
            ["use_conv_shortcut"] = HasConvShortcut,
        };
        return json.ToJsonString(new() { WriteIndented = true }) + "\n";
    }
}

/// <summary>EnCodec, a neural codec: sound to a few codes per frame and back (Défossez et al. 2022, arXiv:2210.13438). Names of
/// Hugging Face's <c>EncodecModel</c>.</summary>
public static class Encodec
{
    const float NormEpsilon = 1e-5f;

    /// <summary>Sound to latent frames: the SEANet encoder (section 3.1).</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="waveform">[B, C, T].</param>
    /// <returns>[B, D, ceil(T / hop)].</returns>
    public static T Encode<T>(ITensorOps<T> ops, EncodecConfig c, T waveform) where T : class
    {
        Name layers = "encoder.layers";
        int layer = 0, width = c.Filters;
        T x = Convolve(ops, layers / layer++, c, new(c.Channels, width, c.Kernel), waveform);
        foreach (int ratio in c.Ratios.Reverse())
        {
            x = Residuals(ops, layers, ref layer, c, width, x);
            layer++; // the activation has a number too
            x = Convolve(ops, layers / layer++, c, new(width, 2 * width, 2 * ratio, ratio), ops.Activate(x, Activation.Elu));
            width *= 2;
        }
        x = Remember(ops, layers, ref layer, c, width, x);
        layer++;
        return Convolve(ops, layers / layer, c, new(width, c.LatentWidth, c.LastKernel), ops.Activate(x, Activation.Elu));
    }

    /// <summary>Latent frames to sound: the SEANet decoder, the encoder's mirror image.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="latent">[B, D, frames].</param>
    /// <returns>[B, C, frames * hop].</returns>
    public static T Decode<T>(ITensorOps<T> ops, EncodecConfig c, T latent) where T : class
    {
        Name layers = "decoder.layers";
        int layer = 0, width = c.Filters << c.Ratios.Count;
        T x = Convolve(ops, layers / layer++, c, new(c.LatentWidth, width, c.Kernel), latent);
        x = Remember(ops, layers, ref layer, c, width, x);
        foreach (int ratio in c.Ratios)
        {
            layer++;
            x = Spread(ops, layers / layer++, c, width, ratio, ops.Activate(x, Activation.Elu));
            width /= 2;
            x = Residuals(ops, layers, ref layer, c, width, x);
        }
        layer++;
        return Convolve(ops, layers / layer, c, new(width, c.Channels, c.LastKernel), ops.Activate(x, Activation.Elu));
    }

    /// <summary>Residual vector quantisation (section 3.2): each codebook codes what those before it left.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="codebooks">K, how many codebooks to use; fewer give the first rows of what more give.</param>
    /// <param name="latent">[B, D, frames].</param>
    /// <returns>Int64 codes [B, K, frames], and the sum of their vectors [B, D, frames].</returns>
    public static (T Codes, T Quantized) Quantize<T>(ITensorOps<T> ops, EncodecConfig c, int codebooks, T latent) where T : class
    {
        T residual = ops.Rearrange(latent, "b d t -> b t d"), sum = ops.Multiply(residual, 0);
        var codes = new T[codebooks];
        for (int k = 0; k < codebooks; k++)
        {
            T table = Table(ops, c, k);                                                                 // [V, D]
            T ids = Codebook.Nearest(ops, table, residual);                                             // [B, T, D] -> [B, T]
            T vectors = ops.Embedding(ids, table);
            (residual, sum) = (ops.Subtract(residual, vectors), ops.Add(sum, vectors));
            codes[k] = ops.Rearrange(ids, "b (k t) -> b k t", ("k", 1));
        }
        return (ops.Concat(1, codes), ops.Rearrange(sum, "b t d -> b d t"));
    }

    /// <summary>The sum of the vectors that codes stand for.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="codebooks">K.</param>
    /// <param name="codes">Int64 [B, K, frames].</param>
    /// <returns>[B, D, frames].</returns>
    public static T Dequantize<T>(ITensorOps<T> ops, EncodecConfig c, int codebooks, T codes) where T : class
    {
        T? sum = null;
        for (int k = 0; k < codebooks; k++)
        {
            T ids = ops.Rearrange(ops.Slice(codes, 1, k, k + 1), "b k t -> b (k t)");
            T vectors = ops.Embedding(ids, Table(ops, c, k));                                           // [B, T] -> [B, T, D]
            sum = sum is null ? vectors : ops.Add(sum, vectors);
        }
        return ops.Rearrange(sum!, "b t d -> b d t");
    }

    static T Table<T>(ITensorOps<T> ops, EncodecConfig c, int k) where T : class =>
        ops.Parameter((Name)"quantizer.layers" / k / "codebook" / "embed", Init.Normal(1 / MathF.Sqrt(c.LatentWidth)), c.CodebookSize, c.LatentWidth);

    static T Residuals<T>(ITensorOps<T> ops, Name layers, ref int layer, EncodecConfig c, int width, T x) where T : class
    {
        for (int j = 0, dilation = 1; j < c.ResidualLayers; j++, dilation *= c.DilationGrowth)
            x = Residual(ops, layers / layer++, c, width, dilation, x);
        return x;
    }

    static T Residual<T>(ITensorOps<T> ops, Name name, EncodecConfig c, int width, int dilation, T x) where T : class
    {
        int inner = width / c.Compression;
        T h = Convolve(ops, name / "block" / 1, c, new(width, inner, c.ResidualKernel, Dilation: dilation), ops.Activate(x, Activation.Elu));
        h = Convolve(ops, name / "block" / 3, c, new(inner, width, 1), ops.Activate(h, Activation.Elu));
        return ops.Add(c.HasConvShortcut ? Convolve(ops, name / "shortcut", c, new(width, width, 1), x) : x, h);
    }

    /// <summary>The LSTM at the lowest rate, with a shortcut.</summary>
    static T Remember<T>(ITensorOps<T> ops, Name layers, ref int layer, EncodecConfig c, int width, T x) where T : class
    {
        if (c.LstmLayers == 0) return x;
        T steps = ops.Rearrange(x, "b c t -> b t c");
        steps = ops.Add(ops.Lstm(steps, layers / layer++ / "lstm", width, width, c.LstmLayers), steps);
        return ops.Rearrange(steps, "b t c -> b c t");
    }

    /// <summary>A convolution that keeps the length, or divides it by the stride and rounds up.</summary>
    static T Convolve<T>(ITensorOps<T> ops, Name name, EncodecConfig c, Conv1dConfig conv, T x) where T : class
    {
        int padding = conv.Reach - conv.Stride, after = c.IsCausal ? 0 : padding / 2;
        x = ops.Pad(x, new(padding - after, after, conv.Stride, c.Reflects));
        return c.UsesWeightNorm ? Convolution1d.WeightNormalized(ops, name / "conv", conv, x)
            : Norm(ops, name, Convolution1d.Plain(ops, name / "conv", conv, x));
    }

    /// <summary>A transposed convolution that multiplies the length by the stride and halves the channels.</summary>
    static T Spread<T>(ITensorOps<T> ops, Name name, EncodecConfig c, int width, int stride, T x) where T : class
    {
        Name conv = name / "conv";
        int kernel = 2 * stride, surplus = kernel - stride;
        T weight = c.UsesWeightNorm ? Convolution1d.NormalizedKernel(ops, conv, width, width / 2, kernel)
            : ops.Parameter(conv / "weight", Init.Normal(1 / MathF.Sqrt(width * 2)), width, width / 2, kernel);
        x = ops.ConvTranspose1d(x, weight, Convolution1d.Bias(ops, conv, width / 2), stride);
        if (!c.UsesWeightNorm) x = Norm(ops, name, x);
        int right = c.IsCausal ? (int)MathF.Ceiling(surplus * c.TrimRight) : surplus / 2;
        return ops.Slice(x, 2, surplus - right, right == 0 ? int.MaxValue : -right);
    }

    /// <summary>One group over channels and time.</summary>
    static T Norm<T>(ITensorOps<T> ops, Name name, T x) where T : class =>
        ops.Rearrange(ops.GroupNorm(ops.Rearrange(x, "b c (t o) -> b c t o", ("o", 1)), name / "norm", 1, NormEpsilon), "b c t o -> b c (t o)");
}

/// <summary>EnCodec as a model of this library: <see cref="Full"/> goes from sound to codes and back; <see cref="Encoder"/> and
/// <see cref="Decoder"/> are its halves. It has no encoder into a shared space.</summary>
/// <param name="config">Sizes.</param>
public sealed class EncodecModel(EncodecConfig config) : IModelDefinition
{
    /// <summary>Sizes.</summary>
    public EncodecConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => "encodec";

    /// <summary>D, the width of a latent frame.</summary>
    public int EmbeddingWidth => config.LatentWidth;

    /// <summary>None: codes are no embedding.</summary>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>();

    /// <summary>Takes <c>waveform</c> [B, C, T]; gives <c>latent</c> [B, D, frames], Int64 <c>codes</c> [B, K, frames],
    /// <c>quantized</c> [B, D, frames], <c>decoded</c> [B, C, frames * hop] and <c>reconstruction</c> [B, C, T]. The sound is taken
    /// as one piece, at its own loudness.</summary>
    public IProgram Full { get; } = new FullProgram(config);

    /// <summary>Takes <c>input_values</c> [B, C, T]; gives Int64 <c>audio_codes</c> [B, K, frames].</summary>
    public IProgram Encoder { get; } = new EncoderProgram(config);

    /// <summary>Takes Int64 <c>audio_codes</c> [B, codebooks, frames]; gives <c>audio_values</c> [B, C, frames * hop].</summary>
    /// <param name="codebooks">How many codebooks the codes are of.</param>
    /// <exception cref="ArgumentOutOfRangeException">The model has not so many.</exception>
    public IProgram Decoder(int codebooks) => codebooks >= 1 && codebooks <= config.Codebooks ? new DecoderProgram(config, codebooks)
        : throw new ArgumentOutOfRangeException(nameof(codebooks), codebooks, $"the model has 1 to {config.Codebooks} codebooks.");

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <summary>The state of the codebooks' training, which only a training reads.</summary>
    public IReadOnlyList<string> IgnoredWeights { get; } = [.. Enumerable.Range(0, config.Codebooks).SelectMany(k =>
        new[] { "inited", "cluster_size", "embed_avg" }.Select(s => $"quantizer.layers.{k}.codebook.{s}"))];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    /// <summary>Reads the naming of the original repository, and PyTorch's newer names of weight normalisation.</summary>
    /// <param name="weights">The tensors of a checkpoint.</param>
    public IReadOnlyDictionary<string, TensorData> Rename(IReadOnlyDictionary<string, TensorData> weights) =>
        weights.ToDictionary(w => Published(w.Key), w => w.Value, StringComparer.Ordinal);

    static string Published(string name) => name
        .Replace("coder.model.", "coder.layers.", StringComparison.Ordinal)
        .Replace(".conv.conv.", ".conv.", StringComparison.Ordinal).Replace(".convtr.convtr.", ".conv.", StringComparison.Ordinal)
        .Replace(".conv.norm.", ".norm.", StringComparison.Ordinal).Replace(".convtr.norm.", ".norm.", StringComparison.Ordinal)
        .Replace("quantizer.vq.layers.", "quantizer.layers.", StringComparison.Ordinal).Replace("._codebook.", ".codebook.", StringComparison.Ordinal)
        .Replace(".parametrizations.weight.original0", ".weight_g", StringComparison.Ordinal)
        .Replace(".parametrizations.weight.original1", ".weight_v", StringComparison.Ordinal);

    static TensorSpec Sound(EncodecConfig c, string name) =>
        new(name, ElementType.Float32, Dim.Dynamic("batch"), c.Channels, Dim.Dynamic("samples", c.SampleRateHz));

    sealed class FullProgram(EncodecConfig c) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Sound(c, "waveform")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T waveform = inputs["waveform"], latent = Encodec.Encode(ops, c, waveform);
            (T codes, T quantized) = Encodec.Quantize(ops, c, c.Codebooks, latent);
            T decoded = Encodec.Decode(ops, c, quantized);
            return
            [
                ("latent", latent), ("codes", codes), ("quantized", quantized), ("decoded", decoded),
                ("reconstruction", ops.SliceLike(decoded, 2, waveform, 2)),
            ];
        }
    }

    sealed class EncoderProgram(EncodecConfig c) : IProgram
    {
        public string Name => "encoder_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Sound(c, "input_values")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("audio_codes", Encodec.Quantize(ops, c, c.Codebooks, Encodec.Encode(ops, c, inputs["input_values"])).Codes)];
    }

    sealed class DecoderProgram(EncodecConfig c, int codebooks) : IProgram
    {
        public string Name => "decoder_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
            [new("audio_codes", ElementType.Int64, Dim.Dynamic("batch"), codebooks, Dim.Dynamic("frames", c.FrameRateHz))];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("audio_values", Encodec.Decode(ops, c, Encodec.Dequantize(ops, c, codebooks, inputs["audio_codes"])))];
    }
}
