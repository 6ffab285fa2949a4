namespace MLNetMultimodal.Models.Hub;

/// <summary>A lock between processes: an open file that nobody else may open. The system lets go of it when its process ends,
/// however it ends. On Unix it is the same <c>flock</c> that Python's <c>filelock</c> takes.</summary>
static class CacheLock
{
    static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);

    // EWOULDBLOCK of Linux and macOS, ERROR_SHARING_VIOLATION and ERROR_LOCK_VIOLATION of Windows.
    static readonly int[] Held = [11, 35, unchecked((int)0x80070020), unchecked((int)0x80070021)];

    /// <summary>Waits until the lock is free, and takes it.</summary>
    /// <param name="path">The lock's file; it stays when the lock is let go.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    /// <returns>What holds the lock until it is disposed.</returns>
    public static async Task<IDisposable> TakeAsync(string path, CancellationToken cancellation)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        while (true)
        {
            try
            {
                var file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 1);
                if (File.Exists(path)) return file;
                file.Dispose(); // its last owner removed it meanwhile, so that others lock a new one
            }
            catch (IOException e) when (Held.Contains(e.HResult))
            {
                await Task.Delay(Pause, cancellation).ConfigureAwait(false);
            }
        }
    }
}
