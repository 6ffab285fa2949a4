using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Tests.Data;

public sealed class LoadAudioTextPairsTests : IDisposable
{
    readonly MLContext _ml = new(1);
    readonly string _folder = Directory.CreateTempSubdirectory("mlnet-multimodal-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    static string[] Texts(IDataView data, string column) => [.. data.GetColumn<string>(column)];

    string Write(string name, string content = "")
    {
        string path = Path.Combine(_folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, content);
        return path;
    }

    [Theory]
    [InlineData("list.csv", "audio,caption,speaker\na.wav,\"a dog, barking\",x\nb/c.wav,rain,y\n")]
    [InlineData("list.tsv", "speaker\taudio\tcaption\nx\ta.wav\ta dog, barking\ny\tb/c.wav\train\n")]
    [InlineData("list.jsonl", "{\"audio\":\"a.wav\",\"caption\":\"a dog, barking\",\"speaker\":\"x\"}\n{\"audio\":\"b/c.wav\",\"caption\":\"rain\",\"speaker\":\"y\"}")]
    public void Manifests_of_every_kind_give_the_same_rows(string name, string content)
    {
        IDataView data = _ml.Data.LoadAudioTextPairs(Write(name, content), new() { OtherFields = ["speaker", "none"] });
        Assert.Equal(["AudioPath", "Caption", "speaker", "none"], data.Schema.Select(c => c.Name));
        Assert.Equal([Path.Combine(_folder, "a.wav"), Path.Combine(_folder, "b/c.wav")], Texts(data, "AudioPath"));
        Assert.Equal(["a dog, barking", "rain"], Texts(data, "Caption"));
        Assert.Equal(["x", "y"], Texts(data, "speaker"));
        Assert.Equal(["", ""], Texts(data, "none"));
    }

    [Fact]
    public void Labels_are_read_from_file_names_in_folders_below_too()
    {
        foreach (string name in (string[])["7_jackson_32.wav", "more/0_theo_1.WAV", "7_theo_0.wav", "notes.txt"]) Write(name);
        IDataView data = _ml.Data.LoadAudioTextPairs(_folder, new()
        {
            Pattern = "{label}_{speaker}_{take}",
            LabelNames = new Dictionary<string, string> { ["7"] = "seven" },
            CaptionTemplate = "the spoken digit {}.",
        });
        Assert.Equal(["AudioPath", "Label", "LabelText", "Caption", "speaker", "take"], data.Schema.Select(c => c.Name));
        Assert.Equal(["7_jackson_32.wav", "7_theo_0.wav", "0_theo_1.WAV"], Texts(data, "AudioPath").Select(f => Path.GetFileName(f)));
        Assert.Equal([2, 2, 1], data.GetColumn<uint>("Label"));
        Assert.Equal(["seven", "seven", "0"], Texts(data, "LabelText"));
        Assert.Equal(["the spoken digit seven.", "the spoken digit seven.", "the spoken digit 0."], Texts(data, "Caption"));
        Assert.Equal(["jackson", "theo", "theo"], Texts(data, "speaker"));
        Assert.Equal(["32", "0", "1"], Texts(data, "take"));
        VBuffer<ReadOnlyMemory<char>> keys = default;
        data.Schema["Label"].GetKeyValues(ref keys);
        Assert.Equal(["0", "seven"], keys.DenseValues().Select(k => k.ToString()));
    }

    [Fact]
    public void A_folder_per_class_gives_its_name_as_the_label()
    {
        foreach (string name in (string[])["rain/b.wav", "dog/a.ogg", "dog/deep/c.wav", "dog/picture.png"]) Write(name);
        IDataView data = _ml.Data.LoadAudioTextPairs(_folder);
        Assert.Equal(["a.ogg", "c.wav", "b.wav"], Texts(data, "AudioPath").Select(f => Path.GetFileName(f)));
        Assert.Equal(["dog", "dog", "rain"], Texts(data, "LabelText"));
        Assert.Equal(["the sound of dog.", "the sound of dog.", "the sound of rain."], Texts(data, "Caption"));
        Assert.Equal([1, 1, 2], data.GetColumn<uint>("Label"));
    }

    [Theory]
    [InlineData("{speaker}_{take}")]
    [InlineData("{label}{speaker}")]
    [InlineData("{label}_{label}")]
    [InlineData("{label}_{Caption}")]
    public void A_pattern_that_makes_no_sense_is_refused(string pattern)
    {
        Write("1_a_2.wav");
        Assert.Contains($"'{pattern}'",
            Assert.Throws<ArgumentException>(() => _ml.Data.LoadAudioTextPairs(_folder, new() { Pattern = pattern })).Message);
    }

    [Fact]
    public void What_does_not_fit_is_named()
    {
        string strange = Write("strange.wav");
        AudioTextPairsOptions options = new() { Pattern = "{label}_{take}" };
        string message = Assert.Throws<InvalidDataException>(() => _ml.Data.LoadAudioTextPairs(_folder, options)).Message;
        Assert.Contains(strange, message);
        Assert.Contains("{label}_{take}", message);
        Assert.Contains("no folders", Assert.Throws<InvalidDataException>(() => _ml.Data.LoadAudioTextPairs(_folder)).Message);
        File.Delete(strange);
        Assert.Contains("no sounds", Assert.Throws<InvalidDataException>(() => _ml.Data.LoadAudioTextPairs(_folder, options)).Message);
        Write("1_a.wav");
        Write("2_a.wav");
        options = options with { LabelNames = new Dictionary<string, string> { ["1"] = "2" } };
        Assert.Contains("LabelNames", Assert.Throws<ArgumentException>(() => _ml.Data.LoadAudioTextPairs(_folder, options)).Message);
        Assert.Contains("nowhere", Assert.Throws<FileNotFoundException>(() => _ml.Data.LoadAudioTextPairs("nowhere.csv")).Message);
        Assert.Contains("'audio'", Assert.Throws<InvalidDataException>(
            () => _ml.Data.LoadAudioTextPairs(Write("list.csv", "sound,caption\na.wav,b\n"))).Message);
    }
}
