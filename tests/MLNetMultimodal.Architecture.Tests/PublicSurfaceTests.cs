using Mono.Cecil;

namespace MLNetMultimodal.Architecture.Tests;

/// <summary>What a caller can see, read from metadata: there the stub of Microsoft.ML.Core has a version of its own.</summary>
public sealed class PublicSurfaceTests
{
    static readonly Version StubVersion = new(0, 0, 0, 1);

    public static TheoryData<string> WithoutTorch => [House.Models, House.Media, House.Inference, House.Face, House.Starter];

    public static TheoryData<string> Libraries => House.Libraries;

    [Theory, MemberData(nameof(WithoutTorch))]
    public void No_torch_type_is_public(string library) => AssertHidden(library, s => s.Name == "TorchSharp");

    [Theory, MemberData(nameof(Libraries))]
    public void No_protobuf_type_is_public(string library) => AssertHidden(library, s => s.Name == "Google.Protobuf");

    [Theory, MemberData(nameof(Libraries))]
    public void No_type_of_the_stub_is_public(string library) =>
        AssertHidden(library, s => s.Name == "Microsoft.ML.Core" && s.Version == StubVersion);

    [Fact]
    public void The_face_is_compiled_against_the_stub()
    {
        using ModuleDefinition module = ModuleDefinition.ReadModule(House.Load(House.Face).Location);
        // Otherwise the rule above proves nothing.
        Assert.Contains(module.AssemblyReferences, r => r.Name == "Microsoft.ML.Core" && r.Version == StubVersion);
    }

    [Fact]
    public void The_search_sees_through_generics_arrays_and_base_types()
    {
        using ModuleDefinition module = ModuleDefinition.ReadModule(typeof(PublicSurfaceTests).Assembly.Location);
        string[] found = [.. Exposed(module).Where(e => e.Scope.Name == "Mono.Cecil").Select(e => e.Where)];
        string[] wanted =
            [nameof(Sample.Field), nameof(Sample.Method), nameof(Sample.Property), nameof(Sample.Constrained), "base"];
        Assert.Equal(wanted.Order(), found.Distinct().Order());
    }

    static void AssertHidden(string library, Func<AssemblyNameReference, bool> unwanted)
    {
        using ModuleDefinition module = ModuleDefinition.ReadModule(House.Load(library).Location);
        string[] found = [.. Exposed(module).Where(e => unwanted(e.Scope))
            .Select(e => $"{e.Type}.{e.Where}: {e.Shown}").Distinct()];
        Assert.True(found.Length == 0, $"the public surface of {library} shows {string.Join("; ", found)}.");
    }

    /// <summary>Every type of another assembly that a public or protected declaration names, and where.</summary>
    static IEnumerable<(string Type, string Where, string Shown, AssemblyNameReference Scope)> Exposed(ModuleDefinition module) =>
        from type in module.GetTypes()
        where IsVisible(type)
        from place in Declared(type)
        from shown in Unfold(place.Type)
        where shown.Scope is AssemblyNameReference
        select (type.FullName, place.Where, shown.FullName, (AssemblyNameReference)shown.Scope);

    static bool IsVisible(TypeDefinition type) =>
        !type.IsNested
            ? type.IsPublic
            : (type.IsNestedPublic || type.IsNestedFamily || type.IsNestedFamilyOrAssembly) && IsVisible(type.DeclaringType);

    static IEnumerable<(string Where, TypeReference Type)> Declared(TypeDefinition type)
    {
        foreach (FieldDefinition field in type.Fields)
            if (field.IsPublic || field.IsFamily || field.IsFamilyOrAssembly) yield return (field.Name, field.FieldType);
        foreach (MethodDefinition method in type.Methods)
        {
            if (!method.IsPublic && !method.IsFamily && !method.IsFamilyOrAssembly) continue;
            string name = method.IsGetter || method.IsSetter ? method.Name[4..] : method.Name;
            yield return (name, method.ReturnType);
            foreach (ParameterDefinition parameter in method.Parameters) yield return (name, parameter.ParameterType);
            foreach (GenericParameterConstraint constraint in method.GenericParameters.SelectMany(p => p.Constraints))
                yield return (name, constraint.ConstraintType);
        }
        foreach (GenericParameterConstraint constraint in type.GenericParameters.SelectMany(p => p.Constraints))
            yield return ("constraint", constraint.ConstraintType);
        foreach (InterfaceImplementation implemented in type.Interfaces) yield return ("interface", implemented.InterfaceType);
        if (type.BaseType is { } super) yield return ("base", super);
    }

    /// <summary>The type and what it is made of.</summary>
    static IEnumerable<TypeReference> Unfold(TypeReference type) => type switch
    {
        GenericInstanceType generic => [generic.ElementType, .. generic.GenericArguments.SelectMany(Unfold)],
        IModifierType modified => [modified.ModifierType, .. Unfold(modified.ElementType)],
        TypeSpecification specification => Unfold(specification.ElementType),
        GenericParameter => [],
        _ => [type],
    };

    public abstract class Sample : DefaultAssemblyResolver
    {
        public IReadOnlyList<TypeDefinition[]>? Field;

        public IReadOnlyDictionary<string, TypeDefinition>? Property { get; protected set; }

        public abstract void Method(ref TypeDefinition? type);

        public abstract void Constrained<T>(T value) where T : TypeReference;

        internal abstract ModuleDefinition Hidden();
    }
}
