using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Training.Tests;

/// <summary>A sound with a caption, and a picture that fits it.</summary>
public sealed class SoundRow
{
    /// <summary>Mono, at <see cref="SweptSounds.SampleRateHz"/>.</summary>
    [VectorType]
    public float[] Samples { get; set; } = [];

    public string Caption { get; set; } = "";

    /// <summary>The class: <c>low rising</c>.</summary>
    public string Label { get; set; } = "";

    /// <summary>A PNG file of the class's number among striped pictures.</summary>
    [VectorType]
    public byte[] Image { get; set; } = [];
}

/// <summary>Tones that rise or fall, low or high, of random length, loudness and beginning, with noise. The mean spectrum of a sound says
/// nothing about its direction.</summary>
public static class SweptSounds
{
    public const int SampleRateHz = 8000;

    public static string[] Classes { get; } = ["low rising", "low falling", "high rising", "high falling"];

    /// <summary>A second, 16 mel bins.</summary>
    public static SpectrogramPreprocessing Preprocessing { get; } = SpectrogramPreprocessing.Clap(SampleRateHz, seconds: 1, melBins: 16);

    /// <summary>A training of a few small steps, of sounds and captions.</summary>
    public static ContrastiveOptions Short { get; } = new()
    {
        Audio = "Samples",
        AudioSampleRateHz = SampleRateHz,
        Text = "Caption",
        AudioModel = Model,
        Sounds = Preprocessing,
        VocabularySize = 600,
        Epochs = 2,
        BatchSize = 8,
        LearningRate = 3e-3,
        EmaDecay = 0.9,
        Threads = 1,
    };

    /// <summary>A model for them; beside texts where there is a vocabulary, else beside pictures.</summary>
    public static AudioDualEncoderConfig Model(int vocabulary) => new()
    {
        Audio = new()
        {
            Frames = Preprocessing.Frames,
            MelBins = 16,
            PatchSize = 8,
            Stride = 8,
            StemChannels = [8, 8, 16],
            DynamicRange = 60,
            Blocks = new(1, 16, 32, 2, Activation.Gelu) { Names = BlockNames.Vit },
        },
        Text = vocabulary == 0 ? null : StripedPictures.Model(vocabulary).Text,
        Vision = vocabulary == 0 ? ClipConfig.Tiny.Vision : null,
        ProjectionWidth = 12,
    };

    public static SoundRow[] Rows(int count, int seed)
    {
        var random = new Random(seed);
        PictureRow[] pictures = StripedPictures.Rows(count, seed + 1000);
        return [.. Enumerable.Range(0, count).Select(i => new SoundRow
        {
            Samples = Draw(i % 4, random),
            Caption = $"a {Classes[i % 4]} tone",
            Label = Classes[i % 4],
            Image = pictures[i].Image,
        })];
    }

    public static IDataView View(MLContext ml, int count, int seed) => ml.Data.LoadFromEnumerable(Rows(count, seed));

    static float[] Draw(int kind, Random random)
    {
        int before = random.Next(1000), length = 2000 + random.Next(2000);
        double low = kind < 2 ? 300 : 1500, high = 2 * low, loudness = Math.Pow(10, -random.NextDouble()), phase = 0;
        var samples = new float[before + length];
        for (int i = 0; i < samples.Length; i++)
        {
            samples[i] = (float)(loudness * 0.02 * (random.NextDouble() - 0.5));
            if (i < before) continue;
            double share = (double)(i - before) / length;
            phase += 2 * Math.PI * (low + (high - low) * (kind % 2 == 0 ? share : 1 - share)) / SampleRateHz;
            samples[i] += (float)(loudness * 0.5 * Math.Sin(phase));
        }
        return samples;
    }
}
