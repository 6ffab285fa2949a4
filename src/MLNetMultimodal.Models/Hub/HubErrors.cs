using System.Net;

namespace MLNetMultimodal.Models.Hub;

/// <summary>What a server's refusal means, and what to do.</summary>
sealed class HubErrors(HubSettings settings, HubReference reference)
{
    const int MaxReason = 200;
    const string SetToken = "give a token of an account that may read it: HF_TOKEN, HubOptions.Token or 'hf auth login'";

    /// <summary>The error.</summary>
    /// <param name="response">An answer that is no success.</param>
    /// <param name="file">The file that was asked for; null for the list of files.</param>
    public HubException Of(HttpResponseMessage response, string? file = null)
    {
        HttpStatusCode status = response.StatusCode;
        string repository = $"'{reference.Repository}'", what = file is null ? repository : $"{file} of {repository}";
        if ((int)status is 408 or 429 or 500 or 502 or 503 or 504) return Busy(response, what);
        string revision = $"revision '{reference.Revision ?? ModelHub.DefaultRevision}'";
        bool hasToken = settings.Token is not null;
        string text = (status, HubTransport.Header(response, "X-Error-Code")) switch
        {
            (_, "GatedRepo") =>
                $"{repository} is gated: accept its conditions at {settings.Address(reference.Repository)} and {SetToken}",
            (HttpStatusCode.Unauthorized, _) when hasToken =>
                $"{repository} does not exist, or the token may not read it; {SetToken}",
            (HttpStatusCode.Unauthorized, _) =>
                $"{repository} does not exist, or is private or gated; in the latter cases {SetToken}",
            (HttpStatusCode.Forbidden, _) => $"{what} may not be read{(hasToken ? " with this token" : "")}: {SetToken}",
            (HttpStatusCode.NotFound, "RevisionNotFound") => $"{repository} has no {revision}",
            (HttpStatusCode.NotFound, "EntryNotFound") => $"{repository} has no file {file}",
            (HttpStatusCode.NotFound, _) when file is null =>
                $"{repository} does not exist at {settings.Endpoint}, or not in the {revision}, or is private",
            (HttpStatusCode.NotFound, _) => $"{what} is not there",
            _ => $"{what} is not given",
        };
        return new($"{text} ({Answer(response)}).", status);
    }

    TransientHubException Busy(HttpResponseMessage response, string what)
    {
        TimeSpan? wait = response.Headers.RetryAfter switch
        {
            { Delta: { } delta } => delta,
            { Date: { } date } => date - settings.Options.Time.GetUtcNow(),
            _ => null,
        };
        if (wait < TimeSpan.Zero) wait = TimeSpan.Zero;
        string later = wait is { } asked ? $"it asks to wait {asked.TotalSeconds:n0} s" : "try again later";
        return new($"the hub does not give {what} now ({Answer(response)}); {later}.", response.StatusCode, wait);
    }

    /// <summary>Status and the server's own words, which are untrusted.</summary>
    static string Answer(HttpResponseMessage response)
    {
        string said = HubTransport.Header(response, "X-Error-Message") ?? "";
        string shown = string.Concat(said.Where(c => !char.IsControl(c)).Take(MaxReason));
        string host = response.RequestMessage!.RequestUri!.Authority;
        string status = $"{host} answers {(int)response.StatusCode} {response.StatusCode}";
        return shown.Length > 0 ? $"{status}: {shown}" : status;
    }
}
