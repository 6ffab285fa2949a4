using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Security.Cryptography;

namespace MLNetMultimodal.Training.Native;

/// <summary>A folder that only this user can enter, for adapted copies of native libraries.</summary>
/// <param name="folder">Its path; null for a fresh temporary folder, which is removed once the library is loaded.</param>
[SupportedOSPlatform("linux")]
sealed class NativeCache(string? folder)
{
    const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>The folder; null where it is a temporary one.</summary>
    public string? Folder => folder;

    /// <summary>Where to try, in this order: <c>$XDG_CACHE_HOME</c>, <c>~/.cache</c>, a temporary folder.</summary>
    public static IEnumerable<NativeCache> Folders()
    {
        if (Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is string cache && Path.IsPathRooted(cache)) yield return new(Path.Combine(cache, "MLNetMultimodal"));
        if (Environment.GetFolderPath(Environment.SpecialFolder.UserProfile) is { Length: > 0 } home) yield return new(Path.Combine(home, ".cache", "MLNetMultimodal"));
        yield return new(null);
    }

    /// <summary>Loads the adapted library, after writing it where it is not there yet.</summary>
    /// <param name="name">File name of the library.</param>
    /// <param name="source">The library as it came; its hash tells copies apart.</param>
    /// <param name="adapted">The bytes to load.</param>
    /// <exception cref="IOException">The folder cannot be used.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder is not this user's.</exception>
    /// <exception cref="DllNotFoundException">The copy cannot be loaded from there, for example because the file system forbids
    /// execution.</exception>
    public nint Load(string name, ReadOnlySpan<byte> source, ReadOnlySpan<byte> adapted)
    {
        if (folder is not null) return NativeLibrary.Load(Place(folder, name, source, adapted));
        // A name that nobody can foresee: in a folder shared with others a fixed one could be prepared by them.
        string temporary = Directory.CreateTempSubdirectory($"MLNetMultimodal-{Environment.UserName}-").FullName;
        try
        {
            return NativeLibrary.Load(Place(temporary, name, source, adapted));
        }
        finally
        {
            Directory.Delete(temporary, recursive: true); // the loaded library stays mapped
        }
    }

    /// <summary>Makes sure that the adapted library lies in the folder and is whole.</summary>
    /// <returns>Its path.</returns>
    internal static string Place(string folder, string name, ReadOnlySpan<byte> source, ReadOnlySpan<byte> adapted)
    {
        Directory.CreateDirectory(folder, Private);
        if (new DirectoryInfo(folder).LinkTarget is not null) throw new IOException($"'{folder}' is a link.");
        File.SetUnixFileMode(folder, Private); // fails where it belongs to another
        string path = Path.Combine(folder, $"{Path.GetFileNameWithoutExtension(name)}-{Convert.ToHexStringLower(SHA256.HashData(source))}{Path.GetExtension(name)}");
        if (File.Exists(path) && File.ReadAllBytes(path).AsSpan().SequenceEqual(adapted)) return path;
        string temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            var options = new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                Share = FileShare.None,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserExecute,
            };
            using (var stream = new FileStream(temporary, options))
            {
                stream.Write(adapted);
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
        return path;
    }
}
