using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class StockOnnxTests(TinyModel tiny) : IClassFixture<TinyModel>
{
    sealed class Pixels
    {
        [ColumnName("pixel_values"), VectorType(3 * 8 * 8)]
        public float[] Values { get; set; } = [];
    }

    [Fact]
    public void A_recorded_graph_runs_in_the_stock_ONNX_transform_with_the_same_embeddings()
    {
        using var weights = tiny.Model.Files.OpenWeights();
        string path = Path.Combine(tiny.Root, "vision_model.onnx");
        OnnxRecorder.Record(tiny.Model.Definition.Encoders[Modality.Image], weights).SaveTo(path);
        RgbImage[] pictures = [.. tiny.Rows.Take(5).Select(r => ImageDecoder.Decode(r.ImagePath))];
        float[][] expected = tiny.Model.EmbedImages(pictures);
        var rows = pictures.Select(p =>
        {
            var pixels = new Pixels { Values = new float[3 * 8 * 8] };
            tiny.Model.Images.Apply(p, pixels.Values);
            return pixels;
        });

        var ml = new MLContext(seed: 1);
        IDataView data = ml.Data.LoadFromEnumerable(rows);
        var stock = ml.Transforms.ApplyOnnxModel(["image_embeds"], ["pixel_values"], path,
            new Dictionary<string, int[]> { ["pixel_values"] = [1, 3, 8, 8], ["image_embeds"] = [1, expected[0].Length] }, gpuDeviceId: null, fallbackToCpu: false);
        float[][] found = [.. stock.Fit(data).Transform(data).GetColumn<float[]>("image_embeds")];

        Tolerance.Equal(expected, found);
    }
}
