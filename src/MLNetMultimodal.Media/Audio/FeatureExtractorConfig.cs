using System.Text.Json;
using System.Text.Json.Nodes;

namespace MLNetMultimodal.Media.Audio;

// The fields of an audio preprocessor_config.json. What a file leaves out is as the class of Hugging Face's that it names has
// it.
static class FeatureExtractorConfig
{
    public const string FileName = "preprocessor_config.json";
    const string ProcessorFileName = "processor_config.json", Nested = "feature_extractor",
        Wav2Vec2Type = "Wav2Vec2FeatureExtractor";
    const long MaxInputSamples = 1 << 27;

    // Where a model's files have it; null where they do not.
    public static T? TryLoad<T>(Func<string, ReadOnlyMemory<byte>?> tryRead, Func<JsonElement, T> read) where T : class
    {
        ArgumentNullException.ThrowIfNull(tryRead);
        if (tryRead(ProcessorFileName) is { } processor && Parse(processor.Span, ProcessorFileName, IsNested))
            return Parse(processor.Span, ProcessorFileName, read);
        return tryRead(FileName) is { } own ? Parse(own.Span, FileName, read) : null;
    }

    public static T Parse<T>(ReadOnlySpan<byte> utf8Json, string file, Func<JsonElement, T> read)
    {
        try
        {
            if (utf8Json.StartsWith((ReadOnlySpan<byte>)[0xEF, 0xBB, 0xBF]))
                utf8Json = utf8Json[3..];
            var reader = new Utf8JsonReader(utf8Json);
            using JsonDocument document = JsonDocument.ParseValue(ref reader);
            return read(document.RootElement);
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidOperationException or FormatException)
        {
            throw new InvalidDataException($"{file} cannot be used: {e.Message}", e);
        }
    }

    static bool IsNested(JsonElement root) => root.ValueKind == JsonValueKind.Object
        && root.TryGetProperty(Nested, out JsonElement nested) && nested.ValueKind == JsonValueKind.Object;

    public static AudioPreprocessing ReadAny(JsonElement root)
    {
        if (TypeOf(ref root) != Wav2Vec2Type)
            return AudioPreprocessing.FromSpectrogram(Read(root));
        RefuseOther(root, "feature_size", 1);
        RefuseOther(root, "padding_value", 0);
        RefuseOther(root, "padding_side", "right");
        return AudioPreprocessing.FromSamples(Integer(root, "sampling_rate", 16_000),
            Find(root, "do_normalize")?.GetBoolean() ?? true);
    }

    public static SpectrogramPreprocessing Read(JsonElement root)
    {
        string? type = TypeOf(ref root);
        SpectrogramPreprocessing read = type switch
        {
            "ASTFeatureExtractor" => ReadAst(root),
            "WhisperFeatureExtractor" => ReadWhisper(root),
            "ClapFeatureExtractor" => ReadClap(root),
            null => throw new FormatException("it has no feature_extractor_type."),
            Wav2Vec2Type => throw new FormatException($"{type} makes no spectrogram."),
            _ => throw new FormatException($"feature_extractor_type '{type}' is not supported; ASTFeatureExtractor, "
                + $"WhisperFeatureExtractor, ClapFeatureExtractor and {Wav2Vec2Type} are."),
        };
        RefuseOther(root, "padding_side", "right");
        return read;
    }

    // The root becomes the object that says the type.
    static string? TypeOf(ref JsonElement root)
    {
        if (root.ValueKind != JsonValueKind.Object)
            throw new FormatException($"it must be an object, but is {root.ValueKind}.");
        if (IsNested(root))
            root = root.GetProperty(Nested);
        return Find(root, "feature_extractor_type")?.GetString();
    }

    public static string Wav2Vec2(int sampleRateHz, bool normalizes) =>
        Text(Fields(sampleRateHz, Wav2Vec2Type, 1, ("do_normalize", normalizes)));

    // Null where no class has these settings: what is written must be read as the same again.
    public static string? Write(SpectrogramPreprocessing p)
    {
        foreach (JsonObject fields in (ReadOnlySpan<JsonObject>)[Ast(p), Whisper(p), Clap(p)])
            try
            {
                string json = Text(fields);
                if (Read(JsonElement.Parse(json)) == p)
                    return json;
            }
            catch (Exception e) when (e is FormatException or ArgumentException)
            {
                // These settings are beyond this class.
            }
        return null;
    }

    static string Text(JsonObject fields) => fields.ToJsonString(new() { WriteIndented = true, NewLine = "\n" }) + "\n";

    static JsonObject Ast(SpectrogramPreprocessing p) => Fields(p.LogMel.SampleRateHz, "ASTFeatureExtractor", 1, ("num_mel_bins", p.LogMel.MelBins),
        ("max_length", p.Frames), ("do_normalize", true), ("mean", p.Mean), ("std", p.Std / 2));

    static JsonObject Whisper(SpectrogramPreprocessing p) => Fields(p.LogMel.SampleRateHz, "WhisperFeatureExtractor", p.LogMel.MelBins,
        ("n_fft", p.LogMel.FftSamples), ("hop_length", p.LogMel.HopSamples), ("nb_max_frames", p.Frames),
        ("chunk_length", p.MaxSamples / p.LogMel.SampleRateHz), ("n_samples", p.MaxSamples));

    static JsonObject Clap(SpectrogramPreprocessing p) => Fields(p.LogMel.SampleRateHz, "ClapFeatureExtractor", p.LogMel.MelBins,
        ("fft_window_size", p.LogMel.FftSamples), ("hop_length", p.LogMel.HopSamples), ("nb_max_frames", p.Frames - 1),
        ("max_length_s", p.MaxSamples / p.LogMel.SampleRateHz), ("nb_max_samples", p.MaxSamples),
        ("frequency_min", p.LogMel.MinHz), ("frequency_max", p.LogMel.HighestHz), ("truncation", "rand_trunc"),
        ("padding", p.Padding == SpectrogramPadding.Repeats ? "repeatpad" : "pad"), ("top_db", null));

    static JsonObject Fields(int sampleRateHz, string type, int size,
        params ReadOnlySpan<(string Name, JsonNode? Value)> more)
    {
        JsonObject fields = new()
        {
            ["feature_extractor_type"] = type,
            ["feature_size"] = size,
            ["sampling_rate"] = sampleRateHz,
            ["padding_side"] = "right",
            ["padding_value"] = 0.0,
            ["return_attention_mask"] = false,
        };
        foreach ((string name, JsonNode? value) in more)
            fields[name] = value;
        return fields;
    }

    static SpectrogramPreprocessing ReadAst(JsonElement root)
    {
        bool normalizes = Find(root, "do_normalize")?.GetBoolean() ?? true;
        SpectrogramPreprocessing ast = SpectrogramPreprocessing.Ast(Integer(root, "max_length", 1024));
        float mean = (float)Number(root, "mean", ast.Mean), std = (float)(2 * Number(root, "std", ast.Std / 2));
        return ast with
        {
            LogMel = LogMelConfig.Kaldi(Integer(root, "sampling_rate", 16_000), Integer(root, "num_mel_bins", 128)),
            Mean = normalizes ? mean : 0,
            Std = normalizes ? std : 1,
        };
    }

    static SpectrogramPreprocessing ReadWhisper(JsonElement root)
    {
        RefuseOther(root, "padding_value", 0);
        RefuseOther(root, "dither", 0);
        RefuseTrue(root, "do_normalize");
        int rate = Integer(root, "sampling_rate", 16_000), hop = Integer(root, "hop_length", 160),
            fft = Integer(root, "n_fft", 400);
        return SpectrogramPreprocessing.Whisper() with
        {
            LogMel = LogMelConfig.Whisper(Integer(root, "feature_size", 80)) with
            {
                SampleRateHz = rate,
                FftSamples = fft,
                WindowSamples = fft,
                HopSamples = hop,
                MaxHz = Math.Min(8000, rate / 2.0),
            },
            Frames = FramesOf((long)Integer(root, "chunk_length", 30) * rate, hop),
        };
    }

    static SpectrogramPreprocessing ReadClap(JsonElement root)
    {
        RefuseOther(root, "padding_value", 0);
        if (Find(root, "top_db") is { } top)
            throw new FormatException($"top_db {top.GetRawText()} is not supported; only null is.");
        string truncation = Find(root, "truncation")?.GetString() ?? "fusion",
            padding = Find(root, "padding")?.GetString() ?? "repeatpad";
        if (truncation != "rand_trunc")
            throw new FormatException($"truncation '{truncation}' is not supported; rand_trunc, " +
                "of the models without fusion, is.");
        int rate = Integer(root, "sampling_rate", 48_000), hop = Integer(root, "hop_length", 480),
            fft = Integer(root, "fft_window_size", 1024);
        return SpectrogramPreprocessing.Clap() with
        {
            LogMel = LogMelConfig.Clap() with
            {
                SampleRateHz = rate,
                FftSamples = fft,
                WindowSamples = fft,
                HopSamples = hop,
                MelBins = Integer(root, "feature_size", 64),
                MinHz = Number(root, "frequency_min", 0),
                MaxHz = Number(root, "frequency_max", 14_000),
            },
            Frames = FramesOf((long)Integer(root, "max_length_s", 10) * rate, hop) + 1,
            Padding = padding switch
            {
                "repeatpad" => SpectrogramPadding.Repeats,
                "pad" => SpectrogramPadding.Silence,
                _ => throw new FormatException($"padding '{padding}' is not supported; repeatpad and pad are."),
            },
        };
    }

    static int FramesOf(long samples, int hop)
    {
        if (samples > MaxInputSamples)
            throw new FormatException($"an input of {samples} samples is more than the {MaxInputSamples} supported.");
        return samples % hop == 0 ? (int)(samples / hop)
            : throw new FormatException($"hop_length {hop} does not divide the {samples} samples of an input.");
    }

    static JsonElement? Find(JsonElement root, string name) =>
        root.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    static double Number(JsonElement root, string name, double otherwise) => Find(root, name) is not { } value ? otherwise
        : value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number) ? number
        : throw new FormatException($"{name} must be a number, but is {value.GetRawText()}.");

    static int Integer(JsonElement root, string name, int otherwise) => Find(root, name) is not { } value ? otherwise
        : value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number > 0 ? number
        : throw new FormatException($"{name} must be a whole number above 0, but is {value.GetRawText()}.");

    static void RefuseOther(JsonElement root, string name, double supported)
    {
        if (Number(root, name, supported) is var number && number != supported)
            throw new FormatException($"{name} {number} is not supported; only {supported} is.");
    }

    static void RefuseOther(JsonElement root, string name, string supported)
    {
        if ((Find(root, name)?.GetString() ?? supported) is var text && text != supported)
            throw new FormatException($"{name} '{text}' is not supported; only '{supported}' is.");
    }

    static void RefuseTrue(JsonElement root, string name)
    {
        if (Find(root, name)?.GetBoolean() == true)
            throw new FormatException($"{name} is not supported for this class.");
    }
}
