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
    readonly string _what;
    readonly CancellationToken _cancellation;
    readonly CancellationTokenRegistration _registration;

    // What it is that is decoded begins the messages, such as "'dog.mp4' is read as a video".
    public FFmpegRun(string program, IEnumerable<string> arguments, string what, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        (_what, _cancellation) = (what, cancellation);
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
            throw new InvalidDataException($"{what}, but '{program}' does not start: {e.Message}", e);
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
            throw new InvalidDataException($"{_what}, but ffmpeg cannot decode it: "
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
        string text = Plain(Prefixes.Replace(line ?? "", "").Trim());
        lock (_complaints)
            if (text.Length > 0 && _complaints.Count < MaxComplaints && !_complaints.Contains(text))
                _complaints.Add(text.Length > 500 ? text[..500] : text);
    }

    static string Plain(string complaint) => complaint switch
    {
        _ when complaint.StartsWith("Stream map '0:a:0' matches no", StringComparison.Ordinal) => "there is no sound in it",
        _ when complaint.StartsWith("Stream map '0:V:0' matches no", StringComparison.Ordinal) => "there is no video in it",
        _ when complaint.StartsWith("To ignore this", StringComparison.Ordinal) => "",
        _ when complaint.StartsWith("Format not on whitelist", StringComparison.Ordinal) =>
            "its format is none of sound or video, or it may point to other files",
        _ => complaint,
    };

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
