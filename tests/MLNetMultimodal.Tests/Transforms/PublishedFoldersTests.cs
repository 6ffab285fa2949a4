using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;

namespace MLNetMultimodal.Tests.Transforms;

/// <summary>A text-only folder of sentence-transformers as a transform, and in a zip.</summary>
public sealed class PublishedFoldersTests : IDisposable
{
    readonly string _folder = Directory.CreateTempSubdirectory("mlnet-multimodal-tests-").FullName;

    public PublishedFoldersTests()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "1_Pooling"));
        foreach (var (name, content) in new[]
        {
            ("config.json", """{"model_type":"bert","hidden_size":24,"intermediate_size":40,"num_hidden_layers":2,"num_attention_heads":3,"vocab_size":9,"max_position_embeddings":16}"""),
            ("modules.json", """[{"path":"","type":"sentence_transformers.models.Transformer"},{"path":"1_Pooling","type":"sentence_transformers.models.Pooling"}]"""),
            ("1_Pooling/config.json", """{"pooling_mode_cls_token":true}"""), ("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\ncat\ndog\nrun\n##s\n"),
        }) File.WriteAllText(Path.Combine(_folder, name), content);
        IModelDefinition model = ModelFamilies.Create(ModelFiles.FromFolder(_folder));
        var random = new Random(3);
        Safetensors.Write(Path.Combine(_folder, "model.safetensors"), ModelSummary.Of(model.Full).Parameters.Select(p => KeyValuePair.Create(p.Name,
            TensorData.From([.. Enumerable.Range(0, (int)p.Count).Select(_ => random.NextSingle() - 0.3f)], [.. p.Shape.Select(d => (long)d)]))));
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    sealed class Row
    {
        public string Caption { get; set; } = "";
    }

    static float[][] Embeddings(IDataView data) =>
        [.. data.GetColumn<VBuffer<float>>("Embedding").Select(v => v.DenseValues().ToArray())];

    [Fact]
    public void Texts_embed_in_a_pipeline_and_from_a_zip()
    {
        var ml = new MLContext(seed: 1);
        string[] texts = ["a cat", "a dog runs", "cat", "", "a dog runs a dog runs"];
        IDataView rows = ml.Data.LoadFromEnumerable(texts.Select(t => new Row { Caption = t }));
        using MultimodalTransformer fitted = ml.Transforms.MultimodalEmbed(new() { Model = _folder, Text = "Caption", Output = "Embedding" }).Fit(rows);
        float[][] expected = Embeddings(fitted.Transform(rows));
        for (int i = 0; i < texts.Length; i++) // padded in a batch, alone in the model
            Assert.All(fitted.Model.EmbedTexts([texts[i]])[0].Zip(expected[i]), p => Assert.Equal(p.First, p.Second, 1e-5f));
        string zip = Path.Combine(_folder, "model.zip");
        ml.Model.Save(fitted, rows.Schema, zip);
        Assert.Equal(expected, Embeddings(ml.Model.Load(zip, out _).Transform(rows)));
    }

    [Fact]
    public void Pictures_are_refused_when_the_pipeline_is_made()
    {
        var ml = new MLContext(seed: 1);
        IDataView rows = ml.Data.LoadFromEnumerable([new Row { Caption = "a.png" }]);
        var e = Assert.ThrowsAny<Exception>(() => ml.Transforms.MultimodalEmbed(new() { Model = _folder, Image = "Caption", Output = "Embedding" }).Fit(rows));
        Assert.Contains("no encoder for", e.Message, StringComparison.Ordinal);
    }
}
