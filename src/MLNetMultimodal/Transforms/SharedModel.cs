using MLNetMultimodal.Inference;
using MLNetMultimodal.Inference.Onnx;

namespace MLNetMultimodal.Transforms;

/// <summary>One loaded model for all transformers that an estimator fits (a cross-validation fits many); the last one that is
/// disposed closes it.</summary>
sealed class SharedModel
{
    readonly Lock _lock = new();
    readonly Func<MultimodalModel> _load;
    readonly bool _owned;
    MultimodalModel? _model;
    int _users;

    SharedModel(Func<MultimodalModel> load, bool owned) => (_load, _owned) = (load, owned);

    /// <summary>A model that is there.</summary>
    /// <param name="model">The model.</param>
    /// <param name="owned">True where the last transformer disposes it.</param>
    public static SharedModel Of(MultimodalModel model, bool owned) => new(() => model, owned);

    /// <summary>The model that options name: one that was loaded, or a folder, which is read when the model is first
    /// needed.</summary>
    /// <exception cref="ArgumentException">Neither or both are set.</exception>
    public static SharedModel From(string? folder, MultimodalModel? loaded, int threads, OnnxDtype? dtype) =>
        (folder, loaded) switch
        {
            (not null, null) => new(() => MultimodalModel.Load(folder, new() { Threads = threads, Dtype = dtype }), owned: true),
            (null, not null) => Of(loaded, owned: false),
            _ => throw new ArgumentException("set exactly one of Model (a folder) and LoadedModel."),
        };

    public MultimodalModel Rent()
    {
        lock (_lock)
        {
            _model ??= _load();
            _users++;
            return _model;
        }
    }

    public void Return()
    {
        lock (_lock)
        {
            if (--_users > 0 || !_owned) return;
            _model!.Dispose();
            _model = null;
        }
    }
}
