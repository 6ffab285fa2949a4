using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Runtime.Versioning;
using TorchSharp;

namespace MLNetMultimodal.Training.Native;

/// <summary>Loads torch's native libraries, also on systems whose libstdc++ is older than the one TorchSharp was built
/// with.</summary>
/// <remarks>
/// TorchSharp 0.107 for Linux asks for the symbol version GLIBCXX_3.4.32 without using a symbol of it; Debian 12, Ubuntu 22.04
/// and RHEL 9 lack it.
/// The runtime's own search comes first. Only where it finds nothing does <see cref="Resolve"/> run, and only where the reason is
/// that version does it load
/// a copy in which the version is marked weak. TorchSharp takes the handle as if its own search had found it, so nothing else has
/// to be arranged.
/// </remarks>
static class TorchNative
{
    /// <summary>The version of libtorch that this version of TorchSharp goes with.</summary>
    internal const string LibtorchVersion = "2.10.0";
    const string MissingVersion = "GLIBCXX_3.4.32", Binding = "libLibTorchSharp.so";
    static readonly string[] LibtorchFiles = ["libc10.so", "libtorch_cpu.so", "libtorch.so"]; // each needs those before it

    /// <summary>Why torch cannot be used; null where it can.</summary>
    static readonly Lazy<NotSupportedException?> s_failure = new(TryLoad);

    /// <summary>Hangs <see cref="Resolve"/> behind the runtime's search. Costs one delegate; torch is loaded when it is first
    /// used, or never.</summary>
    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255:The 'ModuleInitializer' attribute should not be used in libraries",
        Justification = "It only registers a handler, and must do so before any code of this library touches torch.")]
    internal static void Register()
    {
        if (OperatingSystem.IsLinux() && RuntimeInformation.ProcessArchitecture == Architecture.X64)
            (AssemblyLoadContext.GetLoadContext(typeof(TorchNative).Assembly) ?? AssemblyLoadContext.Default).ResolvingUnmanagedDll += (_, library) =>
                library == "LibTorchSharp" && OperatingSystem.IsLinux() ? Resolve() : 0;
    }

    /// <summary>Loads torch, or says what is missing. Costs nothing after the first call.</summary>
    /// <exception cref="NotSupportedException">Torch cannot be loaded: the message names the package to add, or the
    /// reason.</exception>
    public static void EnsureLoaded()
    {
        if (s_failure.Value is NotSupportedException why) throw new NotSupportedException(why.Message, why);
    }

    static NotSupportedException? TryLoad()
    {
        try
        {
            CheckLibtorch(SearchFolders(), IsInstalled);
            RuntimeHelpers.RunClassConstructor(typeof(torch).TypeHandle);
            return null;
        }
        catch (NotSupportedException e)
        {
            return e;
        }
        catch (TypeInitializationException e)
        {
            return new(Diagnose() ?? $"torch cannot be loaded: {e.InnerException?.Message ?? e.Message}", e);
        }
    }

    /// <summary>The reason behind a failure that TorchSharp reports only as not found.</summary>
    static string? Diagnose()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64) return null;
        try
        {
            Load(SearchFolders(), NativeCache.Folders());
            return "torch was used before MLNetMultimodal.Training, on a system where torch needs its help to load; use a type of MLNetMultimodal.Training first.";
        }
        catch (Exception e) when (IsExpected(e))
        {
            return e.Message;
        }
    }

    static bool IsInstalled(string library) => NativeLibrary.TryLoad(library, out _);

    static bool IsExpected(Exception e) =>
        e is IOException or UnauthorizedAccessException or InvalidDataException or DllNotFoundException or NotSupportedException;

    /// <summary>Checks that libtorch is there, because TorchSharp's own message is long, goes to the console and does not say
    /// what to do.</summary>
    /// <exception cref="NotSupportedException">There is no libtorch in any of the folders.</exception>
    /// <param name="folders">Where to look for the file.</param>
    /// <param name="installed">True where the system's own search finds the library of that name.</param>
    internal static void CheckLibtorch(IReadOnlyList<string> folders, Func<string, bool> installed)
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64) return;
        if (Find(folders, "libtorch_cpu.so") is null && !installed("libtorch_cpu.so"))
            throw new NotSupportedException(
                $"torch's native library libtorch_cpu.so is not beside the program; add the package libtorch-cpu-linux-x64 {LibtorchVersion} " +
                $"(or libtorch-cuda-12.8-linux-x64) to the project that is run. Looked in {string.Join(", ", folders)}.");
    }

    [SupportedOSPlatform("linux")]
    static nint Resolve()
    {
        try
        {
            return Load(SearchFolders(), NativeCache.Folders());
        }
        catch (Exception e) when (IsExpected(e))
        {
            return 0;
        }
    }

    [SupportedOSPlatform("linux")]
    static nint Load(IReadOnlyList<string> folders, IEnumerable<NativeCache> caches)
    {
        CheckLibtorch(folders, IsInstalled);
        foreach (string file in LibtorchFiles)
            if (Find(folders, file) is string path) NativeLibrary.Load(path);
        string binding = Find(folders, Binding)
            ?? throw new NotSupportedException($"TorchSharp's native library {Binding} is not beside the program; looked in {string.Join(", ", folders)}.");
        try
        {
            return NativeLibrary.Load(binding);
        }
        catch (DllNotFoundException e) when (e.Message.Contains(MissingVersion, StringComparison.Ordinal))
        {
            return LoadAdapted(binding, caches);
        }
    }

    /// <summary>Loads a copy of the binding that does not insist on the missing version.</summary>
    [SupportedOSPlatform("linux")]
    static nint LoadAdapted(string binding, IEnumerable<NativeCache> caches)
    {
        byte[] source = File.ReadAllBytes(binding), adapted = [.. source];
        if (!ElfVersions.Weaken(adapted, MissingVersion))
            throw new NotSupportedException($"the system's libstdc++ lacks {MissingVersion}, which a library that {binding} needs asks for; install a newer libstdc++.");
        var reasons = new List<string>();
        foreach (NativeCache cache in caches)
        {
            try
            {
                return cache.Load(Binding, source, adapted);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or DllNotFoundException)
            {
                reasons.Add($"{cache.Folder ?? "a temporary folder"}: {e.Message}");
            }
        }
        throw new NotSupportedException(
            $"the system's libstdc++ lacks {MissingVersion}, and the adapted copy of {Binding} could be loaded from no folder; " +
            $"let XDG_CACHE_HOME name a folder that is writable and allows execution. {string.Join(" ", reasons)}");
    }

    /// <summary>Where native libraries may lie: flat beside the program (with a RuntimeIdentifier), under runtimes/ (without), in
    /// the package cache (notebooks).</summary>
    internal static IReadOnlyList<string> SearchFolders()
    {
        string runtimes = Path.Combine("runtimes", "linux-x64", "native");
        List<string> folders = [AppContext.BaseDirectory, Path.Combine(AppContext.BaseDirectory, runtimes)];
        if (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") is string known) folders.AddRange(known.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries));
        if (Path.GetDirectoryName(typeof(torch).Assembly.Location) is { Length: > 0 } beside)
        {
            folders.AddRange([beside, Path.Combine(beside, runtimes)]);
            string package = Path.GetFullPath(Path.Combine(beside, "..", ".."));           // <cache>/torchsharp/<version>
            string cache = Path.GetFullPath(Path.Combine(package, "..", ".."));
            folders.AddRange([Path.Combine(package, runtimes), Path.Combine(cache, "libtorch-cpu-linux-x64", LibtorchVersion, runtimes)]);
        }
        return [.. folders.Select(f => Path.TrimEndingDirectorySeparator(Path.GetFullPath(f))).Distinct().Where(Directory.Exists)];
    }

    static string? Find(IReadOnlyList<string> folders, string file) => folders.Select(f => Path.Combine(f, file)).FirstOrDefault(File.Exists);
}
