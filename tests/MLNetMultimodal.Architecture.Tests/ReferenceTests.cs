using NetArchTest.Rules;

namespace MLNetMultimodal.Architecture.Tests;

public sealed class ReferenceTests
{
    public static TheoryData<string> Libraries => House.Libraries;

    [Theory, MemberData(nameof(Libraries))]
    public void References_run_one_way(string library)
    {
        string[] ours = [.. House.References(library).Where(r => r.Split('.')[0] == House.Face)];
        string[] surplus = [.. ours.Except(House.MayReference[library])];
        Assert.True(surplus.Length == 0,
            $"{library} may reference {Listed(House.MayReference[library])}, but references {Listed(surplus)} too.");
    }

    [Theory, MemberData(nameof(Libraries))]
    public void No_type_depends_on_a_library_above(string library)
    {
        string[] namespaces = [.. House.MayReference.Keys.Except([library, House.Face, .. House.MayReference[library]])];
        TestResult result = Types.InAssembly(House.Load(library)).ShouldNot().HaveDependencyOnAny(namespaces).GetResult();
        Assert.True(result.IsSuccessful,
            $"{library} must not use {Listed(namespaces)}, but these types do: {Listed(result.FailingTypeNames)}.");
    }

    [Theory]
    [InlineData(House.Models, "SkiaSharp", "Microsoft.ML", "Microsoft.ML.OnnxRuntime", "TorchSharp", "Google.Protobuf")]
    [InlineData(House.Media, "Microsoft.ML.Data", "Microsoft.ML.OnnxRuntime", "TorchSharp", "Google.Protobuf")]
    [InlineData(House.Inference, "TorchSharp", "SkiaSharp", "Microsoft.ML.Data")]
    [InlineData(House.Face, "TorchSharp")]
    [InlineData(House.Starter, "SkiaSharp", "Microsoft.ML", "TorchSharp")]
    public void An_engine_or_framework_stays_out(string library, params string[] unwanted)
    {
        string[] found = [.. House.References(library)
            .Where(r => unwanted.Any(u => r == u || r.StartsWith(u + ".", StringComparison.Ordinal)))];
        Assert.True(found.Length == 0, $"{library} must not reference {Listed(unwanted)}, but references {Listed(found)}.");
    }

    [Fact]
    public void Only_training_references_torch()
    {
        Assert.Contains("TorchSharp", House.References(House.Training)); // else the rule below looks in the wrong place
        string[] torch = [.. House.MayReference.Keys
            .Where(l => l != House.Training && House.References(l).Contains("TorchSharp"))];
        Assert.True(torch.Length == 0, $"only {House.Training} may reference TorchSharp, but {Listed(torch)} does too.");
    }

    [Fact]
    public void Every_library_beside_the_tests_is_ruled()
    {
        string[] files = [.. Directory.GetFiles(AppContext.BaseDirectory, "MLNetMultimodal*.dll")
            .Select(f => Path.GetFileNameWithoutExtension(f))];
        string[] unruled = [.. files.Except(House.MayReference.Keys).Where(f => !f.EndsWith(".Tests", StringComparison.Ordinal))];
        Assert.True(unruled.Length == 0, $"say in House what {Listed(unruled)} may reference.");
    }

    [Theory, MemberData(nameof(Libraries))]
    public void Namespaces_are_at_most_three_deep(string library)
    {
        string[] deep = [.. House.Load(library).GetTypes().Select(t => t.Namespace).OfType<string>().Distinct()
            .Where(n => n.Split('.')[0] == House.Face && n.Split('.').Length > 3)];
        Assert.True(deep.Length == 0, $"namespaces have at most three parts, but {library} has {Listed(deep)}.");
    }

    [Theory, MemberData(nameof(Libraries))]
    public void Public_types_live_in_the_library_s_namespace(string library)
    {
        string[] strangers = [.. House.Load(library).GetExportedTypes()
            .Where(t => !(t.Namespace + ".").StartsWith(library + ".", StringComparison.Ordinal)).Select(t => t.FullName!)];
        Assert.True(strangers.Length == 0,
            $"public types of {library} belong in its namespace, but there are {Listed(strangers)}.");
    }

    static string Listed(IEnumerable<string>? names) => names is null || !names.Any() ? "nothing" : string.Join(", ", names);
}
