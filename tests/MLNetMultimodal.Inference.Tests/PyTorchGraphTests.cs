using System.Text.Json;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Inference.Tests;

/// <summary>Graphs that PyTorch's exporter wrote (<c>PyTorch/make.py</c>), of families that nobody here knows.</summary>
public sealed class PyTorchGraphTests
{
    const float SameNumbers = 1e-5f;

    static readonly JsonElement Expected = JsonDocument.Parse(File.ReadAllBytes(At("expected.json"))).RootElement;

    static readonly string[] Texts = [.. Expected.GetProperty("texts").EnumerateArray().Select(t => t.GetString()!)];

    static string At(string name) => Path.Combine(AppContext.BaseDirectory, "PyTorch", name);

    static float[] Row(JsonElement row) => [.. row.EnumerateArray().Select(v => v.GetSingle())];

    static float[][] Rows(string name) => [.. Expected.GetProperty(name).EnumerateArray().Select(Row)];

    [Fact]
    public void Tokens_of_a_text_encoder_are_pooled_by_their_mean_without_padding()
    {
        using MultimodalModel model = MultimodalModel.Load(At("text"));
        Assert.Equal([Modality.Text], model.Modalities);
        Assert.Equal((8, 16, "mpnet"), (model.EmbeddingWidth, model.Texts.ContextLength, model.Definition.ModelType));
        int length = Texts.Max(t => model.Texts.Encode(t).Count);
        var ids = new long[Texts.Length * length];
        var padded = new float[Texts.Length * model.EmbeddingWidth];
        model.Texts.EncodeBatch(Texts, length, ids, []);
        model.EmbedIds(ids, Texts.Length, length, padded);
        Difference.Small([.. Rows("text").SelectMany(r => r)], padded, SameNumbers);
        Difference.Small(padded, [.. model.EmbedTexts(Texts).SelectMany(e => e)], SameNumbers);
    }

    [Fact]
    public void One_graph_of_open_sizes_embeds_both_senses_and_knows_the_scale_of_scores()
    {
        using MultimodalModel model = MultimodalModel.Load(At("both"));
        Assert.Equal([Modality.Image, Modality.Text], model.Modalities);
        Assert.Equal(6, model.EmbeddingWidth);
        Difference.Small([.. Rows("both_text").SelectMany(r => r)], [.. model.EmbedTexts(Texts).SelectMany(e => e)], SameNumbers);
        float[] pixels = [.. Enumerable.Range(0, 3 * 8 * 8).Select(i => -1 + 2f * i / (3 * 8 * 8 - 1))];
        var image = new float[6];
        model.EmbedPixels(pixels, 1, image);
        Difference.Small(Row(Expected.GetProperty("both_image")), image, SameNumbers);
        Assert.Equal(1, model.LogitScale / Expected.GetProperty("logit_scale").GetSingle(), 1e-4f);

        float[] logits = Row(Expected.GetProperty("logits"));
        for (int i = 0; i < Texts.Length; i++)
        {
            long[] ids = [.. model.Texts.Encode(Texts[i]).Select(id => (long)id)];
            float[] run = model.Run(new Dictionary<string, TensorData>
            {
                ["pixel_values"] = TensorData.From(pixels, 1, 3, 8, 8),
                ["input_ids"] = TensorData.From(ids, 1, ids.Length),
            })["logits_per_image"].ToSingles();
            Assert.Equal(logits[i], Assert.Single(run), 1e-4f);
        }
    }
}
