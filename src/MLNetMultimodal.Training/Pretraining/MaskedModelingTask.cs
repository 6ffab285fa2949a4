using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>What a masked program says of hidden places.</summary>
/// <param name="Loss">A scalar.</param>
/// <param name="Right">What the metric counts.</param>
/// <param name="Of">What it is a share of.</param>
readonly record struct MaskedScore(Tensor Loss, double Right, double Of);

/// <summary>Masked modelling: hidden pixels, visual tokens or words are to be told.</summary>
/// <param name="options">Length, schedule, precision; what is frozen.</param>
/// <param name="definition">The model that comes out.</param>
/// <param name="program">What is trained of it.</param>
/// <param name="model">Its weights, and others that stay as they are.</param>
/// <param name="train">The rows.</param>
/// <param name="validation">Rows to evaluate on; null for none.</param>
/// <param name="metric">What the evaluation measures.</param>
/// <param name="score">Judges the outputs; not asked to count unless its last argument is true.</param>
/// <param name="tokenizer">Tells the tokenizer whose codes are to be told from others; null for none.</param>
sealed class MaskedModelingTask(MaskedModelingOptions options, IModelDefinition definition, IProgram program, TorchModel model, IMaskedRows train, IMaskedRows? validation,
    string metric, Func<IReadOnlyList<Tensor>, MaskedTensors, bool, MaskedScore> score, string? tokenizer = null) : ITrainingTask<MaskedBatch>
{
    const int EvaluationBatch = 250;

    readonly TorchOps _ops = model.Ops(new() { BFloat16 = options.BFloat16 });

    public IReadOnlyList<NamedParameter> Parameters { get; } = FrozenWeights.Others(model, program, options.Frozen);

    public int Rows => train.Count;

    public string Metric => metric;

    public IReadOnlyDictionary<string, string> Description { get; } = tokenizer is null ? new Dictionary<string, string> { ["config"] = definition.ToConfigJson() }
        : new Dictionary<string, string> { ["config"] = definition.ToConfigJson(), ["tokenizer"] = tokenizer };

    public MaskedBatch Make(ReadOnlyMemory<int> rows, int epoch) => train.Make(rows, epoch);

    public float Backward(MaskedBatch batch, TrainingPosition at)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor loss = Score(batch, counts: false).Loss;
        loss.backward();
        return loss.item<float>();
    }

    MaskedScore Score(MaskedBatch batch, bool counts)
    {
        MaskedTensors tensors = MaskedTensors.Of(batch, model.Device);
        return score([.. program.Run(_ops, tensors.Inputs).Select(o => o.Value)], tensors, counts);
    }

    /// <summary>Judges what is told of hidden words by the first output, [B, L, V].</summary>
    public static MaskedScore Words(IReadOnlyList<Tensor> outputs, MaskedTensors batch, bool counts) => new(MaskedLoss.Tokens(outputs[0], batch.Labels!),
        counts ? MaskedLoss.Right(outputs[0], batch.Labels!, batch.Masked) : 0, counts ? batch.Masked.sum().item<long>() : 0);

    public double? Validate()
    {
        if (validation is null) return null;
        using IDisposable noGradients = no_grad();
        int[] rows = [.. Enumerable.Range(0, validation.Count)];
        double right = 0, of = 0;
        for (int start = 0; start < rows.Length; start += EvaluationBatch)
        {
            using DisposeScope scope = NewDisposeScope();
            MaskedScore part = Score(validation.Make(rows.AsMemory(start, Math.Min(EvaluationBatch, rows.Length - start)), IMaskedRows.Evaluation), counts: true);
            (right, of) = (right + part.Right, of + part.Of);
        }
        return of > 0 ? right / of : 0;
    }

    public TrainedWeights Weights() => new(model.ToWeights());
}

/// <summary>A batch in the engine; belongs to the caller's dispose scope.</summary>
/// <param name="Inputs">What the program that is trained takes, by name.</param>
/// <param name="Whole">The same without anything hidden.</param>
/// <param name="Masked">Bool [B, L].</param>
/// <param name="Labels">Int64 [B, L], or null.</param>
sealed record MaskedTensors(IReadOnlyDictionary<string, Tensor> Inputs, IReadOnlyDictionary<string, Tensor> Whole, Tensor Masked, Tensor? Labels)
{
    public static MaskedTensors Of(MaskedBatch batch, Device device)
    {
        var whole = batch.Whole.ToDictionary(i => i.Key, i => i.Value.ToTensor().to(device));
        Tensor masked = batch.Masked.ToTensor().to(device);
        var inputs = batch.Inputs.ToDictionary(i => i.Key, i => batch.Whole.GetValueOrDefault(i.Key) == i.Value ? whole[i.Key]
            : i.Value == batch.Masked ? masked : i.Value.ToTensor().to(device));
        return new(inputs, whole, masked, batch.Labels?.ToTensor().to(device));
    }
}
