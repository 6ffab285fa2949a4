namespace System.Runtime.CompilerServices;

/// <summary>Tells the runtime that this assembly may use the internals of another; the runtime knows the attribute by its name
/// alone.</summary>
[AttributeUsage(AttributeTargets.Assembly, AllowMultiple = true)]
sealed class IgnoresAccessChecksToAttribute(string assemblyName) : Attribute
{
    public string AssemblyName { get; } = assemblyName;
}
