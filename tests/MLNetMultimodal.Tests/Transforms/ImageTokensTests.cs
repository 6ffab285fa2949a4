using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Interop;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class ImageTokensTests(TinyModel tiny) : IClassFixture<TinyModel>
{
    static readonly VqTokenizerConfig s_config = new() { ImageSize = 16, PatchSize = 4, Width = 8, LatentWidth = 4, CodebookSize = 32, ResidualBlocks = 1 };

    readonly MLContext _ml = new(1);

    sealed class PictureRow
    {
        public string ImagePath { get; set; } = "";

        public string Name => Path.GetFileName(ImagePath);

        [VectorType]
        public byte[] Bytes { get; set; } = [];
    }

    static ModelFiles Files(int preprocessedSize = 16) =>
        ModelFiles.FromMemory("tokens", TinySound.Files(new VqTokenizerModel(s_config), ImagePreprocessing.Clip(preprocessedSize).ToJson()));

    static ImageTokenizer Tokenizer() => ImageTokenizer.Load(Files(), new() { Threads = 1 });

    IDataView Data => _ml.Data.LoadFromEnumerable(tiny.Rows.Select(r => new PictureRow { ImagePath = r.ImagePath, Bytes = File.ReadAllBytes(r.ImagePath) }));

    [Fact]
    public void Tokens_are_the_tokenizer_s_and_the_schema_is_as_promised()
    {
        using ImageTokenizer tokenizer = Tokenizer();
        var estimator = _ml.Transforms.ImageTokens(new() { LoadedTokenizer = tokenizer, Image = "ImagePath" })
            .Append(_ml.Transforms.ImageTokens(new() { LoadedTokenizer = tokenizer, Image = "Bytes", Output = "OfBytes" }));
        IDataView view = estimator.Fit(Data).Transform(Data);
        uint[][] keys = [.. view.GetColumn<uint[]>("Tokens")];
        Assert.Equal(tiny.Rows.Select(r => tokenizer.Encode(ImageDecoder.Decode(r.ImagePath)).Select(c => (uint)c + 1)), keys);
        Assert.Equal(keys, view.GetColumn<uint[]>("OfBytes"));
        IDataView loaded = _ml.Transforms.LoadImages("Loaded", tiny.Root, "Name").Fit(Data).Transform(Data);
        using ImageTokensTransformer ofImages = _ml.Transforms.ImageTokens(new() { LoadedTokenizer = tokenizer, Image = "Loaded" }).Fit(loaded);
        Assert.Equal(keys, ofImages.Transform(loaded).GetColumn<uint[]>("Tokens"));
        Assert.True(keys.SelectMany(k => k).Distinct().Count() > 4, "the tokens say nothing");
        var type = (VectorDataViewType)view.Schema["Tokens"].Type;
        Assert.Equal((16, 32ul), (type.Size, ((KeyDataViewType)type.ItemType).Count));
        MultimodalEmbedTests.AssertCompatible(estimator.GetOutputSchema(MlNet.ShapeOf(Data.Schema)), MlNet.ShapeOf(view.Schema));
    }

    [Fact]
    public void A_saved_transformer_gives_the_same_tokens_after_loading()
    {
        string folder = Path.Combine(tiny.Root, "tokenizer"), zip = Path.Combine(tiny.Root, "tokens.zip");
        Directory.CreateDirectory(folder);
        foreach (string file in Files().List()) File.WriteAllBytes(Path.Combine(folder, file), Files().Read(file).ToArray());
        using ImageTokensTransformer fitted = _ml.Transforms.ImageTokens(new() { Model = folder, Image = "ImagePath" }).Fit(Data);
        _ml.Model.Save(fitted, Data.Schema, zip);
        ITransformer loaded = new MLContext().Model.Load(zip, out _);
        Assert.Equal(fitted.Transform(Data).GetColumn<uint[]>("Tokens"), loaded.Transform(Data).GetColumn<uint[]>("Tokens"));
        (loaded as IDisposable)?.Dispose();
        Assert.True(ImageTokensTransformer.Loader.Length <= 24, ImageTokensTransformer.Loader);
    }

    [Fact]
    public void A_missing_picture_is_an_error_or_missing_keys()
    {
        using ImageTokenizer tokenizer = Tokenizer();
        IDataView rows = _ml.Data.LoadFromEnumerable(new[] { new PictureRow { ImagePath = tiny.Rows[0].ImagePath }, new PictureRow { ImagePath = "nowhere.png" } });
        var options = new ImageTokensOptions { LoadedTokenizer = tokenizer, Image = "ImagePath" };
        var e = Assert.Throws<InvalidDataException>(() => _ml.Transforms.ImageTokens(options).Fit(rows).Transform(rows).GetColumn<uint[]>("Tokens").ToArray());
        Assert.Contains("row 1", e.Message, StringComparison.Ordinal);
        Assert.Contains("nowhere.png", e.Message, StringComparison.Ordinal);
        uint[][] keys = [.. _ml.Transforms.ImageTokens(options with { OnError = OnError.Missing }).Fit(rows).Transform(rows).GetColumn<uint[]>("Tokens")];
        Assert.DoesNotContain(0u, keys[0]);
        Assert.Equal(new uint[16], keys[1]);
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        using ImageTokenizer tokenizer = Tokenizer();
        Assert.Throws<ArgumentException>(() => _ml.Transforms.ImageTokens(new() { Image = "ImagePath" }));
        Assert.Throws<ArgumentException>(() => _ml.Transforms.ImageTokens(new() { Image = "Picture", LoadedTokenizer = tokenizer }).Fit(Data));
        Assert.Contains("'clip'", Assert.Throws<NotSupportedException>(() => ImageTokenizer.Load(tiny.Folder)).Message, StringComparison.Ordinal);
        Assert.Contains("12x12", Assert.Throws<InvalidDataException>(() => ImageTokenizer.Load(Files(12))).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => tokenizer.Encode(new float[7], 1));
        Assert.Throws<ArgumentException>(() => tokenizer.Decode(new long[15]));
        Assert.Throws<ArgumentException>(() => tokenizer.Decode([.. Enumerable.Repeat(32L, 16)]));
        RgbImage painted = tokenizer.Decode(new long[16]);
        Assert.Equal((16, 16), (painted.Width, painted.Height));
    }
}
