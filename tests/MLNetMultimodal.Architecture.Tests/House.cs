using System.Reflection;

namespace MLNetMultimodal.Architecture.Tests;

/// <summary>The libraries, and what each may reference of the others.</summary>
static class House
{
    public const string Models = "MLNetMultimodal.Models", Media = "MLNetMultimodal.Media",
        Inference = "MLNetMultimodal.Inference", Face = "MLNetMultimodal", Training = "MLNetMultimodal.Training", Starter = "MLNetMultimodal.Starter";

    /// <summary>Libraries from the bottom up; each may use what stands beside it.</summary>
    public static readonly IReadOnlyDictionary<string, string[]> MayReference = new Dictionary<string, string[]>
    {
        [Models] = [],
        [Media] = [],
        [Inference] = [Models, Media],
        [Face] = [Inference, Models, Media],
        [Training] = [Face, Inference, Models, Media],
        [Starter] = [],
    };

    public static TheoryData<string> Libraries => [.. MayReference.Keys];

    public static Assembly Load(string library) => Assembly.Load(new AssemblyName(library));

    /// <summary>The assemblies that a library's own metadata names, not those that only its packages name.</summary>
    public static string[] References(string library) => [.. Load(library).GetReferencedAssemblies().Select(r => r.Name!)];
}
