using Microsoft.ML;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training.Tests;

/// <summary>Sounds of a few harmonics, as samples, and a codec that learns them in seconds.</summary>
static class Tones
{
    public const int SampleRateHz = 8000;

    /// <summary>160 samples a frame, 4 codebooks of 16 codes.</summary>
    public static EncodecConfig Config { get; } = new()
    {
        SampleRateHz = SampleRateHz,
        BandwidthsKbps = [0.2f, 0.8f],
        LatentWidth = 8,
        Filters = 4,
        Ratios = [10, 16],
        IsCausal = false,
        LstmLayers = 0,
        HasConvShortcut = false,
        CodebookSize = 16,
    };

    /// <summary>A training of seconds.</summary>
    public static AudioCodecOptions Short { get; } = new()
    {
        Audio = "Samples",
        AudioSampleRateHz = SampleRateHz,
        Model = Config,
        Epochs = 4,
        BatchSize = 6,
        SegmentSeconds = 0.08,
        SpectralWindows = [32, 128],
        LearningRate = 3e-3,
        EmaDecay = 0.9,
        Threads = 1,
    };

    public static float[] Sound(int index, int samples)
    {
        float hz = 150 + 37 * (index % 5);
        return [.. Enumerable.Range(0, samples).Select(i => 0.08f * (MathF.Sin(i * hz * MathF.Tau / SampleRateHz) + 0.5f * MathF.Sin(i * 2 * hz * MathF.Tau / SampleRateHz + index)))];
    }

    public static IDataView View(MLContext ml, int count, int first = 0) =>
        ml.Data.LoadFromEnumerable(Enumerable.Range(first, count).Select(i => new SamplesRow { Samples = Sound(i, 900 + 217 * (i % 4)) }));

    public sealed class SamplesRow
    {
        public float[] Samples { get; set; } = [];
    }
}
