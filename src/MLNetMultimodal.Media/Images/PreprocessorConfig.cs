using System.Text.Json;

namespace MLNetMultimodal.Media.Images;

// The fields of a preprocessor_config.json, in the forms that several generations of writers gave them. What a file leaves out
// is as the named class of Hugging Face's has it; where that library's slow (Pillow) and fast (torchvision) classes differ, as
// the slow one has it.
sealed class PreprocessorConfig
{
    sealed record ProcessorClass(bool KeepsShape, int Size, int? Crop, ResampleFilter Filter, ImagePreprocessing Colors);

    const string ConvNext = "ConvNext";
    const int ConvNextStretchesFrom = 384; // at this size and above ConvNext is not cropped

    static readonly ImagePreprocessing ClipColors = ImagePreprocessing.Clip(1),
        HalfColors = new() { Mean = (0.5f, 0.5f, 0.5f), Std = (0.5f, 0.5f, 0.5f) };

    static readonly Dictionary<string, ProcessorClass> Classes = new(StringComparer.Ordinal)
    {
        ["CLIP"] = new(true, 224, 224, ResampleFilter.Bicubic, ClipColors),
        ["ChineseCLIP"] = new(true, 224, 224, ResampleFilter.Bicubic, ClipColors),
        ["Bit"] = new(true, 224, 224, ResampleFilter.Bicubic, ClipColors),
        ["Siglip"] = new(false, 224, null, ResampleFilter.Bicubic, HalfColors),
        ["ViT"] = new(false, 224, null, ResampleFilter.Bilinear, HalfColors),
        ["DeiT"] = new(false, 256, 224, ResampleFilter.Bicubic, HalfColors),
        ["Beit"] = new(false, 256, 224, ResampleFilter.Bicubic, HalfColors),
        [ConvNext] = new(true, 384, null, ResampleFilter.Bicubic, HalfColors),
    };

    static readonly string[] Switches =
        ["do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"];

    // They change pixels, and are not computed here.
    static readonly string[] Refused =
    [
        "use_square_size", "rescale_offset", "pad_size", "size_divisor", "ensure_multiple_of", "keep_aspect_ratio",
        "max_num_patches", "min_pixels", "max_pixels",
    ];

    readonly JsonElement _root;
    readonly string? _name;       // such as CLIP; null where the file does not say
    readonly ProcessorClass? _class;

    public PreprocessorConfig(JsonElement root)
    {
        if (root.ValueKind != JsonValueKind.Object)
            throw new FormatException($"it must be an object, but is {root.ValueKind}.");
        _root = root;
        if ((Find("image_processor_type") ?? Find("feature_extractor_type"))?.GetString() is not { } type)
            return;
        _name = ShortName(type);
        if (!Classes.TryGetValue(_name, out _class))
            throw new FormatException($"image_processor_type '{type}' is not supported; "
                + $"{string.Join(", ", Classes.Keys.Select(name => name + "ImageProcessor"))} are.");
    }

    public ImagePreprocessing Read()
    {
        RefuseUnknown();
        bool crops = Flag("do_center_crop", _class is null ? Find("crop_size") is not null : _class.Crop is not null),
            normalizes = Flag("do_normalize", _class is not null || Find("image_mean") is not null),
            resizes = Flag("do_resize", _class is not null || Find("size") is not null);
        if (crops && _class is { Crop: null })
            throw new FormatException($"do_center_crop is true, but {_name}ImageProcessor does not crop.");
        (int? edge, (int, int)? stretch) = resizes ? Size(crops) : default;
        (int, int)? crop = crops ? CropSize() : null;
        if (_name == ConvNext && edge is { } side) (edge, stretch, crop) = ConvNextSizes(side);
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
            Mean = normalizes ? Color("image_mean", _class?.Colors.Mean) : null,
            Std = normalizes ? Color("image_std", _class?.Colors.Std) : null,
        };
    }

    // CLIP of CLIPImageProcessor, CLIPImageProcessorFast, CLIPImageProcessorPil and CLIPFeatureExtractor.
    static string ShortName(string type)
    {
        foreach (string suffix in (ReadOnlySpan<string>)["Fast", "Pil", "ImageProcessor", "FeatureExtractor"])
            if (type.EndsWith(suffix, StringComparison.Ordinal))
                type = type[..^suffix.Length];
        return type;
    }

    void RefuseUnknown()
    {
        foreach (JsonProperty field in _root.EnumerateObject())
        {
            bool isSet = field.Value.ValueKind is not (JsonValueKind.Null or JsonValueKind.False);
            if (isSet && (Refused.Contains(field.Name)
                || (field.Name.StartsWith("do_", StringComparison.Ordinal) && !Switches.Contains(field.Name))))
                throw new FormatException($"it has {field.Name}, which changes pixels and is not supported.");
        }
        if (Find("crop_pct") is not null && _name != ConvNext)
            throw new FormatException("it has crop_pct, which is supported for ConvNextImageProcessor only; "
                + "give size and crop_size instead.");
        if (Find("data_format") is { } format && format.GetString() is not ("channels_first" or "ChannelDimension.FIRST"))
            throw new FormatException($"data_format must be channels_first, but is {Short(format)}.");
    }

    // Below 384 pixels a frame is left around the crop, from there on none (Liu et al. 2022, arXiv:2201.03545, as published).
    (int? Edge, (int, int)? Stretch, (int, int)? Crop) ConvNextSizes(int side)
    {
        double part = Find("crop_pct") is { } given ? Number(given, "crop_pct") : 224.0 / 256;
        if (part is not (> 0 and <= 1))
            throw new FormatException($"crop_pct must be above 0 and at most 1, but is {part}.");
        return side < ConvNextStretchesFrom ? ((int)(side / part), null, (side, side)) : (null, (side, side), null);
    }

    // preprocess_cfg of open_clip_config.json; what it leaves out is as for OpenAI's CLIP.
    public static ImagePreprocessing ReadOpenClip(JsonElement root)
    {
        var model = new PreprocessorConfig(root.GetProperty("model_cfg").GetProperty("vision_cfg"));
        var config = new PreprocessorConfig(root.TryGetProperty("preprocess_cfg", out JsonElement given) ? given
            : JsonElement.Parse("{}"));
        int size = Integer(model.Find("image_size") ?? throw new FormatException("vision_cfg has no image_size."), "image_size");
        string mode = config.Find("resize_mode")?.GetString() ?? "shortest",
            filter = config.Find("interpolation")?.GetString() ?? "bicubic";
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
        bool keepsShape = _class?.KeepsShape ?? crops;
        if (Find("size") is not { } size)
            return _class is { Size: var side } ? Sides(side, keepsShape)
                : throw new FormatException("do_resize is true, but there is no size.");
        if (size.ValueKind == JsonValueKind.Number)
            return Sides(Integer(size, "size"), keepsShape);
        // CLIP's own class takes no notice of a longest_edge beside it.
        if (size.ValueKind == JsonValueKind.Object && size.TryGetProperty("shortest_edge", out JsonElement edge)
            && _class?.KeepsShape != false && (_class is not null || !size.TryGetProperty("longest_edge", out _)))
            return (Integer(edge, "size.shortest_edge"), null);
        if (_name == ConvNext)
            throw new FormatException("size of ConvNextImageProcessor must be a number or {shortest_edge}.");
        return (null, HeightAndWidth(size, "size"));
    }

    static (int? Edge, (int Height, int Width)? Stretch) Sides(int side, bool keepsShape) =>
        keepsShape ? (side, null) : (null, (side, side));

    (int Height, int Width) CropSize()
    {
        if (Find("crop_size") is not { } size)
            return _class?.Crop is { } side ? (side, side)
                : throw new FormatException("do_center_crop is true, but there is no crop_size.");
        if (size.ValueKind != JsonValueKind.Number)
            return HeightAndWidth(size, "crop_size");
        int given = Integer(size, "crop_size");
        return (given, given);
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
            return _class?.Filter ?? ResampleFilter.Bicubic;
        var filter = (ResampleFilter)Integer(code, "resample");
        return Enum.IsDefined(filter) ? filter
            : throw new FormatException($"resample must be one of Pillow's codes 0 to 5, but is {(int)filter}.");
    }

    double RescaleFactor() => Find("rescale_factor") is { } factor ? Number(factor, "rescale_factor") : 1.0 / 255;

    (float R, float G, float B) Color(string name, (float R, float G, float B)? absent = null)
    {
        if (Find(name) is not { } color)
            return absent ?? throw new FormatException($"do_normalize is true, but there is no {name}.");
        if (color.ValueKind == JsonValueKind.Number && (float)Number(color, name) is var all)
            return (all, all, all);
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
