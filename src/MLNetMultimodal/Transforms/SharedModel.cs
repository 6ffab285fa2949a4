using MLNetMultimodal.Inference;

namespace MLNetMultimodal.Transforms;

/// <summary>Models that transformers share.</summary>
static class SharedModel
{
    /// <summary>A model that is there.</summary>
    /// <param name="model">The model.</param>
    /// <param name="owned">True where the last transformer disposes it.</param>
    public static SharedModel<TModel> Of<TModel>(TModel model, bool owned) where TModel : class, IDisposable =>
        new(() => model, owned);

    /// <summary>The model that options name: one that was loaded, or a folder, which is read when the model is first
    /// needed.</summary>
    /// <exception cref="ArgumentException">Neither or both are set.</exception>
    public static SharedModel<MultimodalModel> From(string? folder, MultimodalModel? loaded, InferenceOptions options) =>
        From(folder, loaded, path => MultimodalModel.Load(path, options), "LoadedModel");

    /// <summary>The same of any kind of model.</summary>
    /// <param name="folder">The folder; null for none.</param>
    /// <param name="loaded">The model; null for none.</param>
    /// <param name="load">Loads the folder.</param>
    /// <param name="option">The option that gives <paramref name="loaded"/>.</param>
    public static SharedModel<TModel> From<TModel>(string? folder, TModel? loaded, Func<string, TModel> load, string option)
        where TModel : class, IDisposable => (folder, loaded) switch
        {
            (not null, null) => new(() => load(folder), owned: true),
            (null, not null) => Of(loaded, owned: false),
            _ => throw new ArgumentException($"set exactly one of Model (a folder) and {option}."),
        };
}

/// <summary>One loaded model for all transformers that an estimator fits (a cross-validation fits many); the last one that is
/// disposed closes it.</summary>
/// <param name="load">Gives the model.</param>
/// <param name="owned">True where the last transformer disposes it.</param>
sealed class SharedModel<TModel>(Func<TModel> load, bool owned) where TModel : class, IDisposable
{
    readonly Lock _lock = new();
    TModel? _model;
    int _users;

    /// <summary>Rents the model for what is made of it; it is returned where that fails.</summary>
    public T Rent<T>(Func<TModel, T> make, out TModel model)
    {
        model = Rent();
        try
        {
            return make(model);
        }
        catch
        {
            Return();
            throw;
        }
    }

    /// <summary>Rents the model for as long as something is done with it.</summary>
    public T Use<T>(Func<TModel, T> use)
    {
        TModel model = Rent();
        try
        {
            return use(model);
        }
        finally
        {
            Return();
        }
    }

    TModel Rent()
    {
        lock (_lock)
        {
            _model ??= load();
            _users++;
            return _model;
        }
    }

    public void Return()
    {
        lock (_lock)
        {
            if (--_users > 0 || !owned) return;
            _model!.Dispose();
            _model = null;
        }
    }
}
