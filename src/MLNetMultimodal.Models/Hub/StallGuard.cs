using System.Security.Authentication;

namespace MLNetMultimodal.Models.Hub;

/// <summary>Ends a request that gives nothing for too long. What goes wrong on the way is an error that may be gone at the next
/// attempt.</summary>
sealed class StallGuard : IDisposable
{
    readonly TimeSpan _limit;
    readonly CancellationToken _cancellation;
    readonly CancellationTokenSource _stall, _either;

    public StallGuard(HubSettings settings, CancellationToken cancellation)
    {
        (_limit, _cancellation) = (settings.Timeout, cancellation);
        _stall = new(Timeout.InfiniteTimeSpan, settings.Options.Time);
        _either = CancellationTokenSource.CreateLinkedTokenSource(cancellation, _stall.Token);
    }

    /// <summary>Waits for the next thing that the server gives.</summary>
    /// <exception cref="TransientHubException">It does not come, or the connection is cut.</exception>
    /// <exception cref="HubException">The server does not prove who it is.</exception>
    public async Task<T> RunAsync<T>(Func<CancellationToken, Task<T>> step, Uri address)
    {
        string host = address.Authority;
        try
        {
            _stall.CancelAfter(_limit);
            T result = await step(_either.Token).ConfigureAwait(false);
            _stall.CancelAfter(Timeout.InfiniteTimeSpan); // what the caller does with it is not the server's time
            return result;
        }
        catch (OperationCanceledException e) when (_stall.IsCancellationRequested && !_cancellation.IsCancellationRequested)
        {
            throw new TransientHubException($"{host} has given nothing for {_limit.TotalSeconds:0.###} s.", inner: e);
        }
        catch (HttpRequestException e) when (e.InnerException is AuthenticationException)
        {
            throw new HubException($"no secure connection to {host}: {e.InnerException.Message}", inner: e);
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new TransientHubException($"the connection to {host} failed: {e.Message.TrimEnd('.')}.", inner: e);
        }
    }

    public void Dispose()
    {
        _either.Dispose();
        _stall.Dispose();
    }
}
