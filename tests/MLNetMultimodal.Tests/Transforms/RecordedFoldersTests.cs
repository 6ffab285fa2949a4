using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Tests.Transforms;

/// <summary>Folders of recorded graphs, and adapters, as transforms and in a zip.</summary>
public sealed class RecordedFoldersTests(TinyModel tiny) : IClassFixture<TinyModel>
{
    const float SlopeOfLogits = 1e-3f; // recorded graphs give the scale of scores as a slope

    readonly MLContext _ml = new(seed: 1);

    IDataView Data => _ml.Data.LoadFromEnumerable(tiny.Rows);

    string Recorded(params OnnxDtype[] dtypes)
    {
        string folder = Path.Combine(tiny.Root, $"{Guid.NewGuid():N}");
        OnnxExport.Write(tiny.Model, folder, dtypes);
        return folder;
    }

    ITransformer Reload(ITransformer model)
    {
        string zip = Path.Combine(tiny.Root, $"{Guid.NewGuid():N}.zip");
        _ml.Model.Save(model, Data.Schema, zip);
        return new MLContext().Model.Load(zip, out _);
    }

    float[][] Column(ITransformer model, string column) => [.. model.Transform(Data).GetColumn<float[]>(column)];

    [Fact]
    public void Embeddings_are_those_of_the_weights_also_from_a_zip()
    {
        MultimodalEmbedOptions options = new() { Image = "ImagePath", Text = "Caption", Threads = 1 };
        using MultimodalTransformer expected = _ml.Transforms.MultimodalEmbed(options with { Model = tiny.Folder }).Fit(Data),
            found = _ml.Transforms.MultimodalEmbed(options with { Model = Recorded(OnnxDtype.Fp32) }).Fit(Data);
        Tolerance.Equal(Column(expected, "Embedding"), Column(found, "Embedding"));
        ITransformer loaded = Reload(found);
        Tolerance.Equal(Column(found, "Embedding"), Column(loaded, "Embedding"), 0);

        string saved = Path.Combine(tiny.Root, $"{Guid.NewGuid():N}");
        ((MultimodalTransformer)loaded).SaveModelFolder(saved);
        Assert.Contains("onnx/vision_model.onnx", ModelFiles.FromFolder(saved).List());
        using MultimodalTransformer again = _ml.Transforms.MultimodalEmbed(options with { Model = saved }).Fit(Data);
        Tolerance.Equal(Column(found, "Embedding"), Column(again, "Embedding"), 0);
    }

    [Fact]
    public void Scores_are_those_of_the_weights_also_from_a_zip()
    {
        ZeroShotClassifyOptions options = new() { Image = "ImagePath", Labels = TinyModel.Colors, Threads = 1 };
        using ZeroShotTransformer expected = _ml.Transforms.ZeroShotClassify(options with { Model = tiny.Folder }).Fit(Data),
            found = _ml.Transforms.ZeroShotClassify(options with { Model = Recorded(OnnxDtype.Fp32) }).Fit(Data);
        Tolerance.Equal(Column(expected, "Score"), Column(found, "Score"), SlopeOfLogits);
        Tolerance.Equal(Column(found, "Score"), Column(Reload(found), "Score"), 0);
    }

    [Fact]
    public void The_dtype_goes_into_the_zip_and_only_its_graphs_do()
    {
        using MultimodalTransformer small = _ml.Transforms.MultimodalEmbed(
            new() { Image = "ImagePath", Model = Recorded(OnnxDtype.Fp32, OnnxDtype.Q8), Dtype = OnnxDtype.Q8, Threads = 1 }).Fit(Data);
        var loaded = (MultimodalTransformer)Reload(small);
        Assert.Equal(["onnx/model_quantized.onnx", "onnx/text_model_quantized.onnx", "onnx/vision_model_quantized.onnx"], loaded.Model.GraphFiles);
        Assert.DoesNotContain("onnx/model.onnx", loaded.Model.Files.List());
        Tolerance.Equal(Column(small, "Embedding"), Column(loaded, "Embedding"), 0);

        using MultimodalModel quantized = MultimodalModel.Load(tiny.Folder, new() { Threads = 1, Dtype = OnnxDtype.Q8 });
        using MultimodalTransformer weights = _ml.Transforms.MultimodalEmbed(new() { Image = "ImagePath", LoadedModel = quantized }).Fit(Data);
        Tolerance.Equal(Column(weights, "Embedding"), Column(Reload(weights), "Embedding"), 0);
    }

    [Fact]
    public void An_adapter_goes_into_the_zip_and_into_the_weights_of_a_folder()
    {
        const string layer = "vision_model.encoder.layers.0.mlp.fc1";
        float[] Values(int count) => [.. Enumerable.Range(0, count).Select(i => (i % 7 - 3) * 0.1f)];
        var adapter = new LoraAdapter(new() { Rank = 1, Alpha = 1 }, new Dictionary<string, (TensorData, TensorData)>
        {
            [layer] = (TensorData.From(Values(16), 1, 16), TensorData.From(Values(32), 32, 1)),
        });
        using MultimodalModel adapted = MultimodalModel.Load(tiny.Folder, new() { Threads = 1, Adapter = adapter });
        using MultimodalTransformer plain = _ml.Transforms.MultimodalEmbed(new() { Image = "ImagePath", LoadedModel = tiny.Model }).Fit(Data),
            fitted = _ml.Transforms.MultimodalEmbed(new() { Image = "ImagePath", LoadedModel = adapted }).Fit(Data);
        float[][] expected = Column(fitted, "Embedding");
        Assert.Contains(expected.Zip(Column(plain, "Embedding")), p => p.First.Zip(p.Second).Any(v => Math.Abs(v.First - v.Second) > 1e-3));
        Tolerance.Equal(expected, Column(Reload(fitted), "Embedding"), 0);

        string folder = Path.Combine(tiny.Root, $"{Guid.NewGuid():N}");
        fitted.SaveModelFolder(folder);
        using MultimodalTransformer merged = _ml.Transforms.MultimodalEmbed(new() { Image = "ImagePath", Model = folder, Threads = 1 }).Fit(Data);
        Tolerance.Equal(expected, Column(merged, "Embedding"), 0);
    }
}
