using System.Text;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

public sealed class AudioPreprocessingTests
{
    const float Rounding = 1e-5f; // sums of some thousand floats

    static AudioPreprocessing Read(string json) => AudioPreprocessing.FromJson(Encoding.UTF8.GetBytes(json));

    static Waveform Sound(int length, int rate = 16_000, int channels = 1) =>
        new([.. Enumerable.Range(0, channels * length).Select(i => 0.3f + 0.2f * MathF.Sin(i * 0.05f))], rate, channels);

    [Fact]
    public void Samples_are_brought_to_mean_0_and_variance_1()
    {
        float[] x = Sound(4000).Samples.ToArray(), got = AudioPreprocessing.FromSamples().Apply(Sound(4000));
        double mean = x.Average(v => (double)v), variance = x.Average(v => (v - mean) * (v - mean));
        float[] expected = [.. x.Select(v => (float)((v - mean) / Math.Sqrt(variance + 1e-7)))];
        double max = Difference.Max(got, expected);
        Assert.True(max <= Rounding, $"max |got - expected| = {max:g3}");
    }

    [Fact]
    public void Without_normalisation_samples_stay_as_they_are_and_channels_are_mixed()
    {
        AudioPreprocessing plain = AudioPreprocessing.FromSamples(normalizes: false);
        Assert.Equal(Sound(4000).Samples.ToArray(), plain.Apply(Sound(4000)));
        Assert.Equal(Sound(4000, channels: 2).ToMono().Samples.ToArray(), plain.Apply(Sound(4000, channels: 2)));
        Assert.Equal([4000], plain.Shape(4000));
    }

    [Fact]
    public void Another_rate_is_resampled_and_silence_stays_finite()
    {
        AudioPreprocessing plain = AudioPreprocessing.FromSamples(normalizes: false);
        Assert.Equal(Sound(4000, 8000).Resample(16_000).Samples.ToArray(), plain.Apply(Sound(4000, 8000)));
        Assert.All(AudioPreprocessing.FromSamples().Apply(new(new float[500], 16_000)), v => Assert.Equal(0, v));
    }

    [Fact]
    public void Only_the_beginning_of_a_long_sound_is_heard()
    {
        AudioPreprocessing second = AudioPreprocessing.FromSamples() with { MaxSamples = 16_000 };
        float[] got = second.Apply(Sound(50_000, 8000)),
            expected = second.Apply(Sound(50_000, 8000).Resample(16_000).Slice(0, 16_000));
        double max = Difference.Max(got, expected);
        Assert.True(got.Length == 16_000 && max <= Rounding, $"{got.Length} samples, max |got - expected| = {max:g3}");
        Assert.Equal(480_000, AudioPreprocessing.FromSamples().MaxSamples);
        Assert.Equal([16_000], second.Shape(50_000));
    }

    [Fact]
    public void A_file_and_its_bytes_are_read_at_the_rate_and_only_as_far_as_they_are_heard()
    {
        string path = Path.Combine(Directory.CreateTempSubdirectory("mlnet-multimodal-test-").FullName, "sound.wav");
        try
        {
            WavWriter.Save(Sound(9000, 8000, channels: 2), path);
            AudioPreprocessing second = AudioPreprocessing.FromSamples() with { MaxSamples = 16_000 };
            Waveform read = second.Decode(path);
            Assert.Equal((16_000, 1, 16_000), (read.SampleRateHz, read.Channels, read.Length));
            Assert.Equal(read.Samples.ToArray(), second.Decode(File.ReadAllBytes(path)).Samples.ToArray());
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    [Fact]
    public void A_spectrogram_is_that_of_its_own_preprocessing()
    {
        SpectrogramPreprocessing ast = SpectrogramPreprocessing.Ast(100);
        float[] expected = new float[100 * 128];
        ast.Apply(Sound(8000), expected);
        AudioPreprocessing wrapped = AudioPreprocessing.FromSpectrogram(ast);
        Assert.Equal(expected, wrapped.Apply(Sound(8000)));
        Assert.Equal([100, 128], wrapped.Shape(8000));
        Assert.Equal([80, 3000], AudioPreprocessing.FromSpectrogram(SpectrogramPreprocessing.Whisper()).Shape(1));
        Assert.Equal(ast.MaxSamples, wrapped.MaxSamples);
    }

    [Fact]
    public void What_is_written_is_read_again()
    {
        AudioPreprocessing[] all =
        [
            AudioPreprocessing.FromSamples(), AudioPreprocessing.FromSamples(8000, normalizes: false),
            AudioPreprocessing.FromSpectrogram(SpectrogramPreprocessing.Ast()),
            AudioPreprocessing.FromSpectrogram(SpectrogramPreprocessing.Whisper()),
            AudioPreprocessing.FromSpectrogram(SpectrogramPreprocessing.Clap()),
        ];
        Assert.All(all, p => Assert.Equal(p, Read(p.ToJson())));
    }

    [Theory]
    [InlineData("""{ "feature_extractor_type": "Wav2Vec2FeatureExtractor", "padding_side": "left" }""", "padding_side")]
    [InlineData("""{ "feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 99999999 }""", "sampleRateHz")]
    [InlineData("""{ "feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 0 }""", "sampling_rate")]
    [InlineData("""{ "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 2 }""", "feature_size")]
    [InlineData("""{ "feature_extractor_type": "CLIPImageProcessor" }""", "Wav2Vec2FeatureExtractor")]
    [InlineData("""{ "do_resize": true }""", "feature_extractor_type")]
    [InlineData("[]", "object")]
    public void What_is_not_supported_is_named(string json, string expected) =>
        Assert.Contains(expected, Assert.Throws<InvalidDataException>(() => Read(json)).Message);

    [Fact]
    public void The_extractor_of_a_processor_comes_first_and_a_model_without_either_has_none()
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = new()
        {
            ["preprocessor_config.json"] = Encoding.UTF8.GetBytes(AudioPreprocessing.FromSamples(8000).ToJson()),
            ["processor_config.json"] = Encoding.UTF8.GetBytes(
                $$"""{ "feature_extractor": {{AudioPreprocessing.FromSamples(16_000).ToJson()}} }"""),
        };
        ReadOnlyMemory<byte>? Find(string name) => files.TryGetValue(name, out ReadOnlyMemory<byte> file)
            ? file : (ReadOnlyMemory<byte>?)null;
        Assert.Equal(16_000, AudioPreprocessing.TryLoad(Find)!.SampleRateHz);
        files.Remove("processor_config.json");
        Assert.Equal(8000, AudioPreprocessing.TryLoad(Find)!.SampleRateHz);
        Assert.Null(AudioPreprocessing.TryLoad(_ => null));
    }

    [Fact]
    public void Sounds_that_are_too_short_or_too_loud_and_limits_that_make_no_sense_are_refused()
    {
        AudioPreprocessing p = AudioPreprocessing.FromSamples() with { MinSamples = 400 };
        Assert.Contains("at least 400 samples at 16000 Hz, but has 399",
            Assert.Throws<ArgumentException>(() => p.Apply(Sound(399))).Message);
        Waveform loud = new([.. Sound(800).Samples.ToArray().Select(v => v * 1e30f)], 16_000);
        Assert.Contains("louder", Assert.Throws<ArgumentException>(() => p.Apply(loud)).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => p with { MaxSamples = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() => p with { MinSamples = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() =>
            AudioPreprocessing.FromSpectrogram(SpectrogramPreprocessing.Ast()) with { MaxSamples = 1 });
        Assert.Throws<ArgumentOutOfRangeException>(() => AudioPreprocessing.FromSamples(0));
    }
}
