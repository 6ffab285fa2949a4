namespace MLNetMultimodal.Media.Audio;

/// <summary>
/// Opens sound of any kind: WAV and AIFF by itself, everything else, and the soundtrack of a video, by <see cref="Openers"/>,
/// which is ffmpeg unless others are given. Which format it is shows in the first bytes, not in the name. Immutable and
/// thread-safe.
/// </summary>
public sealed class AudioDecoder
{
    /// <summary>WAV and AIFF, and ffmpeg (where it is installed) for the rest.</summary>
    public static AudioDecoder Default { get; } = new();

    /// <summary>
    /// The decoders of what is neither WAV nor AIFF, asked one after the other; the first that gives a reader has it. Another
    /// library is plugged in by deriving a reader of its samples from <see cref="AudioReader"/>:
    /// <c>new AudioDecoder { Openers = [MyReader.TryOpen, FFmpegProgram.Default.OpenAudio] }</c>.
    /// </summary>
    /// <value>Default: <see cref="FFmpegProgram.OpenAudio(string, string, CancellationToken)"/> of
    /// <see cref="FFmpegProgram.Default"/>, which throws where it does not know the format, and so belongs at the end.</value>
    public IReadOnlyList<AudioOpener> Openers { get; init; } = [FFmpegProgram.Default.OpenAudio];

    /// <summary>Opens a sound file to be read piece by piece.</summary>
    /// <param name="path">The file.</param>
    /// <param name="cancellation">Stops reading, whenever it is.</param>
    /// <returns>A reader, to be disposed of.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">The file holds no sound of a known format, is cut off or damaged, or its format
    /// needs ffmpeg and that is missing; the message names the file and the way out.</exception>
    public AudioReader Open(string path, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!File.Exists(path))
            throw new FileNotFoundException($"There is no sound '{path}'.", path);
        var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16, FileOptions.SequentialScan);
        AudioReader? reader = null;
        try
        {
            byte[] start = ReadStart(file, path);
            return (reader = OpenOwn(file, start, path, leaveOpen: false, cancellation, out string? codec))
                ?? OpenOther(path, path, start, codec, cancellation);
        }
        finally
        {
            if (reader is null)
                file.Dispose();
        }
    }

    /// <summary>Opens a sound that lies in memory.</summary>
    /// <param name="encoded">The bytes of its file.</param>
    /// <param name="name">What messages call the sound.</param>
    /// <param name="cancellation">Stops reading, whenever it is.</param>
    /// <returns>A reader, to be disposed of.</returns>
    /// <exception cref="InvalidDataException">As for a file.</exception>
    public AudioReader Open(ReadOnlyMemory<byte> encoded, string name = "the encoded sound",
        CancellationToken cancellation = default)
    {
        byte[] bytes = System.Runtime.InteropServices.MemoryMarshal.TryGetArray(encoded, out ArraySegment<byte> segment)
            && segment.Offset == 0 && segment.Count == segment.Array!.Length ? segment.Array : encoded.ToArray();
        return Open(new MemoryStream(bytes, writable: false), name, cancellation);
    }

    /// <summary>
    /// Opens a sound that comes from a stream. WAV is read as it comes, without going back; what <see cref="Openers"/> decode
    /// is copied to a temporary file first.
    /// </summary>
    /// <param name="stream">The bytes of a sound file; stays open, and must stay so until the reader is disposed of.</param>
    /// <param name="name">What messages call the sound.</param>
    /// <param name="cancellation">Stops reading, whenever it is.</param>
    /// <returns>A reader, to be disposed of.</returns>
    /// <exception cref="InvalidDataException">As for a file.</exception>
    public AudioReader Open(Stream stream, string name = "the stream", CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(stream);
        long? beginning = stream.CanSeek ? stream.Position : null;
        byte[] start = ReadStart(stream, name);
        if (OpenOwn(stream, start, name, leaveOpen: true, cancellation, out string? codec) is { } reader)
            return reader;
        if (codec is not null && beginning is null)
            throw new InvalidDataException($"'{name}' is packed by the codec {codec}, and its stream cannot go back " +
                "to begin again; open it from a file.");
        if (beginning is { } position)
            stream.Position = position;
        return OpenCopy(beginning is null ? start : [], stream, name, start, codec, cancellation);
    }

    /// <summary>Reads a whole sound file into memory.</summary>
    /// <param name="path">The file.</param>
    /// <param name="sampleRateHz">The wanted rate; null for the file's own.</param>
    /// <param name="channels">1 for the mean of the channels; 2 for the first two, or one twice; null for the file's
    /// own.</param>
    /// <param name="cancellation">Stops reading.</param>
    /// <returns>The sound, of at least one sample.</returns>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="InvalidDataException">As for <see cref="Open(string, CancellationToken)"/>; or the file holds no
    /// samples, or more than <see cref="AudioReader.MaxSamples"/>.</exception>
    public Waveform Decode(string path, int? sampleRateHz = null, int? channels = null,
        CancellationToken cancellation = default) =>
        ReadAll(Open(path, cancellation), sampleRateHz, channels);

    /// <summary>Reads a whole sound that lies in memory.</summary>
    /// <param name="encoded">The bytes of its file.</param>
    /// <param name="sampleRateHz">The wanted rate; null for the sound's own.</param>
    /// <param name="channels">1 for the mean of the channels; 2 for the first two, or one twice; null for the sound's
    /// own.</param>
    /// <param name="name">What messages call the sound.</param>
    /// <param name="cancellation">Stops reading.</param>
    /// <returns>The sound, of at least one sample.</returns>
    /// <exception cref="InvalidDataException">As for a file.</exception>
    public Waveform Decode(ReadOnlyMemory<byte> encoded, int? sampleRateHz = null, int? channels = null,
        string name = "the encoded sound", CancellationToken cancellation = default) =>
        ReadAll(Open(encoded, name, cancellation), sampleRateHz, channels);

    internal static Waveform ReadAll(AudioReader reader, int? sampleRateHz, int? channels, long? atMost = null)
    {
        using (reader)
        {
            Waveform sound = reader.Convert(sampleRateHz, channels).ReadWaveform(atMost);
            return sound.Length > 0 ? sound
                : throw new InvalidDataException($"'{reader.Name}' holds no sound: it has no samples.");
        }
    }

    static byte[] ReadStart(Stream stream, string name)
    {
        byte[] start = new byte[ChunkStream.StartLength];
        int got = stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        return got > 0 ? start[..got] : throw new InvalidDataException($"'{name}' is empty: it has no bytes.");
    }

    static AudioReader? OpenOwn(Stream stream, byte[] start, string name, bool leaveOpen, CancellationToken cancellation,
        out string? codec)
    {
        codec = null;
        return WavFormat.Knows(start) ? WavFormat.Open(stream, start, name, leaveOpen, cancellation, out codec)
            : AiffFormat.Knows(start) ? AiffFormat.Open(stream, name, leaveOpen, cancellation, out codec)
            : null;
    }

    AudioReader OpenOther(string path, string name, byte[] start, string? codec, CancellationToken cancellation)
    {
        foreach (AudioOpener opener in Openers)
            if (opener(path, name, cancellation) is { } reader)
                return reader;
        string what = codec is not null ? $"is packed by the codec {codec}"
            : $"is neither WAV nor AIFF (it begins with {Convert.ToHexString(start)})";
        throw new InvalidDataException($"'{name}' {what}, and none of the {Openers.Count} other decoders knows it.");
    }

    // The copy lives as long as its reader.
    AudioReader OpenCopy(ReadOnlySpan<byte> head, Stream stream, string name, byte[] start, string? codec,
        CancellationToken cancellation)
    {
        string copy = Path.Combine(Path.GetTempPath(), $"sound-{Guid.NewGuid():N}.tmp");
        try
        {
            using (var file = new FileStream(copy, FileMode.CreateNew, FileAccess.Write))
            {
                file.Write(head);
                byte[] block = new byte[1 << 16];
                while (stream.Read(block) is var got and > 0)
                {
                    cancellation.ThrowIfCancellationRequested();
                    file.Write(block, 0, got);
                }
            }
            return new TemporaryFileReader(OpenOther(copy, name, start, codec, cancellation), copy);
        }
        catch
        {
            File.Delete(copy);
            throw;
        }
    }

    sealed class TemporaryFileReader(AudioReader reader, string path)
        : AudioReader(reader.Name, reader.SampleRateHz, reader.Channels)
    {
        public override int Read(Span<float> interleaved) => reader.Read(interleaved);

        protected override void Dispose(bool disposing)
        {
            reader.Dispose();
            File.Delete(path);
            base.Dispose(disposing);
        }
    }
}
