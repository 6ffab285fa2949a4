using System.Text.Json;

namespace MLNetMultimodal.Media.Images;

// The fields of a preprocessor_config.json, in the forms that several generations of writers gave them.
sealed class PreprocessorConfig
{
    readonly JsonElement _root;

    public PreprocessorConfig(JsonElement root)
    {
        if (root.ValueKind != JsonValueKind.Object)
            throw new FormatException($"it must be an object, but is {root.ValueKind}.");
        _root = root;
    }

    public ImagePreprocessing Read()
    {
        if (Find("crop_pct") is not null)
            throw new FormatException("it has crop_pct, which is not supported; give size and crop_size instead.");
        bool crops = Flag("do_center_crop", Find("crop_size") is not null),
            normalizes = Flag("do_normalize", Find("image_mean") is not null);
        (int? edge, (int, int)? stretch) = Flag("do_resize", Find("size") is not null) ? Size(crops) : default;
        (int, int)? crop = crops ? CropSize() : null;
        if (stretch is null && crop is null)
            throw new FormatException("neither crop_size nor size with height and width fixes the size of the result.");
        return new()
        {
            ShortestEdge = edge,
            Stretch = stretch,
            Crop = crop,
            FloorCropOffset = Flag("floor_crop_offset", false),
            Filter = Filter(),
            RescaleFactor = Flag("do_rescale", true) ? RescaleFactor() : null,
            Mean = normalizes ? Color("image_mean") : null,
            Std = normalizes ? Color("image_std") : null,
        };
    }

    // preprocess_cfg of open_clip_config.json; what it leaves out is as for OpenAI's CLIP.
    public static ImagePreprocessing ReadOpenClip(JsonElement root)
    {
        var model = new PreprocessorConfig(root.GetProperty("model_cfg").GetProperty("vision_cfg"));
        var config = new PreprocessorConfig(root.TryGetProperty("preprocess_cfg", out JsonElement given) ? given : JsonDocument.Parse("{}").RootElement);
        int size = Integer(model.Find("image_size") ?? throw new FormatException("vision_cfg has no image_size."), "image_size");
        string mode = config.Find("resize_mode")?.GetString() ?? "shortest", filter = config.Find("interpolation")?.GetString() ?? "bicubic";
        ImagePreprocessing clip = ImagePreprocessing.Clip(size) with
        {
            Filter = filter switch
            {
                "bicubic" => ResampleFilter.Bicubic,
                "bilinear" => ResampleFilter.Bilinear,
                _ => throw new FormatException($"interpolation '{filter}' is not supported; bicubic and bilinear are."),
            },
        };
        if (config.Find("mean") is not null) clip = clip with { Mean = config.Color("mean"), Std = config.Color("std") };
        return mode switch
        {
            "shortest" => clip,
            "squash" => clip with { ShortestEdge = null, Crop = null, Stretch = (size, size) },
            _ => throw new FormatException($"resize_mode '{mode}' is not supported; shortest and squash are."),
        };
    }

    // A plain number means a square to the ViT family and the shorter side to the CLIP family.
    (int? Edge, (int Height, int Width)? Stretch) Size(bool crops)
    {
        JsonElement size = Find("size") ?? throw new FormatException("do_resize is true, but there is no size.");
        if (size.ValueKind == JsonValueKind.Number)
        {
            JsonElement? type = Find("image_processor_type") ?? Find("feature_extractor_type");
            bool keepsShape = type?.ToString().StartsWith("CLIP", StringComparison.Ordinal) ?? crops;
            int side = Integer(size, "size");
            return keepsShape ? (side, null) : (null, (side, side));
        }
        if (size.ValueKind == JsonValueKind.Object && size.TryGetProperty("shortest_edge", out JsonElement edge)
            && !size.TryGetProperty("longest_edge", out _))
            return (Integer(edge, "size.shortest_edge"), null);
        return (null, HeightAndWidth(size, "size"));
    }

    (int Height, int Width) CropSize()
    {
        JsonElement size = Find("crop_size") ?? throw new FormatException("do_center_crop is true, but there is no crop_size.");
        if (size.ValueKind != JsonValueKind.Number)
            return HeightAndWidth(size, "crop_size");
        int side = Integer(size, "crop_size");
        return (side, side);
    }

    static (int Height, int Width) HeightAndWidth(JsonElement size, string name)
    {
        if (size.ValueKind == JsonValueKind.Object && size.TryGetProperty("height", out JsonElement height)
            && size.TryGetProperty("width", out JsonElement width))
            return (Integer(height, $"{name}.height"), Integer(width, $"{name}.width"));
        throw new FormatException($"{name} must be a number, {{height, width}}{(name == "size" ? " or {shortest_edge}" : "")}.");
    }

    ResampleFilter Filter()
    {
        if (Find("resample") is not { } code)
            return ResampleFilter.Bicubic;
        var filter = (ResampleFilter)Integer(code, "resample");
        return Enum.IsDefined(filter) ? filter
            : throw new FormatException($"resample must be one of Pillow's codes 0 to 5, but is {(int)filter}.");
    }

    double RescaleFactor() => Find("rescale_factor") is { } factor ? Number(factor, "rescale_factor") : 1.0 / 255;

    (float R, float G, float B) Color(string name)
    {
        JsonElement color = Find(name) ?? throw new FormatException($"do_normalize is true, but there is no {name}.");
        if (color.ValueKind != JsonValueKind.Array || color.GetArrayLength() != 3)
            throw new FormatException($"{name} must be three numbers.");
        return ((float)Number(color[0], name), (float)Number(color[1], name), (float)Number(color[2], name));
    }

    JsonElement? Find(string name) => _root.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null
        ? value : null;

    bool Flag(string name, bool absent) => Find(name) switch
    {
        null => absent,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { } other => throw new FormatException($"{name} must be true or false, but is {other.ValueKind}."),
    };

    static int Integer(JsonElement value, string name) => value.ValueKind == JsonValueKind.Number
        && value.TryGetInt32(out int number) ? number
        : throw new FormatException($"{name} must be a whole number, but is {Short(value)}.");

    static double Number(JsonElement value, string name) => value.ValueKind == JsonValueKind.Number
        && value.TryGetDouble(out double number) && float.IsFinite((float)number)
        ? number : throw new FormatException($"{name} must be a number, but is {Short(value)}.");

    static string Short(JsonElement value) => value.GetRawText() is { Length: > 40 } text ? text[..40] + "..."
        : value.GetRawText();
}
