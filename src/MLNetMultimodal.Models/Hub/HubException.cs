using System.Net;

namespace MLNetMultimodal.Models.Hub;

/// <summary>The hub does not give what was asked for: it is not there, may not be read, cannot be reached, or is not in the cache
/// while offline. The message names what is missing and the way out.</summary>
public class HubException : IOException
{
    /// <summary>An error.</summary>
    /// <param name="message">What happened and what to do.</param>
    /// <param name="status">The server's answer; null where there was none.</param>
    /// <param name="inner">Its cause.</param>
    public HubException(string message, HttpStatusCode? status = null, Exception? inner = null) : base(message, inner) =>
        Status = status;

    /// <summary>The server's answer: 401 and 403 mean a token is missing or may not read it, 404 that it is not there; null
    /// where there was no answer.</summary>
    public HttpStatusCode? Status { get; }
}

/// <summary>An error that may be gone at the next attempt.</summary>
/// <param name="message">What happened.</param>
/// <param name="status">The server's answer; null where there was none.</param>
/// <param name="retryAfter">How long the server asks to wait; null where it does not say.</param>
/// <param name="inner">Its cause.</param>
sealed class TransientHubException(
    string message, HttpStatusCode? status = null, TimeSpan? retryAfter = null, Exception? inner = null)
    : HubException(message, status, inner)
{
    public TimeSpan? RetryAfter { get; } = retryAfter;
}
