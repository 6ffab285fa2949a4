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

    /// <summary>
    /// True decodes a JPEG of at least twice the size that is wanted at 1/2, 1/4 or 1/8, the smallest that still has twice the
    /// pixels of the result on both sides, before the exact resizing: several times faster for large photographs, with bytes that
    /// differ a little from those that models were trained on. False, the default, decodes every pixel. Counts for
    /// <see cref="ApplyToFile"/> and <see cref="ApplyToEncoded"/>; not part of the JSON.
    /// </summary>
    public bool ReducedScaleJpeg { get; init; }

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
        (long width, long height) = ResizedSize(image.Width, image.Height);
        RgbImage inner = PillowResampler.ResizeWindow(image, width, height, Inside(width, height), Filter);
        return inner.Height == Height && inner.Width == Width ? inner : Pad(inner, Height, Width);
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
        Normalize(PixelView.Of(image), blueFirst: false, destination);
    }

    /// <summary>Resizes, crops, scales and normalises: all that stands between a decoded picture and the model.</summary>
    /// <param name="image">The picture, [H, W, 3].</param>
    /// <param name="destination">[3, <see cref="Height"/>, <see cref="Width"/>], at least that long.</param>
    /// <exception cref="ArgumentException">The destination is too short.</exception>
    public void Apply(RgbImage image, Span<float> destination)
    {
        ArgumentNullException.ThrowIfNull(image);
        Apply(PixelView.Of(image), (image.Width, image.Height), blueFirst: false, destination);
    }

    /// <summary>Resizes, crops, scales and normalises a picture of four bytes a pixel, as <c>MLImage</c> and most graphics
    /// libraries hold it. Nothing is copied but into <paramref name="destination"/>.</summary>
    /// <param name="pixels">[H, W, 4]; the fourth channel does not count.</param>
    /// <param name="width">W, in pixels, at least 1.</param>
    /// <param name="height">H, in pixels, at least 1.</param>
    /// <param name="blueFirst">True for blue, green, red; false for red, green, blue.</param>
    /// <param name="destination">[3, <see cref="Height"/>, <see cref="Width"/>], at least that long.</param>
    /// <exception cref="ArgumentException">The pixels are not H * W * 4 bytes, or the destination is too short.</exception>
    public void Apply(ReadOnlySpan<byte> pixels, int width, int height, bool blueFirst, Span<float> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        if (pixels.Length != 4L * width * height)
            throw new ArgumentException($"pixels must be [{height}, {width}, 4], {4L * width * height} bytes, " +
                $"but has {pixels.Length}.", nameof(pixels));
        Apply(new(pixels, width, height, 4), (width, height), blueFirst, destination);
    }

    /// <summary>Decodes a picture file as <see cref="ImageDecoder"/> does and makes it ready for the model, all in memory that
    /// is used again: the fastest way from a file to a model.</summary>
    /// <param name="path">The file.</param>
    /// <param name="destination">[3, <see cref="Height"/>, <see cref="Width"/>], at least that long.</param>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file is no picture, as <see cref="ImageDecoder.Decode(string)"/>
    /// says.</exception>
    /// <exception cref="ArgumentException">The destination is too short.</exception>
    public void ApplyToFile(string path, Span<float> destination)
    {
        byte[] encoded = ImageDecoder.ReadRented(path, out int length);
        try
        {
            ApplyToEncoded(encoded.AsSpan(0, length), destination, path);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(encoded);
        }
    }

    /// <summary>Decodes the bytes of a picture file and makes the picture ready for the model, in memory that is used
    /// again.</summary>
    /// <param name="encoded">The bytes of a JPEG, PNG, WebP, GIF or BMP file.</param>
    /// <param name="destination">[3, <see cref="Height"/>, <see cref="Width"/>], at least that long.</param>
    /// <param name="name">What messages call the picture.</param>
    /// <exception cref="InvalidDataException">The bytes are no picture, as
    /// <see cref="ImageDecoder.Decode(ReadOnlySpan{byte}, string)"/> says.</exception>
    /// <exception cref="ArgumentException">The destination is too short.</exception>
    public void ApplyToEncoded(ReadOnlySpan<byte> encoded, Span<float> destination, string name = ImageDecoder.Unnamed)
    {
        Func<int, int, (long, long)>? enough = ReducedScaleJpeg ? ResizedSize : null;
        using PixelBuffer decoded = ImageDecoder.DecodeRented(
            encoded, name, enough, TurboJpeg.Installed, out (int Width, int Height) size);
        Apply(decoded.View, size, blueFirst: false, destination);
    }

    // The size is the picture's own; the view of one at reduced scale has fewer pixels.
    void Apply(PixelView image, (int Width, int Height) size, bool blueFirst, Span<float> destination)
    {
        (long width, long height) = ResizedSize(size.Width, size.Height);
        // A JPEG of 641 columns at a quarter has 161, of which the last stands for one column only.
        var extent = (size.Width / Math.Round((double)size.Width / image.Width),
            size.Height / Math.Round((double)size.Height / image.Height));
        using PixelBuffer inner = PillowResampler.ResizeWindow(image, extent, width, height, Inside(width, height), Filter);
        Normalize(inner.View, blueFirst, destination);
    }

    /// <summary>[H, W, 3] -> [3, Height, Width], with black around a smaller picture; the odd pixel of the margin is above and to
    /// the left.</summary>
    void Normalize(PixelView image, bool blueFirst, Span<float> destination)
    {
        (int height, int width) = Size;
        int plane = height * width;
        if (destination.Length < 3 * plane)
            throw new ArgumentException($"destination must hold [3, {height}, {width}], {3 * plane} values, " +
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
        Span<float> reds = destination[..plane], greens = destination.Slice(plane, plane),
            blues = destination.Slice(2 * plane, plane);
        if (image.Height < height || image.Width < width)
        {
            reds.Fill(red[0]);
            greens.Fill(green[0]);
            blues.Fill(blue[0]);
        }
        int top = (height - image.Height + 1) / 2, left = (width - image.Width + 1) / 2;
        (int r, int b) = blueFirst ? (2, 0) : (0, 2);
        for (int y = 0; y < image.Height; y++)
        {
            ReadOnlySpan<byte> row = image.Bytes.Slice(3 * y * image.Width, 3 * image.Width);
            int start = (top + y) * width + left;
            Span<float> toRed = reds.Slice(start, image.Width), toGreen = greens.Slice(start, image.Width),
                toBlue = blues.Slice(start, image.Width);
            for (int x = 0, i = 0; x < toRed.Length && i + 2 < row.Length; x++, i += 3)
            {
                toRed[x] = red[row[i + r]];
                toGreen[x] = green[row[i + 1]];
                toBlue[x] = blue[row[i + b]];
            }
        }
    }

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
    /// is as the class that it names has it: CLIP, Chinese CLIP, SigLIP, ViT, DeiT, BEiT, BiT (DINOv2) or ConvNeXt. Classes whose names
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

    /// <summary>The part of a resized picture that the crop keeps.</summary>
    PillowResampler.Window Inside(long width, long height)
    {
        (int cropHeight, int cropWidth) = Size;
        int windowHeight = (int)Math.Min(cropHeight, height), windowWidth = (int)Math.Min(cropWidth, width);
        return new(Offset(width - windowWidth), Offset(height - windowHeight), windowWidth, windowHeight);
    }

    (long Width, long Height) ResizedSize(int width, int height)
    {
        if (ShortestEdge is not { } edge)
            return Stretch is { } stretch ? (stretch.Width, stretch.Height) : (width, height);
        return height <= width ? ((long)edge * width / height, edge) : (edge, (long)edge * height / width);
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
