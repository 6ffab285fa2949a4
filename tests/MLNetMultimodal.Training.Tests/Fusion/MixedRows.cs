using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Training.Tests;

/// <summary>A row of mixed columns.</summary>
public sealed class MixedRow
{
    /// <summary>A PNG file: tells the direction.</summary>
    [VectorType]
    public byte[] Image { get; set; } = [];

    /// <summary>Tells the colour.</summary>
    public string Text { get; set; } = "";

    /// <summary>A tone at 16 kHz: high for red, low for blue.</summary>
    [VectorType]
    public float[] Sound { get; set; } = [];

    /// <summary>The first tells the direction, the second is noise, the third always the same.</summary>
    [VectorType(3)]
    public float[] Numbers { get; set; } = new float[3];

    /// <summary><c>red across</c>, <c>red down</c>, <c>blue across</c> or <c>blue down</c>.</summary>
    public string Class { get; set; } = "";

    /// <summary>True for red.</summary>
    public bool IsRed { get; set; }

    /// <summary>2 for red, -2 for blue; 1 more for down.</summary>
    public float Value { get; set; }
}

/// <summary>Classes of which each sense tells one half: colour and direction.</summary>
public static class MixedRows
{
    /// <summary>A model of a few thousand weights and a training of a few seconds.</summary>
    public static CrossModalFusionOptions Options { get; } = new()
    {
        Label = "Label",
        Width = 16,
        Heads = 2,
        TowerLayers = 1,
        ImageSize = 8,
        Spectrogram = Media.Audio.SpectrogramPreprocessing.Ast(16) with { LogMel = Media.Audio.LogMelConfig.Kaldi(melBins: 32) },
        Configure = c => c with { Vision = c.Vision is null ? null : c.Vision with { PatchSize = 4, StemChannels = [] } },
        VocabularySize = 520,
        ContextLength = 8,
        AudioSampleRateHz = 16_000,
        Epochs = 30,
        BatchSize = 16,
        LearningRate = 5e-3,
        EmaDecay = 0.9,
        Threads = 1,
    };

    public static MixedRow[] Make(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i =>
        {
            (bool red, bool down) = (i % 4 < 2, i % 2 == 1);
            return new MixedRow
            {
                Image = ImageEncoder.EncodePng(Stripes(down, random)),
                Text = red ? "it is red" : "it is blue",
                Sound = Tone(red ? 2500 : 600, random),
                Numbers = [(down ? 3 : -3) + (float)random.NextDouble(), (float)random.NextDouble(), 7],
                Class = $"{(red ? "red" : "blue")} {(down ? "down" : "across")}",
                IsRed = red,
                Value = (red ? 2 : -2) + (down ? 1 : 0),
            };
        })];
    }

    /// <summary>With the column <c>Label</c>, a key of the four classes.</summary>
    public static IDataView Keyed(MLContext ml, IEnumerable<MixedRow> rows) =>
        Keys(ml).Transform(ml.Data.LoadFromEnumerable(rows));

    /// <summary>The mapping of classes to keys, always the same.</summary>
    public static ITransformer Keys(MLContext ml) =>
        ml.Transforms.Conversion.MapValueToKey("Label", "Class").Fit(ml.Data.LoadFromEnumerable(Make(4, seed: 0)));

    static RgbImage Stripes(bool down, Random random)
    {
        int shift = random.Next(4);
        var pixels = new byte[3 * 8 * 8];
        for (int y = 0; y < 8; y++)
            for (int x = 0; x < 8; x++)
                pixels.AsSpan(3 * (8 * y + x), 3).Fill((byte)(((down ? x : y) + shift) % 4 < 2 ? random.Next(150, 256) : random.Next(60)));
        return new(8, 8, pixels);
    }

    static float[] Tone(double hertz, Random random)
    {
        double phase = random.NextDouble() * 6;
        return [.. Enumerable.Range(0, 3200).Select(i => (float)(0.3 * Math.Sin(phase + 2 * Math.PI * hertz * i / 16_000) + 0.02 * random.NextDouble()))];
    }
}
