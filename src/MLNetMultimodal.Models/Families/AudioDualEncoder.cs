using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>A dual encoder with an audio tower, laid out like Hugging Face's <c>VisionTextDualEncoderConfig</c>: an <c>audio_config</c>,
/// and beside it a <c>text_config</c> or a <c>vision_config</c>.</summary>
public sealed record AudioDualEncoderConfig
{
    /// <summary>The audio tower.</summary>
    public AstConfig Audio { get; init; } = new();

    /// <summary>The text tower; null beside <see cref="Vision"/>.</summary>
    public ClipTextConfig? Text { get; init; }

    /// <summary>The image tower; null beside <see cref="Text"/>.</summary>
    public VisionConfig? Vision { get; init; }

    /// <summary>E, width of the shared space.</summary>
    public int ProjectionWidth { get; init; } = 512;

    /// <summary>Start of the logarithm of the logit scale; ln(1/0.07).</summary>
    public float LogitScaleInit { get; init; } = 2.6592f;

    /// <summary>Sounds and texts: a small model for sounds of a second, a convolutional stem before one block, the patches' largest values
    /// pooled; it trains on a laptop's processor in minutes.</summary>
    /// <param name="vocabularySize">V of the tokenizer it is trained with; its highest id is the end token.</param>
    /// <param name="frames">T of its spectrograms.</param>
    /// <param name="melBins">F of its spectrograms.</param>
    public static AudioDualEncoderConfig Small(int vocabularySize, int frames = 101, int melBins = 64) => new()
    {
        Audio = SmallAudio(frames, melBins),
        Text = ClipConfig.Small32(vocabularySize).Text,
        ProjectionWidth = 128,
    };

    /// <summary>Sounds and pictures of 32x32 pixels: the audio tower of <see cref="Small"/> and the image tower of
    /// <see cref="ClipConfig.Small32"/>.</summary>
    /// <param name="frames">T of its spectrograms.</param>
    /// <param name="melBins">F of its spectrograms.</param>
    public static AudioDualEncoderConfig SmallWithImages(int frames = 101, int melBins = 64) => new()
    {
        Audio = SmallAudio(frames, melBins),
        Vision = ClipConfig.Small32(1).Vision,
        ProjectionWidth = 128,
    };

    static AstConfig SmallAudio(int frames, int melBins) => new()
    {
        Frames = frames,
        MelBins = melBins,
        PatchSize = 8,
        Stride = 8,
        StemChannels = [24, 48, 96],
        DynamicRange = 60,
        Pooling = SpectrogramPooling.Max,
        Blocks = new(1, 96, 192, 4, Activation.Gelu) { Names = BlockNames.Vit },
    };

    /// <summary>The text or image tower as part of a CLIP.</summary>
    internal ClipConfig Clip => new() { Text = Text ?? new(), Vision = Vision ?? new(), ProjectionWidth = ProjectionWidth, LogitScaleInit = LogitScaleInit };

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense, or there is not just one tower beside the
    /// audio tower.</exception>
    /// <exception cref="NotSupportedException">A tower is of another family.</exception>
    public static AudioDualEncoderConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        if (root.Has("text_config") == root.Has("vision_config"))
            throw new InvalidDataException("beside audio_config there must be a text_config or a vision_config, one of the two.");
        ConfigReader audio = root.Section("audio_config");
        Require(audio, "audio_config", "audio-spectrogram-transformer");
        if (root.Has("text_config")) Require(root.Section("text_config"), "text_config", "clip_text_model");
        else Require(root.Section("vision_config"), "vision_config", "clip_vision_model");
        ClipConfig clip = ClipConfig.FromJson(json);
        return new()
        {
            Audio = AstConfig.FromJson(audio),
            Text = root.Has("text_config") ? clip.Text : null,
            Vision = root.Has("vision_config") ? clip.Vision : null,
            ProjectionWidth = clip.ProjectionWidth,
            LogitScaleInit = clip.LogitScaleInit,
        };
    }

    static void Require(ConfigReader tower, string field, string known)
    {
        if (tower.Text("model_type", known) is var type && type != known)
            throw new NotSupportedException($"{field}.model_type '{type}' is not supported; known is {known}.");
    }

    /// <summary>Writes a config.json.</summary>
    public string ToJson()
    {
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray("AudioDualEncoderModel"),
            ["model_type"] = AudioDualEncoderModel.Type,
            ["projection_dim"] = ProjectionWidth,
            ["logit_scale_init_value"] = LogitScaleInit,
            ["audio_config"] = Audio.ToJsonObject(),
        };
        if (Text is { } text) json["text_config"] = text.ToJson(ProjectionWidth);
        if (Vision is { } vision) json["vision_config"] = vision.ToJson(ProjectionWidth);
        return json.ToJsonString(new() { WriteIndented = true }) + "\n";
    }
}

/// <summary>Sounds meet texts or pictures in one space, as in CLAP (Elizalde et al. 2022, arXiv:2206.04769; Wu et al. 2022,
/// arXiv:2211.06687) and AudioCLIP (Guzhov et al. 2021, arXiv:2106.13043): a spectrogram transformer (<see cref="Ast"/>) beside a tower
/// of CLIP, each with a projection of its own. Tensors are named as in <c>VisionTextDualEncoderModel</c> and <c>CLIPModel</c>.</summary>
/// <param name="config">Sizes.</param>
public sealed class AudioDualEncoderModel(AudioDualEncoderConfig config) : IModelDefinition
{
    internal const string Type = "audio-dual-encoder";

    /// <summary>Sizes.</summary>
    public AudioDualEncoderConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => Type;

    /// <inheritdoc/>
    public int EmbeddingWidth => config.ProjectionWidth;

    /// <inheritdoc/>
    public bool IgnoresPadding => true;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>
    {
        [Modality.Audio] = new AudioProgram(config),
        [config.Text is null ? Modality.Image : Modality.Text] = new ClipModel(config.Clip).Encoders[config.Text is null ? Modality.Image : Modality.Text],
    };

    /// <summary>Takes <c>input_values</c> [Ba, T, F] and <c>input_ids</c> [Bt, L] or <c>pixel_values</c> [Bi, C, H, W]; gives
    /// <c>audio_embeds</c> [Ba, E], <c>text_embeds</c> [Bt, E] or <c>image_embeds</c> [Bi, E], and the similarities
    /// <c>logits_per_audio</c> [Ba, Bt] and their transpose <c>logits_per_text</c>, or those of pictures.</summary>
    public IProgram Full { get; } = new FullProgram(config);

    /// <summary>One graph for each tower, and one of both.</summary>
    public IReadOnlyDictionary<string, IReadOnlyDictionary<string, string>> Graphs { get; } = MakeGraphs(config.Text is null ? "image" : "text");

    /// <inheritdoc/>
    public string? LogitScale => "logit_scale";

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } = ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    static Dictionary<string, IReadOnlyDictionary<string, string>> MakeGraphs(string other) => new()
    {
        ["model"] = new[] { "logits_per_audio", $"logits_per_{other}", "audio_embeds", $"{other}_embeds" }.ToDictionary(n => n),
        ["audio_model"] = new Dictionary<string, string> { ["audio_embeds"] = "audio_embeds" },
        [other == "text" ? "text_model" : "vision_model"] = new Dictionary<string, string> { [$"{other}_embeds"] = $"{other}_embeds" },
    };

    static TensorSpec Sounds(AudioDualEncoderConfig c, string batch) =>
        new("input_values", ElementType.Float32, Dim.Dynamic(batch), c.Audio.Frames, c.Audio.MelBins);

    static T Audio<T>(ITensorOps<T> ops, AudioDualEncoderConfig c, T spectrogram) where T : class
    {
        T pooled = Ast.Pool(ops, c.Audio, Ast.Encode(ops, "audio_model", c.Audio, spectrogram));                 // [B, T, F] -> [B, D]
        return ops.L2Normalize(ops.Linear(pooled, "audio_projection", c.Audio.Blocks.Width, c.ProjectionWidth, bias: false));
    }

    sealed class AudioProgram(AudioDualEncoderConfig c) : IProgram
    {
        public string Name => "audio_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Sounds(c, "batch")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("audio_embeds", Audio(ops, c, inputs["input_values"]))];
    }

    sealed class FullProgram(AudioDualEncoderConfig c) : IProgram
    {
        readonly string _other = c.Text is null ? "image" : "text";

        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
        [
            Sounds(c, "audio_batch"),
            c.Text is null ? ClipModel.Pixels(c.Clip, "image_batch") : ClipModel.Ids(c.Clip, "text_batch"),
        ];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T audio = Audio(ops, c, inputs["input_values"]);
            T other = c.Text is null ? Clip.EmbedImage(ops, c.Clip, inputs["pixel_values"]) : Clip.EmbedText(ops, c.Clip, inputs["input_ids"]);
            T logits = ops.MatMul(audio, ops.Rearrange(other, "t e -> e t"));                           // [Ba, Bt]
            logits = ops.Multiply(logits, Clip.LogitScale(ops, c.Clip));
            return
            [
                ("audio_embeds", audio), ($"{_other}_embeds", other),
                ("logits_per_audio", logits), ($"logits_per_{_other}", ops.Rearrange(logits, "a t -> t a")),
            ];
        }
    }
}
