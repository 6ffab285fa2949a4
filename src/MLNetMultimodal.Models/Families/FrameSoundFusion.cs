using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of the fusion of a video's frames with its soundtrack.</summary>
public sealed record FrameSoundFusionConfig
{
    /// <summary>The picture tower, which makes one token of each frame.</summary>
    public VisionConfig Vision { get; init; } = new();

    /// <summary>The sound tower, which makes tokens of patches of the spectrogram.</summary>
    public AstConfig Audio { get; init; } = new();

    /// <summary>T, frames of a clip, spread evenly over the time that the spectrogram lasts.</summary>
    public int Frames { get; init; } = 8;

    /// <summary>Sizes of the one block in which frames attend to moments: width D, heads, feed-forward width. Its
    /// <see cref="TransformerConfig.Layers"/> are 1.</summary>
    public TransformerConfig Block { get; init; } = new(1, 256, 1024, 4, Activation.Gelu);

    /// <summary>S, moments of the sound: columns of the spectrogram's patches.</summary>
    public int Moments => Audio.Moments;

    /// <summary>Small enough to train in minutes: 8 frames of 16x16 pixels, 8 moments of 16 spectrogram frames each.</summary>
    public static FrameSoundFusionConfig Tiny { get; } = new()
    {
        Vision = new() { ImageSize = 16, PatchSize = 8, Blocks = new(1, 32, 64, 2, Activation.Gelu) },
        Audio = new() { Frames = 128, MelBins = 32, Stride = 16, Blocks = new(1, 32, 64, 2, Activation.Gelu) { Names = BlockNames.Vit } },
        Block = new(1, 32, 64, 2, Activation.Gelu),
    };

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    public static FrameSoundFusionConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        var otherwise = new FrameSoundFusionConfig();
        return new()
        {
            Vision = VisionConfig.FromJson(root.Section("vision_config")),
            Audio = AstConfig.FromJson(root.Section("audio_config")),
            Frames = root.Int("num_frames", otherwise.Frames, max: 1000),
            Block = root.Blocks(otherwise.Block) with { Layers = 1 },
        };
    }

    /// <summary>Writes a config.json.</summary>
    public string ToJson()
    {
        JsonObject json = ClipConfig.WriteBlocks(Block, FrameSoundFusionModel.Type, Block.Width);
        json["num_frames"] = Frames;
        json["vision_config"] = Vision.ToJson(Vision.Blocks.Width);
        json["audio_config"] = Audio.ToJsonObject();
        return json.ToJsonString(new() { WriteIndented = true }) + "\n";
    }
}

/// <summary>What the fusion gives.</summary>
/// <param name="FrameEmbeds">[B, T, D]: each frame with what it heard.</param>
/// <param name="Embeds">[B, D], of length 1: the mean over frames.</param>
/// <param name="AttentionMap">[B, T, S]: how much each frame listened to each moment, the mean over heads; rows sum to 1.</param>
/// <param name="Match">[B]: the logit of frames and sound belonging together.</param>
public readonly record struct FrameSoundOutput<T>(T FrameEmbeds, T Embeds, T AttentionMap, T Match) where T : class;

/// <summary>
/// A video's frames listen to its soundtrack. A picture tower makes a token of each frame, a spectrogram tower a token of each
/// moment; frames attend to moments in one block of cross-modal attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2;
/// between senses as in Tsai et al. 2019, arXiv:1906.00295, section 3.1), which is added to what was seen. The attention itself
/// says which moment each frame listened to, and learns it from nothing but which soundtrack belongs to which frames (Arandjelovic
/// and Zisserman 2017, arXiv:1705.08168).
/// </summary>
public static class FrameSoundFusion
{
    /// <summary>Frames to tokens.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="pixels">[B, T, C, H, W], normalised.</param>
    /// <returns>[B, T, D].</returns>
    public static T FrameTokens<T>(ITensorOps<T> ops, FrameSoundFusionConfig c, T pixels) where T : class
    {
        T x = VisionTransformer.EncodePooled(ops, "vision_model", c.Vision, ops.Rearrange(pixels, "b t c h w -> (b t) c h w"));
        x = ops.Linear(x, "frame_projection", c.Vision.Blocks.Width, c.Block.Width);                    // [B T, D'] -> [B T, D]
        x = ops.Rearrange(x, "(b t) d -> b t d", ("t", c.Frames));                                      // -> [B, T, D]
        return ops.Add(x, ops.Parameter("frame_position", default, c.Frames, c.Block.Width));
    }

    /// <summary>A soundtrack to tokens: patches of one time are put together.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="spectrogram">[B, frames, bins], normalised.</param>
    /// <returns>[B, S, D].</returns>
    public static T MomentTokens<T>(ITensorOps<T> ops, FrameSoundFusionConfig c, T spectrogram) where T : class
    {
        T x = ops.Slice(Ast.Encode(ops, "audio_model", c.Audio, spectrogram), 1, 2, int.MaxValue);      // [B, N, D'']
        x = ops.Mean(ops.Rearrange(x, "b (f s) d -> b f s d", ("s", c.Moments)), 1);                    // -> [B, S, D'']
        x = ops.Linear(x, "moment_projection", c.Audio.Blocks.Width, c.Block.Width);                    // -> [B, S, D]
        return ops.Add(x, ops.Parameter("moment_position", default, c.Moments, c.Block.Width));
    }

    /// <summary>Frames attend to moments.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="frames">[B, T, D], as <see cref="FrameTokens{T}"/> makes them.</param>
    /// <param name="moments">[B, S, D], as <see cref="MomentTokens{T}"/> makes them.</param>
    public static FrameSoundOutput<T> Fuse<T>(ITensorOps<T> ops, FrameSoundFusionConfig c, T frames, T moments) where T : class
    {
        Name name = "fusion";
        TransformerConfig block = c.Block;
        T q = ops.LayerNorm(frames, name / "frame_norm", block.NormEpsilon), k = ops.LayerNorm(moments, name / "moment_norm", block.NormEpsilon);
        T map = Attention.Weights(ops, name / "cross_attn", block.Attention, q, k);                     // [B, T, S]
        T x = ops.Add(frames, Attention.Cross(ops, name / "cross_attn", block.Attention, q, k));        // [B, T, D]
        T h = ops.Linear(ops.LayerNorm(x, name / "mlp_norm", block.NormEpsilon), name / "mlp" / "fc1", block.Width, block.MlpWidth);
        x = ops.Add(x, ops.Linear(ops.Activate(h, block.Activation), name / "mlp" / "fc2", block.MlpWidth, block.Width));
        x = ops.LayerNorm(x, name / "norm", block.NormEpsilon);
        T pooled = ops.Mean(x, 1);                                                                      // [B, T, D] -> [B, D]
        T match = ops.Rearrange(ops.Linear(pooled, "match", block.Width, 1), "b (m one) -> (b m one)", ("m", 1)); // -> [B]
        return new(x, ops.L2Normalize(pooled), map, match);
    }
}

/// <summary>The fusion of frames and soundtrack as a model of this library: it has no encoder of one sense.</summary>
/// <param name="config">Sizes.</param>
public sealed class FrameSoundFusionModel(FrameSoundFusionConfig config) : IModelDefinition
{
    internal const string Type = "frame-sound-fusion";

    /// <summary>Sizes.</summary>
    public FrameSoundFusionConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => Type;

    /// <inheritdoc/>
    public int EmbeddingWidth => config.Block.Width;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>();

    /// <summary>Takes <c>pixel_values</c> [B, T, C, H, W] and <c>input_values</c> [B, frames, bins]; gives <c>fused_embeds</c> [B, D],
    /// <c>attention_map</c> [B, T, S], <c>frame_embeds</c> [B, T, D] and <c>match_logits</c> [B], as <see cref="FrameSoundOutput{T}"/>
    /// says.</summary>
    public IProgram Full { get; } = new Program(config);

    /// <inheritdoc/>
    public string? LogitScale => null;

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } = [];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    sealed class Program(FrameSoundFusionConfig c) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
        [
            new("pixel_values", ElementType.Float32, Dim.Dynamic("batch"), c.Frames, c.Vision.Channels, c.Vision.ImageSize, c.Vision.ImageSize),
            new("input_values", ElementType.Float32, Dim.Dynamic("batch"), c.Audio.Frames, c.Audio.MelBins),
        ];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T frames = FrameSoundFusion.FrameTokens(ops, c, inputs["pixel_values"]);
            T moments = FrameSoundFusion.MomentTokens(ops, c, inputs["input_values"]);
            FrameSoundOutput<T> fused = FrameSoundFusion.Fuse(ops, c, frames, moments);
            return
            [
                ("fused_embeds", fused.Embeds), ("attention_map", fused.AttentionMap), ("frame_embeds", fused.FrameEmbeds),
                ("match_logits", fused.Match),
            ];
        }
    }
}
