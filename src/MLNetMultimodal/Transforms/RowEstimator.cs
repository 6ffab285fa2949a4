using Microsoft.ML;
using MLNetMultimodal.Interop;

namespace MLNetMultimodal;

/// <summary>Makes transformers whose columns the options tell. All transformers that one estimator fits share one loaded
/// model.</summary>
/// <typeparam name="TTransformer">What it makes.</typeparam>
public abstract class RowEstimator<TTransformer> : IEstimator<TTransformer> where TTransformer : RowTransformer
{
    readonly Func<SchemaShape, SchemaShape> _after;
    readonly Func<IDataView, TTransformer> _fit;

    /// <param name="after">From the columns before to those after; checks them.</param>
    /// <param name="fit">Makes the transformer; reads rows only where it learns from them.</param>
    private protected RowEstimator(Func<SchemaShape, SchemaShape> after, Func<IDataView, TTransformer> fit) => (_after, _fit) = (after, fit);

    /// <summary>Makes the transformer and loads its model where it has one. Rows are read only where the transform learns from
    /// labels.</summary>
    /// <param name="input">The data; where nothing is learnt only its schema is looked at.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type, the message lists the columns; or the options
    /// do not fit the model.</exception>
    /// <exception cref="IOException">The model folder or one of its files is missing.</exception>
    /// <exception cref="InvalidDataException">A file of the model is not sound, or a row that is learnt from is not.</exception>
    /// <exception cref="NotSupportedException">The model is of another family, or has no encoder for an input.</exception>
    public TTransformer Fit(IDataView input)
    {
        _after(MlNet.ShapeOf(input.Schema));
        TTransformer transformer = _fit(input);
        try
        {
            transformer.GetOutputSchema(input.Schema);
            return transformer;
        }
        catch
        {
            (transformer as IDisposable)?.Dispose();
            throw;
        }
    }

    /// <summary>The columns after the transform.</summary>
    /// <param name="inputSchema">The columns before it.</param>
    /// <exception cref="ArgumentException">A column is missing or of the wrong type; the message lists the columns.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema) => _after(inputSchema);
}
