using System.Numerics.Tensors;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Transforms;

/// <summary>Rows whose pictures and texts are embedded together.</summary>
sealed class EmbedBatch(ImagePart? image, TextPart? text) : RowBatch
{
    public ImagePart? Image => image;

    public TextPart? Text => text;
}

/// <summary>Embeds a column of pictures, a column of texts, or both.</summary>
sealed class EmbedComputation : BatchComputation<EmbedBatch>
{
    /// <summary>Annotation of an embedding column: the name of the model that made it.</summary>
    public const string ModelAnnotation = "Model";

    const int TextBatches = 16, MostTexts = 256;

    readonly MultimodalEmbedOptions _options;
    readonly IHost _host;
    readonly int _width;
    readonly ImageInput? _image;
    readonly TextInput? _text;

    public EmbedComputation(IHost host, MultimodalEmbedOptions options, MultimodalModel model)
    {
        (_host, _options, _width) = (host, options, model.EmbeddingWidth);
        if (options.Image is not null) _image = new(model, options.Image, options.ImageFolder, options.ReducedScaleJpeg);
        if (options.Text is not null) _text = new(model, options.Text, options.BatchSize);
        string name = ModelContent.ShortName(model);
        var annotations = new DataViewSchema.Annotations.Builder();
        annotations.Add(ModelAnnotation, TextDataViewType.Instance, (ref ReadOnlyMemory<char> value) => value = name.AsMemory());
        int combined = options.HasBoth && options.Combine == EmbeddingCombination.Concatenate ? 2 * _width : _width;
        Outputs = [.. options.OutputColumns.Select((name, i) =>
            new OutputColumn(name, new VectorDataViewType(NumberDataViewType.Single, i == 0 ? combined : _width),
                annotations.ToAnnotations()))];
    }

    public override int BatchSize => _options.BatchSize;

    /// <summary>Texts are put together by length, so more of them are read than run at once; pictures are too large for
    /// that.</summary>
    public override int MostRows(Func<int, bool> isActive) =>
        NeedsImage(isActive) ? BatchSize : Math.Max(BatchSize, Math.Min(TextBatches * BatchSize, MostTexts));

    public override IReadOnlyList<OutputColumn> Outputs { get; }

    public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive)
    {
        if (NeedsImage(isActive)) yield return _image!.Find(input);
        if (NeedsText(isActive)) yield return _text!.Find(input);
    }

    public override EmbedBatch NewBatch(int rows, Func<int, bool> isActive) =>
        new(NeedsImage(isActive) ? _image!.NewPart(rows) : null, NeedsText(isActive) ? _text!.NewPart(rows) : null);

    public override Action<EmbedBatch, int> Reader(DataViewRow input, Func<int, bool> isActive)
    {
        Action<ImagePart, int>? image = NeedsImage(isActive) ? _image!.Reader(input) : null;
        Action<TextPart, int>? text = NeedsText(isActive) ? _text!.Reader(input) : null;
        return (batch, slot) =>
        {
            image?.Invoke(batch.Image!, slot);
            text?.Invoke(batch.Text!, slot);
        };
    }

    public override void Prepare(EmbedBatch batch, int slot)
    {
        if (batch.Image is { } image) _image!.Prepare(image, slot, batch.FirstRow + slot);
        if (batch.Text is { } text) _text!.Prepare(text, slot);
    }

    public override void Run(EmbedBatch batch, int count)
    {
        if (batch.Image is { } image) _image!.Run(image, count);
        if (batch.Text is not { } text) return;
        text.FirstRow = batch.FirstRow;
        _text!.Run(text, count);
    }

    public override void Abandon(EmbedBatch batch, int count)
    {
        if (batch.Text is { } text) TextInput.Abandon(text, count);
    }

    public override Delegate Getter(int output, Func<(EmbedBatch Batch, int Slot)> current)
    {
        ValueGetter<VBuffer<float>> getter = (ref VBuffer<float> value) =>
        {
            var (batch, slot) = current();
            VBufferEditor<float> editor = VBufferEditor.Create(ref value, ((VectorDataViewType)Outputs[output].Type).Size);
            if (_options.HasBoth && output == 0) Combine(batch, slot, editor.Values);
            else Part(batch, output).Embedding(slot, _options.OnError).CopyTo(editor.Values);
            value = editor.Commit();
        };
        return getter;
    }

    public override int Failures(EmbedBatch batch, int count) =>
        _options.OnError == OnError.Throw ? 0 : (batch.Image?.Failures(count) ?? 0) + (batch.Text?.Failures(count) ?? 0);

    public override void Report(long failures)
    {
        using IChannel channel = _host.Start("MultimodalEmbed");
        channel.Warning(MessageSensitivity.None, $"{failures} items could not be read; their embeddings are missing (all NaN).");
    }

    bool NeedsImage(Func<int, bool> isActive) => _image is not null && (isActive(0) || (_options.HasBoth && isActive(1)));

    bool NeedsText(Func<int, bool> isActive) => _text is not null && (isActive(0) || (_options.HasBoth && isActive(2)));

    EmbedPart Part(EmbedBatch batch, int output) =>
        (_options.HasBoth ? output == 1 : _image is not null) ? batch.Image! : batch.Text!;

    void Combine(EmbedBatch batch, int slot, Span<float> result)
    {
        ReadOnlySpan<float> image = batch.Image!.Embedding(slot, _options.OnError),
            text = batch.Text!.Embedding(slot, _options.OnError);
        if (_options.Combine == EmbeddingCombination.Concatenate)
        {
            image.CopyTo(result);
            text.CopyTo(result[_width..]);
        }
        else if (float.IsNaN(image[0])) text.CopyTo(result);
        else if (float.IsNaN(text[0])) image.CopyTo(result);
        else
        {
            TensorPrimitives.Add(image, text, result);
            TensorPrimitives.Divide(result, Math.Max(TensorPrimitives.Norm<float>(result), float.Epsilon), result);
        }
    }
}
