using System.Numerics.Tensors;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Transforms;

/// <summary>Rows whose pictures, texts, sounds and videos are embedded together.</summary>
sealed class EmbedBatch(EmbedPart?[] parts) : RowBatch
{
    /// <summary>What each input makes of the rows; null where nobody asks for it.</summary>
    public EmbedPart?[] Parts => parts;
}

/// <summary>Embeds a column of pictures, of texts, of sounds, of videos, or several of them.</summary>
sealed class EmbedComputation : BatchComputation<EmbedBatch>
{
    /// <summary>Annotation of an embedding column: the name of the model that made it.</summary>
    public const string ModelAnnotation = "Model";

    const int TextBatches = 16, MostTexts = 256;

    readonly MultimodalEmbedOptions _options;
    readonly IHost _host;
    readonly int _width;
    readonly IReadOnlyList<EmbedInput> _inputs;

    public EmbedComputation(IHost host, MultimodalEmbedOptions options, MultimodalModel model)
    {
        (_host, _options, _width) = (host, options, model.EmbeddingWidth);
        var inputs = new List<EmbedInput>();
        if (options.Image is { } image) inputs.Add(new ImageInput(model, image, options.ImageFolder, options.ReducedScaleJpeg));
        if (options.Text is { } text) inputs.Add(new TextInput(model, text, options.BatchSize));
        if (options.Audio is { } audio)
            inputs.Add(new AudioInput(model, new(audio, options.AudioFolder, options.AudioSampleRateHz)));
        if (options.Video is { } video) inputs.Add(new VideoInput(model, options.Videos(video)));
        _inputs = inputs;
        string name = ModelContent.ShortName(model);
        var annotations = new DataViewSchema.Annotations.Builder();
        annotations.Add(ModelAnnotation, TextDataViewType.Instance, (ref ReadOnlyMemory<char> value) => value = name.AsMemory());
        int combined = options.Combine == EmbeddingCombination.Concatenate ? inputs.Count * _width : _width;
        Outputs = [.. options.OutputColumns.Select((name, i) =>
            new OutputColumn(name, new VectorDataViewType(NumberDataViewType.Single, i == 0 ? combined : _width),
                annotations.ToAnnotations()))];
    }

    /// <summary>A video is a batch of pictures by itself.</summary>
    public override int BatchSize => _options.Video is null ? _options.BatchSize : 1;

    /// <summary>Texts are put together by length, so more of them are read than run at once; pictures and sounds are too large
    /// for that.</summary>
    public override int MostRows(Func<int, bool> isActive) => Needed(isActive).Any(i => _inputs[i] is not TextInput) ? BatchSize
        : Math.Max(BatchSize, Math.Min(TextBatches * BatchSize, MostTexts));

    public override IReadOnlyList<OutputColumn> Outputs { get; }

    public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive) =>
        Needed(isActive).Select(i => _inputs[i].Find(input));

    public override EmbedBatch NewBatch(int rows, Func<int, bool> isActive)
    {
        var parts = new EmbedPart?[_inputs.Count];
        foreach (int i in Needed(isActive)) parts[i] = _inputs[i].NewPart(rows);
        return new(parts);
    }

    public override Action<EmbedBatch, int> Reader(DataViewRow input, Func<int, bool> isActive)
    {
        (int Input, Action<EmbedPart, int> Read)[] readers = [.. Needed(isActive).Select(i => (i, _inputs[i].Reader(input)))];
        return (batch, slot) =>
        {
            foreach (var (i, read) in readers) read(batch.Parts[i]!, slot);
        };
    }

    public override void Prepare(EmbedBatch batch, int slot)
    {
        for (int i = 0; i < _inputs.Count; i++)
            if (batch.Parts[i] is { } part) _inputs[i].Prepare(part, slot, batch.FirstRow + slot);
    }

    public override void Run(EmbedBatch batch, int count)
    {
        for (int i = 0; i < _inputs.Count; i++)
            if (batch.Parts[i] is { } part) _inputs[i].Run(part, count);
    }

    public override void Abandon(EmbedBatch batch, int count)
    {
        foreach (EmbedPart? part in batch.Parts) part?.Abandon(count);
    }

    public override Delegate Getter(int output, Func<(EmbedBatch Batch, int Slot)> current)
    {
        ValueGetter<VBuffer<float>> getter = (ref VBuffer<float> value) =>
        {
            var (batch, slot) = current();
            VBufferEditor<float> editor = VBufferEditor.Create(ref value, ((VectorDataViewType)Outputs[output].Type).Size);
            if (_inputs.Count > 1 && output == 0) Combine(batch, slot, editor.Values);
            else batch.Parts[Math.Max(0, output - 1)]!.Embedding(slot, _options.OnError).CopyTo(editor.Values);
            value = editor.Commit();
        };
        return getter;
    }

    public override int Failures(EmbedBatch batch, int count) =>
        _options.OnError == OnError.Throw ? 0 : batch.Parts.Sum(part => part?.Failures(count) ?? 0);

    public override void Report(long failures) =>
        Warn(_host, "MultimodalEmbed", $"{failures} items could not be read; their embeddings are missing (all NaN).");

    /// <summary>The inputs that the outputs are made of: all for the first one, each for one of the others.</summary>
    IEnumerable<int> Needed(Func<int, bool> isActive) => Enumerable.Range(0, _inputs.Count)
        .Where(i => isActive(0) || (_inputs.Count > 1 && isActive(i + 1)));

    void Combine(EmbedBatch batch, int slot, Span<float> result)
    {
        int present = 0;
        for (int i = 0; i < _inputs.Count; i++)
        {
            ReadOnlySpan<float> embedding = batch.Parts[i]!.Embedding(slot, _options.OnError);
            if (_options.Combine == EmbeddingCombination.Concatenate) embedding.CopyTo(result[(i * _width)..]);
            else if (float.IsNaN(embedding[0])) continue;
            else if (present++ == 0) embedding.CopyTo(result);
            else TensorPrimitives.Add(result, embedding, result);
        }
        if (_options.Combine == EmbeddingCombination.Concatenate || present == 1) return;
        if (present == 0) result.Fill(float.NaN);
        else TensorPrimitives.Divide(result, Math.Max(TensorPrimitives.Norm<float>(result), float.Epsilon), result);
    }
}
