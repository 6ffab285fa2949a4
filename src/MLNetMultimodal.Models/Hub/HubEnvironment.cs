using System.Globalization;
using System.Text.RegularExpressions;

namespace MLNetMultimodal.Models.Hub;

/// <summary>What environment variables and the token's file say, as Python's <c>huggingface_hub</c> reads them
/// (its <c>constants.py</c> and <c>utils/_auth.py</c>).</summary>
/// <param name="variable">An environment variable by name.</param>
sealed class HubEnvironment(Func<string, string?> variable)
{
    const int DefaultTimeoutSeconds = 10, MaxTokenBytes = 4096;
    static readonly Regex Variable = new(@"\$(?:(?<name>\w+)|\{(?<name>\w+)\})", RegexOptions.CultureInvariant);

    /// <summary>That of this process.</summary>
    public static HubEnvironment OfProcess { get; } = new(Environment.GetEnvironmentVariable);

    public string CacheFolder =>
        Expand(Get("HF_HUB_CACHE") ?? Get("HUGGINGFACE_HUB_CACHE") ?? Path.Combine(Home, "hub"));

    public Uri Endpoint
    {
        get
        {
            if (Get("HF_ENDPOINT") is not { } text) return new("https://huggingface.co");
            return Uri.TryCreate(text, UriKind.Absolute, out Uri? endpoint) ? endpoint
                : throw new ArgumentException($"HF_ENDPOINT must be an address such as https://huggingface.co, but is '{text}'.");
        }
    }

    /// <summary>Null where there is none, or where it may only be sent when asked for.</summary>
    public string? Token => IsTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN") ? null
        : Clean(Get("HF_TOKEN") ?? Get("HUGGING_FACE_HUB_TOKEN") ?? ReadTokenFile());

    public bool IsOffline => IsTrue(Get("HF_HUB_OFFLINE") is null ? "TRANSFORMERS_OFFLINE" : "HF_HUB_OFFLINE");

    public bool UsesSymlinks => !IsTrue("HF_HUB_DISABLE_SYMLINKS");

    public TimeSpan Timeout
    {
        get
        {
            string? text = Get("HF_HUB_DOWNLOAD_TIMEOUT");
            bool isGiven = int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int seconds) && seconds > 0;
            return TimeSpan.FromSeconds(isGiven ? seconds : DefaultTimeoutSeconds);
        }
    }

    string Home => Expand(Get("HF_HOME") ?? Path.Combine(Get("XDG_CACHE_HOME") ?? Path.Combine("~", ".cache"), "huggingface"));

    string? ReadTokenFile()
    {
        var file = new FileInfo(Expand(Get("HF_TOKEN_PATH") ?? Path.Combine(Home, "token")));
        return file.Exists && file.Length <= MaxTokenBytes ? File.ReadAllText(file.FullName) : null;
    }

    static string? Clean(string? token) => token?.ReplaceLineEndings("").Trim() is { Length: > 0 } clean ? clean : null;

    string? Get(string name) => variable(name) is { Length: > 0 } value ? value : null;

    bool IsTrue(string name) => Get(name)?.ToUpperInvariant() is "1" or "ON" or "YES" or "TRUE";

    string Expand(string path)
    {
        if (path == "~" || path.StartsWith("~/", StringComparison.Ordinal) || path.StartsWith("~\\", StringComparison.Ordinal))
            path = (Get("HOME") ?? Environment.GetFolderPath(Environment.SpecialFolder.UserProfile)) + path[1..];
        return Variable.Replace(path, m => Get(m.Groups["name"].Value) ?? m.Value);
    }
}
