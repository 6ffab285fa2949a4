namespace MLNetMultimodal.Media.Audio;

/// <summary>
/// The ffmpeg programs of this machine, which decode what this library does not by itself. They run as processes of their own,
/// see one local file, and can open nothing else: no network, no playlist, no other file. Immutable and thread-safe.
/// </summary>
/// <remarks>FFMpegCore is not used for it, since its pipes close when ffmpeg ends although what is left in them is still being
/// read (a slow reader loses the end and is told that all went well), and it pastes file names into one command line.</remarks>
public sealed record FFmpegProgram
{
    // Containers of sound and video that hold everything they need; playlists, scripts, devices and text are not among them.
    const string Formats = "aac,ac3,adp,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,dv,eac3,flac,flv,gif,h264,hevc,ivf," +
        "loas,m4v,matroska,webm,mjpeg,mlp,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mpegvideo,mxf,nistsphere,nut,ogg,rm," +
        "rso,shn,sox,swf,tak,truehd,tta,voc,w64,wav,wv,wtv,yuv4mpegpipe";

    /// <summary>The programs that are found along PATH.</summary>
    public static FFmpegProgram Default { get; } = new();

    /// <summary>The folder of ffmpeg and ffprobe; null to look along the environment variable PATH.</summary>
    public string? Folder { get; init; }

    /// <summary>
    /// Whether sound or video that is damaged inside is refused; otherwise, as players do, ffmpeg leaves out what it cannot
    /// decode. What cannot be decoded at all is refused anyway.
    /// </summary>
    /// <value>Default false: many MP3 files that play well have some bytes of waste in them.</value>
    public bool RefuseDamaged { get; init; }

    /// <summary>Whether ffmpeg is there.</summary>
    public bool IsAvailable => Find("ffmpeg") is not null;

    /// <summary>Opens the sound of any file that ffmpeg knows, or the first soundtrack of a video, at its own rate.</summary>
    /// <param name="path">The file.</param>
    /// <param name="name">What messages call the sound.</param>
    /// <param name="cancellation">Stops reading, whenever it is.</param>
    /// <returns>A reader.</returns>
    /// <exception cref="InvalidDataException">ffmpeg is missing, knows no such format, or finds no sound; the message names the
    /// file and the way out.</exception>
    public AudioReader OpenAudio(string path, string name, CancellationToken cancellation = default) =>
        OpenAudio(path, name, $"'{name}' holds neither plain WAV nor AIFF and needs ffmpeg", [], cancellation);

    internal AudioReader OpenAudio(string path, string name, string what, string[] filters, CancellationToken cancellation)
    {
        FFmpegRun run = Decode(path, what, [],
            ["-map", "0:a:0", .. filters, "-map_metadata", "-1", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"], cancellation);
        try
        {
            byte[] start = new byte[ChunkStream.StartLength];
            if (run.Output.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) < start.Length)
            {
                run.Finish();
                throw new InvalidDataException($"'{name}' holds no sound that ffmpeg can decode.");
            }
            AudioReader samples = WavFormat.Open(run.Output, start, name, leaveOpen: true, cancellation, out _)!;
            return new FFmpegAudioReader(run, samples);
        }
        catch
        {
            run.Dispose();
            throw;
        }
    }

    // Runs ffmpeg over a file; its output comes through a pipe, as fast as it is read.
    internal FFmpegRun Decode(string path, string what, IEnumerable<string> input, IEnumerable<string> output,
        CancellationToken cancellation)
    {
        string[] strict = RefuseDamaged ? ["-xerror"] : [];
        string[] arguments =
            ["-nostdin", "-hide_banner", "-v", "error", .. strict, .. input, .. Input(path), .. output];
        return new(Require("ffmpeg", what), arguments, what, cancellation);
    }

    // What ffprobe says about a file, as JSON.
    internal byte[] Probe(string path, string what, IEnumerable<string> questions, CancellationToken cancellation)
    {
        using var run = new FFmpegRun(Require("ffprobe", what),
            ["-hide_banner", "-v", "error", .. questions, "-of", "json", .. Input(path)], what, cancellation);
        var answer = new MemoryStream();
        run.Output.CopyTo(answer);
        run.Finish();
        return answer.ToArray();
    }

    // A whole path after "file:" is neither an option nor another protocol, whatever the file is called.
    static string[] Input(string path) =>
        ["-protocol_whitelist", "file", "-format_whitelist", Formats, "-i", "file:" + Path.GetFullPath(path)];

    string Require(string program, string what) => Find(program) ?? throw new InvalidDataException(
        $"{what}, but {program} was not found {(Folder is null ? "along PATH" : $"in '{Folder}'")}; install it " +
        "(Debian, Ubuntu: apt-get install ffmpeg; Windows: winget install Gyan.FFmpeg; macOS: brew install ffmpeg) " +
        "or set FFmpegProgram.Folder.");

    // Process.Start would look into the current folder too, where a stranger's program may lie.
    string? Find(string program)
    {
        string file = OperatingSystem.IsWindows() ? program + ".exe" : program;
        string[] folders = Folder is { } own ? [Path.GetFullPath(own)]
            : (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries);
        return folders.Where(Path.IsPathFullyQualified).Select(folder => Path.Combine(folder, file)).FirstOrDefault(File.Exists);
    }

    sealed class FFmpegAudioReader(FFmpegRun run, AudioReader samples)
        : AudioReader(samples.Name, samples.SampleRateHz, samples.Channels)
    {
        public override int Read(Span<float> interleaved)
        {
            int got = samples.Read(interleaved);
            if (got == 0)
                run.Finish();
            return got;
        }

        protected override void Dispose(bool disposing)
        {
            samples.Dispose();
            run.Dispose();
            base.Dispose(disposing);
        }
    }
}
