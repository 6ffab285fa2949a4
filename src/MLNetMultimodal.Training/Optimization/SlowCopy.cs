using MLNetMultimodal.Models.Ops;
using TorchSharp;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>A copy of a model that follows it slowly and has no gradients: the teacher of a self-distillation, the momentum encoder of a
/// contrast.</summary>
sealed class SlowCopy : IDisposable
{
    readonly TorchModel _model;

    /// <param name="program">What is asked of the copy.</param>
    /// <param name="model">The model that learns; the caller owns it.</param>
    /// <param name="name">What its weights are called in checkpoints, before their own names.</param>
    public SlowCopy(IProgram program, TorchModel model, string name)
    {
        (_model, Model) = (model, TorchModel.Load(program, model.ToWeights(), model.Device));
        foreach (Parameter weight in Model.Parameters.Values) weight.requires_grad = false;
        State = Model.Parameters.ToDictionary(p => $"{name}.{p.Key}", p => (Tensor)p.Value, StringComparer.Ordinal);
    }

    public TorchModel Model { get; }

    /// <summary>Its weights, for checkpoints.</summary>
    public IReadOnlyDictionary<string, Tensor> State { get; }

    /// <summary>Moves the copy towards the model.</summary>
    /// <param name="keep">Part of the copy that is kept, 0 to 1.</param>
    public void Follow(double keep)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        foreach (var (name, weight) in Model.Parameters) weight.lerp_(_model.Parameters[name], 1 - keep);
    }

    public void Dispose() => Model.Dispose();
}
