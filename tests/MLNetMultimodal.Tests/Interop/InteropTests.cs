using System.Reflection;
using Microsoft.ML;
using Microsoft.ML.Data;
using MLNetMultimodal.Interop;

namespace MLNetMultimodal.Tests.Interop;

/// <summary>Every member of ML.NET that is shut to us and that we use all the same. What fails here was changed by
/// ML.NET.</summary>
public sealed class InteropTests
{
    const BindingFlags All = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static;

    static readonly Assembly Core = typeof(ICanSaveModel).Assembly;

    [Fact]
    public void Stub_binds_to_the_real_assembly()
    {
        Assert.Equal("Microsoft.ML.Core", Core.GetName().Name);
        Assert.True(Core.GetName().Version > new Version(0, 0, 0, 1));
        Assert.Equal("cc7b13ffcd2ddd51", Convert.ToHexStringLower(Core.GetName().GetPublicKeyToken()!));
        Assert.Single(AppDomain.CurrentDomain.GetAssemblies(), a => a.GetName().Name == "Microsoft.ML.Core");
    }

    [Fact]
    public void LoadableClass_attributes_are_those_of_MLNet()
    {
        Assembly face = typeof(MultimodalTransformer).Assembly;
        object[] attributes = face.GetCustomAttributes(Real("Microsoft.ML.LoadableClassAttribute"), false);
        Assert.Equal(face.GetTypes().Count(t => typeof(ITransformer).IsAssignableFrom(t) && !t.IsAbstract), attributes.Length); // one each
        Assert.NotNull(Real("Microsoft.ML.LoadableClassAttribute").GetConstructor(All,
            [typeof(Type), typeof(Type), typeof(Type), typeof(Type), typeof(string), typeof(string[])]));
        Assert.True(typeof(Delegate).IsAssignableFrom(Real("Microsoft.ML.SignatureLoadModel")));
    }

    [Fact]
    public void VersionInfo_has_the_constructor_and_fields_of_the_stub()
    {
        Type type = Real("Microsoft.ML.VersionInfo");
        Assert.True(type.IsValueType);
        Assert.NotNull(type.GetConstructor(All,
            [typeof(string), typeof(uint), typeof(uint), typeof(uint), typeof(string), typeof(string), typeof(string)]));
        string[] fields = [.. type.GetFields(All).Where(f => !f.IsStatic).Select(f => $"{f.FieldType.Name} {f.Name}")];
        Assert.Equal(["UInt64 ModelSignature", "UInt32 VerWrittenCur", "UInt32 VerReadableCur", "UInt32 VerWeCanReadBack",
            "String LoaderAssemblyName",
            "String LoaderSignature", "String LoaderSignatureAlt"], fields);
    }

    [Theory]
    [InlineData("Microsoft.ML.ModelLoadContext", "Reader", typeof(BinaryReader))]
    [InlineData("Microsoft.ML.ModelSaveContext", "Writer", typeof(BinaryWriter))]
    public void Contexts_have_their_stream(string type, string field, Type wanted) =>
        Assert.Equal(wanted, Real(type).GetField(field, All)?.FieldType);

    [Theory]
    [InlineData("Microsoft.ML.ModelLoadContext", "CheckAtModel", "Void (VersionInfo)")]
    [InlineData("Microsoft.ML.ModelLoadContext", "TryLoadBinaryStream", "Boolean (String, Action`1)")]
    [InlineData("Microsoft.ML.ModelSaveContext", "CheckAtModel", "Void ()")]
    [InlineData("Microsoft.ML.ModelSaveContext", "SetVersionInfo", "Void (VersionInfo)")]
    [InlineData("Microsoft.ML.ModelSaveContext", "SaveBinaryStream", "Void (String, Action`1)")]
    public void Contexts_have_the_methods_of_the_stub(string type, string method, string signature)
    {
        IEnumerable<string> found = Real(type).GetMethods(All).Where(m => m.Name == method)
            .Select(m => $"{m.ReturnType.Name} ({string.Join(", ", m.GetParameters().Select(p => p.ParameterType.Name))})");
        Assert.Contains(signature, found);
    }

    [Fact]
    public void Catalogs_hold_their_environment()
    {
        var ml = new MLContext();
        Assert.NotNull(MlNet.Environment(ml.Transforms));
        Assert.NotNull(MlNet.Environment(ml.Data));
        Assert.NotNull(MlNet.Environment(ml.MulticlassClassification.Trainers));
        Assert.NotNull(MlNet.Environment(ml.BinaryClassification.Trainers));
        Assert.NotNull(MlNet.Environment(ml.Regression.Trainers));
    }

    [Fact]
    public void Shape_columns_can_be_made_and_compared()
    {
        SchemaShape.Column column = MlNet.ShapeColumn("A", SchemaShape.Column.VectorKind.Vector, NumberDataViewType.Single, false,
            null);
        Assert.Equal(("A", SchemaShape.Column.VectorKind.Vector, NumberDataViewType.Single, false),
            (column.Name, column.Kind, column.ItemType, column.IsKey));
        Assert.True(MlNet.IsCompatibleWith(ref column, column));
        SchemaShape.Column other = MlNet.ShapeColumn("A", SchemaShape.Column.VectorKind.Scalar, NumberDataViewType.Single, false,
            null);
        Assert.False(MlNet.IsCompatibleWith(ref column, other));
    }

    [Fact]
    public void Shape_of_a_schema_can_be_made()
    {
        var builder = new DataViewSchema.Builder();
        builder.AddColumn("A", new VectorDataViewType(NumberDataViewType.Single, 3));
        Assert.Equal("A", Assert.Single(MlNet.ShapeOf(builder.ToSchema())).Name);
    }

    [Fact]
    public void Public_surface_shows_no_type_that_is_shut()
    {
        IEnumerable<Type> shown = typeof(MultimodalTransformer).Assembly.GetExportedTypes()
            .SelectMany(t => t.GetMembers(BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static))
            .SelectMany(m => m switch
            {
                MethodInfo method => method.GetParameters().Select(p => p.ParameterType).Append(method.ReturnType),
                ConstructorInfo constructor => constructor.GetParameters().Select(p => p.ParameterType),
                FieldInfo field => [field.FieldType],
                _ => Type.EmptyTypes,
            });
        Assert.All(shown.Where(t => t.Assembly == Core), t => Assert.True(t.IsVisible, $"{t} is not public"));
    }

    [Theory]
    [InlineData(MultimodalTransformer.Loader)]
    [InlineData(ZeroShotTransformer.Loader)]
    public void Loader_signatures_fit_the_header(string loader) =>
        Assert.True(loader.Length <= 24 && loader.All(char.IsAscii), loader);

    static Type Real(string name) => Core.GetType(name, throwOnError: true)!;
}
