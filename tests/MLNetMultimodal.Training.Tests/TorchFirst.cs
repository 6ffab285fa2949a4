using System.Runtime.CompilerServices;
using MLNetMultimodal.Training.Native;

namespace MLNetMultimodal.Training.Tests;

/// <summary>Tests use torch itself, some before any type of the library: its loader must be in place by then.</summary>
static class TorchFirst
{
    [ModuleInitializer]
    public static void Arrange() => RuntimeHelpers.RunModuleConstructor(typeof(TorchNative).Module.ModuleHandle);
}
