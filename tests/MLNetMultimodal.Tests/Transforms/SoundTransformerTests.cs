using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class SoundTransformerTests(TinySound tiny) : IClassFixture<TinySound>
{
    const float Rounding = 1e-6f; // samples are read in blocks, or all at once

    readonly MLContext _ml = new(1);

    IDataView Data => _ml.Data.LoadFromEnumerable(tiny.Rows);

    static float[][] Values(IDataView view, string column) => [.. view.GetColumn<float[]>(column)];

    float[][] Load(LoadAudioOptions options, IDataView? data = null) =>
        Values(_ml.Transforms.LoadAudio(options).Fit(data ?? Data).Transform(data ?? Data), options.Output);

    [Theory, InlineData(8000), InlineData(16_000)]
    public void Samples_are_those_of_the_decoder_at_the_wanted_rate(int rate)
    {
        float[][] expected = [.. tiny.Rows.Select(r => AudioDecoder.Default.Decode(r.Path, rate, 1).Samples.ToArray())];
        LoadAudioOptions options = new() { Audio = "Path", SampleRateHz = rate };
        Tolerance.Equal(expected, Load(options), Rounding);
        Tolerance.Equal(expected, Load(options with { Audio = "Bytes" }), Rounding);
        Tolerance.Equal(expected, Load(options with { Audio = "Name", AudioFolder = tiny.Root }), Rounding);
        Tolerance.Equal(expected, Load(options with { Audio = "Samples", AudioSampleRateHz = 8000, Output = "Heard" }), Rounding);
    }

    [Fact]
    public void Fixed_samples_are_cut_or_filled_up_with_silence()
    {
        LoadAudioOptions options = new() { Audio = "Path", SampleRateHz = 8000, FixedSamples = 3000 };
        IDataView view = _ml.Transforms.LoadAudio(options).Fit(Data).Transform(Data);
        Assert.Equal(3000, ((VectorDataViewType)view.Schema["Samples"].Type).Size);
        float[] Fitted(float[] samples) => [.. samples.Take(3000), .. new float[Math.Max(0, 3000 - samples.Length)]];
        float[][] expected = [.. tiny.Rows.Select(r => Fitted(r.Samples))];
        Tolerance.Equal(expected, Values(view, "Samples"), 0);
        Assert.Throws<ArgumentOutOfRangeException>(() => options with { FixedSamples = 0 });
        Assert.Throws<ArgumentOutOfRangeException>(() => options with { SampleRateHz = 0 });
    }

    [Fact]
    public void Columns_carry_rate_and_hop_and_the_promised_schema_is_kept()
    {
        var estimator = _ml.Transforms.LoadAudio(new() { Audio = "Path", SampleRateHz = 8000 })
            .Append(_ml.Transforms.ExtractSpectrogram(new() { Audio = "Samples", Spectrogram = TinySound.Preprocessing }));
        DataViewSchema schema = estimator.Fit(Data).Transform(Data).Schema;
        Assert.False(((VectorDataViewType)schema["Samples"].Type).IsKnownSize);
        Assert.Equal([64, 64], ((VectorDataViewType)schema["Spectrogram"].Type).Dimensions.ToArray());
        Assert.Equal(8000, SchemaChecks.Annotation(schema["Samples"], "SampleRateHz"));
        Assert.Equal(8000, SchemaChecks.Annotation(schema["Spectrogram"], "SampleRateHz"));
        Assert.Equal(TinySound.Preprocessing.LogMel.HopSamples, SchemaChecks.Annotation(schema["Spectrogram"], "HopSamples"));
        MultimodalEmbedTests.AssertCompatible(estimator.GetOutputSchema(MlNet.ShapeOf(Data.Schema)), MlNet.ShapeOf(schema));
    }

    [Fact]
    public void Spectrograms_of_paths_and_of_loaded_samples_are_those_of_the_front_end()
    {
        float[][] expected = [.. tiny.Rows.Select(r =>
        {
            var values = new float[64 * 64];
            TinySound.Preprocessing.Apply(new(r.Samples, 8000), values);
            return values;
        })];
        ExtractSpectrogramOptions options = new() { Audio = "Path", Spectrogram = TinySound.Preprocessing };
        Tolerance.Equal(expected, Values(_ml.Transforms.ExtractSpectrogram(options).Fit(Data).Transform(Data), "Spectrogram"));
        IDataView loaded = _ml.Transforms.LoadAudio(new() { Audio = "Path", SampleRateHz = 8000 }).Fit(Data).Transform(Data);
        options = options with { Audio = "Samples" };
        Tolerance.Equal(expected, Values(_ml.Transforms.ExtractSpectrogram(options).Fit(loaded).Transform(loaded), "Spectrogram"));
        float[][] embedded = Values(_ml.Transforms.MultimodalEmbed(new() { LoadedModel = tiny.Model, Audio = "Samples" })
            .Fit(loaded).Transform(loaded), "Embedding");
        Tolerance.Equal(tiny.Model.EmbedAudio([.. tiny.Rows.Select(r => r.Path)]), embedded);
    }

    [Fact]
    public void A_spectrogram_is_no_sound_and_other_columns_are_refused()
    {
        ExtractSpectrogramOptions options = new() { Audio = "Path", Spectrogram = TinySound.Preprocessing };
        IDataView view = _ml.Transforms.ExtractSpectrogram(options).Fit(Data).Transform(Data);
        Assert.Contains("such as a spectrogram",
            Assert.Throws<ArgumentException>(() => Load(new() { Audio = "Spectrogram" }, view)).Message);
        Assert.Contains("SampleRateHz", Assert.Throws<ArgumentException>(() => Load(new() { Audio = "Samples" })).Message);
        Assert.Contains("there is no column 'Nothing'", Assert.Throws<ArgumentException>(() => Load(new() { Audio = "Nothing" })).Message);
        Assert.Contains("'Number' must hold sounds", Assert.Throws<ArgumentException>(() => Load(new() { Audio = "Number" })).Message);
    }

    [Fact]
    public void What_cannot_be_read_is_named_or_missing()
    {
        SoundRow[] rows = [tiny.Rows[0], new() { Path = "nowhere.wav" }];
        IDataView data = _ml.Data.LoadFromEnumerable(rows);
        LoadAudioOptions options = new() { Audio = "Path", SampleRateHz = 8000 };
        string message = Assert.Throws<InvalidDataException>(() => Load(options, data)).Message;
        Assert.Contains("row 1, column 'Path': the sound 'nowhere.wav' cannot be read", message);
        options = options with { OnError = OnError.Missing };
        Tolerance.Equal([rows[0].Samples, []], Load(options, data), 0);
        Assert.All(Load(options with { FixedSamples = 5 }, data)[1], v => Assert.True(float.IsNaN(v)));
        ExtractSpectrogramOptions spectrogram =
            new() { Audio = "Path", Spectrogram = TinySound.Preprocessing, OnError = OnError.Missing };
        float[][] got = Values(_ml.Transforms.ExtractSpectrogram(spectrogram).Fit(data).Transform(data), "Spectrogram");
        Assert.All(got[0], v => Assert.True(float.IsFinite(v)));
        Assert.All(got[1], v => Assert.True(float.IsNaN(v)));
    }

    [Fact]
    public void A_saved_chain_gives_the_same_bits_after_loading()
    {
        string zip = Path.Combine(tiny.Root, "sounds.zip");
        ITransformer fitted = _ml.Transforms.LoadAudio(new() { Audio = "Path", SampleRateHz = 16_000, FixedSamples = 4000 })
            .Append(_ml.Transforms.ExtractSpectrogram(new() { Audio = "Samples", Spectrogram = TinySound.Preprocessing }))
            .Append(_ml.Transforms.ExtractSpectrogram(
                new() { Audio = "Samples", Output = "Clip", Spectrogram = SpectrogramPreprocessing.ImageBind(20) })).Fit(Data);
        _ml.Model.Save(fitted, Data.Schema, zip);
        ITransformer loaded = new MLContext().Model.Load(zip, out _);
        foreach (string column in (string[])["Samples", "Spectrogram", "Clip"])
            Tolerance.Equal(Values(fitted.Transform(Data), column), Values(loaded.Transform(Data), column), 0);
    }

    [Fact]
    public void Views_can_be_read_in_part_twice_and_one_row_at_a_time()
    {
        SoundTransformer fitted = _ml.Transforms.LoadAudio(new() { Audio = "Path", Output = "Embedding", SampleRateHz = 8000 }).Fit(Data);
        IDataView view = fitted.Transform(Data);
        float[][] all = [.. tiny.Rows.Select(r => r.Samples)];
        Tolerance.Equal(all[..3], Values(_ml.Data.TakeRows(view, 3), "Embedding"), 0);
        Tolerance.Equal(all, Values(view, "Embedding"), 0);
        using var engine = _ml.Model.CreatePredictionEngine<SoundRow, EmbeddingRow>(fitted);
        Tolerance.Equal(all, [.. tiny.Rows.Select(r => engine.Predict(r).Embedding.ToArray())], 0);
    }
}
