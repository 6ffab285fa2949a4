using System.Diagnostics;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

// A folder of media that ffmpeg makes. Where ffmpeg is missing the files are there without sense, and the tests check what is
// said about it instead.
sealed class TestMedia : IDisposable
{
    public string Folder { get; } = Directory.CreateTempSubdirectory("media-tests").FullName;

    public string PathOf(string name) => Path.Combine(Folder, name);

    // What comes before the name of the file on ffmpeg's command line.
    public string Make(string name, params string[] arguments)
    {
        string path = PathOf(name);
        if (!FFmpegProgram.Default.IsAvailable)
        {
            File.WriteAllText(path, "OggS, but only in name");
            return path;
        }
        var start = new ProcessStartInfo("ffmpeg", ["-nostdin", "-v", "error", "-y", .. arguments, "file:" + path]);
        start.RedirectStandardError = true;
        using Process ffmpeg = Process.Start(start)!;
        string complaints = ffmpeg.StandardError.ReadToEnd();
        ffmpeg.WaitForExit();
        return ffmpeg.ExitCode == 0 ? path : throw new InvalidOperationException(complaints);
    }

    // True where ffmpeg is missing; then what must fail has failed and said so.
    public static bool IsWithoutFFmpeg(string path, Action decode)
    {
        if (FFmpegProgram.Default.IsAvailable)
            return false;
        ExpectAdvice(path, decode);
        return true;
    }

    public static void ExpectAdvice(string path, Action decode)
    {
        string message = Assert.Throws<InvalidDataException>(decode).Message;
        Assert.Contains($"'{path}'", message, StringComparison.Ordinal);
        Assert.Contains("need", message, StringComparison.Ordinal);
        Assert.Contains("apt-get install ffmpeg", message, StringComparison.Ordinal);
    }

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
