using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Interop;
using VectorKind = Microsoft.ML.SchemaShape.Column.VectorKind;

namespace MLNetMultimodal.Transforms;

/// <summary>The columns that an estimator promises, each with what stands beside it.</summary>
static class Shape
{
    /// <summary>The columns before, but for those that are replaced, and then the new ones.</summary>
    public static SchemaShape After(SchemaShape before, params IReadOnlyList<SchemaShape.Column> added) =>
        new(before.Where(c => added.All(a => a.Name != c.Name)).Concat(added));

    public static SchemaShape.Column Scalar(string name, DataViewType type, params IEnumerable<SchemaShape.Column> beside) =>
        MlNet.ShapeColumn(name, VectorKind.Scalar, type, false, new(beside));

    public static SchemaShape.Column Key(string name, params IEnumerable<SchemaShape.Column> beside) =>
        MlNet.ShapeColumn(name, VectorKind.Scalar, NumberDataViewType.UInt32, true, new(beside));

    /// <summary>A vector of keys.</summary>
    public static SchemaShape.Column Keys(string name, bool isKnownSize, params IEnumerable<SchemaShape.Column> beside) =>
        MlNet.ShapeColumn(name, isKnownSize ? VectorKind.Vector : VectorKind.VariableVector, NumberDataViewType.UInt32, true, new(beside));

    /// <summary>A vector of known size.</summary>
    public static SchemaShape.Column Vector(string name, DataViewType item, params IEnumerable<SchemaShape.Column> beside) =>
        MlNet.ShapeColumn(name, VectorKind.Vector, item, false, new(beside));

    /// <summary>A vector whose size each row says.</summary>
    public static SchemaShape.Column VariableVector(string name, DataViewType item, params IEnumerable<SchemaShape.Column> beside) =>
        MlNet.ShapeColumn(name, VectorKind.VariableVector, item, false, new(beside));
}
