using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of Whisper's encoder, in the schema of Hugging Face's <c>WhisperConfig</c>; those of its decoder are left
/// aside.</summary>
public sealed record WhisperConfig
{
    /// <summary>F, mel bins of a frame.</summary>
    public int MelBins { get; init; } = 80;

    /// <summary>L, tokens of a sound: half of its frames, 30 seconds in the published models.</summary>
    public int Tokens { get; init; } = 1500;

    /// <summary>Sizes of the blocks.</summary>
    public TransformerConfig Blocks { get; init; } = new(4, 384, 1536, 6, Activation.Gelu) { Names = BlockNames.Whisper, KeyBias = false };

    /// <summary>Frames of the spectrogram: twice the tokens.</summary>
    public int Frames => 2 * Tokens;

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static WhisperConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        var otherwise = new WhisperConfig();
        var config = new WhisperConfig
        {
            MelBins = root.Int("num_mel_bins", otherwise.MelBins, max: 4096),
            Tokens = root.Int("max_source_positions", otherwise.Tokens, max: 1 << 16),
            Blocks = otherwise.Blocks with
            {
                Layers = root.Int("encoder_layers", otherwise.Blocks.Layers, max: 1024),
                Width = root.Int("d_model", otherwise.Blocks.Width),
                MlpWidth = root.Int("encoder_ffn_dim", otherwise.Blocks.MlpWidth),
                Heads = root.Int("encoder_attention_heads", otherwise.Blocks.Heads),
                Activation = ActivationNames.Parse(root.Text("activation_function", "gelu")),
            },
        };
        return config.Blocks.Width % config.Blocks.Heads == 0 ? config : throw new InvalidDataException(
            $"d_model {config.Blocks.Width} must be a multiple of encoder_attention_heads {config.Blocks.Heads}.");
    }

    /// <summary>Writes a config.json that Hugging Face's <c>WhisperConfig</c> reads.</summary>
    public string ToJson() => new JsonObject
    {
        ["architectures"] = new JsonArray("WhisperModel"),
        ["model_type"] = "whisper",
        ["num_mel_bins"] = MelBins,
        ["max_source_positions"] = Tokens,
        ["d_model"] = Blocks.Width,
        ["encoder_layers"] = Blocks.Layers,
        ["encoder_attention_heads"] = Blocks.Heads,
        ["encoder_ffn_dim"] = Blocks.MlpWidth,
        ["activation_function"] = Blocks.Activation.ConfigName(),
    }.ToJsonString(new() { WriteIndented = true }) + "\n";
}

/// <summary>Whisper's encoder: two convolutions over a log-mel spectrogram and a Transformer (Radford et al. 2022,
/// arXiv:2212.04356, section 2.2). Names of Hugging Face's <c>WhisperModel</c>.</summary>
public static class WhisperEncoder
{
    /// <summary>Spectrograms to tokens.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The encoder, <c>encoder</c>.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="features">[B, F, 2 L], as Whisper's front end makes them.</param>
    /// <returns>[B, L, D], after the last norm.</returns>
    public static T Encode<T>(ITensorOps<T> ops, Name name, WhisperConfig c, T features) where T : class
    {
        int width = c.Blocks.Width;
        T x = Convolution1d.Plain(ops, name / "conv1", new(c.MelBins, width, 3, Padding: 1), features);
        x = Convolution1d.Plain(ops, name / "conv2", new(width, width, 3, Stride: 2, Padding: 1), ops.Activate(x, Activation.Gelu));
        x = ops.Rearrange(ops.Activate(x, Activation.Gelu), "b d t -> b t d");                          // [B, D, L] -> [B, L, D]
        x = ops.Add(x, ops.Parameter(name / "embed_positions" / "weight", default, c.Tokens, width));
        x = Transformer.Encoder(ops, name, c.Blocks, x);
        return ops.LayerNorm(x, name / "layer_norm", c.Blocks.NormEpsilon);
    }
}

/// <summary>Whisper's encoder as a model of this library. The embedding is the mean of the tokens with length 1; the decoder of a
/// checkpoint is left aside.</summary>
/// <param name="config">Sizes.</param>
public sealed class WhisperEncoderModel(WhisperConfig config) : IModelDefinition
{
    /// <summary>Sizes.</summary>
    public WhisperConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => "whisper";

    /// <inheritdoc/>
    public int EmbeddingWidth => config.Blocks.Width;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>
    {
        [Modality.Audio] = new Program(config, isFull: false),
    };

    /// <summary>Takes <c>input_features</c> [B, F, frames]; gives <c>last_hidden_state</c> [B, L, D] and <c>audio_embeds</c>
    /// [B, D].</summary>
    public IProgram Full { get; } = new Program(config, isFull: true);

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } = ["decoder.", "proj_out.", "projector.", "classifier."];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    /// <summary>Takes off the prefix of a model for a task.</summary>
    /// <param name="weights">The tensors of a checkpoint.</param>
    public IReadOnlyDictionary<string, TensorData> Rename(IReadOnlyDictionary<string, TensorData> weights) => BertNaming.ToPublished(weights, "model.");

    sealed class Program(WhisperConfig c, bool isFull) : IProgram
    {
        public string Name => isFull ? "model" : "audio_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [new("input_features", ElementType.Float32, Dim.Dynamic("batch"), c.MelBins, c.Frames)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T tokens = WhisperEncoder.Encode(ops, "encoder", c, inputs["input_features"]), embeds = ops.L2Normalize(ops.Mean(tokens, 1));
            return isFull ? [("last_hidden_state", tokens), ("audio_embeds", embeds)] : [("audio_embeds", embeds)];
        }
    }
}
