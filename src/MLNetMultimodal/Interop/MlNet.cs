using System.Runtime.CompilerServices;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using VectorKind = Microsoft.ML.SchemaShape.Column.VectorKind;

namespace MLNetMultimodal.Interop;

/// <summary>Members of ML.NET that are shut to other assemblies. Each has a test that fails when ML.NET changes it.</summary>
static class MlNet
{
    public static IHostEnvironment Environment(TransformsCatalog catalog) => TransformsEnvironment(catalog);

    public static IHostEnvironment Environment(DataOperationsCatalog catalog) => DataEnvironment(catalog);

    public static IHostEnvironment Environment(TrainCatalogBase.CatalogInstantiatorBase trainers) =>
        TrainingEnvironment(Owner(trainers));

    [UnsafeAccessor(UnsafeAccessorKind.Constructor)]
    public static extern SchemaShape.Column ShapeColumn(string name, VectorKind kind, DataViewType itemType, bool isKey,
        SchemaShape? annotations);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "IsCompatibleWith")]
    public static extern bool IsCompatibleWith(ref SchemaShape.Column required, SchemaShape.Column actual);

    /// <summary>The shape that a real schema has.</summary>
    public static SchemaShape ShapeOf(DataViewSchema schema) => CreateShape(null, schema);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_env")]
    static extern ref IHostEnvironment TransformsEnvironment(TransformsCatalog catalog);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_env")]
    static extern ref IHostEnvironment DataEnvironment(DataOperationsCatalog catalog);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_Owner")]
    static extern TrainCatalogBase Owner(TrainCatalogBase.CatalogInstantiatorBase trainers);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_Environment")]
    static extern IHostEnvironment TrainingEnvironment(TrainCatalogBase catalog);

    [UnsafeAccessor(UnsafeAccessorKind.StaticMethod, Name = "Create")]
    static extern SchemaShape CreateShape(SchemaShape? type, DataViewSchema schema);
}
