using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>An item and its embedding.</summary>
/// <param name="Modality"><c>image</c>, <c>text</c>, <c>audio</c> or <c>video</c>.</param>
/// <param name="Input">The path of the file, or the text.</param>
/// <param name="Embedding">[E]; the next row's values take their place.</param>
sealed record EmbeddedRow(string Modality, string Input, ReadOnlyMemory<float> Embedding);

/// <summary>Embeds any number of items with the memory of a few batches.</summary>
sealed class EmbeddedRows(MultimodalModel model, IReadOnlyList<string> pictures, IReadOnlyList<string> texts,
    IReadOnlyList<string> sounds, IReadOnlyList<string> videos, bool reducedScaleJpeg)
{
    sealed class Item
    {
        public string Input { get; set; } = "";
    }

    public int Count => pictures.Count + texts.Count + sounds.Count + videos.Count;

    public int Width => model.EmbeddingWidth;

    /// <summary>The pictures' rows, then the texts', the sounds' and the videos', one at a time while the next are decoded
    /// and computed.</summary>
    /// <param name="report">Told how far it is.</param>
    /// <param name="cancellation">Ends the work.</param>
    /// <exception cref="InvalidDataException">A picture, a sound or a video cannot be read; the message names it.</exception>
    public IEnumerable<EmbeddedRow> All(Action<double, string> report, CancellationToken cancellation)
    {
        int done = 0;
        MultimodalEmbedOptions options = new() { LoadedModel = model, ReducedScaleJpeg = reducedScaleJpeg };
        IEnumerable<EmbeddedRow> rows = Rows("image", pictures, options with { Image = nameof(Item.Input) })
            .Concat(Rows("text", texts, options with { Text = nameof(Item.Input) }))
            .Concat(Rows("audio", sounds, options with { Audio = nameof(Item.Input) }))
            .Concat(Rows("video", videos, options with { Video = nameof(Item.Input) }));
        foreach (EmbeddedRow row in rows)
        {
            cancellation.ThrowIfCancellationRequested();
            yield return row;
            report((double)++done / Count, $"{done} of {Count} embedded");
        }
    }

    static IEnumerable<EmbeddedRow> Rows(string modality, IReadOnlyList<string> inputs, MultimodalEmbedOptions options)
    {
        if (inputs.Count == 0) yield break;
        var ml = new MLContext();
        IDataView data = ml.Data.LoadFromEnumerable(inputs.Select(input => new Item { Input = input }));
        using MultimodalTransformer transformer = ml.Transforms.MultimodalEmbed(options).Fit(data);
        IDataView view = transformer.Transform(data);
        using DataViewRowCursor cursor = view.GetRowCursor([view.Schema[options.Output]]);
        ValueGetter<VBuffer<float>> getter = cursor.GetGetter<VBuffer<float>>(view.Schema[options.Output]);
        VBuffer<float> value = default;
        var embedding = new float[((VectorDataViewType)view.Schema[options.Output].Type).Size];
        while (cursor.MoveNext())
        {
            getter(ref value);
            value.CopyTo(embedding);
            yield return new(modality, inputs[(int)cursor.Position], embedding);
        }
    }
}
