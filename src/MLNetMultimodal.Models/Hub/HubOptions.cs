using System.Text;

namespace MLNetMultimodal.Models.Hub;

/// <summary>How files of the hub are downloaded. What is not set is as Python's <c>huggingface_hub</c> has it, from the same
/// environment variables.</summary>
public sealed record HubOptions
{
    /// <summary>Folder of the cache, shared with Python; null, the default, for <c>HF_HUB_CACHE</c>, <c>HF_HOME/hub</c> or
    /// <c>~/.cache/huggingface/hub</c>.</summary>
    public string? CacheFolder { get; init; }

    /// <summary>Address of the hub; null, the default, for <c>HF_ENDPOINT</c> or <c>https://huggingface.co</c>.</summary>
    public Uri? Endpoint { get; init; }

    /// <summary>Access token for private and gated repositories, sent to <see cref="Endpoint"/> only and never to a host that it
    /// redirects to; null, the default, for <c>HF_TOKEN</c> or the file that <c>hf auth login</c> writes; empty for none. Not
    /// shown by <see cref="ToString"/>.</summary>
    public string? Token { get; init; }

    /// <summary>True: only what the cache holds, without any request; null, the default, for <c>HF_HUB_OFFLINE</c>.</summary>
    public bool? Offline { get; init; }

    /// <summary>Files to take in place of those that a model is loaded from, such as <c>onnx/*_int8.onnx</c>; <c>*</c> stands for
    /// any characters. Pickles are never taken. Default: none.</summary>
    public IReadOnlyList<string> AllowPatterns { get; init; } = [];

    /// <summary>True: the float32 graphs of the folder <c>onnx/</c> too; they are always taken where a repository has no
    /// safetensors. Default false.</summary>
    public bool IncludeOnnx { get; init; }

    /// <summary>Told as bytes arrive, from one thread at a time.</summary>
    public IProgress<HubProgress>? Progress { get; init; }

    /// <summary>Longest time without a byte before an attempt is given up, above 0; null, the default, for
    /// <c>HF_HUB_DOWNLOAD_TIMEOUT</c> or 10 seconds.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Not above 0.</exception>
    public TimeSpan? Timeout
    {
        get;
        init => field = value is null || value > TimeSpan.Zero ? value
            : throw new ArgumentOutOfRangeException(nameof(Timeout), value, "Timeout must be above 0.");
    }

    /// <summary>Attempts after the first, at least 0, before a failing request is given up; a download that makes headway starts
    /// to count anew. Waits double from one second, with jitter, or are as long as the server's Retry-After asks. Default
    /// 5.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Less than 0.</exception>
    public int MaxRetries
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value, nameof(MaxRetries));
            field = value;
        }
    } = 5;

    /// <summary>Largest file that is accepted, in bytes, at least 1; default 50 GB.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Less than 1.</exception>
    public long MaxFileBytes
    {
        get;
        init
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, 1, nameof(MaxFileBytes));
            field = value;
        }
    } = 50_000_000_000;

    /// <summary>Clock of time-outs and of the waits between attempts; default that of the system.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    bool PrintMembers(StringBuilder text)
    {
        string token = Token is null ? "" : "***";
        text.Append($"CacheFolder = {CacheFolder}, Endpoint = {Endpoint}, Token = {token}, Offline = {Offline}");
        return true;
    }
}

/// <summary>How far a download is.</summary>
/// <param name="File">The file that bytes arrived of; empty for a <paramref name="Note"/>.</param>
/// <param name="FileBytes">Bytes of it that are there.</param>
/// <param name="FileLength">All its bytes.</param>
/// <param name="Bytes">Bytes of all files of this download that are there.</param>
/// <param name="TotalBytes">All their bytes; grows once where an index names further files.</param>
/// <param name="Note">What a user should know, such as that the hub cannot be reached and the cache is used; null for
/// none.</param>
public sealed record HubProgress(string File, long FileBytes, long FileLength, long Bytes, long TotalBytes, string? Note = null);
