using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Training;

namespace SpokenDigits;

/// <summary>One recipe for every speaker: few voices are made many by playing them faster and slower, higher and lower, through other
/// microphones, with noise and gaps.</summary>
static class Recipe
{
    public const int Epochs = 60;

    /// <summary>The first second, at the rate of the recordings.</summary>
    public static SpectrogramPreprocessing Sounds { get; } = SpectrogramPreprocessing.Clap(sampleRateHz: 8000, seconds: 1, melBins: 40);

    /// <summary>Columns and length are the caller's.</summary>
    public static ContrastiveOptions Options { get; } = new()
    {
        Sounds = Sounds,
        VocabularySize = 600,
        BatchSize = 32,
        LearningRate = 2e-3,
        EmaDecay = 0.995,
        AudioAugmentation = new()
        {
            Speed = 0.15f,
            FrequencyWarp = 0.15f,
            TimeStretch = 0.2f,
            ShiftMs = 200,
            Noise = 0.5f,
            NoiseMinSnrDb = 15,
            Filter = 8,
            TimeMasks = 1,
            FrequencyMasks = 1,
            FrequencyMaskBins = 6,
        },
    };
}
