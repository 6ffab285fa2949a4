// The members of Microsoft.ML.Core that a transformer needs to be saved and loaded, declared public.
// InteropTests compares each with the real one.
namespace Microsoft.ML;

public delegate void SignatureLoadModel(ModelLoadContext ctx);

[AttributeUsage(AttributeTargets.Assembly, AllowMultiple = true)]
public sealed class LoadableClassAttribute : Attribute
{
    public LoadableClassAttribute(Type instType, Type loaderType, Type argType, Type sigType, string userName,
        params string[] loadNames)
    {
    }
}

public readonly struct VersionInfo
{
    public VersionInfo(string modelSignature, uint verWrittenCur, uint verReadableCur, uint verWeCanReadBack,
        string loaderAssemblyName,
        string loaderSignature = null, string loaderSignatureAlt = null)
    {
    }

    public readonly ulong ModelSignature;
    public readonly uint VerWrittenCur;
    public readonly uint VerReadableCur;
    public readonly uint VerWeCanReadBack;
    public readonly string LoaderAssemblyName;
    public readonly string LoaderSignature;
    public readonly string LoaderSignatureAlt;
}

public sealed class ModelLoadContext
{
    public readonly BinaryReader Reader;

    public void CheckAtModel(VersionInfo ver) => throw new NotSupportedException();

    public bool TryLoadBinaryStream(string name, Action<BinaryReader> action) => throw new NotSupportedException();
}

public sealed class ModelSaveContext
{
    public readonly BinaryWriter Writer;

    public void CheckAtModel() => throw new NotSupportedException();

    public void SetVersionInfo(VersionInfo ver) => throw new NotSupportedException();

    public void SaveBinaryStream(string name, Action<BinaryWriter> action) => throw new NotSupportedException();
}
