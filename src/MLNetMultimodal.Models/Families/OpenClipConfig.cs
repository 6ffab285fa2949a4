using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Folders of OpenCLIP: <c>open_clip_config.json</c> with <c>model_cfg</c> and <c>preprocess_cfg</c>, the same
/// architecture as CLIP under OpenAI's names.</summary>
public static class OpenClipConfig
{
    /// <summary>Name of the file.</summary>
    public const string FileName = "open_clip_config.json";

    /// <summary>Makes the model that the file describes.</summary>
    /// <param name="json">Content of the file.</param>
    /// <param name="name">Where it comes from, for messages.</param>
    /// <exception cref="InvalidDataException">Not JSON, or sizes that make no sense.</exception>
    /// <exception cref="NotSupportedException">The towers are not CLIP's own: of timm, of Hugging Face, a ResNet.</exception>
    public static ClipModel Create(ReadOnlyMemory<byte> json, string name)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(json, new() { MaxDepth = 32 });
            return new(Read(new ConfigReader(document.RootElement).Section("model_cfg")));
        }
        catch (Exception e) when (e is JsonException or InvalidDataException or InvalidOperationException)
        {
            throw new InvalidDataException($"{FileName} of '{name}' cannot be read: {e.Message}", e);
        }
    }

    static ClipConfig Read(ConfigReader model)
    {
        ConfigReader vision = model.Section("vision_cfg"), text = model.Section("text_cfg");
        foreach (string field in new[] { "timm_model_name", "ls_init_value", "attentional_pool", "no_ln_pre", "pos_embed_type", "pool_type" })
            if (vision.Has(field) && !(field == "pool_type" && vision.Text(field, "tok") == "tok")
                && !(field is "attentional_pool" or "no_ln_pre" && !vision.Flag(field, false)))
                throw new NotSupportedException($"model_cfg.vision_cfg.{field} is not supported; only CLIP's own image tower is.");
        foreach (string field in new[] { "hf_model_name", "embed_cls", "no_causal_mask", "ls_init_value", "proj_bias" })
            if (text.Has(field) && (field is "hf_model_name" or "ls_init_value" || text.Flag(field, false)))
                throw new NotSupportedException($"model_cfg.text_cfg.{field} is not supported; only CLIP's own text tower is.");
        Activation activation = model.Flag("quick_gelu", false) ? Activation.QuickGelu : Activation.Gelu;
        int visionWidth = vision.Int("width", 768), headWidth = vision.Int("head_width", 64);
        int textWidth = text.Int("width", 512), textHeads = text.Int("heads", 8);
        if (visionWidth % headWidth != 0)
            throw new InvalidDataException($"vision_cfg.width {visionWidth} must be a multiple of head_width {headWidth}.");
        if (textWidth % textHeads != 0)
            throw new InvalidDataException($"text_cfg.width {textWidth} must be a multiple of heads {textHeads}.");
        int vocabulary = text.Int("vocab_size", 49408, max: 1 << 24);
        var config = new ClipConfig
        {
            ProjectionWidth = model.Int("embed_dim", 512),
            Vision = new()
            {
                ImageSize = vision.Int("image_size", 224, max: 4096),
                PatchSize = vision.Int("patch_size", 16, max: 4096),
                Blocks = new(vision.Int("layers", 12, max: 1024), visionWidth, MlpWidth(vision, visionWidth), visionWidth / headWidth, activation),
            },
            Text = new()
            {
                VocabularySize = vocabulary,
                ContextLength = text.Int("context_length", 77),
                EndTokenId = vocabulary - 1,
                Blocks = new(text.Int("layers", 12, max: 1024), textWidth, MlpWidth(text, textWidth), textHeads, activation),
            },
        };
        config.Vision.Validate();
        return config;
    }

    static int MlpWidth(ConfigReader json, int width) => (int)(width * Math.Clamp(json.Single("mlp_ratio", 4), 0.01f, 64));
}
