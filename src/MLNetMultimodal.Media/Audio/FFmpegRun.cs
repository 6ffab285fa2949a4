using System.ComponentModel;
using System.Diagnostics;
using System.Text.RegularExpressions;

namespace MLNetMultimodal.Media.Audio;

// One run of ffmpeg or ffprobe. Its output waits in a pipe of the system until it is read; cancelling and disposing end it.
sealed class FFmpegRun : IDisposable
{
    const int MaxComplaints = 5;

    static readonly Regex Prefixes = new(@"^(\[[^\]]* @ [^\]]*\] ?)+|^file:.*: ", RegexOptions.CultureInvariant);

    readonly Process _process;
    readonly List<string> _complaints = [];
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
        try
        {
            _process = Process.Start(start)!;
        }
        catch (Win32Exception e)
        {
            throw new InvalidDataException($"'{name}' cannot be decoded: '{program}' does not start ({e.Message}).", e);
        }
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
                + (_complaints.Count == 0 ? $"it ended with code {_process.ExitCode}." : string.Join("; ", _complaints)));
    }

    public void Dispose()
    {
        _registration.Dispose();
        End();
        _process.WaitForExit(); // else it may still hold its file
        _process.Dispose();
    }

    // "[flac @ 0x55d6] invalid header" and "file:/tmp/x: Invalid data" without what says nothing, and each only once.
    void Complain(string? line)
    {
        string text = Prefixes.Replace(line ?? "", "").Trim();
        lock (_complaints)
            if (text.Length > 0 && _complaints.Count < MaxComplaints && !_complaints.Contains(text))
                _complaints.Add(text.Length > 500 ? text[..500] : text);
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
