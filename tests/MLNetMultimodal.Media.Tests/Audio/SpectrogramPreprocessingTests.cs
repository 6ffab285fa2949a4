using System.Text;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

public sealed class SpectrogramPreprocessingTests
{
    public static TheoryData<string> Names() => AudioGolden.Names();

    static float[] Apply(SpectrogramPreprocessing preprocessing, Waveform sound)
    {
        float[] result = new float[preprocessing.Frames * preprocessing.LogMel.MelBins];
        preprocessing.Apply(sound, result);
        return result;
    }

    [Fact]
    public void Clip_equals_ImageBind_s_golden()
    {
        string[] names = [.. AudioGolden.Sounds.Where(name => AudioGolden.Case.Has($"out.{name}.imagebind"))];
        Assert.NotEmpty(names);
        foreach (string name in names)
        {
            float[] got = Apply(SpectrogramPreprocessing.ImageBind(), AudioGolden.At16000(name));
            double max = Difference.Max(got, AudioGolden.Case.Floats($"out.{name}.imagebind"));
            Assert.True(max <= AudioGolden.Tolerance("imagebind"), $"max |got - expected| = {max:g3} for {name}");
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void Thirty_seconds_equal_Whisper_s_golden(string name)
    {
        SpectrogramPreprocessing whisper = SpectrogramPreprocessing.Whisper();
        Assert.Equal(480_000, whisper.MaxSamples);
        float[] got = Apply(whisper, AudioGolden.At16000(name)); // [80, 3000]
        float[] head = AudioGolden.Case.Floats($"out.{name}.whisper_30s.head"); // [80, some]
        float fill = AudioGolden.Case.Floats($"out.{name}.whisper_30s.fill")[0];
        int frames = head.Length / 80;
        float[] expected = new float[80 * 3000];
        for (int f = 0; f < 80; f++)
        {
            expected.AsSpan(f * 3000, 3000).Fill(fill);
            head.AsSpan(f * frames, frames).CopyTo(expected.AsSpan(f * 3000));
        }
        double max = Difference.Max(got, expected);
        Assert.True(max <= AudioGolden.Tolerance("whisper"), $"max |got - expected| = {max:g3}");
    }

    // The filter bank itself equals its golden; here it is filled up with zeros and then normalised.
    [Theory, MemberData(nameof(Names))]
    public void Clip_of_Ast_is_the_filter_bank_filled_up_and_normalised(string name)
    {
        SpectrogramPreprocessing ast = SpectrogramPreprocessing.Ast();
        float[] got = Apply(ast, AudioGolden.At16000(name)), bank = AudioGolden.Case.Floats($"out.{name}.fbank");
        float[] expected = [.. Enumerable.Range(0,
            got.Length).Select(i => ((i < bank.Length ? bank[i] : 0) + 4.2677393f) / (2 * 4.5689974f))];
        double max = Difference.Max(got, expected);
        Assert.True(max <= AudioGolden.Tolerance("fbank") / ast.Std, $"max |got - expected| = {max:g3}");
    }

    [Fact]
    public void Short_sound_is_repeated_whole_times_for_Clap()
    {
        SpectrogramPreprocessing clap = SpectrogramPreprocessing.Clap();
        Assert.Equal(480_000, clap.MaxSamples);
        float[] sound = WavFiles.Noise(130_000, seed: 2);
        float[] filled = [.. sound, .. sound, .. sound, .. new float[90_000]];
        Assert.Equal(new LogMelSpectrogram(clap.LogMel).Compute(filled), Apply(clap, new(sound, 48_000)));
    }

    [Fact]
    public void Of_a_long_sound_only_the_beginning_counts()
    {
        foreach (SpectrogramPreprocessing p in new[] { SpectrogramPreprocessing.Ast(128),
            SpectrogramPreprocessing.Whisper() with { Frames = 100 },
            SpectrogramPreprocessing.Clap() with { Frames = 51 } })
        {
            float[] sound = WavFiles.Noise(p.MaxSamples + 5000, seed: 4);
            Assert.Equal(Apply(p, new(sound[..p.MaxSamples], p.LogMel.SampleRateHz)),
                Apply(p, new(sound, p.LogMel.SampleRateHz)));
        }
    }

    [Fact]
    public void Published_files_give_the_presets()
    {
        Assert.Equal(SpectrogramPreprocessing.Ast(), Read("""
            {"do_normalize": true, "feature_extractor_type": "ASTFeatureExtractor", "feature_size": 1, "max_length": 1024,
                "mean": -4.2677393,
            "num_mel_bins": 128, "padding_side": "right", "padding_value": 0.0, "return_attention_mask": false,
                "sampling_rate": 16000,
            "std": 4.5689974}
            """));
        Assert.Equal(SpectrogramPreprocessing.Whisper(128), Read("""
            {"chunk_length": 30, "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 128, "hop_length": 160,
            "mel_filters": [[0.0]], "n_fft": 400, "n_samples": 480000, "nb_max_frames": 3000, "padding_side": "right",
                "padding_value": 0.0,
            "processor_class": "WhisperProcessor", "return_attention_mask": false, "sampling_rate": 16000}
            """));
        Assert.Equal(SpectrogramPreprocessing.Clap(), Read("""
            {"chunk_length_s": 10, "feature_extractor_type": "ClapFeatureExtractor", "feature_size": 64, "fft_window_size": 1024,
            "frequency_max": 14000, "frequency_min": 50, "hop_length": 480, "max_length_s": 10, "n_fft": 1024,
                "nb_frequency_bins": 513,
            "nb_max_frames": 1000, "nb_max_samples": 480000, "padding": "repeatpad", "padding_side": "right",
                "padding_value": 0.0,
            "processor_class": "ClapProcessor", "return_attention_mask": false, "sampling_rate": 48000, "top_db": null,
            "truncation": "rand_trunc"}
            """));
    }

    [Fact]
    public void What_a_file_leaves_out_is_as_its_class_has_it()
    {
        Assert.Equal(SpectrogramPreprocessing.Ast(), Read("""{"feature_extractor_type": "ASTFeatureExtractor"}"""));
        Assert.Equal(SpectrogramPreprocessing.Whisper(),
            Read("""{"feature_extractor": {"feature_extractor_type": "WhisperFeatureExtractor"}}"""));
        SpectrogramPreprocessing speech =
            Read("""{"feature_extractor_type": "ASTFeatureExtractor", "max_length": 128, "do_normalize": false}""");
        Assert.Equal((128, 0f, 1f), (speech.Frames, speech.Mean, speech.Std));
    }

    [Theory]
    [InlineData("feature_extractor_type 'EncodecFeatureExtractor'", """{"feature_extractor_type": "EncodecFeatureExtractor"}""")]
    [InlineData("no feature_extractor_type", """{"image_processor_type": "CLIPImageProcessor"}""")]
    [InlineData("truncation 'fusion'", """{"feature_extractor_type": "ClapFeatureExtractor"}""")]
    [InlineData("top_db", """{"feature_extractor_type": "ClapFeatureExtractor", "truncation": "rand_trunc", "top_db": 80}""")]
    [InlineData("dither 0.1", """{"feature_extractor_type": "WhisperFeatureExtractor", "dither": 0.1}""")]
    [InlineData("FftSamples", """{"feature_extractor_type": "WhisperFeatureExtractor", "n_fft": 2000000000}""")]
    [InlineData("Frames", """{"feature_extractor_type": "ASTFeatureExtractor", "max_length": 2000000000}""")]
    [InlineData("sampling_rate", """{"feature_extractor_type": "ASTFeatureExtractor", "sampling_rate": -1}""")]
    [InlineData("hop_length", """{"feature_extractor_type": "WhisperFeatureExtractor", "hop_length": 161}""")]
    [InlineData("an input of 160000000 samples", """{"feature_extractor_type": "WhisperFeatureExtractor", "chunk_length": 10000}""")]
    [InlineData("mean", """{"feature_extractor_type": "ASTFeatureExtractor", "mean": "x"}""")]
    [InlineData("padding_side", """{"feature_extractor_type": "ASTFeatureExtractor", "padding_side": "left"}""")]
    [InlineData("Array", "[]")]
    [InlineData("invalid", "{nonsense")]
    public void File_that_asks_for_something_else_is_refused_by_name(string reason, string json)
    {
        string message = Assert.Throws<InvalidDataException>(() => Read(json)).Message;
        Assert.Contains("preprocessor_config.json", message, StringComparison.Ordinal);
        Assert.Contains(reason, message, StringComparison.Ordinal);
    }

    [Fact]
    public void Written_file_is_read_as_the_same_again()
    {
        foreach (SpectrogramPreprocessing p in new[]
        {
            SpectrogramPreprocessing.Ast(128) with { LogMel = LogMelConfig.Kaldi(8000, 64), Mean = -3.1f, Std = 1.3f },
            SpectrogramPreprocessing.Whisper(128), SpectrogramPreprocessing.Whisper() with { Frames = 200 },
            SpectrogramPreprocessing.Clap(), SpectrogramPreprocessing.Clap() with { Padding = SpectrogramPadding.Silence, Frames = 501 },
        })
            Assert.Equal(p, Read(p.ToJson()));
        Assert.Contains("\"feature_extractor_type\": \"WhisperFeatureExtractor\"", SpectrogramPreprocessing.Whisper().ToJson(),
            StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => SpectrogramPreprocessing.ImageBind().ToJson());
        Assert.Throws<InvalidOperationException>(() => (SpectrogramPreprocessing.Whisper() with { Frames = 2999 }).ToJson());
        SpectrogramPreprocessing mixed = SpectrogramPreprocessing.Ast() with { LogMel = LogMelConfig.Whisper() };
        Assert.Throws<InvalidOperationException>(() => mixed.ToJson());
    }

    [Fact]
    public void Files_of_a_model_are_looked_through_in_order()
    {
        var files = new Dictionary<string, string>
        {
            ["preprocessor_config.json"] = """{"feature_extractor_type": "ASTFeatureExtractor"}""",
        };
        Assert.Equal(SpectrogramPreprocessing.Ast(), Load());
        files["processor_config.json"] = """{"processor_class": "WhisperProcessor"}""";
        Assert.Equal(SpectrogramPreprocessing.Ast(), Load());
        files["processor_config.json"] = """{"feature_extractor": {"feature_extractor_type": "WhisperFeatureExtractor"}}""";
        Assert.Equal(SpectrogramPreprocessing.Whisper(), Load());
        files.Clear();
        Assert.Null(Load());

        SpectrogramPreprocessing? Load() => SpectrogramPreprocessing.TryLoad(name =>
            files.TryGetValue(name, out string? text) ? (ReadOnlyMemory<byte>?)Encoding.UTF8.GetBytes(text) : null);
    }

    [Fact]
    public void Wrong_rate_short_destination_and_noise_beyond_numbers_are_refused()
    {
        SpectrogramPreprocessing whisper = SpectrogramPreprocessing.Whisper();
        Assert.Contains("16000", Assert.Throws<ArgumentException>(() => Apply(whisper, new([1f], 8000))).Message,
            StringComparison.Ordinal);
        Assert.Contains("[3000, 80]", Assert.Throws<ArgumentException>(() =>
            whisper.Apply(new([1f], 16_000), new float[5])).Message,
            StringComparison.Ordinal);
        Assert.Contains("louder", Assert.Throws<ArgumentException>(() => Apply(whisper, new([1e30f, -1e30f], 16_000))).Message,
            StringComparison.Ordinal);
        Assert.Contains("sample 1 is NaN", Assert.Throws<ArgumentException>(() => new Waveform([0, float.NaN], 16_000)).Message,
            StringComparison.Ordinal);
    }

    static SpectrogramPreprocessing Read(string json) => SpectrogramPreprocessing.FromJson(Encoding.UTF8.GetBytes(json));
}
