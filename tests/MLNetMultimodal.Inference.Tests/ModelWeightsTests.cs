using System.Text;
using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Inference.Tests;

public sealed class ModelWeightsTests : IDisposable
{
    readonly string _folder = Directory.CreateTempSubdirectory("mlnet-multimodal-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    void Shard(string file, params string[] names) => Safetensors.Write(Path.Combine(_folder, file),
        names.Select((n, i) => KeyValuePair.Create(n, TensorData.From([i + 1f, n.Length], 2))));

    void Index(string json) => File.WriteAllText(Path.Combine(_folder, "model.safetensors.index.json"), json);

    static string Map(params (string Name, string Shard)[] entries) =>
        JsonSerializer.Serialize(new { metadata = new { total_size = 24 }, weight_map = entries.ToDictionary(e => e.Name, e => e.Shard) });

    ModelWeights Open() => ModelFiles.FromFolder(_folder).OpenWeights();

    [Theory, InlineData(true), InlineData(false)]
    public void Shards_are_one_checkpoint(bool isOnDisk)
    {
        Shard("model-00001-of-00002.safetensors", "a", "bb");
        Shard("model-00002-of-00002.safetensors", "ccc");
        Index(Map(("a", "model-00001-of-00002.safetensors"), ("bb", "model-00001-of-00002.safetensors"), ("ccc", "model-00002-of-00002.safetensors")));
        ModelFiles files = isOnDisk ? ModelFiles.FromFolder(_folder) : ModelFiles.FromMemory("memory", Directory.GetFiles(_folder)
            .ToDictionary(f => Path.GetFileName(f), f => (ReadOnlyMemory<byte>)File.ReadAllBytes(f)));
        using ModelWeights weights = files.OpenWeights();
        Assert.Equal(["a", "bb", "ccc"], weights.Keys.Order());
        Assert.Equal([2f, 2f], weights["bb"].ToSingles());
        Assert.Equal([1f, 3f], weights["ccc"].ToSingles());
    }

    public static TheoryData<string, string> BadIndexes => new()
    {
        { Map(("a", "../model.safetensors")), "'../model.safetensors'" },
        { Map(("a", "/etc/model.safetensors")), "same folder" },
        { Map(("a", "..\\x.safetensors")), "same folder" },
        { Map(("a", "one.bin")), "'one.bin'" },
        { Map(("a", "one.safetensors"), ("zz", "one.safetensors")), "'zz' should be in one.safetensors" },
        { Map(("a", "one.safetensors")), "one.safetensors has 'bb'" },
        { """{"weight_map":{"a":"one.safetensors","a":"one.safetensors"}}""", "'a' twice" },
        { """{"weight_map":{}}""", "empty" }, { """{"weight_map":[1]}""", "cannot be used" }, { "{", "cannot be used" }, { "{}", "cannot be used" },
    };

    [Theory, MemberData(nameof(BadIndexes))]
    public void Bad_indexes_are_refused(string json, string named)
    {
        Shard("one.safetensors", "a", "bb");
        Index(json);
        var e = Assert.Throws<InvalidDataException>(Open);
        Assert.Contains(named, e.Message, StringComparison.Ordinal);
        Assert.Contains("model.safetensors.index.json", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_shard_is_named()
    {
        Index(Map(("a", "model-00001-of-00001.safetensors")));
        Assert.Contains("model-00001-of-00001.safetensors", Assert.Throws<FileNotFoundException>(Open).Message, StringComparison.Ordinal);
    }

    [Theory, InlineData("pytorch_model.bin"), InlineData("model.pt"), InlineData("open_clip_pytorch_model.bin"), InlineData("last.ckpt")]
    public void Pickles_are_refused_in_one_line(string file)
    {
        File.WriteAllBytes(Path.Combine(_folder, file), Encoding.ASCII.GetBytes("\x80\x02."));
        var e = Assert.Throws<NotSupportedException>(Open);
        Assert.Contains(file, e.Message, StringComparison.Ordinal);
        Assert.Contains("safe_serialization=True", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
    }

    [Fact]
    public void A_folder_without_weights_says_what_was_looked_for() =>
        Assert.Contains("model.safetensors", Assert.Throws<FileNotFoundException>(Open).Message, StringComparison.Ordinal);
}
