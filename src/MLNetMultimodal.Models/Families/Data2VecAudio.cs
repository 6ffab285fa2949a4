using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of data2vec for sound, in the schema of Hugging Face's <c>Data2VecAudioConfig</c>.</summary>
public sealed record Data2VecAudioConfig
{
    /// <summary>Channels of the convolutions over the waveform, first to last.</summary>
    public IReadOnlyList<int> ConvChannels { get; init; } = [512, 512, 512, 512, 512, 512, 512];

    /// <summary>Their kernels, in steps.</summary>
    public IReadOnlyList<int> ConvKernels { get; init; } = [10, 3, 3, 3, 3, 2, 2];

    /// <summary>Their strides, in steps; the product is the number of samples per token.</summary>
    public IReadOnlyList<int> ConvStrides { get; init; } = [5, 2, 2, 2, 2, 2, 2];

    /// <summary>True: these convolutions have a bias.</summary>
    public bool ConvBias { get; init; }

    /// <summary>Function after each convolution.</summary>
    public Activation ConvActivation { get; init; } = Activation.Gelu;

    /// <summary>Convolutions over the tokens that tell them where they stand.</summary>
    public int PositionLayers { get; init; } = 5;

    /// <summary>Their kernel, in tokens.</summary>
    public int PositionKernel { get; init; } = 19;

    /// <summary>Their groups of channels; divides the width.</summary>
    public int PositionGroups { get; init; } = 16;

    /// <summary>Sizes of the blocks.</summary>
    public TransformerConfig Blocks { get; init; } = new(12, 768, 3072, 12, Activation.Gelu) { Names = BlockNames.Wav2Vec2, PostNorm = true };

    /// <summary>The fewest samples of a sound: those of one token.</summary>
    public int MinSamples => (int)ConvKernels.Zip(ConvStrides).Reverse()
        .Aggregate(1L, (steps, layer) => Math.Min(int.MaxValue, (steps - 1) * layer.Second + layer.First));

    /// <summary>L, tokens of a sound.</summary>
    /// <param name="samples">Its samples, at least <see cref="MinSamples"/>.</param>
    public int Tokens(int samples) => ConvKernels.Zip(ConvStrides).Aggregate(samples, (steps, layer) => (steps - layer.First) / layer.Second + 1);

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    /// <exception cref="NotSupportedException">The model has an adapter behind its encoder.</exception>
    public static Data2VecAudioConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        var otherwise = new Data2VecAudioConfig();
        if (root.Flag("add_adapter", false))
            throw new NotSupportedException("add_adapter is true; only encoders without convolutions behind them are supported.");
        var config = new Data2VecAudioConfig
        {
            ConvChannels = List("conv_dim", otherwise.ConvChannels),
            ConvKernels = List("conv_kernel", otherwise.ConvKernels),
            ConvStrides = List("conv_stride", otherwise.ConvStrides),
            ConvBias = root.Flag("conv_bias", false),
            ConvActivation = ActivationNames.Parse(root.Text("feat_extract_activation", "gelu")),
            PositionLayers = root.Int("num_conv_pos_embeddings", otherwise.PositionLayers, max: 256),
            PositionKernel = root.Int("conv_pos_kernel_size", otherwise.PositionKernel, max: 1024),
            PositionGroups = root.Int("num_conv_pos_embedding_groups", otherwise.PositionGroups, max: 4096),
            Blocks = root.Blocks(otherwise.Blocks),
        };
        if (config.ConvChannels.Count != config.ConvKernels.Count || config.ConvChannels.Count != config.ConvStrides.Count)
            throw new InvalidDataException($"conv_dim, conv_kernel and conv_stride must be equally long, but have {config.ConvChannels.Count}, "
                + $"{config.ConvKernels.Count} and {config.ConvStrides.Count} entries.");
        return config.Blocks.Width % config.PositionGroups == 0 ? config : throw new InvalidDataException(
            $"hidden_size {config.Blocks.Width} must be a multiple of num_conv_pos_embedding_groups {config.PositionGroups}.");

        IReadOnlyList<int> List(string field, IReadOnlyList<int> missing) => root.Ints(field, max: 8192) is { Count: > 0 } list ? list : missing;
    }

    /// <summary>Writes a config.json that Hugging Face's <c>Data2VecAudioConfig</c> reads.</summary>
    public string ToJson() => new JsonObject
    {
        ["architectures"] = new JsonArray("Data2VecAudioModel"),
        ["model_type"] = "data2vec-audio",
        ["conv_dim"] = Json(ConvChannels),
        ["conv_kernel"] = Json(ConvKernels),
        ["conv_stride"] = Json(ConvStrides),
        ["conv_bias"] = ConvBias,
        ["feat_extract_activation"] = ConvActivation.ConfigName(),
        ["num_conv_pos_embeddings"] = PositionLayers,
        ["conv_pos_kernel_size"] = PositionKernel,
        ["num_conv_pos_embedding_groups"] = PositionGroups,
        ["hidden_size"] = Blocks.Width,
        ["intermediate_size"] = Blocks.MlpWidth,
        ["num_attention_heads"] = Blocks.Heads,
        ["num_hidden_layers"] = Blocks.Layers,
        ["hidden_act"] = Blocks.Activation.ConfigName(),
        ["layer_norm_eps"] = Blocks.NormEpsilon,
    }.ToJsonString(new() { WriteIndented = true }) + "\n";

    static JsonArray Json(IReadOnlyList<int> values) => new([.. values.Select(v => JsonValue.Create(v))]);
}

/// <summary>data2vec for sound: convolutions over the raw waveform, positions from convolutions over tokens, a post-norm Transformer
/// (Baevski et al. 2022, arXiv:2202.03555, section 4.2, on the encoder of wav2vec 2.0, arXiv:2006.11477). Names of Hugging Face's
/// <c>Data2VecAudioModel</c>.</summary>
public static class Data2VecAudio
{
    const float ConvNormEpsilon = 1e-5f;

    /// <summary>Waveforms to tokens.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The model; empty for a checkpoint of its own.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="waveform">[B, T], mean 0 and variance 1, long enough for one token.</param>
    /// <param name="masked">Bool [B, L]: true for a token that the model is not to see; <c>masked_spec_embed</c> stands in its place.
    /// Null shows all.</param>
    /// <param name="layers">Is given what each block's feed-forward part gives, see <see cref="Transformer.Encoder"/>.</param>
    /// <returns>[B, L, D].</returns>
    public static T Encode<T>(ITensorOps<T> ops, Name name, Data2VecAudioConfig c, T waveform, T? masked = null, ICollection<T>? layers = null)
        where T : class
    {
        Name encoder = name / "encoder";
        int width = c.Blocks.Width;
        T x = Features(ops, name / "feature_extractor" / "conv_layers", c, waveform);                    // [B, T] -> [B, L, C]
        x = ops.LayerNorm(x, name / "feature_projection" / "layer_norm", c.Blocks.NormEpsilon);
        x = ops.Linear(x, name / "feature_projection" / "projection", c.ConvChannels[^1], width);
        if (masked is not null)
            x = ops.Where(ops.Rearrange(masked, "b (l o) -> b l o", ("o", 1)), ops.Parameter(name / "masked_spec_embed", default, width), x);
        x = ops.Add(x, Positions(ops, encoder / "pos_conv_embed" / "layers", c, x));
        x = ops.LayerNorm(x, encoder / "layer_norm", c.Blocks.NormEpsilon);
        return Transformer.Encoder(ops, encoder, c.Blocks, x, layers: layers);
    }

    static T Features<T>(ITensorOps<T> ops, Name layers, Data2VecAudioConfig c, T waveform) where T : class
    {
        T x = ops.Rearrange(waveform, "b (c t) -> b c t", ("c", 1));                                    // [B, T] -> [B, 1, T]
        for (int i = 0, channels = 1; i < c.ConvChannels.Count; channels = c.ConvChannels[i++])
        {
            if (i > 0) x = ops.Rearrange(x, "b t c -> b c t");
            x = Convolution1d.Plain(ops, layers / i / "conv", new(channels, c.ConvChannels[i], c.ConvKernels[i], c.ConvStrides[i]), x, c.ConvBias);
            x = ops.LayerNorm(ops.Rearrange(x, "b c t -> b t c"), layers / i / "layer_norm", ConvNormEpsilon);
            x = ops.Activate(x, c.ConvActivation);
        }
        return x;
    }

    static T Positions<T>(ITensorOps<T> ops, Name layers, Data2VecAudioConfig c, T x) where T : class
    {
        int width = c.Blocks.Width, half = c.PositionKernel / 2;
        for (int i = 0; i < c.PositionLayers; i++)
        {
            T h = ops.Rearrange(x, "b l d -> b d l");
            h = Convolution1d.Plain(ops, layers / i / "conv", new(width, width, c.PositionKernel, Groups: c.PositionGroups, Padding: half), h);
            if (c.PositionKernel % 2 == 0) h = ops.Slice(h, 2, 0, -1); // as many tokens as there were
            x = ops.Activate(ops.LayerNorm(ops.Rearrange(h, "b d l -> b l d"), ConvNormEpsilon), c.ConvActivation);
        }
        return x;
    }
}

/// <summary>data2vec for sound as a model of this library. The embedding is the mean of the tokens with length 1; heads for tasks are
/// left aside.</summary>
/// <param name="config">Sizes.</param>
public sealed class Data2VecAudioModel(Data2VecAudioConfig config) : IModelDefinition
{
    /// <summary>Sizes.</summary>
    public Data2VecAudioConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => "data2vec-audio";

    /// <inheritdoc/>
    public int EmbeddingWidth => config.Blocks.Width;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>
    {
        [Modality.Audio] = new Program(config, isFull: false),
    };

    /// <summary>Takes <c>input_values</c> [B, T]; gives <c>last_hidden_state</c> [B, L, D] and <c>audio_embeds</c> [B, D].</summary>
    public IProgram Full { get; } = new Program(config, isFull: true);

    /// <inheritdoc/>
    public int MinSamples => config.MinSamples;

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } = ["masked_spec_embed", "regression_head.", "lm_head.", "projector.", "classifier."];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    /// <summary>Takes off the prefix of a model for a task.</summary>
    /// <param name="weights">The tensors of a checkpoint.</param>
    public IReadOnlyDictionary<string, TensorData> Rename(IReadOnlyDictionary<string, TensorData> weights) =>
        BertNaming.ToPublished(weights, "data2vec_audio.");

    sealed class Program(Data2VecAudioConfig c, bool isFull) : IProgram
    {
        public string Name => isFull ? "model" : "audio_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
            [new("input_values", ElementType.Float32, Dim.Dynamic("batch"), Dim.Dynamic("samples", 16_000))];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T tokens = Data2VecAudio.Encode(ops, Ops.Name.Root, c, inputs["input_values"]), embeds = ops.L2Normalize(ops.Mean(tokens, 1));
            return isFull ? [("last_hidden_state", tokens), ("audio_embeds", embeds)] : [("audio_embeds", embeds)];
        }
    }
}
