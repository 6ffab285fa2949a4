using System.Text.Json;
using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>A dual encoder of two towers that were trained apart, in the schema of Hugging Face's
/// <c>VisionTextDualEncoderConfig</c>.</summary>
public sealed record VisionTextDualEncoderConfig
{
    /// <summary>The image tower where it is CLIP's; then <see cref="Vit"/> is null.</summary>
    public VisionConfig? ClipVision { get; init; }

    /// <summary>The image tower where it is a ViT, DeiT or DINOv2; then <see cref="ClipVision"/> is null.</summary>
    public VitConfig? Vit { get; init; }

    /// <summary>The text tower.</summary>
    public BertConfig Text { get; init; } = new();

    /// <summary>E, width of the shared space.</summary>
    public int ProjectionWidth { get; init; } = 512;

    /// <summary>Start of the logarithm of the logit scale.</summary>
    public float LogitScaleInit { get; init; } = 2.6592f;

    internal int VisionWidth => ClipVision?.Blocks.Width ?? Vit!.Blocks.Width;

    internal int ImageSize => ClipVision?.ImageSize ?? Vit!.ImageSize;

    internal int Channels => ClipVision?.Channels ?? Vit!.Channels;

    /// <summary>Reads a config.json.</summary>
    /// <param name="json">Its root.</param>
    /// <exception cref="InvalidDataException">A field is of the wrong type or makes no sense.</exception>
    /// <exception cref="NotSupportedException">A tower is of another family; the message lists those known.</exception>
    public static VisionTextDualEncoderConfig FromJson(JsonElement json)
    {
        var root = new ConfigReader(json);
        ConfigReader vision = root.Section("vision_config"), text = root.Section("text_config");
        string visionType = vision.Text("model_type", ""), textType = text.Text("model_type", "");
        bool isClip = visionType is "clip" or "clip_vision_model";
        if (!isClip && !VitConfig.ModelTypes.Contains(visionType))
            throw new NotSupportedException($"vision_config.model_type '{visionType}' is not supported; "
                + $"known are clip_vision_model, {string.Join(", ", VitConfig.ModelTypes)}.");
        if (!BertConfig.ModelTypes.Contains(textType))
            throw new NotSupportedException(
                $"text_config.model_type '{textType}' is not supported; known are {string.Join(", ", BertConfig.ModelTypes)}.");
        return new()
        {
            ClipVision = isClip ? VisionConfig.FromJson(visionType == "clip" ? vision.Section("vision_config") : vision) : null,
            Vit = isClip ? null : VitConfig.FromJson(vision),
            Text = BertConfig.FromJson(text),
            ProjectionWidth = root.Int("projection_dim", 512),
            LogitScaleInit = root.Single("logit_scale_init_value", 2.6592f),
        };
    }

    /// <summary>Writes a config.json that Hugging Face's class reads.</summary>
    public string ToJson()
    {
        var json = new JsonObject
        {
            ["architectures"] = new JsonArray("VisionTextDualEncoderModel"),
            ["model_type"] = "vision-text-dual-encoder",
            ["projection_dim"] = ProjectionWidth,
            ["logit_scale_init_value"] = LogitScaleInit,
            ["vision_config"] = ClipVision?.ToJson(ProjectionWidth) ?? Vit!.ToJsonObject(),
            ["text_config"] = Text.ToJsonObject(),
        };
        return json.ToJsonString(new() { WriteIndented = true }) + "\n";
    }
}

/// <summary>Two towers that meet in one space, as LiT does it (Zhai et al. 2022, arXiv:2111.07991): what each tower pools goes
/// through a projection of its own. Names of Hugging Face's <c>VisionTextDualEncoderModel</c>.</summary>
/// <param name="config">Sizes.</param>
public sealed class VisionTextDualEncoderModel(VisionTextDualEncoderConfig config) : IModelDefinition
{
    /// <summary>Sizes.</summary>
    public VisionTextDualEncoderConfig Config => config;

    /// <inheritdoc/>
    public string ModelType => "vision-text-dual-encoder";

    /// <inheritdoc/>
    public int EmbeddingWidth => config.ProjectionWidth;

    /// <inheritdoc/>
    public bool IgnoresPadding => true;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Modality, IProgram> Encoders { get; } = new Dictionary<Modality, IProgram>
    {
        [Modality.Image] = new VisionProgram(config),
        [Modality.Text] = new TextProgram(config),
    };

    /// <inheritdoc/>
    public IProgram Full { get; } = new FullProgram(config);

    /// <inheritdoc/>
    public string? LogitScale => "logit_scale";

    /// <inheritdoc/>
    public IReadOnlyList<string> IgnoredWeights { get; } =
    [
        "text_model.embeddings.position_ids", "text_model.embeddings.token_type_ids", "vision_model.embeddings.mask_token",
        "vision_model.vision_model.embeddings.position_ids",
    ];

    /// <inheritdoc/>
    public string ToConfigJson() => config.ToJson();

    static T Image<T>(ITensorOps<T> ops, VisionTextDualEncoderConfig c, T pixels) where T : class
    {
        Name name = "vision_model";
        T pooled;
        if (c.ClipVision is { } clip) pooled = VisionTransformer.EncodePooled(ops, name / "vision_model", clip, pixels);
        else
        {
            T tokens = Vit.Encode(ops, name, c.Vit!, c.Vit!.ImageSize, pixels);
            pooled = c.Vit.ModelType == "dinov2"
                ? ops.Rearrange(ops.Slice(tokens, 1, 0, 1), "b l d -> b (l d)")
                : Bert.Pooler(ops, name, c.VisionWidth, tokens);
        }
        return ops.Linear(pooled, "visual_projection", c.VisionWidth, c.ProjectionWidth, bias: false);
    }

    static T Text<T>(ITensorOps<T> ops, VisionTextDualEncoderConfig c, T ids, T keep) where T : class
    {
        Name name = "text_model";
        T pooled = Bert.Pooler(ops, name, c.Text.Blocks.Width, Bert.Encode(ops, name, c.Text, ids, keep));
        return ops.Linear(pooled, "text_projection", c.Text.Blocks.Width, c.ProjectionWidth, bias: false);
    }

    static TensorSpec Pixels(VisionTextDualEncoderConfig c, string batch) =>
        new("pixel_values", ElementType.Float32, Dim.Dynamic(batch), c.Channels, c.ImageSize, c.ImageSize);

    static TensorSpec Ids(VisionTextDualEncoderConfig c, string batch, string name) =>
        new(name, ElementType.Int64, Dim.Dynamic(batch), Dim.Dynamic("sequence", c.Text.ContextLength));

    sealed class VisionProgram(VisionTextDualEncoderConfig c) : IProgram
    {
        public string Name => "vision_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Pixels(c, "batch")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [("image_embeds", ops.L2Normalize(Image(ops, c, inputs["pixel_values"])))];
    }

    sealed class TextProgram(VisionTextDualEncoderConfig c) : IProgram
    {
        public string Name => "text_model";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [Ids(c, "batch", "input_ids")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T ids = inputs["input_ids"];
            return [("text_embeds", ops.L2Normalize(Text(ops, c, ids, ops.Not(ops.Equal(ids, c.Text.PadId)))))];
        }
    }

    sealed class FullProgram(VisionTextDualEncoderConfig c) : IProgram
    {
        public string Name => "model";

        public IReadOnlyList<TensorSpec> Inputs { get; } =
            [Pixels(c, "image_batch"), Ids(c, "text_batch", "input_ids"), Ids(c, "text_batch", "attention_mask")];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class
        {
            T image = ops.L2Normalize(Image(ops, c, inputs["pixel_values"]));
            T text = ops.L2Normalize(Text(ops, c, inputs["input_ids"], ops.Equal(inputs["attention_mask"], 1)));
            T scale = ops.Exp(ops.Parameter("logit_scale", Init.Constant(c.LogitScaleInit)));
            T logits = ops.Multiply(ops.MatMul(image, ops.Rearrange(text, "t e -> e t")), scale);       // [Bi, Bt]
            return
            [
                ("image_embeds", image), ("text_embeds", text),
                ("logits_per_image", logits), ("logits_per_text", ops.Rearrange(logits, "i t -> t i")),
            ];
        }
    }
}
