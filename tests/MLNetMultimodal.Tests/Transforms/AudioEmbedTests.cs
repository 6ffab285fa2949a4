using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class AudioEmbedTests(TinySound tiny, TinyModel pictures) : IClassFixture<TinySound>, IClassFixture<TinyModel>
{
    readonly MLContext _ml = new(1);

    IDataView Data => _ml.Data.LoadFromEnumerable(tiny.Rows);

    float[][] Embed(MultimodalEmbedOptions options, IDataView? data = null)
    {
        data ??= Data;
        return [.. _ml.Transforms.MultimodalEmbed(options).Fit(data).Transform(data).GetColumn<float[]>(options.Output)];
    }

    [Fact]
    public void Paths_bytes_and_samples_are_embedded_as_the_model_embeds_the_files()
    {
        float[][] expected = tiny.Model.EmbedAudio([.. tiny.Rows.Select(r => r.Path)]);
        MultimodalEmbedOptions options = new() { LoadedModel = tiny.Model };
        Tolerance.Equal(expected, Embed(options with { Audio = "Path" }));
        Tolerance.Equal(expected, Embed(options with { Audio = "Name", AudioFolder = tiny.Root, BatchSize = 3 }));
        Tolerance.Equal(expected, Embed(options with { Audio = "Bytes" }));
        Tolerance.Equal(expected, Embed(options with { Audio = "Samples", AudioSampleRateHz = TinySound.SampleRateHz }));
        float apart = expected[0].Zip(expected[5], (a, b) => Math.Abs(a - b)).Max();
        Assert.True(apart > 10 * Tolerance.AcrossBatchSizes, $"max |one sound - another| = {apart:g3}");
    }

    [Fact]
    public void Samples_at_another_rate_are_resampled_and_without_a_rate_refused()
    {
        MultimodalEmbedOptions options = new() { LoadedModel = tiny.Model, Audio = "Samples" };
        float[][] expected = tiny.Model.EmbedAudio([.. tiny.Rows.Select(r => new Media.Audio.Waveform(r.Samples, 16_000))]);
        Tolerance.Equal(expected, Embed(options with { AudioSampleRateHz = 16_000 }));
        string message = Assert.Throws<ArgumentException>(() => Embed(options)).Message;
        Assert.Contains("'Samples'", message);
        Assert.Contains("AudioSampleRateHz", message);
        Assert.Throws<ArgumentOutOfRangeException>(() => options with { AudioSampleRateHz = 0 });
    }

    [Fact]
    public void Three_inputs_give_four_columns_and_each_equals_what_it_gives_alone()
    {
        using MultimodalModel model = TinySound.ThreeSenses();
        IDataView data = Pairs();
        MultimodalEmbedOptions options = new() { LoadedModel = model, Image = "ImagePath", Text = "Caption", Audio = "Sound" };
        IDataView view = _ml.Transforms.MultimodalEmbed(options).Fit(data).Transform(data);
        Assert.Equal(["Embedding", "ImageEmbedding", "TextEmbedding", "AudioEmbedding"],
            view.Schema.Skip(data.Schema.Count).Select(c => c.Name));
        float[][] image = [.. view.GetColumn<float[]>("ImageEmbedding")], text = [.. view.GetColumn<float[]>("TextEmbedding")],
            audio = [.. view.GetColumn<float[]>("AudioEmbedding")], all = [.. view.GetColumn<float[]>("Embedding")];
        Tolerance.Equal([.. image.Select((row, i) => row.Concat(text[i]).Concat(audio[i]).ToArray())], all);
        Tolerance.Equal(Embed(new() { LoadedModel = model, Image = "ImagePath" }, data), image);
        Tolerance.Equal(Embed(new() { LoadedModel = model, Text = "Caption" }, data), text);
        Tolerance.Equal(Embed(new() { LoadedModel = model, Audio = "Sound" }, data), audio);
        Tolerance.Equal([.. text.Zip(audio, (a, b) => a.Concat(b).ToArray())],
            Embed(new() { LoadedModel = model, Text = "Caption", Audio = "Sound" }, data));
    }

    [Fact]
    public void Mean_of_three_inputs_has_length_1_and_leaves_out_what_is_missing()
    {
        using MultimodalModel model = TinySound.ThreeSenses();
        PictureSound[] rows = PairRows();
        rows[1].Sound = "nowhere.wav";
        (rows[2].Sound, rows[2].ImagePath) = ("nowhere.wav", "nowhere.png");
        IDataView data = _ml.Data.LoadFromEnumerable(rows);
        MultimodalEmbedOptions options = new()
        {
            LoadedModel = model,
            Image = "ImagePath",
            Text = "Caption",
            Audio = "Sound",
            Combine = EmbeddingCombination.Mean,
            OnError = OnError.Missing,
        };
        float[][] mean = Embed(options, data), image = Embed(options with { Text = null, Audio = null }, data),
            text = Embed(options with { Image = null, Audio = null }, data),
            audio = Embed(options with { Image = null, Text = null }, data);
        Tolerance.Equal([Mean(image[0], text[0], audio[0]), Mean(image[1], text[1]), text[2]], mean[..3]);
        Assert.All(audio[1], v => Assert.True(float.IsNaN(v)));
    }

    [Fact]
    public void A_sound_that_cannot_be_read_is_named_or_missing_and_others_are_untouched()
    {
        string text = Path.Combine(tiny.Root, "text.wav");
        File.WriteAllText(text, "no sound");
        SoundRow[] rows = [tiny.Rows[0], new() { Path = text }, new() { Path = "nowhere.wav" }, new(), tiny.Rows[1]];
        IDataView data = _ml.Data.LoadFromEnumerable(rows);
        MultimodalEmbedOptions options = new() { LoadedModel = tiny.Model, Audio = "Path" };
        string message = Assert.Throws<InvalidDataException>(() => Embed(options, data)).Message;
        Assert.Contains("row 1, column 'Path': the sound", message);
        Assert.Contains("text.wav", message);
        Assert.Contains("column is empty",
            Assert.Throws<InvalidDataException>(() => Embed(options, _ml.Data.LoadFromEnumerable(rows[3..]))).Message);

        List<string> warnings = [];
        _ml.Log += (_, e) =>
        {
            if (e.Message.Contains("MultimodalEmbed", StringComparison.Ordinal)) lock (warnings) warnings.Add(e.Message);
        };
        float[][] got = Embed(options with { OnError = OnError.Missing }, data);
        Tolerance.Equal(tiny.Model.EmbedAudio([rows[0].Path, rows[4].Path]), [got[0], got[4]]);
        Assert.All(got[1..4].SelectMany(v => v), v => Assert.True(float.IsNaN(v)));
        Assert.Contains(warnings, w => w.Contains("3 items", StringComparison.Ordinal));
    }

    [Fact]
    public void Samples_that_are_not_finite_or_too_few_are_an_error_of_their_row()
    {
        SoundRow[] rows = [new() { Samples = [0, float.NaN, 0] }, new() { Samples = [1, 2] }, new() { Samples = [] }];
        MultimodalEmbedOptions options = new() { LoadedModel = tiny.Model, Audio = "Samples", AudioSampleRateHz = 8000 };
        string[] reasons = ["finite", "at least", "column is empty"];
        for (int i = 0; i < rows.Length; i++)
            Assert.Contains(reasons[i],
                Assert.Throws<InvalidDataException>(() => Embed(options, _ml.Data.LoadFromEnumerable(rows[i..(i + 1)]))).Message);
    }

    [Fact]
    public void Columns_and_models_that_do_not_fit_are_refused()
    {
        Assert.Contains("'Number' must hold sounds",
            Assert.Throws<ArgumentException>(() => Embed(new() { LoadedModel = tiny.Model, Audio = "Number" })).Message);
        Assert.Contains("there is no column 'Sounds'",
            Assert.Throws<ArgumentException>(() => Embed(new() { LoadedModel = tiny.Model, Audio = "Sounds" })).Message);
        Assert.Contains("no encoder for Audio",
            Assert.Throws<NotSupportedException>(() => Embed(new() { LoadedModel = pictures.Model, Audio = "Path" })).Message);
        Assert.Throws<ArgumentException>(() => _ml.Transforms.MultimodalEmbed(new() { LoadedModel = tiny.Model }));
    }

    [Fact]
    public void A_saved_model_embeds_sounds_with_the_same_bits_after_loading()
    {
        string zip = Path.Combine(tiny.Root, "audio.zip");
        using MultimodalTransformer fitted = _ml.Transforms
            .MultimodalEmbed(new() { Model = tiny.Folder, Audio = "Name", AudioFolder = tiny.Root, Threads = 1 }).Fit(Data);
        _ml.Model.Save(fitted, Data.Schema, zip);
        ITransformer loaded = new MLContext().Model.Load(zip, out _);
        Tolerance.Equal([.. fitted.Transform(Data).GetColumn<float[]>("Embedding")],
            [.. loaded.Transform(Data).GetColumn<float[]>("Embedding")], 0);
        (loaded as IDisposable)?.Dispose();
    }

    [Fact]
    public void One_sound_at_a_time_gives_the_same()
    {
        using MultimodalTransformer fitted =
            _ml.Transforms.MultimodalEmbed(new() { LoadedModel = tiny.Model, Audio = "Path" }).Fit(Data);
        using var engine = _ml.Model.CreatePredictionEngine<SoundRow, EmbeddingRow>(fitted);
        float[][] expected = Embed(new() { LoadedModel = tiny.Model, Audio = "Path" });
        Tolerance.Equal(expected, [.. tiny.Rows.Select(r => engine.Predict(r).Embedding.ToArray())]);
    }

    static float[] Mean(params float[][] rows)
    {
        float[] sum = [.. Enumerable.Range(0, rows[0].Length).Select(i => rows.Sum(r => r[i]))];
        float length = MathF.Sqrt(sum.Sum(v => v * v));
        return [.. sum.Select(v => v / length)];
    }

    PictureSound[] PairRows() => [.. tiny.Rows.Select((row, i) => new PictureSound
    {
        ImagePath = pictures.Rows[i].ImagePath,
        Caption = row.Caption,
        Sound = row.Path,
    })];

    IDataView Pairs() => _ml.Data.LoadFromEnumerable(PairRows());

    sealed class PictureSound
    {
        public string ImagePath { get; set; } = "";

        public string Caption { get; set; } = "";

        public string Sound { get; set; } = "";
    }
}
