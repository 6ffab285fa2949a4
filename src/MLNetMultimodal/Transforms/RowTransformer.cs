using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Batching;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal;

/// <summary>Adds columns that are computed of each row alone, whole batches at a time, ahead on worker threads. Saved by
/// <c>MLContext.Model.Save</c>. Thread-safe.</summary>
public abstract class RowTransformer : ITransformer
{
    private protected RowTransformer(BatchComputation computation) => Computation = computation;

    private protected BatchComputation Computation { get; }

    /// <summary>True: each row is computed from that row alone.</summary>
    public bool IsRowToRowMapper => true;

    /// <summary>The columns after the transform: those before it and the new ones.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public DataViewSchema GetOutputSchema(DataViewSchema inputSchema) => Computation.OutputSchema(inputSchema);

    /// <summary>A lazy view with the new columns: nothing is read or computed before one of their values is asked for.</summary>
    /// <param name="input">The data.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public IDataView Transform(IDataView input) => Computation.Over(input);

    /// <summary>The transform for one row at a time, as <c>PredictionEngine</c> uses it.</summary>
    /// <param name="inputSchema">The columns of the row.</param>
    public IRowToRowMapper GetRowToRowMapper(DataViewSchema inputSchema) => Computation.Mapper(inputSchema);

    void ICanSaveModel.Save(ModelSaveContext context) => Save(context);

    private protected abstract void Save(ModelSaveContext context);
}

/// <summary>A transformer that holds a model. Saved by <c>MLContext.Model.Save</c> with the model's files in the same zip.
/// Thread-safe, but for <see cref="Dispose"/>.</summary>
/// <typeparam name="TModel">The kind of model.</typeparam>
public abstract class ModelTransformer<TModel> : RowTransformer, IDisposable where TModel : class, IDisposable
{
    readonly SharedModel<TModel> _shared;
    bool _disposed;

    private protected ModelTransformer(SharedModel<TModel> shared, Func<TModel, BatchComputation> compute)
        : base(shared.Rent(compute, out TModel model)) => (_shared, Model) = (shared, model);

    /// <summary>The model; it lives as long as the transformer.</summary>
    public TModel Model { get; }

    /// <summary>Closes the model, unless it was given from outside or another transformer of the same estimator still uses
    /// it.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        _shared.Return();
    }
}
