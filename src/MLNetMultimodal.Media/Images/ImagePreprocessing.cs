using System.Buffers;
using System.Text.Json;

namespace MLNetMultimodal.Media.Images;

/// <summary>
/// From a picture to what an image tower takes: resize, centre crop, scale and normalise. Reads and writes the
/// <c>preprocessor_config.json</c> of Hugging Face's image processors. Immutable and thread-safe.
/// </summary>
public sealed record ImagePreprocessing
{
    const string FileName = "preprocessor_config.json";
    const string ProcessorFileName = "processor_config.json";
    const string OpenClipFileName = "open_clip_config.json";
    const int MaxSide = 16_384;

    /// <summary>
    /// Pixels that the shorter side becomes while the shape is kept (the longer one is rounded down); null for <see
    /// cref="Stretch"/> or for no resizing.
    /// </summary>
    /// <value>1 to 16384; default null.</value>
    public int? ShortestEdge { get; init => field = CheckSide(value, nameof(ShortestEdge)); }

    /// <summary>
    /// Height and width in pixels that the picture becomes, whatever its shape; null for <see cref="ShortestEdge"/> or for no
    /// resizing.
    /// </summary>
    /// <value>1 to 16384 each; default null.</value>
    public (int Height, int Width)? Stretch { get; init => field = CheckSize(value, nameof(Stretch)); }

    /// <summary>
    /// Height and width in pixels that are cut out of the middle after resizing, with black around a smaller picture; null for no
    /// cutting.
    /// </summary>
    /// <value>1 to 16384 each; default null.</value>
    public (int Height, int Width)? Crop { get; init => field = CheckSize(value, nameof(Crop)); }

    /// <summary>
    /// Where the margin left and above the crop is half a pixel: false rounds it to even, as torchvision did for the published
    /// models; true rounds it down,
    /// as Hugging Face's processors do. Kept in JSON as <c>floor_crop_offset</c>, which other readers ignore.
    /// </summary>
    public bool FloorCropOffset { get; init; }

    /// <summary>How resizing averages pixels; default bicubic.</summary>
    public ResampleFilter Filter { get; init; } = ResampleFilter.Bicubic;

    /// <summary>What the bytes 0 to 255 are multiplied with, usually 1/255; null leaves them as they are.</summary>
    public double? RescaleFactor { get; init; } = 1.0 / 255;

    /// <summary>What is subtracted from the scaled red, green and blue; null for no normalising.</summary>
    public (float R, float G, float B)? Mean { get; init; }

    /// <summary>
    /// What the scaled red, green and blue are divided by after <see cref="Mean"/> is subtracted; null for no normalising. None
    /// is 0.
    /// </summary>
    public (float R, float G, float B)? Std
    {
        get;
        init => field = value is not { } std || (std.R != 0 && std.G != 0 && std.B != 0) ? value
            : throw new ArgumentException($"Std must not hold 0, but is {std}.", nameof(Std));
    }

    /// <summary>Height of the result in pixels.</summary>
    /// <exception cref="InvalidOperationException">Neither <see cref="Crop"/> nor <see cref="Stretch"/> fixes the
    /// size.</exception>
    public int Height => Size.Height;

    /// <summary>Width of the result in pixels.</summary>
    /// <exception cref="InvalidOperationException">Neither <see cref="Crop"/> nor <see cref="Stretch"/> fixes the
    /// size.</exception>
    public int Width => Size.Width;

    (int Height, int Width) Size => Crop ?? Stretch
        ?? throw new InvalidOperationException("The size of the result is not fixed; set Crop or Stretch.");

    /// <summary>
    /// The preprocessing of CLIP (Radford et al. 2021, arXiv:2103.00020): bicubic, centre crop, CLIP's own mean and deviation.
    /// </summary>
    /// <param name="size">Side of the square result in pixels, such as 224.</param>
    /// <returns>The preprocessing.</returns>
    public static ImagePreprocessing Clip(int size) => new()
    {
        ShortestEdge = size,
        Crop = (size, size),
        Mean = (0.48145466f, 0.4578275f, 0.40821073f),
        Std = (0.26862954f, 0.26130258f, 0.27577711f),
    };

    /// <summary>Resizes and crops. Only the pixels that end up inside the crop are computed.</summary>
    /// <param name="image">The picture, [H, W, 3].</param>
    /// <returns>[<see cref="Height"/>, <see cref="Width"/>, 3], still 8 bits per channel; <paramref name="image"/> itself where
    /// nothing is to be done.</returns>
    public RgbImage ResizeAndCrop(RgbImage image)
    {
        ArgumentNullException.ThrowIfNull(image);
        (long height, long width) = ResizedSize(image);
        (int cropHeight, int cropWidth) = Size;
        int windowHeight = (int)Math.Min(cropHeight, height), windowWidth = (int)Math.Min(cropWidth, width);
        long left = Offset(width - windowWidth), top = Offset(height - windowHeight);
        var window = new PillowResampler.Window(left, top, windowWidth, windowHeight);
        RgbImage inner = PillowResampler.ResizeWindow(image, width, height, window, Filter);
        return windowHeight == cropHeight && windowWidth == cropWidth ? inner : Pad(inner, cropHeight, cropWidth);
    }

    /// <summary>Scales and normalises, and puts the channels first.</summary>
    /// <param name="image">[<see cref="Height"/>, <see cref="Width"/>, 3].</param>
    /// <param name="destination">[3, <see cref="Height"/>, <see cref="Width"/>], at least that long.</param>
    /// <exception cref="ArgumentException">The picture has another size, or the destination is too short.</exception>
    public void Normalize(RgbImage image, Span<float> destination)
    {
        ArgumentNullException.ThrowIfNull(image);
        if (image.Height != Height || image.Width != Width)
            throw new ArgumentException($"image must be [{Height}, {Width}, 3], but is [{image.Height}, {image.Width}, 3]; " +
                "call ResizeAndCrop first.", nameof(image));
        int pixels = Height * Width;
        if (destination.Length < 3 * pixels)
            throw new ArgumentException($"destination must hold [3, {Height}, {Width}], {3 * pixels} values, " +
                $"but has {destination.Length}.", nameof(destination));
        (float R, float G, float B) mean = Mean ?? default, std = Std ?? (1, 1, 1);
        Span<float> red = stackalloc float[256], green = stackalloc float[256], blue = stackalloc float[256];
        for (int value = 0; value < 256; value++)
        {
            float scaled = (float)(value * (RescaleFactor ?? 1));
            red[value] = (scaled - mean.R) / std.R;
            green[value] = (scaled - mean.G) / std.G;
            blue[value] = (scaled - mean.B) / std.B;
        }
        ReadOnlySpan<byte> bytes = image.Pixels;
        Span<float> reds = destination[..pixels], greens = destination[pixels..], blues = destination[(2 * pixels)..];
        for (int i = 0; i < pixels; i++) // [H, W, 3] -> [3, H, W]
        {
            reds[i] = red[bytes[3 * i]];
            greens[i] = green[bytes[3 * i + 1]];
            blues[i] = blue[bytes[3 * i + 2]];
        }
    }

    /// <summary>Resizes, crops, scales and normalises: all that stands between a decoded picture and the model.</summary>
    /// <param name="image">The picture, [H, W, 3].</param>
    /// <param name="destination">[3, <see cref="Height"/>, <see cref="Width"/>], at least that long.</param>
    public void Apply(RgbImage image, Span<float> destination) => Normalize(ResizeAndCrop(image), destination);

    /// <summary>
    /// Finds the preprocessing among a model's files: the <c>image_processor</c> of <c>processor_config.json</c>, as
    /// transformers 5 writes it, else <c>preprocessor_config.json</c>, else <c>open_clip_config.json</c>.
    /// </summary>
    /// <param name="tryRead">The bytes of a file of the model, null where it has none of that name.</param>
    /// <returns>The preprocessing; null where the model has none of the three.</returns>
    /// <exception cref="InvalidDataException">A file is not sound, or asks for what is not supported here; the message names it
    /// and the field.</exception>
    public static ImagePreprocessing? TryLoad(Func<string, ReadOnlyMemory<byte>?> tryRead)
    {
        ArgumentNullException.ThrowIfNull(tryRead);
        if (tryRead(ProcessorFileName) is { } processor && HasImageProcessor(processor))
            return FromJson(processor.Span);
        if (tryRead(FileName) is { } own)
            return FromJson(own.Span);
        return tryRead(OpenClipFileName) is { } openClip ? FromOpenClipJson(openClip.Span) : null;
    }

    /// <summary>
    /// Reads <c>preprocessor_config.json</c>, or the <c>image_processor</c> of a <c>processor_config.json</c>. What it leaves out
    /// is as the class that it names has it: CLIP, Chinese CLIP, SigLIP, ViT, DeiT, BiT (DINOv2) or ConvNeXt. Classes whose names
    /// end in <c>Fast</c> are read as the slow ones, which resize as Pillow does.
    /// </summary>
    /// <param name="utf8Json">The file's bytes; they may come from anyone.</param>
    /// <returns>The preprocessing.</returns>
    /// <exception cref="InvalidDataException">The bytes are no such file, or ask for what is not supported here; the message
    /// names the field.</exception>
    public static ImagePreprocessing FromJson(ReadOnlySpan<byte> utf8Json)
    {
        string file = FileName;
        try
        {
            if (utf8Json.StartsWith((ReadOnlySpan<byte>)[0xEF, 0xBB, 0xBF]))
                utf8Json = utf8Json[3..];
            var reader = new Utf8JsonReader(utf8Json);
            using JsonDocument document = JsonDocument.ParseValue(ref reader);
            JsonElement root = document.RootElement;
            if (Nested(root) is { } nested)
                (root, file) = (nested, $"image_processor of {ProcessorFileName}");
            return new PreprocessorConfig(root).Read();
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidOperationException or FormatException)
        {
            throw new InvalidDataException($"{file} cannot be used: {e.Message}", e);
        }
    }

    /// <summary>Reads the preprocessing of an <c>open_clip_config.json</c>.</summary>
    /// <param name="utf8Json">The file's bytes; they may come from anyone.</param>
    /// <returns>The preprocessing.</returns>
    /// <exception cref="InvalidDataException">The bytes are no such file, or ask for what is not supported here; the message
    /// names the field.</exception>
    public static ImagePreprocessing FromOpenClipJson(ReadOnlySpan<byte> utf8Json)
    {
        try
        {
            var reader = new Utf8JsonReader(utf8Json);
            using JsonDocument document = JsonDocument.ParseValue(ref reader);
            return PreprocessorConfig.ReadOpenClip(document.RootElement);
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidOperationException or FormatException
            or KeyNotFoundException)
        {
            throw new InvalidDataException($"{OpenClipFileName} cannot be used: {e.Message}", e);
        }
    }

    /// <summary>Writes <c>preprocessor_config.json</c>, as Hugging Face's CLIPImageProcessor reads it.</summary>
    /// <returns>The text of the file.</returns>
    public string ToJson()
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new() { Indented = true, NewLine = "\n" }))
        {
            json.WriteStartObject();
            bool isViT = ShortestEdge is null && Crop is null;
            json.WriteString("image_processor_type", isViT ? "ViTImageProcessor" : "CLIPImageProcessor");
            json.WriteBoolean("do_convert_rgb", true);
            json.WriteBoolean("do_resize", ShortestEdge is not null || Stretch is not null);
            if (ShortestEdge is { } edge)
                WriteNumbers(json, "size", ("shortest_edge", edge));
            else if (Stretch is { } stretch)
                WriteNumbers(json, "size", ("height", stretch.Height), ("width", stretch.Width));
            json.WriteNumber("resample", (int)Filter);
            json.WriteBoolean("do_center_crop", Crop is not null);
            if (Crop is { } crop)
                WriteNumbers(json, "crop_size", ("height", crop.Height), ("width", crop.Width));
            if (FloorCropOffset)
                json.WriteBoolean("floor_crop_offset", true);
            json.WriteBoolean("do_rescale", RescaleFactor is not null);
            if (RescaleFactor is { } factor)
                json.WriteNumber("rescale_factor", factor);
            json.WriteBoolean("do_normalize", Mean is not null || Std is not null);
            WriteColor(json, "image_mean", Mean ?? (0, 0, 0));
            WriteColor(json, "image_std", Std ?? (1, 1, 1));
            json.WriteEndObject();
        }
        return System.Text.Encoding.UTF8.GetString(buffer.WrittenSpan) + "\n";
    }

    static bool HasImageProcessor(ReadOnlyMemory<byte> utf8Json)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(utf8Json);
            return Nested(document.RootElement) is not null;
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{ProcessorFileName} cannot be used: {e.Message}", e);
        }
    }

    static JsonElement? Nested(JsonElement root) => root.ValueKind == JsonValueKind.Object
        && root.TryGetProperty("image_processor", out JsonElement nested) && nested.ValueKind == JsonValueKind.Object
        ? nested : null;

    (long Height, long Width) ResizedSize(RgbImage image)
    {
        if (ShortestEdge is not { } edge)
            return Stretch ?? (image.Height, image.Width);
        return image.Height <= image.Width ? (edge, (long)edge * image.Width / image.Height)
            : ((long)edge * image.Height / image.Width, edge);
    }

    long Offset(long margin) => margin / 2 + (!FloorCropOffset && margin % 4 == 3 ? 1 : 0);

    // [H, W, 3] -> [height, width, 3]; the odd pixel of the margin is above and to the left.
    static RgbImage Pad(RgbImage image, int height, int width)
    {
        byte[] padded = new byte[3 * height * width];
        int top = (height - image.Height + 1) / 2, left = (width - image.Width + 1) / 2;
        for (int y = 0; y < image.Height; y++)
            image.Pixels.AsSpan(3 * y * image.Width, 3 * image.Width).CopyTo(padded.AsSpan(3 * ((top + y) * width + left)));
        return new(width, height, padded);
    }

    static int? CheckSide(int? side, string name) => side is null or (>= 1 and <= MaxSide) ? side
        : throw new ArgumentOutOfRangeException(name, side, $"{name} must be 1 to {MaxSide} pixels.");

    static (int, int)? CheckSize((int Height, int Width)? size, string name)
    {
        CheckSide(size?.Height, name);
        CheckSide(size?.Width, name);
        return size;
    }

    static void WriteNumbers(Utf8JsonWriter json, string name, params ReadOnlySpan<(string Name, int Value)> numbers)
    {
        json.WriteStartObject(name);
        foreach ((string key, int value) in numbers)
            json.WriteNumber(key, value);
        json.WriteEndObject();
    }

    static void WriteColor(Utf8JsonWriter json, string name, (float R, float G, float B) color)
    {
        json.WriteStartArray(name);
        json.WriteNumberValue(color.R);
        json.WriteNumberValue(color.G);
        json.WriteNumberValue(color.B);
        json.WriteEndArray();
    }
}
