using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Tests.Data;

public sealed class LoadFileGroupsTests : IDisposable
{
    readonly MLContext _ml = new(1);
    readonly string _folder = Directory.CreateTempSubdirectory("mlnet-multimodal-tests-").FullName;

    static readonly FileGroupsOptions Options = new()
    {
        Columns = [new("Image", "{}.png", "{}.svg"), new("Sound", "{}_fr.ogg", "{}.ogg"), new("Speech", "{}_desc_fr.ogg")],
        Keeps = name => !name.EndsWith("_mirror", StringComparison.Ordinal),
    };

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    void Write(params ReadOnlySpan<string> names)
    {
        foreach (string name in names)
        {
            string path = Path.Combine(_folder, name);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, "");
        }
    }

    string[] Column(string name) => [.. _ml.Data.LoadFileGroups(_folder, Options).GetColumn<ReadOnlyMemory<char>>(name)
        .Select(t => Path.GetRelativePath(_folder, t.Length == 0 ? Path.Combine(_folder, "none") : Path.Combine(_folder, t.ToString())).Replace('\\', '/'))];

    [Fact]
    public void Files_that_share_a_name_are_a_row_and_missing_ones_are_empty()
    {
        Write("b/cat.png", "b/cat.ogg", "b/cat_fr.ogg", "b/cat_desc_fr.ogg", "b/cat_mirror.png", "a/dog.svg", "a/dog.png", "a/dog.ogg",
            "owl.svg", "owl_desc_de.ogg", "alone.ogg", "b/owl.ogg");
        Assert.Equal(["a/dog", "b/cat", "owl"], Column("Item"));
        Assert.Equal(["a/dog.png", "b/cat.png", "owl.svg"], Column("Image"));
        Assert.Equal(["a/dog.ogg", "b/cat_fr.ogg", "none"], Column("Sound"));
        Assert.Equal(["none", "b/cat_desc_fr.ogg", "none"], Column("Speech"));
    }

    [Fact]
    public void Missing_files_are_missing_values_to_transforms()
    {
        Write("cat.png", "dog.png");
        File.WriteAllBytes(Path.Combine(_folder, "dog.wav"), [.. WavBytes()]);
        IDataView data = _ml.Data.LoadFileGroups(_folder, new() { Columns = [new("Image", "{}.png"), new("Sound", "{}.wav")] });
        IDataView view = _ml.Transforms.LoadAudio(new() { Audio = "Sound", SampleRateHz = 8000, OnError = OnError.Missing }).Fit(data).Transform(data);
        Assert.Equal([0, 5], view.GetColumn<float[]>("Samples").Select(s => s.Length));

        static byte[] WavBytes()
        {
            using var stream = new MemoryStream();
            Media.Audio.WavWriter.Write(new(new float[5], 8000), stream);
            return stream.ToArray();
        }
    }

    [Fact]
    public void Folders_without_items_and_patterns_without_a_place_for_the_item_are_refused()
    {
        Write("cat.jpg");
        Assert.Contains("{}.png, {}.svg", Assert.Throws<InvalidDataException>(() => _ml.Data.LoadFileGroups(_folder, Options)).Message);
        Assert.Throws<DirectoryNotFoundException>(() => _ml.Data.LoadFileGroups(Path.Combine(_folder, "none"), Options));
        foreach (string pattern in (string[])["cat.png", "{}", "{}{}.png", "../{}.png", ""])
            Assert.Throws<ArgumentException>(() => new FileColumn("Image", pattern));
        Assert.Throws<ArgumentException>(() => new FileColumn("Image"));
        Assert.Throws<ArgumentException>(() => Options with { Columns = [] });
        Assert.Throws<ArgumentException>(() => Options with { Columns = [new("Item", "{}.png")] });
        Assert.Throws<ArgumentException>(() => Options with { Columns = [new("A", "{}.png"), new("A", "{}.jpg")] });
    }
}
