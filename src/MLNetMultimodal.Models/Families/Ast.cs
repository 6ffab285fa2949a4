using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of the audio spectrogram transformer, in the schema of Hugging Face's <c>ASTConfig</c>.</summary>
public sealed record AstConfig
{
    /// <summary>T, frames of the spectrogram; all are of this length.</summary>
    public int Frames { get; init; } = 1024;

    /// <summary>F, mel bins of a frame.</summary>
    public int MelBins { get; init; } = 128;

    /// <summary>P, edge of a patch in bins and frames.</summary>
    public int PatchSize { get; init; } = 16;

    /// <summary>Bins and frames from one patch to the next; less than <see cref="PatchSize"/> lets them overlap.</summary>
    public int Stride { get; init; } = 10;

    /// <summary>Channels of a convolutional stem in place of the patch projection, our addition to the schema: field
    /// <c>stem_channels</c>; empty, the default, for none. <see cref="PatchSize"/> is then a power of two, and
    /// <see cref="Stride"/> equals it.</summary>
    public IReadOnlyList<int> StemChannels { get; init; } = [];

    /// <summary>How far below its loudest place a spectrogram counts, in its own unit, our addition to the schema: field
    /// <c>dynamic_range</c>. What lies lower is lifted there, and the range becomes -1 to 1, so that loudness, and how deep a
    /// silence is, make no difference. Null, the default: spectrograms are taken as they are.</summary>
    public float? DynamicRange { get; init; }

    /// <summary>Sizes of the blocks.</summary>
    public TransformerConfig Blocks { get; init; } = new(12, 768, 3072, 12, Activation.Gelu, 1e-12f) { Names = BlockNames.Vit };

    /// <summary>N, the number of patches.</summary>
    public int Patches => Along(MelBins) * Along(Frames);

    /// <summary>Patches along time.</summary>
    internal int Moments => Along(Frames);

    int Along(int size) => StemChannels.Count > 0 ? Stem.Along(size) : (size - PatchSize) / Stride + 1;

    internal StemConfig Stem => new(1, StemChannels, PatchSize, Blocks.Width, Blocks.Activation, Blocks.NormEpsilon);

    /// <summary>Small enough to train in minutes: 64 bins, 64 frames.</summary>
    public static AstConfig Tiny { get; } = new()
    {
        Frames = 64,
        MelBins = 64,
        Stride = 16,
        Blocks = new(2, 64, 128, 2, Activation.Gelu, 1e-12f) { Names = BlockNames.Vit },
    };

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    /// <exception cref="NotSupportedException">The strides along time and frequency differ.</exception>
    public static AstConfig FromJson(JsonElement json) => FromJson(new ConfigReader(json));

    internal static AstConfig FromJson(ConfigReader root)
    {
        var otherwise = new AstConfig();
        int stride = root.Int("time_stride", otherwise.Stride, max: 4096), across = root.Int("frequency_stride", otherwise.Stride, max: 4096);
        if (stride != across)
            throw new NotSupportedException($"time_stride {stride} and frequency_stride {across} differ; only equal ones are supported.");
        var config = new AstConfig
        {
            Frames = root.Int("max_length", otherwise.Frames, max: 1 << 16),
            MelBins = root.Int("num_mel_bins", otherwise.MelBins, max: 4096),
            PatchSize = root.Int("patch_size", otherwise.PatchSize, max: 4096),
            Stride = stride,
            StemChannels = root.Ints("stem_channels", max: 8192),
            DynamicRange = root.Has("dynamic_range") ? root.Single("dynamic_range", 0) : null,
            Blocks = root.Blocks(otherwise.Blocks) with { QkvBias = root.Flag("qkv_bias", true) },
        };
        config.Validate();
        return config;
    }

    void Validate()
    {
        if (Math.Min(Frames, MelBins) < PatchSize)
            throw new InvalidDataException($"patch_size {PatchSize} must be at most max_length {Frames} and num_mel_bins {MelBins}.");
        if (DynamicRange is <= 0) throw new InvalidDataException($"dynamic_range must be above 0, but is {DynamicRange}.");
        if (StemChannels.Count > 0 && Stride != PatchSize)
            throw new InvalidDataException($"patches of stem_channels do not overlap: time_stride {Stride} must be patch_size {PatchSize}.");
        Stem.Validate();
    }

    /// <summary>Writes a config.json that Hugging Face's <c>ASTConfig</c> reads.</summary>
    public string ToJson() => ToJsonObject().ToJsonString(new() { WriteIndented = true }) + "\n";

    internal JsonObject ToJsonObject()
    {
        JsonObject json = new()
        {
            ["architectures"] = new JsonArray("ASTModel"),
            ["model_type"] = "audio-spectrogram-transformer",
            ["max_length"] = Frames,
            ["num_mel_bins"] = MelBins,
            ["patch_size"] = PatchSize,
            ["time_stride"] = Stride,
            ["frequency_stride"] = Stride,
            ["hidden_size"] = Blocks.Width,
            ["intermediate_size"] = Blocks.MlpWidth,
            ["num_attention_heads"] = Blocks.Heads,
            ["num_hidden_layers"] = Blocks.Layers,
            ["hidden_act"] = Blocks.Activation.ConfigName(),
            ["layer_norm_eps"] = Blocks.NormEpsilon,
            ["qkv_bias"] = Blocks.QkvBias,
        };
        if (StemChannels.Count > 0) json["stem_channels"] = new JsonArray([.. StemChannels.Select(c => JsonValue.Create(c))]);
        if (DynamicRange is { } range) json["dynamic_range"] = range;
        return json;
    }
}

/// <summary>The audio spectrogram transformer: a Vision Transformer over overlapping patches of a log-mel spectrogram (Gong et al.
/// 2021, arXiv:2104.01778). Names of Hugging Face's <c>ASTModel</c>.</summary>
public static class Ast
{
    /// <summary>Spectrograms to tokens.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The model; empty for a checkpoint of its own.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="spectrogram">[B, T, F], normalised.</param>
    /// <returns>[B, 2 + N, D]: class token, distillation token, patches, all after the last norm.</returns>
    public static T Encode<T>(ITensorOps<T> ops, Name name, AstConfig c, T spectrogram) where T : class
    {
        Name embeddings = name / "embeddings";
        int width = c.Blocks.Width;
        T x = c.DynamicRange is { } range ? BelowPeak(ops, c, range, spectrogram) : spectrogram;
        x = ops.Rearrange(x, "b t (c f) -> b c f t", ("c", 1));                                         // [B, T, F] -> [B, 1, F, T]
        x = c.StemChannels.Count > 0
            ? ConvolutionalStem.Run(ops, embeddings, c.Stem, x)
            : ops.Conv2d(x, embeddings / "patch_embeddings" / "projection", new(1, width, c.PatchSize, c.Stride));
        x = ops.Rearrange(x, "b d f t -> b (f t) d");                                                   // [B, D, F', T'] -> [B, N, D]
        x = ops.Concat(1, Token("cls_token"), Token("distillation_token"), x);
        x = ops.Add(x, ops.Parameter(embeddings / "position_embeddings", default, 1, 2 + c.Patches, width));
        x = Transformer.Encoder(ops, name / "encoder", c.Blocks, ops.PatchDropout(x, 2));
        return ops.LayerNorm(x, name / "layernorm", c.Blocks.NormEpsilon);

        T Token(string part) => // [1, 1, D] -> [B, 1, D]
            ops.RepeatBatch(ops.Rearrange(ops.Parameter(embeddings / part, default, 1, 1, width), "a l d -> (a l) d"), spectrogram);
    }

    static T BelowPeak<T>(ITensorOps<T> ops, AstConfig c, float range, T x) where T : class
    {
        x = ops.Rearrange(x, "b t f -> b (t f)");
        x = ops.Subtract(x, ops.Rearrange(ops.Max(x, 1), "(b p) -> b p", ("p", 1)));                    // [B, T F], at most 0
        x = ops.Activate(ops.Add(ops.Multiply(x, 1 / range), 1), Activation.Relu);                      // 0 to 1
        return ops.Rearrange(ops.Add(ops.Multiply(x, 2), -1), "b (t f) -> b t f", ("t", c.Frames));
    }

    /// <summary>The mean of class and distillation token: [B, 2 + N, D] -> [B, D].</summary>
    public static T Pool<T>(ITensorOps<T> ops, T tokens) where T : class => ops.Mean(ops.Slice(tokens, 1, 0, 2), 1);
}

/// <summary>The audio spectrogram transformer as a model of this library. The embedding is the pooled output with length 1; the head
/// of a classifier is left aside.</summary>
/// <param name="config">Sizes.</param>
public sealed class AstModel(AstConfig config) : IModelDefinition
{
    /// <summary>Sizes.</summary>
    public AstConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => "audio-spectrogram-transformer";

    /// <inheritdoc/>
    public int EmbeddingWidth => config.Blocks.Width;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>
    {
        [Modality.Audio] = new Program(config, isFull: false),
    };

    /// <summary>Takes <c>input_values</c> [B, T, F]; gives <c>last_hidden_state</c> [B, 2 + N, D], <c>pooler_output</c> [B, D] and
    /// <c>audio_embeds</c> [B, D].</summary>
    public IProgram Full { get; } = new Program(config, isFull: true);

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } = ["classifier."];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    /// <summary>Takes off the prefix of a classifier.</summary>
    /// <param name="weights">The tensors of a checkpoint.</param>
    public IReadOnlyDictionary<string, TensorData> Rename(IReadOnlyDictionary<string, TensorData> weights) =>
        BertNaming.ToPublished(weights, "audio_spectrogram_transformer.");

    sealed class Program(AstConfig c, bool isFull) : IProgram
    {
        public string Name => isFull ? "model" : "audio_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [new("input_values", ElementType.Float32, Dim.Dynamic("batch"), c.Frames, c.MelBins)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T tokens = Ast.Encode(ops, Ops.Name.Root, c, inputs["input_values"]), pooled = Ast.Pool(ops, tokens), embeds = ops.L2Normalize(pooled);
            return isFull ? [("last_hidden_state", tokens), ("pooler_output", pooled), ("audio_embeds", embeds)] : [("audio_embeds", embeds)];
        }
    }
}
