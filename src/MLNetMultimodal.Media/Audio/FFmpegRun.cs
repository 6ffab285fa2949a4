using System.Diagnostics;

namespace MLNetMultimodal.Media.Audio;

// One run of ffmpeg or ffprobe. Its output waits in a pipe of the system until it is read; cancelling and disposing end it.
sealed class FFmpegRun : IDisposable
{
    const int MaxComplaints = 20;

    readonly Process _process;
    readonly Queue<string> _complaints = new();
    readonly string _name;
    readonly CancellationToken _cancellation;
    readonly CancellationTokenRegistration _registration;

    public FFmpegRun(string program, IEnumerable<string> arguments, string name, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        (_name, _cancellation) = (name, cancellation);
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            CreateNoWindow = true,
        };
        _process = Process.Start(start)!;
        _process.StandardInput.Close();
        _process.ErrorDataReceived += (_, line) => Complain(line.Data);
        _process.BeginErrorReadLine();
        _registration = cancellation.Register(End);
    }

    public Stream Output => _process.StandardOutput.BaseStream;

    // Waits for the end; throws where it was no good one.
    public void Finish()
    {
        _process.WaitForExit();
        _cancellation.ThrowIfCancellationRequested();
        if (_process.ExitCode == 0)
            return;
        lock (_complaints)
            throw new InvalidDataException($"'{_name}' cannot be decoded by ffmpeg: "
                + (_complaints.Count == 0 ? $"it ended with code {_process.ExitCode}." : string.Join(" ", _complaints)));
    }

    public void Dispose()
    {
        _registration.Dispose();
        End();
        _process.Dispose();
    }

    void Complain(string? line)
    {
        if (string.IsNullOrWhiteSpace(line))
            return;
        lock (_complaints)
        {
            if (_complaints.Count == MaxComplaints)
                _complaints.Dequeue();
            _complaints.Enqueue(line.Length > 500 ? line[..500] : line);
        }
    }

    void End()
    {
        try
        {
            _process.Kill(entireProcessTree: true);
        }
        catch (InvalidOperationException)
        {
            // It has ended by itself.
        }
    }
}
