namespace MLNetMultimodal.Models.Hub;

/// <summary>Options with what the environment says in place of what they leave open.</summary>
sealed record HubSettings
{
    HubSettings(HubOptions options, HubEnvironment environment, Uri endpoint)
    {
        (Options, Endpoint) = (options, endpoint);
        CacheFolder = Path.GetFullPath(options.CacheFolder ?? environment.CacheFolder);
        Token = options.Token is { } token ? (token.Length > 0 ? token : null) : environment.Token;
        IsOffline = options.Offline ?? environment.IsOffline;
        UsesSymlinks = environment.UsesSymlinks;
        Timeout = options.Timeout ?? environment.Timeout;
    }

    public HubOptions Options { get; }

    public Uri Endpoint { get; }

    public string CacheFolder { get; }

    public string? Token { get; }

    public bool IsOffline { get; }

    public bool UsesSymlinks { get; }

    public TimeSpan Timeout { get; }

    /// <exception cref="ArgumentException">The endpoint or the token makes no sense.</exception>
    public static HubSettings Of(HubOptions options, HubEnvironment environment)
    {
        Uri endpoint = options.Endpoint ?? environment.Endpoint;
        if (!endpoint.IsAbsoluteUri || endpoint.Scheme is not ("https" or "http"))
            throw new ArgumentException($"the hub's address must be an absolute http or https address, but is '{endpoint}'.");
        var settings = new HubSettings(options, environment, endpoint);
        return settings.Token is null || settings.Token.All(c => c is > ' ' and <= '~') ? settings
            : throw new ArgumentException(
                "the hub's token must be ASCII without spaces; look at HubOptions.Token, HF_TOKEN or the token's file.");
    }

    /// <summary>An address below the endpoint.</summary>
    /// <param name="path">Parts that need no escaping, or are escaped.</param>
    public Uri Address(string path) => new($"{Endpoint.AbsoluteUri.TrimEnd('/')}/{path}");
}
