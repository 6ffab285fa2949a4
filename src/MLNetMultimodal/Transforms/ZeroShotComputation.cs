using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Transforms;

/// <summary>Rows whose pictures, sounds or videos are classified together.</summary>
sealed class ZeroShotBatch(EmbedPart items, int labels) : RowBatch
{
    public EmbedPart Items => items;

    /// <summary>[B][labels]; null where the item is missing.</summary>
    public float[]?[] Scores { get; } = new float[items.Rows][];

    /// <summary>Values that stand for "missing".</summary>
    public float[] NoScores { get; } = [.. Enumerable.Repeat(float.NaN, labels)];
}

/// <summary>Compares pictures, sounds or videos with the texts that name the classes.</summary>
sealed class ZeroShotComputation : BatchComputation<ZeroShotBatch>
{
    /// <summary>Annotations of the score column, for reports: the templates of the prompts, and where prompts come
    /// from.</summary>
    public const string TemplatesAnnotation = "Templates", SourceAnnotation = "PromptSource";

    readonly ZeroShotClassifyOptions _options;
    readonly ZeroShotClassifier _classifier;
    readonly EmbedInput _input;
    readonly IHost _host;
    readonly ReadOnlyMemory<char>[] _labels;
    readonly ReadOnlyMemory<char> _promptSource;

    public ZeroShotComputation(
        IHost host, ZeroShotClassifyOptions options, MultimodalModel model, ZeroShotClassifier classifier, string promptSource)
    {
        (_host, _options, _classifier, _promptSource) = (host, options, classifier, promptSource.AsMemory());
        _input = options.Input(model);
        _labels = [.. classifier.Labels.Select(l => l.AsMemory())];
        int labels = _labels.Length, top = Math.Min(options.TopK, labels);
        List<OutputColumn> outputs =
        [
            new(options.PredictedLabel, new KeyDataViewType(typeof(uint), labels), Names(Columns.KeyValues)),
            new(options.Score, new VectorDataViewType(NumberDataViewType.Single, labels),
                Names(Columns.SlotNames, withPrompts: true)),
        ];
        if (top > 0)
        {
            outputs.Add(new(options.TopLabels, new VectorDataViewType(TextDataViewType.Instance, top)));
            outputs.Add(new(options.TopScores, new VectorDataViewType(NumberDataViewType.Single, top)));
        }
        Outputs = outputs;
    }

    public ZeroShotClassifier Classifier => _classifier;

    /// <summary>A video is a batch of pictures by itself.</summary>
    public override int BatchSize => _options.Video is null ? _options.BatchSize : 1;

    public override IReadOnlyList<OutputColumn> Outputs { get; }

    public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive) =>
        [_input.Find(input)];

    public override ZeroShotBatch NewBatch(int rows, Func<int, bool> isActive) => new(_input.NewPart(rows), _labels.Length);

    public override Action<ZeroShotBatch, int> Reader(DataViewRow input, Func<int, bool> isActive)
    {
        Action<EmbedPart, int> read = _input.Reader(input);
        return (batch, slot) => read(batch.Items, slot);
    }

    public override void Prepare(ZeroShotBatch batch, int slot) => _input.Prepare(batch.Items, slot, batch.FirstRow + slot);

    public override void Run(ZeroShotBatch batch, int count)
    {
        _input.Run(batch.Items, count);
        for (int slot = 0; slot < count; slot++)
            batch.Scores[slot] = batch.Items.Error(slot) is null
                ? _classifier.Probabilities(batch.Items.Embedding(slot, OnError.Throw)) : null;
    }

    public override Delegate Getter(int output, Func<(ZeroShotBatch Batch, int Slot)> current) => output switch
    {
        0 => (ValueGetter<uint>)((ref uint value) => value = Scores(current) is { } scores ? (uint)Best(scores)[0] + 1 : 0),
        1 => (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) =>
            Columns.Fill(ref value, Scores(current) ?? current().Batch.NoScores)),
        2 => (ValueGetter<VBuffer<ReadOnlyMemory<char>>>)((ref VBuffer<ReadOnlyMemory<char>> value) =>
            Columns.Fill<ReadOnlyMemory<char>>(ref value, Scores(current) is { } scores
                ? [.. Best(scores).Select(i => _labels[i])] : new ReadOnlyMemory<char>[Top])),
        _ => (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) =>
            Columns.Fill<float>(ref value, Scores(current) is { } scores ? [.. Best(scores).Select(i => scores[i])]
                : current().Batch.NoScores.AsSpan(0, Top))),
    };

    public override int Failures(ZeroShotBatch batch, int count) =>
        _options.OnError == OnError.Throw ? 0 : batch.Items.Failures(count);

    public override void Report(long failures) =>
        Warn(_host, "ZeroShotClassify", $"{failures} items could not be read; their labels and scores are missing.");

    int Top => Math.Min(_options.TopK, _labels.Length);

    /// <summary>The row's scores, null where they are missing.</summary>
    float[]? Scores(Func<(ZeroShotBatch Batch, int Slot)> current)
    {
        var (batch, slot) = current();
        return batch.Items.Error(slot) is { } error && _options.OnError == OnError.Throw ? throw error : batch.Scores[slot];
    }

    /// <summary>Labels from the most probable down; of equals, the earlier first.</summary>
    int[] Best(float[] scores)
    {
        int[] order = [.. Enumerable.Range(0, scores.Length)];
        Array.Sort(order, (a, b) => scores[b].CompareTo(scores[a]) is not 0 and var c ? c : a.CompareTo(b));
        return order.AsSpan(0, Math.Max(1, Top)).ToArray();
    }

    DataViewSchema.Annotations Names(string kind, bool withPrompts = false)
    {
        var builder = new DataViewSchema.Annotations.Builder();
        builder.Add(kind, Columns.Names(_labels.Length), Columns.Constant(_classifier.Labels));
        if (!withPrompts) return builder.ToAnnotations();
        builder.Add(TemplatesAnnotation, Columns.Names(_classifier.Templates.Count), Columns.Constant(_classifier.Templates));
        builder.Add(SourceAnnotation, TextDataViewType.Instance, (ref ReadOnlyMemory<char> value) => value = _promptSource);
        return builder.ToAnnotations();
    }
}
