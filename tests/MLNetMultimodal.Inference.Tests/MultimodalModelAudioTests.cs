using System.Text;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Models.Blocks;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Inference.Tests;

public sealed class MultimodalModelAudioTests
{
    /// <summary>Other batch sizes block sums differently; values are at most 1.</summary>
    const float Rounding = 1e-6f;

    static readonly SpectrogramPreprocessing AstSpectrogram =
        SpectrogramPreprocessing.Ast(64) with { LogMel = LogMelConfig.Kaldi(8000, 64) };

    static readonly SpectrogramPreprocessing WhisperSpectrogram = SpectrogramPreprocessing.Whisper() with { Frames = 100 };

    static readonly AstModel Ast = new(AstConfig.Tiny);

    static readonly WhisperEncoderModel Whisper = new(new()
    {
        Tokens = 50,
        Blocks = new(1, 32, 64, 2, Activation.Gelu) { Names = BlockNames.Whisper, KeyBias = false },
    });

    static readonly Data2VecAudioModel Data2Vec = new(new()
    {
        ConvChannels = [16, 16],
        ConvKernels = [10, 4],
        ConvStrides = [5, 4],
        PositionLayers = 2,
        PositionKernel = 3,
        PositionGroups = 2,
        Blocks = new(1, 32, 64, 2, Activation.Gelu) { Names = BlockNames.Wav2Vec2, PostNorm = true },
    });

    static MultimodalModel Load(IModelDefinition model, string preprocessor)
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Tiny.Files(model);
        files["preprocessor_config.json"] = Encoding.UTF8.GetBytes(preprocessor);
        return Tiny.Load(files);
    }

    static MultimodalModel Load(string family) => family switch
    {
        "ast" => Load(Ast, AstSpectrogram.ToJson()),
        "whisper" => Load(Whisper, WhisperSpectrogram.ToJson()),
        _ => Load(Data2Vec, AudioPreprocessing.FromSamples(8000).ToJson()),
    };

    static Waveform Sound(int seed, int samples, int rate = 8000)
    {
        var random = new Random(seed);
        float hz = 200 + 50 * seed;
        float Sample(int i) => 0.5f * MathF.Sin(i * hz * MathF.Tau / rate) + 0.02f * random.NextSingle();
        return new([.. Enumerable.Range(0, samples).Select(Sample)], rate);
    }

    [Theory, InlineData("ast"), InlineData("whisper"), InlineData("data2vec")]
    public void Sounds_in_a_batch_get_what_each_would_get_alone_from_memory_and_from_files(string family)
    {
        using var folder = new TemporaryFolder();
        using MultimodalModel model = Load(family);
        Waveform[] sounds = [.. Enumerable.Range(0, 11).Select(i => Sound(i, 3000 + i % 3 * 700, i % 2 == 0 ? 8000 : 16_000))];
        float[][] together = model.EmbedAudio(sounds);
        string[] paths = [.. sounds.Select((sound, i) =>
        {
            string path = folder.File($"{i}.wav");
            WavWriter.Save(sound, path, WavEncoding.Float32);
            return path;
        })];
        float[][] files = model.EmbedAudio(paths);
        for (int i = 0; i < sounds.Length; i++)
        {
            Difference.Small(together[i], model.EmbedAudio([sounds[i]])[0], Rounding);
            Difference.Small(together[i], files[i], Rounding);
            Assert.Equal(1, Math.Sqrt(together[i].Sum(v => (double)v * v)), 1e-5);
        }
        Assert.Equal([Modality.Audio], model.Modalities);
        float apart = Difference.Max(together[0], together[1]);
        Assert.True(apart > 10 * Rounding, $"max |one sound - another| = {apart:g3}");
    }

    [Theory, InlineData("ast"), InlineData("whisper"), InlineData("data2vec")]
    public void Embeddings_are_the_whole_model_s_output_for_the_preprocessed_values(string family)
    {
        using MultimodalModel model = Load(family);
        Waveform sound = Sound(3, 4000, model.Sounds.SampleRateHz);
        long[] shape = [1, .. model.Sounds.Shape(sound.Length).Select(d => (long)d)];
        var outputs = model.Run(new Dictionary<string, TensorData>
        {
            [model.Definition.Full.Inputs[0].Name] = TensorData.From(model.Sounds.Apply(sound), shape),
        });
        Difference.Small(outputs["audio_embeds"].ToSingles(), model.EmbedAudio([sound])[0], Rounding);
    }

    [Fact]
    public void A_long_sound_is_heard_from_its_beginning_and_its_rest_is_not()
    {
        using MultimodalModel model = Load("ast");
        Waveform longer = Sound(1, 20_000);
        Difference.Small(model.EmbedAudio([longer])[0],
            model.EmbedAudio([longer.Slice(0, model.Sounds.MaxSamples)])[0], Rounding);
    }

    [Fact]
    public void A_sound_too_short_for_one_token_is_an_error_that_names_the_file_and_the_length()
    {
        using var folder = new TemporaryFolder();
        using MultimodalModel model = Load("data2vec");
        Assert.Equal(25, model.Sounds.MinSamples);
        model.EmbedAudio([Sound(1, 25)]);
        string path = folder.File("short.wav");
        WavWriter.Save(Sound(1, 24), path);
        string message = Assert.Throws<InvalidDataException>(() => model.EmbedAudio([path])).Message;
        Assert.Contains(path, message);
        Assert.Contains("at least 25 samples at 8000 Hz, but has 24", message);
    }

    [Fact]
    public void A_missing_file_is_named_and_a_cancelled_run_ends()
    {
        using MultimodalModel model = Load("ast");
        Assert.Contains("nowhere.wav", Assert.Throws<FileNotFoundException>(() => model.EmbedAudio(["nowhere.wav"])).Message);
        Assert.ThrowsAny<OperationCanceledException>(() =>
            model.EmbedAudio([Sound(1, 4000)], new CancellationToken(canceled: true)));
        Assert.Empty(model.EmbedAudio(Array.Empty<Waveform>()));
    }

    [Fact]
    public void Preprocessing_that_does_not_fit_the_model_or_is_not_there_is_refused()
    {
        using MultimodalModel other = Load(Ast, SpectrogramPreprocessing.Ast(128).ToJson());
        Assert.Contains("makes [128, 128] of a sound, but config.json wants [64, 64]",
            Assert.Throws<InvalidDataException>(() => other.Sounds).Message);
        using MultimodalModel samples = Load(Ast, AudioPreprocessing.FromSamples().ToJson());
        Assert.Contains("of a sound", Assert.Throws<InvalidDataException>(() => samples.Sounds).Message);

        Dictionary<string, ReadOnlyMemory<byte>> files = Tiny.Files(Ast);
        files.Remove("preprocessor_config.json");
        using MultimodalModel none = Tiny.Load(files);
        Assert.Contains("preprocessor_config.json",
            Assert.Throws<FileNotFoundException>(() => none.EmbedAudio([Sound(1, 4000)])).Message);
    }

    [Fact]
    public void A_model_without_ears_and_values_of_unequal_length_are_refused()
    {
        using MultimodalModel clip = Tiny.Load(), ast = Load("ast");
        Assert.Contains("no Audio encoder; it has Image, Text",
            Assert.Throws<NotSupportedException>(() => clip.EmbedAudio([Sound(1, 4000)])).Message);
        Assert.Throws<NotSupportedException>(() => clip.Sounds);
        Assert.Contains("not 2 sounds of one length",
            Assert.Throws<ArgumentException>(() => ast.EmbedAudioValues(new float[3], 2, new float[2 * 64])).Message);
    }
}
