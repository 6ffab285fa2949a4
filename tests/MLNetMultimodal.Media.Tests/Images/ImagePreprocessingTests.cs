using System.Text;
using System.Text.Json;
using MLNetMultimodal.Media.Images;
using SkiaSharp;

namespace MLNetMultimodal.Media.Tests.Images;

public sealed class ImagePreprocessingTests
{
    static readonly Dictionary<string, Golden> Cases = new()
    {
        ["image-preprocess"] = new("image-preprocess"),
        ["image-preprocess-224"] = new("image-preprocess-224"),
    };

    public static TheoryData<string, string> Pictures()
    {
        var data = new TheoryData<string, string>();
        foreach ((string name, Golden golden) in Cases)
            foreach (JsonProperty picture in golden.Case.GetProperty("images").EnumerateObject())
                data.Add(name, picture.Name);
        return data;
    }

    [Theory, MemberData(nameof(Pictures))]
    public void Pixel_values_equal_those_of_Pillow_and_torchvision(string name, string picture)
    {
        Golden golden = Cases[name];
        JsonElement tolerance = golden.Case.GetProperty("images").GetProperty(picture).GetProperty("tolerance");
        (RgbImage _, float[] values) = Prepare(golden, picture, ClipOf(golden));
        float[] expected = golden.Floats($"out.{picture}");
        double max = Difference.Max(values, expected), mean = Difference.Mean(values, expected);
        Assert.True(max <= tolerance.GetProperty("max_abs").GetDouble(), $"max |got - expected| = {max:g3} for {picture}");
        if (tolerance.TryGetProperty("mean_abs", out JsonElement meanTolerance))
            Assert.True(mean <= meanTolerance.GetDouble(), $"mean |got - expected| = {mean:g3} for {picture}");
    }

    [Theory, MemberData(nameof(Pictures))]
    public void Lossless_pictures_come_out_bit_for_bit(string name, string picture)
    {
        Golden golden = Cases[name];
        if (!golden.Has($"out.{picture}.u8") || picture.EndsWith(".jpg", StringComparison.Ordinal))
            return;
        (RgbImage cropped, float[] _) = Prepare(golden, picture, ClipOf(golden));
        int max = Difference.Max(ChannelsFirst(cropped), golden.Bytes($"out.{picture}.u8"));
        Assert.True(max == 0, $"max |got - expected| = {max} of 255 for {picture}");
    }

    [Fact]
    public void Crop_offset_rounds_down_when_asked_to_as_Hugging_Face_does()
    {
        Golden golden = Cases["image-preprocess"];
        (RgbImage _, float[] values) = Prepare(golden, "crop_rounding.png", ClipOf(golden) with { FloorCropOffset = true });
        double max = Difference.Max(values, golden.Floats("out.crop_rounding.png.floor_crop"));
        Assert.True(max <= 1e-5, $"max |got - expected| = {max:g3}");
    }

    [Fact]
    public void Cropping_while_resizing_equals_cropping_a_resized_picture()
    {
        RgbImage image = RgbImages.Noise(211, 97, seed: 1);
        RgbImage whole = PillowResampler.Resize(image, 64 * 211 / 97, 64);
        RgbImage cropped = ImagePreprocessing.Clip(64).ResizeAndCrop(image);
        int left = (int)Math.Round((whole.Width - 64) / 2.0, MidpointRounding.ToEven);
        int max = Difference.Max(cropped.Pixels, RgbImages.Crop(whole, left, 0, 64, 64).Pixels);
        Assert.True(max == 0, $"max |got - expected| = {max} of 255");
    }

    [Theory]
    [InlineData(5, 4, 0, 1)] // the odd pixel of the margin is above and to the left
    [InlineData(4, 5, 1, 0)]
    [InlineData(2, 2, 2, 2)]
    public void Crop_larger_than_the_picture_is_padded_with_zeros(int width, int height, int left, int top)
    {
        var preprocessing = new ImagePreprocessing { Crop = (5, 5) };
        RgbImage image = RgbImages.Noise(width, height, seed: 2);
        RgbImage padded = preprocessing.ResizeAndCrop(image);
        Assert.Equal((5, 5), (padded.Width, padded.Height));
        Assert.Equal(image.Pixels, RgbImages.Crop(padded, left, top, width, height).Pixels);
        Assert.Equal(image.Pixels.Sum(b => (int)b), padded.Pixels.Sum(b => (int)b));
    }

    [Fact]
    public void Extreme_shapes_cost_no_more_than_their_crop()
    {
        RgbImage cropped = ImagePreprocessing.Clip(224)
            .ResizeAndCrop(new RgbImage(ImageDecoder.MaxSide, 1, new byte[3 * ImageDecoder.MaxSide]));
        Assert.Equal((224, 224), (cropped.Width, cropped.Height));
    }

    [Fact]
    public void Json_keeps_everything()
    {
        ImagePreprocessing[] all =
        [
            ImagePreprocessing.Clip(224),
                ImagePreprocessing.Clip(64) with { FloorCropOffset = true, Filter = ResampleFilter.Lanczos },
            new() { Stretch = (384, 256), Mean = (0.5f, 0.5f, 0.5f), Std = (0.5f, 0.25f, 0.125f),
                Filter = ResampleFilter.Bilinear },
            new() { Stretch = (8, 9), RescaleFactor = null }, new() { Crop = (32, 48) },
                new() { ShortestEdge = 256, Crop = (224, 192) },
        ];
        foreach (ImagePreprocessing preprocessing in all)
            Assert.Equal(preprocessing, ImagePreprocessing.FromJson(Encoding.UTF8.GetBytes(preprocessing.ToJson())));
    }

    [Theory]
    [InlineData("""{"size": 224, "crop_size": 200, "do_center_crop": true, "feature_extractor_type": "CLIPFeatureExtractor"}""", 224, null, 200)]
    [InlineData("""{"size": {"shortest_edge": 224}, "crop_size": {"height": 200, "width": 200}}""", 224, null, 200)]
    [InlineData("""{"size": 224, "image_processor_type": "ViTFeatureExtractor"}""", null, 224, null)]
    [InlineData("""{"size": {"height": 224, "width": 224}, "do_center_crop": null}""", null, 224, null)]
    public void Older_and_newer_forms_of_the_sizes_are_read(string json, int? edge, int? stretch, int? crop)
    {
        ImagePreprocessing read = ImagePreprocessing.FromJson(Encoding.UTF8.GetBytes(json));
        Assert.Equal((edge, stretch, crop), (read.ShortestEdge, read.Stretch?.Height, read.Crop?.Width));
        Assert.Equal(crop ?? stretch, read.Height);
    }

    [Theory]
    [InlineData("", "preprocessor_config.json")]
    [InlineData("{", "preprocessor_config.json")]
    [InlineData("[]", "object")]
    [InlineData("{}", "fixes the size")]
    [InlineData("""{"size": {"shortest_edge": 224}}""", "fixes the size")]
    [InlineData("""{"size": {"height": -1, "width": 224}}""", "Stretch")]
    [InlineData("""{"size": {"height": 1e9, "width": 224}}""", "size.height")]
    [InlineData("""{"size": "224"}""", "size")]
    [InlineData("""{"size": {"height": 9, "width": 9}, "resample": 6}""", "resample")]
    [InlineData("""{"size": {"height": 9, "width": 9}, "do_normalize": true}""", "image_mean")]
    [InlineData("""{"size": {"height": 9, "width": 9}, "image_mean": [0, 0, 0], "image_std": [1, 0, 1]}""", "Std")]
    [InlineData("""{"size": {"height": 9, "width": 9}, "image_mean": [0, 1e99, 0], "image_std": [1, 1, 1]}""", "image_mean")]
    [InlineData("""{"size": {"height": 9, "width": 9}, "do_rescale": "yes"}""", "do_rescale")]
    [InlineData("""{"size": {"shortest_edge": 224}, "crop_pct": 0.875}""", "crop_pct")]
    [InlineData("""{"image_processor_type": "ConvNextImageProcessor", "crop_pct": 0}""", "crop_pct")]
    [InlineData("""{"image_processor_type": "ConvNextImageProcessor", "size": {"height": 9, "width": 9}}""", "shortest_edge")]
    [InlineData("""{"image_processor_type": "Siglip2ImageProcessor"}""", "Siglip2ImageProcessor")]
    [InlineData("""{"image_processor_type": 7}""", "preprocessor_config.json")]
    [InlineData("""{"image_processor_type": "ViTImageProcessor", "size": {"shortest_edge": 224}}""", "height")]
    [InlineData("""{"image_processor_type": "ViTImageProcessor", "do_center_crop": true}""", "does not crop")]
    [InlineData("""{"image_processor_type": "CLIPImageProcessor", "do_pad": true}""", "do_pad")]
    [InlineData("""{"image_processor_type": "CLIPImageProcessor", "use_square_size": true}""", "use_square_size")]
    [InlineData("""{"image_processor_type": "CLIPImageProcessor", "data_format": "channels_last"}""", "data_format")]
    [InlineData("""{"image_processor": {"do_pad": true}}""", "image_processor of processor_config.json")]
    public void Unusable_json_is_refused_with_its_reason(string json, string reason)
    {
        var error = Assert.Throws<InvalidDataException>(() => ImagePreprocessing.FromJson(Encoding.UTF8.GetBytes(json)));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
    }

    const string ImageNetColors = """ "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225] """,
        HalfColors = """ "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5] """;

    static readonly ImagePreprocessing ImageNet = new() { Mean = (0.485f, 0.456f, 0.406f), Std = (0.229f, 0.224f, 0.225f) },
        Half = new() { Mean = (0.5f, 0.5f, 0.5f), Std = (0.5f, 0.5f, 0.5f) };

    // The fields of published folders, and what their classes make of them.
    static readonly Dictionary<string, (string Json, ImagePreprocessing Expected)> Published = new()
    {
        ["CLIP of 2021"] = ("""
            {"crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true, "resample": 3, "size": 224,
             "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
             "image_std": [0.26862954, 0.26130258, 0.27577711]}
            """, ImagePreprocessing.Clip(224)),
        ["CLIP, all defaults"] = ("""{"image_processor_type": "CLIPImageProcessor"}""", ImagePreprocessing.Clip(224)),
        ["CLIP, fast"] = ("""
            {"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 336}, "processor_class": "CLIPProcessor",
             "crop_size": {"height": 336, "width": 336}, "data_format": "channels_first", "device": null, "do_pad": null,
             "_valid_processor_keys": ["images", "do_pad"]}
            """, ImagePreprocessing.Clip(336)),
        ["CLIP with a longest edge"] = ("""
            {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224, "longest_edge": 1000}}
            """, ImagePreprocessing.Clip(224)),
        ["CLIP, switches off"] = ("""
            {"image_processor_type": "CLIPImageProcessor", "do_resize": false, "do_rescale": false, "do_normalize": false}
            """, new() { Crop = (224, 224), RescaleFactor = null }),
        ["SigLIP"] = ($$"""
            {"do_normalize": true, "do_rescale": true, "do_resize": true, "image_processor_type": "SiglipImageProcessor",
             "processor_class": "SiglipProcessor", "resample": 3, "rescale_factor": 0.00392156862745098, "do_convert_rgb": null,
             "size": {"height": 384, "width": 384}, {{HalfColors}}}
            """, Half with { Stretch = (384, 384), RescaleFactor = 0.00392156862745098 }),
        ["SigLIP 2 of one size"] = ("""
            {"image_processor_type": "SiglipImageProcessor", "resample": 2, "size": {"height": 224, "width": 224}}
            """, Half with { Stretch = (224, 224), Filter = ResampleFilter.Bilinear }),
        ["ViT of 2021"] = ($$"""
            {"do_normalize": true, "do_resize": true, "feature_extractor_type": "ViTFeatureExtractor",
             "resample": 2, "size": 384, {{HalfColors}}}
            """, Half with { Stretch = (384, 384), Filter = ResampleFilter.Bilinear }),
        ["ViT, all defaults"] = ("""{"image_processor_type": "ViTImageProcessor"}""",
            Half with { Stretch = (224, 224), Filter = ResampleFilter.Bilinear }),
        ["DeiT"] = ($$"""
            {"crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true, "size": 256,
             "feature_extractor_type": "DeiTFeatureExtractor", "resample": 3, {{ImageNetColors}}}
            """, ImageNet with { Stretch = (256, 256), Crop = (224, 224) }),
        ["DINOv2"] = ($$"""
            {"crop_size": {"height": 224, "width": 224}, "do_center_crop": true, "do_convert_rgb": true, "do_normalize": true,
             "do_rescale": true, "do_resize": true, "image_processor_type": "BitImageProcessor", "resample": 3,
             "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 256}, {{ImageNetColors}}}
            """, ImageNet with { ShortestEdge = 256, Crop = (224, 224), RescaleFactor = 0.00392156862745098 }),
        ["ConvNeXt, 224"] = ($$"""
            {"crop_pct": 0.875, "do_normalize": true, "do_resize": true, "resample": 3, "size": 224,
             "feature_extractor_type": "ConvNextFeatureExtractor", {{ImageNetColors}}}
            """, ImageNet with { ShortestEdge = 256, Crop = (224, 224) }),
        ["ConvNeXt, 384"] = ($$"""
            {"crop_pct": 0.875, "image_processor_type": "ConvNextImageProcessor",
             "size": {"shortest_edge": 384}, {{ImageNetColors}}}
            """, ImageNet with { Stretch = (384, 384) }),
        // What the constructors of huggingface/transformers' slow classes have, src/transformers/models/*/image_processing_*.py.
        ["Chinese CLIP, all defaults"] = ("""{"image_processor_type": "ChineseCLIPImageProcessor"}""", ImagePreprocessing.Clip(224)),
        ["Chinese CLIP of one size"] = ("""
            {"image_processor_type": "ChineseCLIPImageProcessor", "do_center_crop": false, "size": {"height": 240, "width": 224}}
            """, ImagePreprocessing.Clip(224) with { ShortestEdge = null, Crop = null, Stretch = (240, 224) }),
        ["BiT, all defaults"] = ("""{"image_processor_type": "BitImageProcessor"}""", ImagePreprocessing.Clip(224)),
        ["SigLIP, all defaults"] = ("""{"image_processor_type": "SiglipImageProcessor"}""", Half with { Stretch = (224, 224) }),
        ["DeiT, all defaults"] = ("""{"image_processor_type": "DeiTImageProcessor"}""", Half with { Stretch = (256, 256), Crop = (224, 224) }),
        ["BEiT"] = ($$"""
            {"crop_size": 224, "do_center_crop": false, "do_normalize": true, "do_resize": true, "do_reduce_labels": false, "size": 224,
             "feature_extractor_type": "BeitFeatureExtractor", "resample": 2, {{HalfColors}}}
            """, Half with { Stretch = (224, 224), Filter = ResampleFilter.Bilinear }),
        ["BEiT, all defaults"] = ("""{"image_processor_type": "BeitImageProcessor"}""", Half with { Stretch = (256, 256), Crop = (224, 224) }),
        ["ConvNeXt, all defaults"] = ("""{"image_processor_type": "ConvNextImageProcessor"}""", Half with { Stretch = (384, 384) }),
        ["ConvNeXt below 384"] = ("""
            {"image_processor_type": "ConvNextImageProcessor", "crop_pct": null, "size": {"shortest_edge": 288}}
            """, Half with { ShortestEdge = 329, Crop = (288, 288) }),
        ["processor_config.json"] = ("""
            {"image_processor": {"image_processor_type": "SiglipImageProcessorFast", "size": {"height": 256, "width": 256}},
             "processor_class": "SiglipProcessor", "video_processor": {"do_pad": true}}
            """, Half with { Stretch = (256, 256) }),
    };

    public static TheoryData<string> PublishedNames() => [.. Published.Keys];

    [Theory, MemberData(nameof(PublishedNames))]
    public void Published_files_are_read_as_their_classes_read_them(string name)
    {
        (string json, ImagePreprocessing expected) = Published[name];
        Assert.Equal(expected, ImagePreprocessing.FromJson(Encoding.UTF8.GetBytes(json)));
    }

    [Fact]
    public void Processor_config_comes_first_where_it_holds_an_image_processor()
    {
        var files = new Dictionary<string, string>();
        ImagePreprocessing? Load() => ImagePreprocessing.TryLoad(name =>
            files.TryGetValue(name, out string? text) ? Encoding.UTF8.GetBytes(text) : (ReadOnlyMemory<byte>?)null);
        Assert.Null(Load());
        files["open_clip_config.json"] = """{"model_cfg": {"vision_cfg": {"image_size": 32}}}""";
        Assert.Equal(32, Load()!.Height);
        files["preprocessor_config.json"] = ImagePreprocessing.Clip(48).ToJson();
        files["processor_config.json"] = """{"processor_class": "CLIPProcessor"}""";
        Assert.Equal(48, Load()!.Height);
        files["processor_config.json"] = Published["processor_config.json"].Json;
        Assert.Equal(256, Load()!.Height);
        files["processor_config.json"] = "{";
        Assert.Contains("processor_config.json", Assert.Throws<InvalidDataException>(Load).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Picture_of_another_size_is_not_normalised()
    {
        var error = Assert.Throws<ArgumentException>(() => ImagePreprocessing.Clip(8)
            .Normalize(RgbImages.Noise(8, 9, seed: 0), new float[3 * 8 * 9]));
        Assert.Contains("[9, 8, 3]", error.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => ImagePreprocessing.Clip(8)
            .Normalize(RgbImages.Noise(8, 8, seed: 0), new float[3 * 8 * 8 - 1]));
    }

    public static TheoryData<string> Preprocessings() => ["clip", "stretch", "padded", "nearest", "whole", "widthOnly"];

    static ImagePreprocessing Preprocessing(string name) => name switch
    {
        "clip" => ImagePreprocessing.Clip(24),
        "stretch" => new() { Stretch = (20, 31), Filter = ResampleFilter.Bilinear },
        "padded" => new() { Crop = (90, 120), Std = (0.5f, 0.4f, 0.3f), Mean = (0.1f, 0.2f, 0.3f) },
        "nearest" => new() { Stretch = (20, 31), Filter = ResampleFilter.Nearest },
        "whole" => new() { Stretch = (47, 61) },
        _ => new() { Stretch = (30, 61) },
    };

    [Theory, MemberData(nameof(Preprocessings))]
    public void All_ways_into_the_model_give_the_same_values(string name)
    {
        ImagePreprocessing preprocessing = Preprocessing(name);
        RgbImage image = RgbImages.Noise(61, 47, seed: 9);
        float[] steps = Values(preprocessing, d => preprocessing.Normalize(preprocessing.ResizeAndCrop(image), d));
        byte[] png = ImageEncoder.EncodePng(image), rgba = new byte[4 * 61 * 47], bgra = new byte[4 * 61 * 47];
        for (int i = 0; i < 61 * 47; i++)
            for (int c = 0; c < 4; c++)
                rgba[4 * i + c] = bgra[4 * i + (c == 3 ? 3 : 2 - c)] = c == 3 ? (byte)i : image.Pixels[3 * i + c];
        string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():N}.png");
        File.WriteAllBytes(path, png);
        try
        {
            Assert.Equal(steps, Values(preprocessing, d => preprocessing.Apply(image, d)));
            Assert.Equal(steps, Values(preprocessing, d => preprocessing.Apply(rgba, 61, 47, blueFirst: false, d)));
            Assert.Equal(steps, Values(preprocessing, d => preprocessing.Apply(bgra, 61, 47, blueFirst: true, d)));
            Assert.Equal(steps, Values(preprocessing, d => preprocessing.ApplyToEncoded(png, d)));
            Assert.Equal(steps, Values(preprocessing, d => preprocessing.ApplyToFile(path, d)));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Way_from_a_file_leaves_no_large_objects()
    {
        ImagePreprocessing preprocessing = ImagePreprocessing.Clip(24);
        byte[] jpeg = Jpeg(640, 480);
        var destination = new float[3 * 24 * 24];
        preprocessing.ApplyToEncoded(jpeg, destination); // memory is rented
        long before = GC.GetAllocatedBytesForCurrentThread();
        preprocessing.ApplyToEncoded(jpeg, destination);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated < 4096, $"{allocated:N0} bytes were allocated for one picture");
    }

    [Fact]
    public void Pixels_of_another_number_are_refused()
    {
        ImagePreprocessing preprocessing = ImagePreprocessing.Clip(8);
        var error = Assert.Throws<ArgumentException>(() => preprocessing.Apply(new byte[10], 2, 2, false, new float[3 * 8 * 8]));
        Assert.Contains("[2, 2, 4]", error.Message, StringComparison.Ordinal);
        byte[] png = ImageEncoder.EncodePng(RgbImages.Noise(8, 8, seed: 0));
        Assert.Throws<ArgumentException>(() => preprocessing.ApplyToEncoded(png, new float[3 * 8 * 8 - 1]));
        Assert.Throws<FileNotFoundException>(() => preprocessing.ApplyToFile("no-such.png", new float[3 * 8 * 8]));
    }

    // Of the 256 steps of a byte, for a smooth picture; decoding at a quarter averages what bicubic weighs.
    const float MeanReducedDifference = 1.5f, MaxReducedDifference = 24;

    [Theory]
    [InlineData(640, 480, 64)]
    [InlineData(641, 483, 64)]
    [InlineData(480, 1001, 100)]
    public void Jpeg_at_reduced_scale_is_close_and_off_by_default(int width, int height, int side)
    {
        byte[] jpeg = Jpeg(width, height);
        ImagePreprocessing exact = new() { ShortestEdge = side, Crop = (side, side), RescaleFactor = null };
        Assert.False(exact.ReducedScaleJpeg);
        float[] full = Values(exact, d => exact.Apply(ImageDecoder.Decode(jpeg), d));
        Assert.Equal(full, Values(exact, d => exact.ApplyToEncoded(jpeg, d)));
        ImagePreprocessing fast = exact with { ReducedScaleJpeg = true };
        float[] reduced = Values(exact, d => fast.ApplyToEncoded(jpeg, d));
        Assert.NotEqual(full, reduced);
        float[] differences = [.. full.Zip(reduced, (a, b) => MathF.Abs(a - b))];
        (float mean, float max) = (differences.Average(), differences.Max());
        Assert.True(mean <= MeanReducedDifference && max <= MaxReducedDifference, $"mean {mean:g3}, max {max:g3} of 255");
    }

    [Fact]
    public void Jpeg_below_twice_the_wanted_size_is_decoded_whole()
    {
        byte[] jpeg = Jpeg(300, 200);
        ImagePreprocessing exact = ImagePreprocessing.Clip(64), fast = exact with { ReducedScaleJpeg = true };
        Assert.Equal(Values(exact, d => exact.ApplyToEncoded(jpeg, d)), Values(exact, d => fast.ApplyToEncoded(jpeg, d)));
        byte[] png = ImageEncoder.EncodePng(RgbImages.Noise(300, 200, seed: 1));
        fast = fast with { ShortestEdge = 8, Crop = (8, 8) };
        exact = exact with { ShortestEdge = 8, Crop = (8, 8) };
        Assert.Equal(Values(exact, d => exact.ApplyToEncoded(png, d)), Values(exact, d => fast.ApplyToEncoded(png, d)));
    }

    delegate void Filler(Span<float> destination);

    static float[] Values(ImagePreprocessing preprocessing, Filler fill)
    {
        float[] values = new float[3 * preprocessing.Height * preprocessing.Width];
        Array.Fill(values, float.NaN);
        fill(values);
        return values;
    }

    // Waves of three lengths and an edge.
    static byte[] Jpeg(int width, int height)
    {
        using var bitmap = new SKBitmap(width, height, SKColorType.Rgba8888, SKAlphaType.Opaque);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                bitmap.SetPixel(x, y, new SKColor(Wave(x, 40), Wave(y, 90), (byte)(x + y > width ? 200 : Wave(x - y, 200))));
        using SKData data = bitmap.Encode(SKEncodedImageFormat.Jpeg, 90);
        return data.ToArray();
    }

    static byte Wave(int at, int length) => (byte)(127.5 * (1 + Math.Sin(2 * Math.PI * at / length)));

    static ImagePreprocessing ClipOf(Golden golden) => ImagePreprocessing.Clip(golden.Case.GetProperty("S").GetInt32());

    static (RgbImage Cropped, float[] Values) Prepare(Golden golden, string picture, ImagePreprocessing preprocessing)
    {
        RgbImage image = ImageDecoder.Decode(golden.PathOf(picture));
        float[] values = new float[3 * preprocessing.Height * preprocessing.Width];
        preprocessing.Apply(image, values);
        return (preprocessing.ResizeAndCrop(image), values);
    }

    // [H, W, 3] -> [3, H, W]
    static byte[] ChannelsFirst(RgbImage image) =>
        [.. Enumerable.Range(0, 3).SelectMany(c => image.Pixels.Where((_, i) => i % 3 == c))];
}
