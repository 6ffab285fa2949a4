using Mono.Cecil;

namespace MLNetMultimodal.Architecture.Tests;

/// <summary>TorchSharp reads a number after it may have been finalized, so one class holds them; see its remarks.</summary>
public sealed class ScalarTests
{
    const string Scalar = "TorchSharp.Scalar", Holder = "TorchNumbers";

    [Fact]
    public void Only_one_class_gives_torch_numbers()
    {
        using ModuleDefinition module = ModuleDefinition.ReadModule(House.Load(House.Training).Location);
        using ModuleDefinition torch = ModuleDefinition.ReadModule(Path.Combine(Path.GetDirectoryName(module.FileName)!, "TorchSharp.dll"));
        HashSet<string> makers = MakersOfNumbers(torch);
        var calls = (from type in module.GetTypes() from call in Calls(type) where makers.Contains(call.Callee) select call).ToList();
        Assert.Contains(calls, c => Outermost(c.Caller) == Holder); // else the rule below looks in the wrong place
        string[] found = [.. calls.Where(c => Outermost(c.Caller) != Holder).Select(c => $"{c.Caller.FullName}.{c.Method} calls {c.Callee}").Distinct()];
        Assert.True(found.Length == 0, $"numbers go to torch through {Holder} (Plus, Times, Over, Squared, With), but {string.Join("; ", found)}.");
    }

    static string Outermost(TypeDefinition type) => type.DeclaringType is { } outer ? Outermost(outer) : type.Name;

    /// <summary>What makes a number of torch, and what of TorchSharp does so by itself, such as the sum of two tensors.</summary>
    static HashSet<string> MakersOfNumbers(ModuleDefinition torch)
    {
        var calls = torch.GetTypes().SelectMany(Calls).GroupBy(c => c.Callee).ToDictionary(g => g.Key, g => g.Select(c => c.Named).ToArray());
        var makers = torch.GetTypes().SelectMany(t => t.Methods)
            .Where(m => m.ReturnType.FullName == Scalar && !m.IsGetter).Select(m => m.FullName).ToHashSet();
        var open = new Queue<string>(makers);
        while (open.TryDequeue(out string? callee))
            foreach (string caller in calls.GetValueOrDefault(callee, []))
                if (makers.Add(caller)) open.Enqueue(caller);
        return makers;
    }

    static IEnumerable<(TypeDefinition Caller, string Method, string Named, string Callee)> Calls(TypeDefinition type) =>
        from method in type.Methods
        where method.HasBody
        from instruction in method.Body.Instructions
        where instruction.Operand is MethodReference
        let callee = (MethodReference)instruction.Operand
        select (type, method.Name, method.FullName, (callee is GenericInstanceMethod generic ? generic.ElementMethod : callee).FullName);
}
