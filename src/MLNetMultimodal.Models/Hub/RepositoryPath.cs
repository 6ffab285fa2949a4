using System.Text;

namespace MLNetMultimodal.Models.Hub;

/// <summary>Names of files that a server gives, before they become paths of this machine. A name that is harmless on one system
/// is judged as on all: caches are shared.</summary>
static class RepositoryPath
{
    const int MaxSegmentBytes = 255, MaxLength = 1024;

    static readonly string[] Devices = ["CON", "PRN", "AUX", "NUL", "COM", "LPT"];

    /// <summary>Why a name would leave the folder that it is put into; null where it stays.</summary>
    public static string? Escape(string name)
    {
        if (name.Length is 0 or > MaxLength) return $"it has {name.Length} characters, but must have 1 to {MaxLength}";
        if (name.Any(char.IsControl)) return "it has a control character";
        if (name.Contains('\\')) return "it has a backslash";
        if (name[0] == '/') return "it is an absolute path";
        string[] segments = name.Split('/');
        if (segments.Any(s => s is "" or "." or "..")) return "it has an empty part, '.' or '..'";
        return segments.Any(s => s.Length > 1 && s[1] == ':' && char.IsAsciiLetter(s[0])) ? "it has a drive letter" : null;
    }

    /// <summary>Why a name cannot be a file everywhere; null where it can.</summary>
    public static string? Objection(string name)
    {
        if (Escape(name) is { } escape) return escape;
        foreach (string segment in name.Split('/'))
        {
            if (Encoding.UTF8.GetByteCount(segment) > MaxSegmentBytes)
                return $"a part of it is longer than {MaxSegmentBytes} bytes";
            if (segment.AsSpan().ContainsAny("<>:\"|?*")) return "it has one of <>:\"|?*";
            if (segment[^1] is '.' or ' ') return "a part of it ends in a dot or a space";
            if (IsDevice(segment.Split('.')[0].TrimEnd())) return "it names a device";
        }
        return null;
    }

    static bool IsDevice(string stem) => Devices.Any(d => stem.StartsWith(d, StringComparison.OrdinalIgnoreCase)
        && (d is "COM" or "LPT" ? stem.Length == 4 && char.IsAsciiDigit(stem[3]) : stem.Length == 3));

    /// <summary>An error that names the file and the reason.</summary>
    public static InvalidDataException Refuse(string repository, string name, string reason)
    {
        string shown = string.Concat(name.Take(100).Select(c => char.IsControl(c) ? '?' : c));
        return new($"'{repository}' has a file named '{shown}', which is refused: {reason}.");
    }
}
