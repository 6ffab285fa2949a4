using System.Text;
using System.Text.Json.Nodes;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Inference;

/// <summary>How pictures, texts, sounds and numbers become what a fusion model takes. Immutable and thread-safe.</summary>
public sealed class FusionPreprocessing
{
    const string ProcessorFile = "processor_config.json";

    /// <summary>The preprocessing of a model.</summary>
    /// <param name="config">The model's sizes.</param>
    /// <param name="images">Of pictures; of account where the model has a tower for them.</param>
    /// <param name="texts">Of texts.</param>
    /// <param name="sounds">Of sounds: a spectrogram [T, F].</param>
    /// <exception cref="InvalidDataException">One is missing, or makes something else than the model takes.</exception>
    public FusionPreprocessing(CrossModalFusionConfig config, ImagePreprocessing? images, TextTokenizer? texts, AudioPreprocessing? sounds)
    {
        ArgumentNullException.ThrowIfNull(config);
        Config = config;
        if (config.Vision is { } v)
        {
            Images = images ?? throw Missing("pictures", ProcessorFile);
            if (images.Width != v.ImageSize || images.Height != v.ImageSize)
                throw new InvalidDataException($"the preprocessing makes pictures of {images.Height}x{images.Width}, but the model takes {v.ImageSize}x{v.ImageSize}.");
        }
        if (config.Text is { } t) Texts = (texts ?? throw Missing("texts", "tokenizer")).WithContextLength(Math.Min(texts.ContextLength, t.ContextLength));
        if (config.Audio is not { } a) return;
        Sounds = sounds ?? throw Missing("sounds", ProcessorFile);
        if (sounds.Spectrogram is null || !sounds.Shape(1).SequenceEqual([a.Frames, a.MelBins]))
            throw new InvalidDataException($"the preprocessing makes [{string.Join(", ", sounds.Shape(1))}] of a sound, but the model takes spectrograms of "
                + $"[{a.Frames}, {a.MelBins}].");
    }

    /// <summary>The model's sizes.</summary>
    public CrossModalFusionConfig Config { get; }

    /// <summary>Of pictures; null where the model has no tower for them.</summary>
    public ImagePreprocessing? Images { get; }

    /// <summary>Of texts.</summary>
    public TextTokenizer? Texts { get; }

    /// <summary>Of sounds.</summary>
    public AudioPreprocessing? Sounds { get; }

    static InvalidDataException Missing(string what, string file) => new($"the model takes {what}, but there is no {file} that says how they are prepared.");

    /// <summary>Reads the preprocessing of a model folder.</summary>
    /// <param name="files">The folder.</param>
    /// <param name="config">The model's sizes.</param>
    /// <exception cref="FileNotFoundException">The tokenizer is missing.</exception>
    /// <exception cref="InvalidDataException">A file is missing or not sound, or makes something else than the model takes.</exception>
    public static FusionPreprocessing Load(ModelFiles files, CrossModalFusionConfig config) => new(config,
        config.Vision is null ? null : ImagePreprocessing.TryLoad(files.TryRead),
        config.Text is null ? null : TextTokenizer.Load(files.TryRead, files.Name),
        config.Audio is null ? null : AudioPreprocessing.TryLoad(files.TryRead));

    /// <summary>The files that <see cref="Load"/> reads: pictures and sounds in one <c>processor_config.json</c>, as transformers 5
    /// writes it, and the tokenizer's.</summary>
    public IEnumerable<(string Name, ReadOnlyMemory<byte> Content)> ToFiles()
    {
        var processor = new JsonObject();
        if (Images is not null) processor["image_processor"] = JsonNode.Parse(Images.ToJson());
        if (Sounds is not null) processor["feature_extractor"] = JsonNode.Parse(Sounds.ToJson());
        if (processor.Count > 0) yield return (ProcessorFile, Encoding.UTF8.GetBytes(processor.ToJsonString(new() { WriteIndented = true }) + "\n"));
        foreach (var (name, content) in Texts?.Files ?? new Dictionary<string, ReadOnlyMemory<byte>>()) yield return (name, content);
    }

    /// <summary>Prepares one row. What the model has no tower for is left aside.</summary>
    /// <param name="picture">Of any size; null where it is missing.</param>
    /// <param name="text">Cut to the context length; null or empty where it is missing.</param>
    /// <param name="sound">At any rate; null where it is missing.</param>
    /// <param name="numbers">[n]; NaN, or all of them empty, where they are missing. An infinite one counts as missing too.</param>
    /// <exception cref="ArgumentException">Another number of numbers than the model takes, or a sound that is too short or too
    /// loud.</exception>
    public FusionRow Row(RgbImage? picture = null, string? text = null, Waveform? sound = null, ReadOnlySpan<float> numbers = default) => new(
        Images is null || picture is null ? null : Images.ResizeAndCrop(picture),
        Texts is null || string.IsNullOrEmpty(text) ? null : Texts.Encode(text),
        Sounds is null || sound is null ? null : Sounds.Apply(sound),
        Config.Features is null || numbers.IsEmpty ? null : Numbers(numbers));

    float[] Numbers(ReadOnlySpan<float> numbers)
    {
        int wanted = Config.Features!.Names.Count;
        if (numbers.Length != wanted)
            throw new ArgumentException($"numbers has {numbers.Length} values, but the model takes {wanted}.", nameof(numbers));
        float[] result = numbers.ToArray();
        for (int i = 0; i < result.Length; i++)
            if (!float.IsFinite(result[i])) result[i] = float.NaN;
        return result;
    }

    /// <summary>Rows as the inputs of <see cref="CrossModalFusionModel.Full"/>.</summary>
    /// <param name="rows">At least one.</param>
    /// <param name="length">L of the texts, at least that of the longest; null for just that.</param>
    /// <param name="write">Writes the picture of a row, counted in <paramref name="rows"/>, as [3, H, W], normalised and for a training
    /// varied; null for as it is.</param>
    /// <returns>By name.</returns>
    public IReadOnlyDictionary<string, TensorData> ToTensors(IReadOnlyList<FusionRow> rows, int? length = null, Action<int, Span<float>>? write = null)
    {
        ArgumentNullException.ThrowIfNull(rows);
        ArgumentOutOfRangeException.ThrowIfZero(rows.Count);
        var inputs = new Dictionary<string, TensorData>(StringComparer.Ordinal);
        int batch = rows.Count;
        if (Images is { } images)
        {
            var pixels = new float[batch * 3 * images.Height * images.Width];
            write ??= (row, span) => images.Normalize(rows[row].Picture!, span);
            int size = pixels.Length / batch;
            for (int i = 0; i < batch; i++)
                if (rows[i].Picture is not null) write(i, pixels.AsSpan(i * size, size));
            inputs["pixel_values"] = TensorData.From(pixels, batch, 3, images.Height, images.Width);
            inputs["pixel_mask"] = Mask(rows, 1 + Config.Vision!.Patches, r => r.Picture is not null);
        }
        if (Texts is { } texts) AddTexts(inputs, texts, rows, length ?? rows.Max(r => Math.Max(1, r.Tokens?.Count ?? 1)));
        if (Config.Audio is { } audio)
        {
            var values = new float[batch * audio.Frames * audio.MelBins];
            for (int i = 0; i < batch; i++) rows[i].Sound?.CopyTo(values, i * audio.Frames * audio.MelBins);
            inputs["input_values"] = TensorData.From(values, batch, audio.Frames, audio.MelBins);
            inputs["audio_mask"] = Mask(rows, 2 + audio.Patches, r => r.Sound is not null);
        }
        if (Config.Features is { Names.Count: var columns })
        {
            float[] numbers = [.. rows.SelectMany(r => r.Numbers ?? [.. Enumerable.Repeat(float.NaN, columns)])];
            inputs["features_mask"] = TensorData.From([.. numbers.Select(n => float.IsNaN(n) ? 0L : 1)], batch, columns);
            inputs["features"] = TensorData.From([.. numbers.Select(n => float.IsNaN(n) ? 0 : n)], batch, columns);
        }
        return inputs;
    }

    static void AddTexts(Dictionary<string, TensorData> inputs, TextTokenizer texts, IReadOnlyList<FusionRow> rows, int length)
    {
        var ids = new long[rows.Count * length];
        var mask = new long[ids.Length];
        for (int i = 0; i < rows.Count; i++)
        {
            IReadOnlyList<int> tokens = rows[i].Tokens ?? [];
            for (int t = 0; t < length; t++) ids[i * length + t] = t < tokens.Count ? tokens[t] : texts.PadId;
            mask.AsSpan(i * length, tokens.Count).Fill(1);
        }
        inputs["input_ids"] = TensorData.From(ids, rows.Count, length);
        inputs["attention_mask"] = TensorData.From(mask, rows.Count, length);
    }

    static TensorData Mask(IReadOnlyList<FusionRow> rows, int tokens, Func<FusionRow, bool> isThere) =>
        TensorData.From([.. rows.SelectMany(r => Enumerable.Repeat(isThere(r) ? 1L : 0, tokens))], rows.Count, tokens);
}
