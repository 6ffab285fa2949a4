using System.Buffers.Binary;
using System.IO.Compression;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Tests.Data;

public sealed class LoaderTests : IDisposable
{
    readonly MLContext _ml = new(1);
    readonly string _folder = Directory.CreateTempSubdirectory("mlnet-multimodal-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Idx_is_read_plain_and_zipped(bool zipped)
    {
        IDataView data = LoadIdx(new() { ClassNames = ["shirt", "shoe", "bag"] }, zipped);
        Assert.Equal(["Image", "Label", "LabelText", "Caption"], data.Schema.Select(c => c.Name));
        Assert.Equal(["bag", "shirt", "shoe", "bag"], Texts(data, "LabelText"));
        Assert.Equal("a photo of a shoe.", Texts(data, "Caption")[2]);
        Assert.Equal([3, 1, 2, 3], data.GetColumn<uint>("Label"));
        Assert.Equal(4, data.GetRowCount());
        using DataViewRowCursor cursor = data.GetRowCursor(data.Schema);
        var getter = cursor.GetGetter<MLImage>(data.Schema["Image"]);
        MLImage image = null!;
        cursor.MoveNext();
        cursor.MoveNext();
        getter(ref image);
        Assert.Equal((3, 2), (image.Width, image.Height));
        Assert.Equal([6, 6, 6, 255, 7, 7, 7, 255], image.Pixels[..8].ToArray());
        image.Dispose();
    }

    [Fact]
    public void Idx_without_names_uses_numbers_and_stops_at_MaxRows()
    {
        IDataView data = LoadIdx(new() { MaxRows = 2 });
        Assert.Equal(["2", "0"], Texts(data, "LabelText"));
    }

    [Fact]
    public void Views_can_be_taken_skipped_shuffled_and_cached()
    {
        IDataView data = LoadIdx(new());
        Assert.Equal(["2", "0"], Texts(_ml.Data.TakeRows(data, 2), "LabelText"));
        Assert.Equal(["1", "2"], Texts(_ml.Data.SkipRows(data, 2), "LabelText"));
        Assert.Equal(["0", "1", "2", "2"], Texts(_ml.Data.ShuffleRows(data, seed: 2), "LabelText").Order());
        IDataView cached = _ml.Data.Cache(data, "Label", "LabelText");
        Assert.Equal(Texts(cached, "LabelText"), Texts(cached, "LabelText"));
    }

    public static TheoryData<string, byte[]> HostileIdx => new()
    {
        { "empty", [] },
        { "no magic", [1, 2, 3, 4, 0, 0, 0, 1] },
        { "floats", [0, 0, 0x0D, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7, 7, 7, 7] },
        { "header cut off", [0, 0, 8, 3, 0, 0, 0, 1] },
        { "negative size", [0, 0, 8, 3, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 1, 0, 0, 0, 1] },
        { "negative side", [0, 0, 8, 3, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 1] },
        { "empty side", [0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1] },
        { "too large", [0, 0, 8, 3, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0x40, 0, 0, 0, 0x40, 0] },
        { "claims more than there is", [0, 0, 8, 3, 0, 0x10, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x10, 1, 2, 3] },
        { "one dimension", [0, 0, 8, 1, 0, 0, 0, 1, 7] },
        { "broken gzip", [0x1F, 0x8B, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9] },
    };

    [Theory, MemberData(nameof(HostileIdx))]
    public void Hostile_idx_is_refused_by_name(string name, byte[] content)
    {
        string images = Write("images.idx", content), labels = WriteIdx("labels.idx", [1], [0], zipped: false);
        string message = Assert.Throws<InvalidDataException>(() => _ml.Data.LoadIdx(images, labels)).Message;
        Assert.True(message.Contains(images, StringComparison.Ordinal), $"{name}: {message}");
    }

    [Fact]
    public void Idx_files_that_do_not_fit_are_refused()
    {
        string images = WriteIdx("images", [2, 1, 1], [1, 2], false), one = WriteIdx("one", [1], [0], false),
            two = WriteIdx("two", [2], [0, 9], false);
        Assert.Throws<InvalidDataException>(() => _ml.Data.LoadIdx(images, one));
        Assert.Contains("label 9",
            Assert.Throws<InvalidDataException>(() => _ml.Data.LoadIdx(images, two, new() { ClassNames = ["a"] })).Message);
        Assert.Throws<FileNotFoundException>(() => _ml.Data.LoadIdx(images, Path.Combine(_folder, "nowhere")));
    }

    [Fact]
    public void Image_folder_has_a_class_per_folder()
    {
        foreach (string name in (string[])["dog/b.png", "dog/a.PNG", "cat/deep/c.jpg", "cat/notes.txt"])
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(_folder, name))!);
            File.WriteAllText(Path.Combine(_folder, name), "");
        }
        IDataView data = _ml.Data.LoadImageFolder(_folder);
        Assert.Equal(["c.jpg", "a.PNG", "b.png"], Texts(data, "ImagePath").Select(Path.GetFileName));
        Assert.Equal(["cat", "dog", "dog"], Texts(data, "LabelText"));
        Assert.Equal([1, 2, 2], data.GetColumn<uint>("Label"));
        Assert.Equal("a photo of a cat.", Texts(data, "Caption")[0]);
    }

    [Theory]
    [InlineData("tabby cat\nsheep dog\n", "tabby cat,sheep dog,sheep dog", 1, 2, 2)]
    [InlineData("dog\nbird\ncat\n", "cat,dog,dog", 3, 1, 1)]
    public void Classnames_beside_the_folders_name_them(string names, string texts, params int[] keys)
    {
        WriteCatAndDogs(names);
        IDataView data = _ml.Data.LoadImageFolder(_folder);
        Assert.Equal(texts.Split(','), Texts(data, "LabelText"));
        Assert.Equal(keys, data.GetColumn<uint>("Label").Select(k => (int)k));
    }

    [Theory]
    [InlineData("dog\nkat\n")]
    [InlineData("one\ntwo\nthree\n")]
    public void Classnames_that_do_not_fit_the_folders_are_refused(string names)
    {
        WriteCatAndDogs(names);
        string message = Assert.Throws<InvalidDataException>(() => _ml.Data.LoadImageFolder(_folder)).Message;
        Assert.Contains("classnames.txt", message);
        Assert.Contains("'cat'", message);
    }

    void WriteCatAndDogs(string classNames)
    {
        Directory.CreateDirectory(Path.Combine(_folder, "cat"));
        Directory.CreateDirectory(Path.Combine(_folder, "dog"));
        foreach (string name in (string[])["cat/a.png", "dog/b.png", "dog/c.png"]) File.WriteAllText(Path.Combine(_folder, name), "");
        File.WriteAllText(Path.Combine(_folder, "classnames.txt"), classNames);
    }

    [Fact]
    public void Classnames_beside_idx_labels_name_them_but_those_of_the_options_win()
    {
        File.WriteAllText(Path.Combine(_folder, "classnames.txt"), "shirt\nshoe\nbag\n");
        Assert.Equal(["bag", "shirt", "shoe", "bag"], Texts(LoadIdx(new()), "LabelText"));
        Assert.Equal(["c", "a", "b", "c"], Texts(LoadIdx(new() { ClassNames = ["a", "b", "c"] }), "LabelText"));
        File.WriteAllText(Path.Combine(_folder, "classnames.txt"), "shirt\nshoe\n");
        Assert.Contains("label 2", Assert.Throws<InvalidDataException>(() => LoadIdx(new())).Message);
    }

    [Fact]
    public void Image_folder_without_classes_is_refused()
    {
        Assert.Throws<InvalidDataException>(() => _ml.Data.LoadImageFolder(_folder));
        Assert.Throws<DirectoryNotFoundException>(() => _ml.Data.LoadImageFolder(Path.Combine(_folder, "nowhere")));
    }

    [Theory]
    [InlineData("pairs.csv", "caption,image,id\n\"a cat, red\",a.png,1\n\"two\nlines\",sub/b.png,2\n", "a cat, red", "two\nlines")]
    [InlineData("pairs.tsv", "image\tcaption\tid\na.png\ta 5\" cat\t1\nsub/b.png\t\"quoted\t2\n", "a 5\" cat", "\"quoted")]
    [InlineData("pairs.jsonl", "{\"image\":\"a.png\",\"caption\":\"a cat\",\"id\":1}\n\n{\"id\":\"2\",\"caption\":\"ü\",\"image\":\"sub/b.png\"}\n", "a cat", "ü")]
    public void Pairs_are_read_and_paths_resolved(string name, string content, string first, string second)
    {
        IDataView data = _ml.Data.LoadImageTextPairs(Write(name, System.Text.Encoding.UTF8.GetBytes(content)),
            new() { OtherFields = ["id", "nothing"] });
        Assert.Equal([Path.Combine(_folder, "a.png"), Path.Combine(_folder, "sub/b.png")], Texts(data, "ImagePath"));
        Assert.Equal([first, second], Texts(data, "Caption"));
        Assert.Equal(["1", "2"], Texts(data, "id"));
        Assert.Equal(["", ""], Texts(data, "nothing"));
    }

    [Theory]
    [InlineData("x.csv", "image,caption\na.png,ok\nb.png\n", "line 3")]
    [InlineData("x.csv", "image,caption\na.png,ok\n,empty\n", "line 3")]
    [InlineData("x.csv", "image,caption\na.png,\"never closed\n", "line 2")]
    [InlineData("x.csv", "image,text\na.png,ok\n", "'caption'")]
    [InlineData("x.csv", "", "x.csv")]
    [InlineData("x.jsonl", "{\"image\":\"a\",\"caption\":\"b\"}\n{\"image\":\n", "line 2")]
    [InlineData("x.jsonl", "[1]\n", "line 1")]
    [InlineData("x.jsonl", "{\"image\":\"a\",\"caption\":3}\n", "line 1")]
    [InlineData("x.jsonl", "{\"image\":\"a\",\"text\":\"b\"}\n", "image, text")]
    [InlineData("x.jsonl", "{\"image\":\"\",\"caption\":\"b\"}\n", "line 1")]
    [InlineData("x.jsonl", "{\"image\":\"a\",\"caption\":\"\\ud800\"}\n", "line 1")]
    public void Wrong_lines_are_named(string name, string content, string wanted) =>
        Assert.Contains(wanted, Assert.Throws<InvalidDataException>(() => _ml.Data.LoadImageTextPairs(Write(name,
            System.Text.Encoding.UTF8.GetBytes(content)))).Message);

    [Fact]
    public void Deep_json_is_refused() => Assert.Contains("line 1", Assert.Throws<InvalidDataException>(() =>
        _ml.Data.LoadImageTextPairs(Write("deep.jsonl", System.Text.Encoding.UTF8.GetBytes(new string('[', 100_000))))).Message);

    [Fact]
    public void Unknown_ending_is_refused() =>
        Assert.Throws<NotSupportedException>(() => _ml.Data.LoadImageTextPairs(Write("pairs.xml", [])));

    [Fact]
    public void Idx_pictures_are_embedded_as_their_files_are()
    {
        using var tiny = new TinyModel();
        IDataView idx = LoadIdx(new());
        ImageEncoder.SavePng(new(3, 2, [.. Enumerable.Range(6, 6).SelectMany(v => Enumerable.Repeat((byte)v, 3))]),
            Path.Combine(_folder, "one.png"));
        float[] expected = tiny.Model.EmbedImages([ImageDecoder.Decode(Path.Combine(_folder, "one.png"))])[0];
        IDataView embedded = _ml.Transforms.MultimodalEmbed(new() { LoadedModel = tiny.Model, Image = "Image" }).Fit(idx)
            .Transform(idx);
        IDataView cached = _ml.Data.Cache(embedded);
        for (int pass = 0; pass < 2; pass++)
        {
            Tolerance.Equal([expected], [embedded.GetColumn<float[]>("Embedding").ElementAt(1)]);
            Tolerance.Equal([expected], [cached.GetColumn<float[]>("Embedding").ElementAt(1)]);
        }
    }

    IDataView LoadIdx(IdxOptions options, bool zipped = false)
    {
        string images = WriteIdx("images", [4, 2, 3], [.. Enumerable.Range(0, 24).Select(i => (byte)i)], zipped);
        return _ml.Data.LoadIdx(images, WriteIdx("labels", [4], [2, 0, 1, 2], zipped), options);
    }

    string WriteIdx(string name, int[] sizes, byte[] values, bool zipped)
    {
        var content = new byte[4 + 4 * sizes.Length + values.Length];
        (content[2], content[3]) = (8, (byte)sizes.Length);
        for (int i = 0; i < sizes.Length; i++) BinaryPrimitives.WriteInt32BigEndian(content.AsSpan(4 + 4 * i), sizes[i]);
        values.CopyTo(content, 4 + 4 * sizes.Length);
        if (!zipped) return Write(name, content);
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest)) gzip.Write(content);
        return Write(name, packed.ToArray());
    }

    string Write(string name, byte[] content)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllBytes(path, content);
        return path;
    }

    static string[] Texts(IDataView data, string column) =>
        [.. data.GetColumn<ReadOnlyMemory<char>>(column).Select(t => t.ToString())];
}
