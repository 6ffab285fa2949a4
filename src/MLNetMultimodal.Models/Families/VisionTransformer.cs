using System.Text.Json.Nodes;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Models.Families;

/// <summary>Sizes of a Vision Transformer.</summary>
public sealed record VisionConfig
{
    /// <summary>Edge of the picture in pixels; a multiple of <see cref="PatchSize"/>.</summary>
    public int ImageSize { get; init; } = 224;

    /// <summary>P, edge of a patch in pixels.</summary>
    public int PatchSize { get; init; } = 32;

    /// <summary>Channels of the picture.</summary>
    public int Channels { get; init; } = 3;

    /// <summary>Sizes of the blocks.</summary>
    public TransformerConfig Blocks { get; init; } = new(12, 768, 3072, 12, Activation.QuickGelu);

    /// <summary>Channels of a convolutional stem before the patch projection (Xiao et al. 2021, arXiv:2106.14881); empty for the
    /// plain patch projection.
    /// <see cref="ConvolutionalStem"/> says what an entry is.</summary>
    public IReadOnlyList<int> StemChannels { get; init; } = [];

    /// <summary>True: positions start as sines and cosines of the place (He et al. 2022, arXiv:2111.06377, appendix A.1), so that what
    /// is left of what need not be found out place by place; false, the default, from random numbers, as CLIP's. They are trained
    /// either way, and a stored model does not say from what.</summary>
    public bool GridPositions { get; init; }

    /// <summary>N, the number of patches.</summary>
    public int Patches => ImageSize / PatchSize * (ImageSize / PatchSize);

    internal StemConfig Stem => new(Channels, StemChannels, PatchSize, Blocks.Width, Blocks.Activation, Blocks.NormEpsilon);

    /// <summary>Reads the <c>vision_config</c> of Hugging Face's CLIP, with <c>stem_channels</c> as our addition.</summary>
    /// <exception cref="InvalidDataException">A field is missing, of the wrong type or makes no sense.</exception>
    public static VisionConfig FromJson(ConfigReader json)
    {
        var config = new VisionConfig
        {
            ImageSize = json.Int("image_size", 224, max: 4096),
            PatchSize = json.Int("patch_size", 32, max: 4096),
            Channels = json.Int("num_channels", 3, max: 64),
            StemChannels = json.Ints("stem_channels", max: 8192),
            Blocks = json.Blocks(new VisionConfig().Blocks),
        };
        config.Validate();
        return config;
    }

    internal JsonObject ToJson(int projectionWidth)
    {
        JsonObject json = ClipConfig.WriteBlocks(Blocks, "clip_vision_model", projectionWidth);
        json["image_size"] = ImageSize;
        json["patch_size"] = PatchSize;
        json["num_channels"] = Channels;
        if (StemChannels.Count > 0) json["stem_channels"] = new JsonArray([.. StemChannels.Select(c => JsonValue.Create(c))]);
        return json;
    }

    internal void Validate()
    {
        if (ImageSize % PatchSize != 0)
            throw new InvalidDataException($"image_size {ImageSize} must be a multiple of patch_size {PatchSize}.");
        Stem.Validate();
    }
}

/// <summary>What a Vision Transformer gives.</summary>
/// <param name="Embeddings">[B, 1 + N, D]: class token and patches after the first norm.</param>
/// <param name="LastHidden">[B, 1 + N, D]: after the last block, before the final norm.</param>
/// <param name="Pooled">[B, D]: the class token after the final norm.</param>
public readonly record struct VisionOutput<T>(T Embeddings, T LastHidden, T Pooled) where T : class;

/// <summary>The Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929) as CLIP uses it (Radford et al. 2021,
/// arXiv:2103.00020, section 2.4):
/// a norm before the first block, the class token pooled after a last norm. Names of Hugging Face's
/// <c>CLIPVisionModel</c>.</summary>
public static class VisionTransformer
{
    /// <summary>Pictures to tokens.</summary>
    /// <param name="ops">The engine.</param>
    /// <param name="name">The tower, <c>vision_model</c>.</param>
    /// <param name="c">Sizes.</param>
    /// <param name="pixels">[B, C, H, W], normalised.</param>
    public static VisionOutput<T> Encode<T>(ITensorOps<T> ops, Name name, VisionConfig c, T pixels) where T : class
    {
        T x = Embed(ops, name, c, pixels);
        T last = Transformer.Encoder(ops, name / "encoder", c.Blocks, x);
        return new(x, last, Pool(ops, name, c, ops.Slice(last, 1, 0, 1)));
    }

    /// <summary>Pictures to what is pooled of <see cref="Encode"/>, without what the last block would make of the patches.</summary>
    /// <inheritdoc cref="Encode" path="/param"/>
    /// <returns>[B, D]: the class token after the final norm.</returns>
    public static T EncodePooled<T>(ITensorOps<T> ops, Name name, VisionConfig c, T pixels) where T : class =>
        Pool(ops, name, c, Transformer.EncodePicked(ops, name / "encoder", c.Blocks, Embed(ops, name, c, pixels), h => ops.Slice(h, 1, 0, 1)));

    static T Pool<T>(ITensorOps<T> ops, Name name, VisionConfig c, T cls) where T : class =>
        ops.LayerNorm(ops.Rearrange(cls, "b l d -> b (l d)"), name / "post_layernorm", c.Blocks.NormEpsilon); // [B, 1, D] -> [B, D]

    static T Embed<T>(ITensorOps<T> ops, Name tower, VisionConfig c, T pixels) where T : class
    {
        Name name = tower / "embeddings";
        int width = c.Blocks.Width;
        Init init = Init.Normal(1 / MathF.Sqrt(width));
        T patches = c.StemChannels.Count == 0
            ? ops.Conv2d(pixels, name / "patch_embedding", new(c.Channels, width, c.PatchSize, c.PatchSize, Bias: false))
            : ConvolutionalStem.Run(ops, name, c.Stem, pixels);
        patches = ops.Rearrange(patches, "b d h w -> b (h w) d");                                       // [B, D, H/P, W/P] -> [B, N, D]
        T cls = ops.RepeatBatch(ops.Parameter(name / "class_embedding", init, width), pixels);          // [D] -> [B, D]
        T x = ops.Concat(1, ops.Rearrange(cls, "b (l d) -> b l d", ("l", 1)), patches);                 // -> [B, 1 + N, D]
        x = ops.Add(x, ops.Parameter(name / "position_embedding" / "weight", c.GridPositions ? Init.Grid(1, range: 100) : init, 1 + c.Patches, width));
        return ops.LayerNorm(ops.PatchDropout(x, 1), tower / "pre_layrnorm", c.Blocks.NormEpsilon); // the spelling of the published checkpoints
    }
}
