using System.Globalization;
using System.Numerics.Tensors;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Transforms;

/// <summary>A policy as it is applied.</summary>
/// <param name="Name">What columns and reasons call it.</param>
/// <param name="Threshold">Probability from which it is violated.</param>
/// <param name="Direction">[E], the policy's texts less the neutral ones: what is similar to the former and not to the latter points
/// there.</param>
/// <param name="Image">From a picture's evidence to a probability; null where it is not calibrated.</param>
/// <param name="Text">From a text's.</param>
/// <param name="Joint">From both.</param>
sealed record FittedPolicy(string Name, float Threshold, float[] Direction, PlattScaling? Image, PlattScaling? Text, PlattScaling? Joint);

/// <summary>Rows whose pictures and texts are judged together.</summary>
sealed class ModerationBatch(EmbedPart? image, EmbedPart? text) : RowBatch
{
    public EmbedPart? Image => image;

    public EmbedPart? Text => text;
}

/// <summary>What is known of a row for one policy.</summary>
/// <param name="Logit">Of the policy being violated; NaN where nothing is there to judge.</param>
/// <param name="Image">The probability by the picture alone; null without one.</param>
/// <param name="Text">The probability by the text alone; null without one.</param>
readonly record struct Verdict(float Logit, float? Image, float? Text)
{
    public float Probability => Sigmoid(Logit);

    public static float Sigmoid(float logit) => 1 / (1 + MathF.Exp(-logit));
}

/// <summary>Judges pictures and texts by policies.</summary>
sealed class ModerationComputation : BatchComputation<ModerationBatch>
{
    readonly IHost _host;
    readonly ModerateOptions _options;
    readonly IReadOnlyList<FittedPolicy> _policies;
    readonly EmbedInput? _image, _text;
    readonly float _scale;

    public ModerationComputation(IHost host, ModerateOptions options, MultimodalModel model, IReadOnlyList<FittedPolicy> policies)
    {
        (_host, _options, _policies, _scale) = (host, options, policies, model.LogitScale);
        if (options.Image is { } image) _image = new ImageInput(model, image, options.ImageFolder, reducedScaleJpeg: false);
        if (options.Text is { } text) _text = new TextInput(model, text, options.BatchSize);
        Outputs =
        [
            .. policies.SelectMany(p => new OutputColumn[]
            {
                new($"{p.Name}.PredictedLabel", BooleanDataViewType.Instance), new($"{p.Name}.Score", NumberDataViewType.Single),
                new($"{p.Name}.Probability", NumberDataViewType.Single),
            }),
            new(options.Flagged, BooleanDataViewType.Instance), new(options.Reason, TextDataViewType.Instance),
        ];
    }

    public override int BatchSize => _options.BatchSize;

    public override IReadOnlyList<OutputColumn> Outputs { get; }

    IEnumerable<EmbedInput> Senses => new[] { _image, _text }.OfType<EmbedInput>();

    public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive) => Senses.Select(s => s.Find(input));

    public override ModerationBatch NewBatch(int rows, Func<int, bool> isActive) => new(_image?.NewPart(rows), _text?.NewPart(rows));

    public override Action<ModerationBatch, int> Reader(DataViewRow input, Func<int, bool> isActive)
    {
        Action<EmbedPart, int>? image = _image?.Reader(input), text = _text?.Reader(input);
        return (batch, slot) =>
        {
            image?.Invoke(batch.Image!, slot);
            text?.Invoke(batch.Text!, slot);
        };
    }

    public override void Prepare(ModerationBatch batch, int slot)
    {
        _image?.Prepare(batch.Image!, slot, batch.FirstRow + slot);
        _text?.Prepare(batch.Text!, slot, batch.FirstRow + slot);
    }

    public override void Run(ModerationBatch batch, int count)
    {
        _image?.Run(batch.Image!, count);
        _text?.Run(batch.Text!, count);
    }

    public override void Abandon(ModerationBatch batch, int count)
    {
        batch.Image?.Abandon(count);
        batch.Text?.Abandon(count);
    }

    public override Delegate Getter(int output, Func<(ModerationBatch Batch, int Slot)> current)
    {
        int policy = output / 3;
        if (policy == _policies.Count)
            return output % 3 == 0
                ? (ValueGetter<bool>)((ref bool value) => value = Verdicts(current).Where(IsViolated).Any())
                : (ValueGetter<ReadOnlyMemory<char>>)((ref ReadOnlyMemory<char> value) => value = Reason(Verdicts(current)).AsMemory());
        return (output % 3) switch
        {
            0 => (ValueGetter<bool>)((ref bool value) => value = IsViolated(Of(current, policy), policy)),
            1 => (ValueGetter<float>)((ref float value) => value = Of(current, policy).Logit),
            _ => (ValueGetter<float>)((ref float value) => value = Of(current, policy).Probability),
        };
    }

    bool IsViolated(Verdict verdict, int policy) => verdict.Probability >= _policies[policy].Threshold;

    Verdict[] Verdicts(Func<(ModerationBatch, int)> current) => [.. Enumerable.Range(0, _policies.Count).Select(p => Of(current, p))];

    Verdict Of(Func<(ModerationBatch Batch, int Slot)> current, int policy)
    {
        var (batch, slot) = current();
        FittedPolicy p = _policies[policy];
        float image = Evidence(batch.Image, slot, p), text = Evidence(batch.Text, slot, p);
        return Judge(p, image, text);
    }

    /// <summary>From evidence, NaN where there is none, to a verdict.</summary>
    public static Verdict Judge(FittedPolicy p, float image, float text)
    {
        float? byImage = float.IsNaN(image) ? null : p.Image?.Logit([image]) ?? image, byText = float.IsNaN(text) ? null : p.Text?.Logit([text]) ?? text;
        float logit = (byImage, byText) switch
        {
            ({ } i, { } t) => p.Joint?.Logit([image, text]) ?? (i + t) / 2,
            _ => byImage ?? byText ?? float.NaN,
        };
        return new(logit, byImage is { } a ? Verdict.Sigmoid(a) : null, byText is { } b ? Verdict.Sigmoid(b) : null);
    }

    /// <summary>scale · cos(item, direction): how much more similar it is to the policy's texts than to the neutral ones; NaN where it
    /// is missing.</summary>
    float Evidence(EmbedPart? part, int slot, FittedPolicy policy)
    {
        if (part is null || (part is TextPart texts && string.IsNullOrWhiteSpace(texts.Texts[slot]!.Text))) return float.NaN;
        ReadOnlySpan<float> embedding = part.Embedding(slot, _options.OnError);
        return float.IsNaN(embedding[0]) ? float.NaN : _scale * TensorPrimitives.Dot(embedding, policy.Direction);
    }

    /// <summary>[rows][policies] of pictures' and texts' evidence, for calibration.</summary>
    public IReadOnlyList<(float Image, float Text)[]> AllEvidence(IDataView data)
    {
        var rows = new List<(float, float)[]>();
        var view = new BatchingDataView<ModerationBatch>(new EvidenceComputation(this), data);
        using DataViewRowCursor cursor = view.GetRowCursor([view.Schema[^1]]);
        ValueGetter<VBuffer<float>> getter = cursor.GetGetter<VBuffer<float>>(view.Schema[^1]);
        VBuffer<float> values = default;
        while (cursor.MoveNext())
        {
            getter(ref values);
            rows.Add([.. values.GetValues().ToArray().Chunk(2).Select(pair => (pair[0], pair[1]))]);
        }
        return rows;
    }

    string Reason(Verdict[] verdicts) => string.Join("; ", verdicts.Select((v, i) => (Verdict: v, Policy: i)).Where(v => IsViolated(v.Verdict, v.Policy))
        .OrderByDescending(v => v.Verdict.Probability).Select(v => Say(_policies[v.Policy].Name, v.Verdict)));

    static string Say(string policy, Verdict v) => string.Create(CultureInfo.InvariantCulture,
        $"{policy} {v.Probability:f2} ({string.Join(", ", new[] { By("picture", v.Image), By("text", v.Text) }.OfType<string>())})");

    static string? By(string what, float? probability) => probability is { } p ? string.Create(CultureInfo.InvariantCulture, $"{what} {p:f2}") : null;

    public override int Failures(ModerationBatch batch, int count) =>
        _options.OnError == OnError.Throw ? 0 : (batch.Image?.Failures(count) ?? 0) + (batch.Text?.Failures(count) ?? 0);

    public override void Report(long failures) =>
        Warn(_host, "Moderate", $"{failures} items could not be read; their rows were judged without them.");

    /// <summary>The same, with the evidence itself as the only output.</summary>
    sealed class EvidenceComputation(ModerationComputation own) : BatchComputation<ModerationBatch>
    {
        public override int BatchSize => own.BatchSize;

        public override IReadOnlyList<OutputColumn> Outputs { get; } =
            [new("Evidence", new VectorDataViewType(NumberDataViewType.Single, 2 * own._policies.Count))];

        public override IEnumerable<DataViewSchema.Column> Inputs(DataViewSchema input, Func<int, bool> isActive) => own.Inputs(input, isActive);

        public override ModerationBatch NewBatch(int rows, Func<int, bool> isActive) => own.NewBatch(rows, isActive);

        public override Action<ModerationBatch, int> Reader(DataViewRow input, Func<int, bool> isActive) => own.Reader(input, isActive);

        public override void Prepare(ModerationBatch batch, int slot) => own.Prepare(batch, slot);

        public override void Run(ModerationBatch batch, int count) => own.Run(batch, count);

        public override void Abandon(ModerationBatch batch, int count) => own.Abandon(batch, count);

        public override Delegate Getter(int output, Func<(ModerationBatch Batch, int Slot)> current) =>
            (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) =>
            {
                var (batch, slot) = current();
                Columns.Fill<float>(ref value, [.. own._policies.SelectMany(p =>
                    new[] { own.Evidence(batch.Image, slot, p), own.Evidence(batch.Text, slot, p) })]);
            });
    }
}
