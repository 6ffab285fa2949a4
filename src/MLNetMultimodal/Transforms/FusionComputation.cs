using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Transforms;

/// <summary>Rows that run through a fusion model together.</summary>
sealed class FusionBatch(int rows, bool explains) : RowBatch
{
    public FusionPart Part { get; } = new(rows);

    /// <summary>True where the attention is asked for.</summary>
    public bool Explains => explains;

    /// <summary>[B][C].</summary>
    public float[][] Scores { get; } = new float[rows][];

    /// <summary>[B][tokens]; null where nobody asks for it.</summary>
    public float[]?[] Attention { get; } = new float[rows][];
}

/// <summary>Predicts from pictures, texts, sounds and numbers.</summary>
sealed class FusionComputation : BatchComputation<FusionBatch>
{
    const string ScoreColumnKind = "ScoreColumnKind", ScoreValueKind = "ScoreValueKind", ScoreColumnSetId = "ScoreColumnSetId";

    readonly CrossModalPredictOptions _options;
    readonly FusionPredictor _predictor;
    readonly FusionInput _input;
    readonly IHost _host;
    readonly FusionTask _task;
    readonly int _attention;
    readonly IReadOnlyList<(OutputColumn Column, string? ValueKind)> _outputs;
    readonly KeyNames _labels;

    public FusionComputation(IHost host, CrossModalPredictOptions options, FusionPredictor predictor)
    {
        (_host, _options, _predictor) = (host, options, predictor);
        _task = predictor.Model.Config.Task;
        _input = options.Columns.With(predictor.Preprocessing, options.OnError);
        _labels = new(options.LabelType, predictor.Model.Config.Labels);
        int classes = predictor.Model.Config.Outputs;
        var outputs = new List<(OutputColumn, string?)>();
        if (_task == FusionTask.Multiclass)
        {
            outputs.Add((new(options.PredictedLabel, new KeyDataViewType(typeof(uint), classes)), "PredictedLabel"));
            outputs.Add((new(options.Score, new VectorDataViewType(NumberDataViewType.Single, classes)), "Score"));
        }
        else
        {
            if (_task == FusionTask.Binary) outputs.Add((new(options.PredictedLabel, BooleanDataViewType.Instance), "PredictedLabel"));
            outputs.Add((new(options.Score, NumberDataViewType.Single), "Score"));
            if (_task == FusionTask.Binary) outputs.Add((new(options.Probability, NumberDataViewType.Single), "Probability"));
        }
        _attention = options.Attention is null ? -1 : outputs.Count;
        if (options.Attention is { } attention)
            outputs.Add((new(attention, new VectorDataViewType(NumberDataViewType.Single, predictor.Model.TokenCount)), null));
        _outputs = outputs;
        Outputs = [.. outputs.Select(o => o.Item1)];
    }

    public override int BatchSize => _options.BatchSize;

    public override IReadOnlyList<OutputColumn> Outputs { get; }

    /// <summary>With what ML.NET's own trainers put beside their columns.</summary>
    public override IEnumerable<OutputColumn> OutputsOn(DataViewSchema input)
    {
        uint set = input.Select(SetOf).DefaultIfEmpty(0u).Max() + 1;
        return _outputs.Select(o => o.Column with { Annotations = o.ValueKind is { } kind ? Annotations(set, kind) : TokenNames() });
    }

    static uint SetOf(DataViewSchema.Column column)
    {
        uint set = 0;
        if (column.Annotations.Schema.GetColumnOrNull(ScoreColumnSetId)?.Type is KeyDataViewType { RawType: var raw } && raw == typeof(uint))
            column.Annotations.GetValue(ScoreColumnSetId, ref set);
        return set;
    }

    DataViewSchema.Annotations Annotations(uint set, string valueKind)
    {
        var builder = new DataViewSchema.Annotations.Builder();
        string kind = _task == FusionTask.Regression ? "Regression" : $"{_task}Classification";
        AddText(builder, ScoreColumnKind, kind);
        AddText(builder, ScoreValueKind, valueKind);
        builder.Add(ScoreColumnSetId, new KeyDataViewType(typeof(uint), int.MaxValue), (ref uint value) => value = set);
        if (valueKind == "Probability") builder.Add("IsNormalized", BooleanDataViewType.Instance, (ref bool value) => value = true);
        if (_task != FusionTask.Multiclass) return builder.ToAnnotations();
        if (valueKind == "PredictedLabel") _labels.AddTo(builder, Columns.KeyValues);
        else
        {
            _labels.AddTo(builder, "TrainingLabelValues");
            builder.Add(Columns.SlotNames, Columns.Names(_labels.Values.Count), Columns.Constant(_labels.Values));
        }
        return builder.ToAnnotations();
    }

    DataViewSchema.Annotations TokenNames()
    {
        var builder = new DataViewSchema.Annotations.Builder();
        builder.Add(Columns.SlotNames, Columns.Names(_predictor.Model.TokenCount), Columns.Constant(_predictor.TokenNames));
        return builder.ToAnnotations();
    }

    static void AddText(DataViewSchema.Annotations.Builder builder, string name, string text)
    {
        ReadOnlyMemory<char> memory = text.AsMemory();
        builder.Add(name, TextDataViewType.Instance, (ref ReadOnlyMemory<char> value) => value = memory);
    }

    public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive) => _input.Find(input);

    public override FusionBatch NewBatch(int rows, Func<int, bool> isActive) => new(rows, _attention >= 0 && isActive(_attention));

    public override Action<FusionBatch, int> Reader(DataViewRow input, Func<int, bool> isActive)
    {
        Action<FusionPart, int> read = _input.Reader(input);
        return (batch, slot) => read(batch.Part, slot);
    }

    public override void Prepare(FusionBatch batch, int slot) => _input.Prepare(batch.Part, slot, batch.FirstRow + slot);

    public override void Run(FusionBatch batch, int count)
    {
        ArraySegment<FusionRow> rows = new(batch.Part.Rows, 0, count);
        if (!batch.Explains)
        {
            _predictor.Predict(rows).CopyTo(batch.Scores, 0);
            return;
        }
        FusionExplanation[] explained = _predictor.Explain(rows);
        for (int i = 0; i < count; i++) (batch.Scores[i], batch.Attention[i]) = (explained[i].Scores, explained[i].Attention);
    }

    public override Delegate Getter(int output, Func<(FusionBatch Batch, int Slot)> current)
    {
        if (output == _attention)
            return (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) => Columns.Fill<float>(ref value, At(current, b => b.Attention)!));
        return (_task, _outputs[output].ValueKind) switch
        {
            (FusionTask.Multiclass, "Score") => (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) => Columns.Fill<float>(ref value, Scores(current))),
            (FusionTask.Multiclass, _) => (ValueGetter<uint>)((ref uint value) => value = (uint)Scores(current).IndexOf(Scores(current).Max()) + 1),
            (_, "PredictedLabel") => (ValueGetter<bool>)((ref bool value) => value = Scores(current)[0] > 0),
            (_, "Probability") => (ValueGetter<float>)((ref float value) => value = 1 / (1 + MathF.Exp(-Scores(current)[0]))),
            _ => (ValueGetter<float>)((ref float value) => value = Scores(current)[0]),
        };
    }

    static float[] Scores(Func<(FusionBatch, int)> current) => At(current, b => b.Scores)!;

    static T At<T>(Func<(FusionBatch Batch, int Slot)> current, Func<FusionBatch, T[]> values)
    {
        var (batch, slot) = current();
        return batch.Part.Errors[slot] is { } error ? throw error : values(batch)[slot];
    }

    public override int Failures(FusionBatch batch, int count) => batch.Part.Failures.AsSpan(0, count).ToArray().Sum();

    public override void Report(long failures) =>
        Warn(_host, "CrossModalPredict", $"{failures} items could not be read; their rows were predicted without them.");
}
