using MLNetMultimodal.Models.Families;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Self-distillation: a student that sees a part predicts what its own moving average makes of the whole (data2vec: Baevski et
/// al. 2022, arXiv:2202.03555).</summary>
sealed class DistillationTask : ITrainingTask<MaskedBatch>, IDisposable
{
    readonly SelfDistillationOptions _options;
    readonly Data2VecLoss _objective;
    readonly IModelDefinition _definition;
    readonly DistillationPair _pair;
    readonly TorchModel _student;
    readonly SlowCopy _teacher;
    readonly TorchOps _ops, _teacherOps;
    readonly IMaskedRows _rows;

    /// <param name="options">Schedule of the teacher, precision.</param>
    /// <param name="objective">What is to be predicted.</param>
    /// <param name="definition">The model that comes out.</param>
    /// <param name="pair">Both sides of it.</param>
    /// <param name="student">Its weights; the caller owns them.</param>
    /// <param name="rows">The data; the caller owns it.</param>
    public DistillationTask(SelfDistillationOptions options, Data2VecLoss objective, IModelDefinition definition, DistillationPair pair, TorchModel student,
        IMaskedRows rows)
    {
        (_options, _objective, _definition, _pair, _student, _rows) = (options, objective, definition, pair, student, rows);
        _teacher = new(pair.Teacher, student, "teacher");
        (_ops, _teacherOps) = (student.Ops(new() { BFloat16 = options.BFloat16 }), _teacher.Model.Ops(new() { BFloat16 = options.BFloat16 }));
        Parameters = student.Trained();
    }

    public IReadOnlyList<NamedParameter> Parameters { get; }

    public IReadOnlyDictionary<string, Tensor> State => _teacher.State;

    public int Rows => _rows.Count;

    public string Metric => "none";

    public IReadOnlyDictionary<string, string> Description => new Dictionary<string, string> { ["config"] = _definition.ToConfigJson() };

    public MaskedBatch Make(ReadOnlyMemory<int> rows, int epoch) => _rows.Make(rows, epoch);

    public float Backward(MaskedBatch batch, TrainingPosition at)
    {
        using DisposeScope scope = NewDisposeScope();
        MaskedTensors tensors = MaskedTensors.Of(batch, _student.Device);
        Tensor target;
        using (no_grad()) target = _objective.Target([.. _pair.Teacher.Run(_teacherOps, tensors.Whole).Select(l => l.Value.to(ScalarType.Float32))]);
        Tensor predictions = _pair.Student.Run(_ops, tensors.Inputs.ToDictionary(i => i.Key, i => Repeated(i.Value)))[0].Value.to(ScalarType.Float32);
        var (sum, places) = _objective.Loss(predictions, Repeated(target), tensors.Masked);
        Tensor loss = sum.Over(Math.Max(1, places));
        loss.backward();
        return loss.item<float>();

        // Each row as many times as it is hidden in another way.
        Tensor Repeated(Tensor x) => x.shape[0] == tensors.Masked.shape[0] ? x : x.repeat_interleave(tensors.Masked.shape[0] / x.shape[0], 0); // [B, ..] -> [B * M, ..]
    }

    public void AfterStep(TrainingPosition at) => _teacher.Follow(_options.TeacherDecayAt(at));

    public double? Validate() => null;

    public TrainedWeights Weights() => new(_student.ToWeights());

    public void Dispose() => _teacher.Dispose();
}
