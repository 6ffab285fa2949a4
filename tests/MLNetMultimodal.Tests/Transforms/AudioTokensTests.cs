using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class AudioTokensTests(TinySound tiny) : IClassFixture<TinySound>
{
    const float Kbps = 0.6f; // 4 codebooks of 64 codes at 25 frames a second

    readonly MLContext _ml = new(1);

    IDataView Data => _ml.Data.LoadFromEnumerable(tiny.Rows);

    static AudioCodec Codec(EncodecConfig? config = null) =>
        AudioCodec.Load(ModelFiles.FromMemory("codec", TinySound.Files(new EncodecModel(config ?? EncodecConfig.Tiny))), new() { Threads = 1 });

    [Fact]
    public void Codes_are_the_codec_s_frame_after_frame_and_decode_to_what_the_codec_decodes()
    {
        using AudioCodec codec = Codec();
        using CodecTransformer tokens = _ml.Transforms.AudioTokens(new() { LoadedCodec = codec, Audio = "Path", Kbps = Kbps }).Fit(Data);
        IDataView coded = tokens.Transform(Data);
        using CodecTransformer back = _ml.Transforms.DecodeAudio(new() { LoadedCodec = codec, Codes = "Codes" }).Fit(coded);
        uint[][] keys = [.. coded.GetColumn<uint[]>("Codes")];
        float[][] decoded = [.. back.Transform(coded).GetColumn<float[]>("Decoded")];
        for (int row = 0; row < tiny.Rows.Length; row++)
        {
            CodedSound expected = codec.Encode(tiny.Rows[row].Samples, Kbps);
            int frames = expected.Segments[0].Codes.Length / 4;
            Assert.Equal(4, expected.Codebooks);
            Assert.Equal((tiny.Rows[row].Samples.Length + 319) / 320, frames);
            Assert.Equal(Enumerable.Range(0, frames).SelectMany(t => Enumerable.Range(0, 4)
                .Select(k => (uint)expected.Segments[0].Codes[k * frames + t] + 1)), keys[row]);
            Tolerance.Equal([codec.Decode(expected with { Samples = 320 * frames })], [decoded[row]], 0);
        }
        Assert.True(keys.SelectMany(k => k).Distinct().Count() > 8, "the codes say nothing");
    }

    [Fact]
    public void Fixed_samples_give_vectors_of_one_size_and_the_schema_is_as_promised()
    {
        using AudioCodec codec = Codec();
        var estimator = _ml.Transforms.AudioTokens(new() { LoadedCodec = codec, Audio = "Path", Kbps = Kbps, FixedSamples = 3000 })
            .Append(_ml.Transforms.DecodeAudio(new() { LoadedCodec = codec, Codes = "Codes" }));
        IDataView view = estimator.Fit(Data).Transform(Data);
        var type = (VectorDataViewType)view.Schema["Codes"].Type;
        Assert.Equal(4 * 10, type.Size);
        Assert.Equal(64ul, ((KeyDataViewType)type.ItemType).Count);
        Assert.Equal((8000, 4), (SchemaChecks.Annotation(view.Schema["Codes"], "SampleRateHz"), SchemaChecks.Annotation(view.Schema["Codes"], "Codebooks")));
        Assert.Equal(8000, SchemaChecks.Annotation(view.Schema["Decoded"], "SampleRateHz"));
        Assert.All(view.GetColumn<uint[]>("Codes"), row => Assert.True(row.Length == 40 && row.All(k => k is >= 1 and <= 64)));
        MultimodalEmbedTests.AssertCompatible(estimator.GetOutputSchema(MlNet.ShapeOf(Data.Schema)), MlNet.ShapeOf(view.Schema));
    }

    [Fact]
    public void A_saved_chain_gives_the_same_codes_and_sounds_after_loading()
    {
        string folder = Path.Combine(tiny.Root, "codec"), zip = Path.Combine(tiny.Root, "codec.zip");
        Directory.CreateDirectory(folder);
        foreach (var (name, content) in TinySound.Files(new EncodecModel(EncodecConfig.Tiny)))
            File.WriteAllBytes(Path.Combine(folder, name), content.ToArray());
        ITransformer fitted = _ml.Transforms.AudioTokens(new() { Model = folder, Audio = "Path", Kbps = Kbps, Threads = 1 })
            .Append(_ml.Transforms.DecodeAudio(new() { Model = folder, Codes = "Codes", Threads = 1 })).Fit(Data);
        _ml.Model.Save(fitted, Data.Schema, zip);
        IDataView expected = fitted.Transform(Data);
        ITransformer loaded = new MLContext().Model.Load(zip, out _);
        IDataView got = loaded.Transform(Data);
        Assert.Equal(expected.GetColumn<uint[]>("Codes"), got.GetColumn<uint[]>("Codes"));
        Tolerance.Equal([.. expected.GetColumn<float[]>("Decoded")], [.. got.GetColumn<float[]>("Decoded")], 0);
        (loaded as IDisposable)?.Dispose();
        (fitted as IDisposable)?.Dispose();
    }

    [Fact]
    public void PredictionEngine_agrees_with_the_pass()
    {
        using AudioCodec codec = Codec();
        ITransformer fitted = _ml.Transforms.AudioTokens(new() { LoadedCodec = codec, Audio = "Path", Kbps = Kbps, FixedSamples = 3000 })
            .Append(_ml.Transforms.DecodeAudio(new() { LoadedCodec = codec, Codes = "Codes" })).Fit(Data);
        IDataView coded = fitted.Transform(Data);
        uint[][] keys = [.. coded.GetColumn<uint[]>("Codes")];
        float[][] decoded = [.. coded.GetColumn<float[]>("Decoded")];
        var codes = SchemaDefinition.Create(typeof(CodedRow));
        codes["Codes"].ColumnType = coded.Schema["Codes"].Type;
        using var engine = _ml.Model.CreatePredictionEngine<SoundRow, CodedRow>(fitted, outputSchemaDefinition: codes);
        foreach (int row in (int[])[3, 0, tiny.Rows.Length - 1])
        {
            CodedRow one = engine.Predict(tiny.Rows[row]);
            Assert.Equal(keys[row], one.Codes);
            Tolerance.Equal([decoded[row]], [one.Decoded], 0);
        }
    }

    sealed class CodedRow
    {
        public uint[] Codes { get; set; } = [];

        public float[] Decoded { get; set; } = [];
    }

    [Fact]
    public void What_cannot_be_read_is_named_or_missing()
    {
        using AudioCodec codec = Codec();
        IDataView data = _ml.Data.LoadFromEnumerable([tiny.Rows[0], new SoundRow { Path = "nowhere.wav" }]);
        AudioTokensOptions options = new() { LoadedCodec = codec, Audio = "Path", Kbps = Kbps };
        uint[][] Codes(AudioTokensOptions o) => [.. _ml.Transforms.AudioTokens(o).Fit(data).Transform(data).GetColumn<uint[]>("Codes")];
        Assert.Contains("nowhere.wav", Assert.Throws<InvalidDataException>(() => Codes(options)).Message);
        Assert.Empty(Codes(options with { OnError = OnError.Missing })[1]);
        Assert.All(Codes(options with { OnError = OnError.Missing, FixedSamples = 400 })[1], key => Assert.Equal(0u, key));
        IDataView missing = _ml.Transforms.AudioTokens(options with { OnError = OnError.Missing, FixedSamples = 400 }).Fit(data).Transform(data);
        IDataView decoded = _ml.Transforms.DecodeAudio(new() { LoadedCodec = codec, Codes = "Codes" }).Fit(missing).Transform(missing);
        Assert.Contains("row 1, column 'Codes': the codes cannot be read: a code is missing",
            Assert.Throws<InvalidDataException>(() => decoded.GetColumn<float[]>("Decoded").ToArray()).Message);
    }

    [Fact]
    public void Codecs_columns_and_rates_that_do_not_fit_are_refused()
    {
        using AudioCodec codec = Codec(), stereo = Codec(EncodecConfig.Tiny with { Channels = 2 });
        AudioTokensOptions options = new() { LoadedCodec = codec, Audio = "Path" };
        Assert.Contains("2 channels",
            Assert.Throws<NotSupportedException>(() => _ml.Transforms.AudioTokens(options with { LoadedCodec = stereo }).Fit(Data)).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => _ml.Transforms.AudioTokens(options with { Kbps = 0.01f }).Fit(Data));
        Assert.Throws<ArgumentOutOfRangeException>(() => options with { FixedSamples = 0 });
        Assert.Contains("LoadedCodec",
            Assert.Throws<ArgumentException>(() => _ml.Transforms.AudioTokens(options with { LoadedCodec = null })).Message);
        DecodeAudioOptions back = new() { LoadedCodec = codec, Codes = "Path" };
        Assert.Contains("'Path' must hold codes", Assert.Throws<ArgumentException>(() => _ml.Transforms.DecodeAudio(back).Fit(Data)).Message);
    }
}
