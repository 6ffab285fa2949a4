using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using Microsoft.ML;
using Microsoft.ML.OnnxRuntime;
using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Benchmarks.Running;

/// <summary>Where and with what was measured.</summary>
static class Machine
{
    /// <summary>Facts by name, without those of other sides, which say them themselves.</summary>
    public static SortedDictionary<string, string> Facts() => new(StringComparer.Ordinal)
    {
        ["processor"] = $"{Processor()}, {Environment.ProcessorCount} cores",
        ["memory"] = $"{GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / double.Pow(2, 30):n0} GiB",
        ["system"] = RuntimeInformation.OSDescription,
        [".NET"] = Environment.Version.ToString(),
        ["ML.NET"] = VersionOf(typeof(MLContext)),
        ["JPEG decoder"] = $"{ImageDecoder.JpegLibrary}",
        ["ONNX Runtime"] = OrtEnv.Instance().GetVersionString(),
        ["TorchSharp"] = $"{VersionOf(typeof(TorchSharp.torch))} (libtorch {TorchSharp.torch.__version__})",
    };

    /// <summary>The version that a package was built as.</summary>
    public static string VersionOf(Type type) => type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?
        .InformationalVersion.Split('+')[0] ?? "unknown";

    static string Processor()
    {
        const string file = "/proc/cpuinfo";
        string? line = File.Exists(file)
            ? File.ReadLines(file).FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal)) : null;
        string name = line?[(line.IndexOf(':') + 1)..].Trim() ?? RuntimeInformation.ProcessArchitecture.ToString();
        string[] extensions = [.. Extensions().Where(e => e.Supported).Select(e => e.Name)];
        return string.Create(CultureInfo.InvariantCulture, $"{name} ({string.Join(", ", extensions)})");
    }

    static IEnumerable<(string Name, bool Supported)> Extensions()
    {
        yield return ("AVX2", System.Runtime.Intrinsics.X86.Avx2.IsSupported);
        yield return ("AVX-512", System.Runtime.Intrinsics.X86.Avx512F.IsSupported);
        yield return ("NEON", System.Runtime.Intrinsics.Arm.AdvSimd.IsSupported);
        yield return ("VNNI", Flags.Contains("avx512_vnni", StringComparison.Ordinal));
        yield return ("BF16", MultipliesBFloat16);
        yield return ("AMX", Flags.Contains("amx_tile", StringComparison.Ordinal));
    }

    /// <summary>True where the processor has instructions for products in bfloat16, as far as Linux tells.</summary>
    public static bool MultipliesBFloat16 => Flags.Contains("avx512_bf16", StringComparison.Ordinal);

    static string Flags => File.Exists("/proc/cpuinfo")
        ? File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("flags", StringComparison.Ordinal)) ?? "" : "";
}
