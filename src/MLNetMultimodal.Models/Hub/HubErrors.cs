using System.Net;

namespace MLNetMultimodal.Models.Hub;

/// <summary>What a server's refusal means, and what to do.</summary>
sealed class HubErrors(HubSettings settings, HubReference reference)
{
    const int MaxReason = 200;

    /// <summary>The error.</summary>
    /// <param name="response">An answer that is no success.</param>
    /// <param name="file">The file that was asked for; null for the list of files.</param>
    public HubException Of(HttpResponseMessage response, string? file = null)
    {
        HttpStatusCode status = response.StatusCode;
        string code = Header(response, "X-Error-Code"), what = file is null ? $"'{reference.Repository}'" : $"{file} of '{reference.Repository}'";
        if ((int)status is 408 or 429 or 500 or 502 or 503 or 504) return Busy(response, what);
        string text = (status, code) switch
        {
            (_, "GatedRepo") => $"'{reference.Repository}' is gated: accept its conditions at {settings.Address(reference.Repository)} and {SetToken}",
            (HttpStatusCode.Unauthorized, _) when settings.Token is null => $"'{reference.Repository}' does not exist, or is private or gated; in the latter cases {SetToken}",
            (HttpStatusCode.Unauthorized, _) => $"'{reference.Repository}' does not exist, or the token may not read it; {SetToken}",
            (HttpStatusCode.Forbidden, _) => $"{what} may not be read{(settings.Token is null ? "" : " with this token")}: {SetToken}",
            (HttpStatusCode.NotFound, "RevisionNotFound") => $"'{reference.Repository}' has no revision '{reference.Revision ?? ModelHub.DefaultRevision}'",
            (HttpStatusCode.NotFound, "EntryNotFound") => $"'{reference.Repository}' has no file {file}",
            (HttpStatusCode.NotFound, _) when file is null => $"'{reference.Repository}' does not exist at {settings.Endpoint}, or not in the revision "
                + $"'{reference.Revision ?? ModelHub.DefaultRevision}', or is private",
            (HttpStatusCode.NotFound, _) => $"{what} is not there",
            _ => $"{what} is not given",
        };
        return new($"{text} ({Answer(response)}).", status);
    }

    static string SetToken => "give a token of an account that may read it: HF_TOKEN, HubOptions.Token or 'hf auth login'";

    HubException Busy(HttpResponseMessage response, string what)
    {
        TimeSpan? wait = response.Headers.RetryAfter switch
        {
            { Delta: { } delta } => delta,
            { Date: { } date } => date - settings.Options.Time.GetUtcNow(),
            _ => null,
        };
        if (wait < TimeSpan.Zero) wait = TimeSpan.Zero;
        string later = wait is { } asked ? $"it asks to wait {asked.TotalSeconds:n0} s" : "try again later";
        return new TransientHubException($"the hub does not give {what} now ({Answer(response)}); {later}.", response.StatusCode, wait);
    }

    /// <summary>Status and the server's own words, which are untrusted.</summary>
    static string Answer(HttpResponseMessage response)
    {
        string said = string.Concat(Header(response, "X-Error-Message").Where(c => !char.IsControl(c)).Take(MaxReason));
        return $"{response.RequestMessage!.RequestUri!.Authority} answers {(int)response.StatusCode} {response.StatusCode}{(said.Length > 0 ? $": {said}" : "")}";
    }

    static string Header(HttpResponseMessage response, string name) =>
        response.Headers.TryGetValues(name, out IEnumerable<string>? values) ? values.First() : "";
}
