using System.Runtime.CompilerServices;
using System.Text.Json;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Training.Tests;

public sealed class AudioCodecTrainerTests : IDisposable
{
    readonly string _folder = Directory.CreateTempSubdirectory("codec-tests-").FullName;
    readonly MLContext _ml = new(1);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    string At(string path) => Path.Combine(_folder, path);

    CodecTransformer Fit(AudioCodecOptions options, IDataView? train = null, IDataView? validation = null) =>
        _ml.Multimodal.Trainers.AudioCodec(options).Fit(train ?? Tones.View(_ml, 8), validation);

    List<TrainingStep> Steps(AudioCodecOptions options, int? cancelAt = null, IDataView? validation = null)
    {
        var steps = new List<TrainingStep>();
        using var cancellation = new CancellationTokenSource();
        Fit(options with
        {
            Cancellation = cancellation.Token,
            Progress = new OnStep(s =>
            {
                steps.Add(s);
                if (s.Step == cancelAt) cancellation.Cancel();
            }),
        }, validation: validation).Dispose();
        return steps;
    }

    byte[] Weights(AudioCodecOptions options)
    {
        using CodecTransformer fitted = Fit(options with { Output = At("weights") });
        return File.ReadAllBytes(At("weights/model.safetensors"));
    }

    [Fact]
    public void Training_makes_held_out_sounds_come_back_better_than_a_short_training_does()
    {
        double Quality(int epochs)
        {
            using CodecTransformer fitted = Fit(Tones.Short with { Epochs = epochs }, Tones.View(_ml, 30));
            return Enumerable.Range(1000, 5).Average(i =>
            {
                float[] sound = Tones.Sound(i, 1600);
                return SoundQuality.SiSdr(sound, fitted.Codec.Decode(fitted.Codec.Encode(sound)));
            });
        }
        double once = Quality(1), often = Quality(40);
        Assert.True(often > once + 5 && often > 3, $"SI-SDR {once:f2} dB after one epoch, {often:f2} dB after 40");
    }

    [Fact]
    public void The_loss_falls_and_two_trainings_with_one_seed_are_equal()
    {
        AudioCodecOptions options = Tones.Short with { Epochs = 40 };
        List<TrainingStep> steps = Steps(options);
        double first = steps.Take(5).Average(s => s.Loss), last = steps.TakeLast(5).Average(s => s.Loss);
        Assert.True(last < first - 2, $"the loss was {first:f2} and is {last:f2}");
        Assert.Equal(steps.Select(s => s.Loss), Steps(options).Select(s => s.Loss));
        Assert.Equal(Weights(Tones.Short), Weights(Tones.Short));
        Assert.NotEqual(Weights(Tones.Short), Weights(Tones.Short with { Seed = 2 }));
    }

    [Theory, InlineData(1), InlineData(5), InlineData(11)]
    public void A_resumed_training_ends_with_the_weights_of_an_undisturbed_one(int cancelAt)
    {
        AudioCodecOptions options = Tones.Short with { UnquantizedShare = 0.2, BandwidthDropout = 0.5 }; // codebooks begin at step 4
        byte[] undisturbed = Weights(options);
        List<TrainingStep> all = Steps(options);
        AudioCodecOptions kept = options with { Checkpoints = At("checkpoints") };
        Assert.Equal(cancelAt, Steps(kept, cancelAt).Count);
        List<TrainingStep> rest = Steps(kept);
        Assert.Equal(all.Skip(cancelAt).Select(s => (s.Step, s.Loss, s.GradientNorm)), rest.Select(s => (s.Step, s.Loss, s.GradientNorm)));
        Assert.Equal(undisturbed, Weights(kept));
    }

    [Fact]
    public void Checkpoints_hold_the_codebooks_and_what_follows_them()
    {
        AudioCodecOptions options = Tones.Short with { Checkpoints = At("checkpoints"), Output = At("output") };
        Fit(options).Dispose();
        IReadOnlyDictionary<string, TensorData> state = new CheckpointStore(options.Checkpoints!).LoadLatest()!.TaskState;
        using Safetensors output = Safetensors.Open(At("output/model.safetensors"));
        Assert.Equal(3 * 4 + 1, state.Count);
        Assert.Equal(1, state["started"].ToSingles()[0]);
        foreach (int k in Enumerable.Range(0, 4))
        {
            string book = $"quantizer.layers.{k}.codebook.";
            foreach (string part in new[] { "embed", "embed_avg", "cluster_size" })
                Assert.Equal(state[book + part].Bytes.ToArray(), output[book + part].Bytes.ToArray());
            Assert.Equal(1, output[book + "inited"].ToSingles()[0]);
            Assert.True(state[book + "cluster_size"].ToSingles().Count(c => c > 0.01f) > 4, "almost no code is used");
        }
        var other = Assert.Throws<InvalidOperationException>(() => Fit(options with { CommitmentWeight = 2 }));
        Assert.Contains("CommitmentWeight", other.Message);
    }

    [Fact]
    public void Validation_keeps_the_best_weights_and_stops_in_time()
    {
        AudioCodecOptions options = Tones.Short with { Epochs = 30, LearningRate = 0.02, EmaDecay = 0, EarlyStoppingPatience = 3, Output = At("output") };
        List<TrainingStep> steps = Steps(options, validation: Tones.View(_ml, 3, first: 100));
        double[] validated = [.. steps.Where(s => s.ValidationMetric is not null).Select(s => s.ValidationMetric!.Value)];
        using var codec = AudioCodec.Load(At("output"));
        double kept = Enumerable.Range(100, 3).Average(i =>
        {
            float[] sound = Tones.Sound(i, 900 + 217 * (i % 4));
            return SoundQuality.SiSdr(sound, codec.Decode(codec.Encode(sound)));
        });
        Assert.Equal(validated.Max(), kept, 0.1); // ONNX Runtime's sums may move a frame to another code
        Assert.Contains(FormattableString.Invariant($"{validated.Max():0.00} dB"), File.ReadAllText(At("output/README.md")));
    }

    [Fact]
    public void The_folder_gives_the_same_codes_and_sounds_in_both_engines()
    {
        Fit(Tones.Short with { Output = At("output") }).Dispose();
        using var codec = AudioCodec.Load(At("output"));
        var definition = new EncodecModel(EncodecConfig.FromJson(JsonDocument.Parse(File.ReadAllText(At("output/config.json"))).RootElement));
        using Safetensors weights = Safetensors.Open(At("output/model.safetensors"));
        using TorchModel model = TorchModel.Load(definition.Full, weights);
        foreach (int i in Enumerable.Range(0, 6))
        {
            float[] sound = Tones.Sound(i, 1000 + 123 * i);
            IReadOnlyDictionary<string, TensorData> torch = model.Run(definition.Full,
                new Dictionary<string, TensorData> { ["waveform"] = TensorData.From(sound, 1, 1, sound.Length) });
            CodedSound coded = codec.Encode(sound);
            Assert.Equal(torch["codes"].ToInt64s(), coded.Segments[0].Codes);
            Difference.Check("sound", torch["reconstruction"].ToSingles(), codec.Decode(coded), atol: 1e-5);
        }
        Assert.Contains("\"sampling_rate\": 8000", File.ReadAllText(At("output/preprocessor_config.json")));
    }

    [Fact]
    public void The_transformer_gives_the_codes_that_AudioTokens_gives()
    {
        using CodecTransformer fitted = Fit(Tones.Short with { Codes = "Mine", Output = At("output") });
        IDataView data = Tones.View(_ml, 3);
        IDataView coded = fitted.Transform(data);
        using CodecTransformer tokens = _ml.Transforms.AudioTokens(new() { Audio = "Samples", AudioSampleRateHz = 8000, Model = At("output") }).Fit(data);
        Assert.Equal(tokens.Transform(data).GetColumn<uint[]>("Codes"), coded.GetColumn<uint[]>("Mine"));
        string Describe(SchemaShape.Column c) => $"{c.Name} {c.Kind} {c.ItemType} {c.IsKey} {string.Join(",", c.Annotations.Select(a => a.Name).Order())}";
        SchemaShape promised = _ml.Multimodal.Trainers.AudioCodec(Tones.Short with { Codes = "Mine" }).GetOutputSchema(ShapeOf(null, data.Schema));
        Assert.Equal(ShapeOf(null, coded.Schema).Select(Describe).Order(), promised.Select(Describe).Order());
    }

    [UnsafeAccessor(UnsafeAccessorKind.StaticMethod, Name = "Create")]
    static extern SchemaShape ShapeOf(SchemaShape? type, DataViewSchema schema);

    [Fact]
    public void A_codec_is_trained_further_and_keeps_its_size()
    {
        double before = Steps(Tones.Short with { Epochs = 30, Output = At("first") })[0].Loss;
        List<TrainingStep> from = Steps(Tones.Short with { Epochs = 1, Initialize = At("first"), Model = EncodecConfig.Tiny, Output = At("second") });
        Assert.True(from[0].Loss < before - 1, $"the first loss of the first training is {before:f2}, of the second {from[0].Loss:f2}");
        using var codec = AudioCodec.Load(At("second"));
        Assert.Equal(Tones.Config.CodebookSize, codec.Config.CodebookSize);
    }

    [Fact]
    public void Fewer_codebooks_make_a_sound_too()
    {
        using CodecTransformer fitted = Fit(Tones.Short with { Epochs = 40, BandwidthDropout = 1 }, Tones.View(_ml, 30));
        double few = 0, all = 0;
        foreach (int i in Enumerable.Range(1000, 5))
        {
            float[] sound = Tones.Sound(i, 1600);
            few += SoundQuality.SiSdr(sound, fitted.Codec.Decode(fitted.Codec.Encode(sound, 0.2f))) / 5;
            all += SoundQuality.SiSdr(sound, fitted.Codec.Decode(fitted.Codec.Encode(sound))) / 5;
        }
        Assert.True(few > 0 && all > few, $"SI-SDR {few:f2} dB with one codebook, {all:f2} dB with four");
    }

    [Fact]
    public void What_cannot_be_trained_on_is_named()
    {
        IDataView View(params float[][] sounds) => _ml.Data.LoadFromEnumerable(sounds.Select(s => new Tones.SamplesRow { Samples = s }));
        float[] sound = Tones.Sound(1, 1000), broken = [.. sound[..500], float.NaN, .. sound[500..]];
        Assert.Contains("row 1", Assert.Throws<InvalidDataException>(() => Fit(Tones.Short, View(sound, broken))).Message);
        Assert.Contains("row 1", Assert.Throws<InvalidDataException>(() => Fit(Tones.Short, View(sound, []))).Message);
        Assert.Contains("2 rows are silent", Assert.Throws<ArgumentException>(() => Fit(Tones.Short, View(new float[1000], new float[10]))).Message);
        Assert.Contains("SegmentSeconds", Assert.Throws<ArgumentException>(() => Fit(Tones.Short with { SpectralWindows = [1024] })).Message);
        Assert.Contains("2 channels", Assert.Throws<NotSupportedException>(() => Fit(Tones.Short with { Model = Tones.Config with { Channels = 2 } })).Message);
        Assert.Contains("EarlyStoppingPatience", Assert.Throws<ArgumentException>(() => Fit(Tones.Short with { EarlyStoppingPatience = 1 })).Message);
        Assert.Contains("'Nowhere'", Assert.Throws<ArgumentException>(() => Fit(Tones.Short with { Audio = "Nowhere" })).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => Tones.Short with { SegmentSeconds = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() => Tones.Short with { SdrWeight = -1 });
        Assert.Throws<ArgumentException>(() => Tones.Short with { SpectralWindows = [] });
    }

    [Fact]
    public void Sounds_shorter_than_a_segment_silent_ones_and_stereo_files_are_borne()
    {
        float[] left = Tones.Sound(1, 2000), right = Tones.Sound(2, 2000);
        WavWriter.Save(new Waveform([.. left, .. right], Tones.SampleRateHz, 2), At("stereo.wav"), WavEncoding.Float32);
        WavWriter.Save(new Waveform(new float[2000], Tones.SampleRateHz), At("silent.wav"));
        WavWriter.Save(new Waveform([0.1f, -0.1f, 0.1f], Tones.SampleRateHz), At("short.wav"));
        IDataView files = _ml.Data.LoadFromEnumerable(new[] { "stereo.wav", "silent.wav", "short.wav" }.Select(p => new PathRow { Path = p }));
        AudioCodecOptions options = Tones.Short with { Audio = "Path", AudioFolder = _folder, AudioSampleRateHz = null, Epochs = 2 };
        using CodecTransformer fitted = Fit(options, files);
        int[] lengths = [.. fitted.Transform(files).GetColumn<uint[]>("Codes").Select(c => c.Length)];
        Assert.Equal([4 * 13, 4 * 13, 4], lengths);
    }

    sealed class PathRow
    {
        public string Path { get; set; } = "";
    }
}
