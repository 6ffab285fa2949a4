using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class MultimodalEmbedTests(TinyModel tiny) : IClassFixture<TinyModel>
{
    readonly MLContext _ml = new(1);

    IDataView Data => _ml.Data.LoadFromEnumerable(tiny.Rows);

    [Fact]
    public void Pictures_are_embedded_as_the_model_embeds_them()
    {
        float[][] expected = tiny.Model.EmbedImages([.. tiny.Rows.Select(r => ImageDecoder.Decode(r.ImagePath))]);
        Tolerance.Equal(expected, Embeddings(Fit(new() { LoadedModel = tiny.Model, Image = "ImagePath" }).Transform(Data)));
    }

    [Fact]
    public void Texts_are_embedded_as_the_model_embeds_them()
    {
        float[][] expected = tiny.Model.EmbedTexts([.. tiny.Rows.Select(r => r.Caption)]);
        Tolerance.Equal(expected, Embeddings(Fit(new() { LoadedModel = tiny.Model, Text = "Caption" }).Transform(Data)));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(8)]
    public void Repeated_texts_of_all_lengths_are_embedded_as_the_model_embeds_each_alone(int batchSize)
    {
        string[] words = ["a", "red", "cat", "green", "bird"];
        var random = new Random(2);
        PairRow[] rows = [.. Enumerable.Range(0, 500)
            .Select(_ => new PairRow { Caption = string.Join(' ', random.GetItems(words, random.Next(6))) })];
        Dictionary<string, float[]> alone = rows.Select(r => r.Caption).Distinct()
            .ToDictionary(c => c, c => tiny.Model.EmbedTexts([c])[0]);
        IDataView data = _ml.Data.LoadFromEnumerable(rows);
        IDataView view = Fit(new() { LoadedModel = tiny.Model, Text = "Caption", BatchSize = batchSize }, data).Transform(data);
        float[][] first = Embeddings(view);
        Tolerance.Equal([.. rows.Select(r => alone[r.Caption])], first);
        Tolerance.Equal(first, Embeddings(view), 0); // and the same bits in every pass
        Tolerance.Equal(first[..20], Embeddings(_ml.Data.TakeRows(view, 20)), 0);
        Tolerance.Equal(first[300..], Embeddings(_ml.Data.SkipRows(view, 300)));
        Tolerance.Equal([.. rows.Select(r => alone[r.Caption])], tiny.Model.EmbedTexts([.. rows.Select(r => r.Caption)]));
    }

    [Fact]
    public void Jpeg_at_reduced_scale_is_off_by_default_and_close()
    {
        Assert.False(new MultimodalEmbedOptions().ReducedScaleJpeg);
        Assert.False(new ZeroShotClassifyOptions { Image = "Image", Labels = ["a"] }.ReducedScaleJpeg);
        using var bitmap = new SkiaSharp.SKBitmap(200, 150);
        for (int x = 0; x < 200; x++)
            for (int y = 0; y < 150; y++) bitmap.SetPixel(x, y, new((byte)x, (byte)(y + x / 3), (byte)(255 - x)));
        using SkiaSharp.SKData jpeg = bitmap.Encode(SkiaSharp.SKEncodedImageFormat.Jpeg, 95);
        IDataView data = _ml.Data.LoadFromEnumerable([new PictureRow { Bytes = jpeg.ToArray(), Name = "" }]);
        MultimodalEmbedOptions options = new() { LoadedModel = tiny.Model, Image = "Bytes" };
        float[] exact = Embeddings(Fit(options, data).Transform(data))[0],
            reduced = Embeddings(Fit(options with { ReducedScaleJpeg = true }, data).Transform(data))[0];
        Assert.NotEqual(exact, reduced);
        float cosine = exact.Zip(reduced, (a, b) => a * b).Sum();
        Assert.True(cosine > 0.99f, $"cosine {cosine}");
    }

    [Fact]
    public void Two_inputs_give_three_columns()
    {
        IDataView both = Fit(new() { LoadedModel = tiny.Model, Image = "ImagePath", Text = "Caption", Output = "Clip" })
            .Transform(Data);
        float[][] images = Embeddings(both, "ImageClip"), texts = Embeddings(both, "TextClip");
        Tolerance.Equal([.. images.Zip(texts, (i, t) => i.Concat(t).ToArray())], Embeddings(both, "Clip"));
        Tolerance.Equal(Embeddings(Fit(new() { LoadedModel = tiny.Model, Text = "Caption" }).Transform(Data)), texts);
    }

    [Fact]
    public void Mean_of_two_inputs_has_length_1()
    {
        IDataView both = Fit(new() { LoadedModel = tiny.Model, Image = "ImagePath", Text = "Caption", Combine = EmbeddingCombination.Mean }).Transform(Data);
        float[][] sums = [.. Embeddings(both, "ImageEmbedding")
            .Zip(Embeddings(both, "TextEmbedding"), (i, t) => i.Zip(t, (a, b) => a + b).ToArray())];
        Tolerance.Equal([.. sums.Select(s => s.Select(v => v / MathF.Sqrt(s.Sum(x => x * x))).ToArray())], Embeddings(both));
    }

    [Fact]
    public void Path_bytes_and_MLImage_give_the_same_bits()
    {
        PictureRow[] rows = [.. tiny.Rows.Select(r => new PictureRow { Bytes = File.ReadAllBytes(r.ImagePath), Name = Path.GetFileName(r.ImagePath) })];
        IDataView data = _ml.Data.LoadFromEnumerable(rows);
        IDataView images = _ml.Transforms.LoadImages("Loaded", tiny.Root, "Name").Fit(data).Transform(data);
        float[][] paths = Embeddings(Fit(new() { LoadedModel = tiny.Model, Image = "Name", ImageFolder = tiny.Root }, data)
            .Transform(data));
        Tolerance.Equal(paths, Embeddings(Fit(new() { LoadedModel = tiny.Model, Image = "Bytes" }, data).Transform(data)), 0);
        Tolerance.Equal(paths, Embeddings(Fit(new() { LoadedModel = tiny.Model, Image = "Loaded" }, images).Transform(images)),
            0);
    }

    [Fact]
    public void Promised_schema_is_the_real_one()
    {
        var estimator = _ml.Transforms.MultimodalEmbed(new() { LoadedModel = tiny.Model, Image = "ImagePath", Text = "Caption" });
        SchemaShape promised = estimator.GetOutputSchema(MlNet.ShapeOf(Data.Schema)),
            real = MlNet.ShapeOf(estimator.Fit(Data).GetOutputSchema(Data.Schema));
        AssertCompatible(promised, real);
    }

    internal static void AssertCompatible(SchemaShape promised, SchemaShape real)
    {
        foreach (SchemaShape.Column column in promised)
        {
            SchemaShape.Column wanted = column;
            Assert.Contains(real, c => c.Name == wanted.Name && MlNet.IsCompatibleWith(ref wanted, c));
        }
    }

    [Fact]
    public void Embedding_says_which_model_made_it()
    {
        ReadOnlyMemory<char> name = default;
        Fit(new() { LoadedModel = tiny.Model, Text = "Caption" }).GetOutputSchema(Data.Schema)["Embedding"]
            .Annotations.GetValue("Model", ref name);
        Assert.Equal("tiny", name.ToString());
    }

    [Fact]
    public void PredictionEngine_agrees_with_the_pass()
    {
        ITransformer model = Fit(new() { LoadedModel = tiny.Model, Image = "ImagePath", Text = "Caption" });
        using var engine = _ml.Model.CreatePredictionEngine<PairRow, EmbeddingRow>(model);
        Tolerance.Equal(Embeddings(model.Transform(Data)), [.. tiny.Rows.Select(r => engine.Predict(r).Embedding)]);
    }

    [Fact]
    public void PredictionEngine_gives_a_repeated_text_its_own_embedding_again()
    {
        ITransformer model = Fit(new() { LoadedModel = tiny.Model, Text = "Caption" });
        using var engine = _ml.Model.CreatePredictionEngine<PairRow, EmbeddingRow>(model);
        string[] texts = ["a cat", "a cat", "a dog", "", "a cat", ""];
        Tolerance.Equal([.. texts.Select(t => tiny.Model.EmbedTexts([t])[0])],
            [.. texts.Select(t => engine.Predict(new() { Caption = t }).Embedding)]);
    }

    [Fact]
    public void Take_skip_filter_shuffle_and_cache_agree_with_the_plain_pass()
    {
        ITransformer model = Fit(new() { LoadedModel = tiny.Model, Image = "ImagePath" });
        IDataView plain = model.Transform(Data);
        EmbeddingRow[] all = Read(plain);
        Check(_ml.Data.TakeRows(plain, 5), [0, 1, 2, 3, 4]);
        Check(_ml.Data.SkipRows(plain, 17), [17, 18, 19, 20]);
        Check(model.Transform(_ml.Data.SkipRows(Data, 17)), [17, 18, 19, 20]);
        Check(_ml.Data.FilterRowsByColumn(plain, "Number", 8, 12), [8, 9, 10, 11]);
        Check(_ml.Data.Cache(plain), [.. Enumerable.Range(0, all.Length)]);
        Check(_ml.Data.ShuffleRows(plain, seed: 3), null);
        Check(model.Transform(_ml.Data.ShuffleRows(Data, seed: 3)), null);
        Check(_ml.Data.ShuffleRows(model.Transform(_ml.Data.ShuffleRows(Data, seed: 3)), seed: 4), null);

        void Check(IDataView view, int[]? order)
        {
            EmbeddingRow[] rows = Read(view);
            if (order is null) Assert.Equal(all.Select(r => r.Number), rows.Select(r => r.Number).Order());
            else Assert.Equal(order.Select(i => (float)i), rows.Select(r => r.Number));
            Tolerance.Equal([.. rows.Select(r => all[(int)r.Number].Embedding)], [.. rows.Select(r => r.Embedding)]);
        }
    }

    [Fact]
    public void Cross_validation_trains_on_embeddings()
    {
        var pipeline = _ml.Transforms.Conversion.MapValueToKey("Label")
            .Append(_ml.Transforms.MultimodalEmbed(new() { Model = tiny.Folder, Image = "ImagePath", Threads = 1 }))
            .AppendCacheCheckpoint(_ml)
            .Append(_ml.MulticlassClassification.Trainers.LbfgsMaximumEntropy("Label", "Embedding"));
        var results = _ml.MulticlassClassification.CrossValidate(Data, pipeline, numberOfFolds: 3);
        Assert.Equal(3, results.Count);
        Assert.All(results, r => Assert.InRange(r.Metrics.MicroAccuracy, 0, 1));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Small_data_is_embedded(int rows)
    {
        IDataView data = _ml.Data.LoadFromEnumerable(tiny.Rows.Take(rows));
        Assert.Equal(rows, Embeddings(Fit(new() { LoadedModel = tiny.Model, Image = "ImagePath", Text = "Caption" }, data)
            .Transform(data)).Length);
    }

    [Fact]
    public void Unreadable_picture_throws_with_row_file_and_reason_and_rows_before_it_are_served()
    {
        IDataView view = Fit(new() { LoadedModel = tiny.Model, Image = "ImagePath" })
            .Transform(WithBadRows(out string noPicture));
        using DataViewRowCursor cursor = view.GetRowCursor(view.Schema);
        var embedding = cursor.GetGetter<VBuffer<float>>(view.Schema["Embedding"]);
        VBuffer<float> value = default;
        for (int row = 0; row < 4; row++)
        {
            Assert.True(cursor.MoveNext());
            embedding(ref value);
        }
        Assert.True(cursor.MoveNext());
        string message = Assert.Throws<InvalidDataException>(() => embedding(ref value)).Message;
        Assert.Contains("row 4", message);
        Assert.Contains("'ImagePath'", message);
        Assert.Contains(noPicture, message);
        Assert.True(cursor.MoveNext());
        embedding(ref value);
        Assert.DoesNotContain(float.NaN, value.DenseValues());
    }

    [Fact]
    public void Missing_pictures_are_NaN_and_counted_and_nothing_else_changes()
    {
        var log = new List<string>();
        _ml.Log += (_, e) => log.Add(e.Message);
        MultimodalEmbedOptions options = new() { LoadedModel = tiny.Model, Image = "ImagePath", Text = "Caption", OnError = OnError.Missing };
        IDataView view = Fit(options).Transform(WithBadRows(out _));
        float[][] plain = Embeddings(Fit(options).Transform(Data), "ImageEmbedding"), images = Embeddings(view, "ImageEmbedding");
        Assert.Contains(log, m => m.Contains("2 items could not be read", StringComparison.Ordinal));
        foreach (int row in (int[])[4, 11])
        {
            Assert.All(images[row], v => Assert.Equal(float.NaN, v));
            images[row] = plain[row];
        }
        Tolerance.Equal(plain, images);
        Tolerance.Equal(Embeddings(Fit(options).Transform(Data), "TextEmbedding"), Embeddings(view, "TextEmbedding"));
        int width = tiny.Model.EmbeddingWidth;
        Assert.All(Embeddings(view)[4].Select((v, i) => (v, i)), p => Assert.Equal(p.i < width, float.IsNaN(p.v)));
        IDataView mean = Fit(options with { Combine = EmbeddingCombination.Mean }).Transform(WithBadRows(out _));
        Tolerance.Equal([Embeddings(mean, "TextEmbedding")[4]], [Embeddings(mean)[4]]);
    }

    [Fact]
    public void PredictionEngine_recovers_from_an_unreadable_picture()
    {
        using var engine = _ml.Model.CreatePredictionEngine<PairRow,
            EmbeddingRow>(Fit(new() { LoadedModel = tiny.Model, Image = "ImagePath" }));
        Assert.Throws<InvalidDataException>(() => engine.Predict(new() { ImagePath = "nowhere.png" }));
        Assert.DoesNotContain(float.NaN, engine.Predict(tiny.Rows[0]).Embedding);
    }

    [Fact]
    public void Missing_column_is_named_with_those_there_are()
    {
        string message = Assert.Throws<ArgumentException>(() => Fit(new() { LoadedModel = tiny.Model, Image = "Picture" }))
            .Message;
        Assert.Contains("'Picture'", message);
        Assert.Contains("ImagePath, Caption, Label, Number", message);
    }

    [Theory]
    [InlineData("Number", null)]
    [InlineData(null, "Number")]
    public void Wrong_type_is_refused(string? image, string? text)
    {
        string message = Assert.Throws<ArgumentException>(() =>
            Fit(new() { LoadedModel = tiny.Model, Image = image, Text = text })).Message;
        Assert.Contains("'Number'", message);
        Assert.Contains("Single", message);
    }

    [Fact]
    public void Options_that_make_no_sense_are_refused()
    {
        Assert.Throws<ArgumentException>(() => _ml.Transforms.MultimodalEmbed(new() { LoadedModel = tiny.Model }));
        Assert.Throws<ArgumentException>(() => _ml.Transforms.MultimodalEmbed(new() { Text = "Caption" }));
        Assert.Throws<ArgumentException>(() =>
            _ml.Transforms.MultimodalEmbed(new() { Text = "Caption", Model = "m", LoadedModel = tiny.Model }));
        Assert.Throws<ArgumentException>(() =>
            _ml.Transforms.MultimodalEmbed(new() { Text = "T", Image = "I", LoadedModel = tiny.Model, TextOutput = "Embedding" }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new MultimodalEmbedOptions { BatchSize = 0 });
        Assert.Throws<ArgumentException>(() => new MultimodalEmbedOptions { Output = "" });
        Assert.Throws<DirectoryNotFoundException>(() =>
            Fit(new() { Model = Path.Combine(tiny.Root, "nowhere"), Text = "Caption" }));
    }

    [Fact]
    public void Transformers_of_one_estimator_share_a_model_and_the_last_closes_it()
    {
        var estimator = _ml.Transforms.MultimodalEmbed(new() { Model = tiny.Folder, Text = "Caption" });
        MultimodalTransformer first = estimator.Fit(Data), second = estimator.Fit(Data);
        Assert.Same(first.Model, second.Model);
        first.Dispose();
        first.Dispose();
        Assert.Equal(TinyModel.Pictures, Embeddings(second.Transform(Data)).Length);
        second.Dispose();
        using MultimodalTransformer third = estimator.Fit(Data);
        Assert.NotSame(first.Model, third.Model);
        Assert.Equal(TinyModel.Pictures, Embeddings(third.Transform(Data)).Length);
    }

    [Fact]
    public void Saved_folder_loads_again()
    {
        string folder = Path.Combine(tiny.Root, "copy");
        MultimodalTransformer model = Fit(new() { LoadedModel = tiny.Model, Text = "Caption" });
        model.SaveModelFolder(folder);
        using MultimodalTransformer again = Fit(new() { Model = folder, Text = "Caption", Threads = 1 });
        Tolerance.Equal(Embeddings(model.Transform(Data)), Embeddings(again.Transform(Data)), 0);
    }

    MultimodalTransformer Fit(MultimodalEmbedOptions options, IDataView? data = null) =>
        _ml.Transforms.MultimodalEmbed(options).Fit(data ?? Data);

    EmbeddingRow[] Read(IDataView view) => [.. _ml.Data.CreateEnumerable<EmbeddingRow>(view, reuseRowObject: false)];

    static float[][] Embeddings(IDataView view, string column = "Embedding") => [.. view.GetColumn<float[]>(column)];

    /// <summary>Row 4 is no picture, row 11 does not exist.</summary>
    IDataView WithBadRows(out string noPicture)
    {
        string path = noPicture = Path.Combine(tiny.Root, "no-picture.png");
        File.WriteAllText(path, "this is no picture");
        return _ml.Data.LoadFromEnumerable(tiny.Rows.Select((r, i) => new PairRow
        {
            ImagePath = i == 4 ? path : i == 11 ? Path.Combine(tiny.Root, "nowhere.png") : r.ImagePath,
            Caption = r.Caption,
            Number = i,
        }).ToArray());
    }

    sealed class PictureRow
    {
        public string Name { get; set; } = "";

        public byte[] Bytes { get; set; } = [];
    }
}
