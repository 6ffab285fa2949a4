using MLNetMultimodal.Media.Audio;
using NAudio.Wave;

namespace MLNetMultimodal.Media.Tests.Audio;

public sealed class AudioDecoderTests : IDisposable
{
    readonly TestMedia _media = new();

    public void Dispose() => _media.Dispose();

    static float[] Tone(int length) => [.. Enumerable.Range(0,
        length).Select(i => MathF.Round(20_000 * MathF.Sin(i * 0.05f)) / 32768)];

    string Wav(string name, Waveform sound)
    {
        WavWriter.Save(sound, _media.PathOf(name));
        return _media.PathOf(name);
    }

    [Theory]
    [InlineData("flac", "flac")]
    [InlineData("mkv", "pcm_s16le")]
    [InlineData("w64", "pcm_s16le")]
    [InlineData("aiff", "pcm_s16be")]
    [InlineData("aiff", "pcm_s24be")]
    [InlineData("aifc", "pcm_s16le")]
    [InlineData("aifc", "pcm_f32be")]
    [InlineData("wav", "pcm_s24le")]
    [InlineData("wav", "pcm_f64le")]
    [InlineData("wav", "adpcm_ms")]
    public void Sound_of_any_container_is_what_went_in(string container, string codec)
    {
        var sound = new Waveform([.. Tone(5000), .. Tone(5000).Select(x => -x / 2)], 22_050, channels: 2);
        string format = container == "aifc" ? "aiff" : container == "mkv" ? "matroska" : container;
        string path = _media.Make("sound." + container, "-i", Wav("source.wav", sound), "-c:a", codec, "-f", format);
        if (TestMedia.IsWithoutFFmpeg(path, () => AudioDecoder.Default.Decode(path)))
            return;
        Waveform got = AudioDecoder.Default.Decode(path);
        Assert.Equal((22_050, 2), (got.SampleRateHz, got.Channels));
        bool isLossy = codec == "adpcm_ms"; // 4 bits a sample
        double difference = isLossy ? Difference.Mean(got.Channel(0)[..5000], sound.Channel(0))
            : Difference.Max(got.Samples, sound.Samples);
        Assert.True(difference <= (isLossy ? 0.01 : 1 / 32768.0), $"|got - expected| = {difference:g3}");
    }

    [Fact]
    public void Lossy_sound_comes_at_the_wanted_rate_with_its_length()
    {
        string path = _media.Make("tone.ogg", "-f", "lavfi", "-i", "sine=frequency=440:duration=2:sample_rate=44100", "-c:a",
            "libvorbis");
        if (TestMedia.IsWithoutFFmpeg(path, () => AudioDecoder.Default.Decode(path)))
            return;
        Waveform got = AudioDecoder.Default.Decode(path, 16_000, channels: 2);
        Assert.Equal((16_000, 2, 32_000), (got.SampleRateHz, got.Channels, got.Length));
        Assert.Equal(got.Channel(0), got.Channel(1));
        double power = got.Channel(0)[4000..28_000].ToArray().Average(x => (double)x * x);
        Assert.Equal(1 / 128.0, power, 5e-4); // ffmpeg's sine has the amplitude 1/8
    }

    [Fact]
    public void Bytes_and_streams_are_decoded_like_files()
    {
        string path = _media.Make("tone.flac", "-i", Wav("source.wav", new(Tone(3000), 8000)));
        byte[] bytes = File.ReadAllBytes(path);
        if (TestMedia.IsWithoutFFmpeg("bytes", () => AudioDecoder.Default.Decode(bytes, name: "bytes")))
            return;
        Assert.Equal(Tone(3000), AudioDecoder.Default.Decode(bytes).Samples);
        using AudioReader reader = AudioDecoder.Default.Open(new OneWayStream(bytes), "stream");
        Assert.Equal(Tone(3000), reader.ReadWaveform().Samples);
    }

    [Fact]
    public void Cut_off_ogg_gives_its_beginning()
    {
        string path = _media.Make("tone.ogg", "-f", "lavfi", "-i", "anoisesrc=duration=4:seed=1:sample_rate=16000", "-c:a",
            "libvorbis");
        if (TestMedia.IsWithoutFFmpeg(path, () => AudioDecoder.Default.Decode(path)))
            return;
        Waveform whole = AudioDecoder.Default.Decode(path);
        byte[] bytes = File.ReadAllBytes(path);
        Waveform cut = AudioDecoder.Default.Decode(bytes.AsMemory(0, bytes.Length / 2));
        Assert.InRange(cut.Length, 16_000, whole.Length - 1);
        Assert.Equal(whole.Samples[..cut.Length], cut.Samples);
        Assert.Contains("'cut.ogg'", Assert.Throws<InvalidDataException>(() =>
            AudioDecoder.Default.Decode(bytes.AsMemory(0, 40), name: "cut.ogg")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Damage_inside_is_left_out_or_refused_as_wanted()
    {
        string path = _media.Make("tone.flac", "-f", "lavfi", "-i", "anoisesrc=duration=4:seed=1:sample_rate=16000");
        if (TestMedia.IsWithoutFFmpeg(path, () => AudioDecoder.Default.Decode(path)))
            return;
        byte[] bytes = File.ReadAllBytes(path);
        new Random(1).NextBytes(bytes.AsSpan(bytes.Length / 2, 5000));
        File.WriteAllBytes(path, bytes);
        Assert.InRange(AudioDecoder.Default.Decode(path).Length, 16_000, 64_000);
        var strict = new AudioDecoder { Openers = [new FFmpegProgram { RefuseDamaged = true }.OpenAudio] };
        Assert.Contains($"'{path}'", Assert.Throws<InvalidDataException>(() => strict.Decode(path)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Text_called_wav_is_refused_and_named()
    {
        string path = _media.PathOf("text.wav");
        File.WriteAllText(path, "This is a text, not a sound. RIFF WAVE fmt data.");
        Assert.Contains($"'{path}'", Assert.Throws<InvalidDataException>(() => AudioDecoder.Default.Decode(path)).Message,
            StringComparison.Ordinal);
        Assert.Contains("neither WAV nor AIFF (it begins with 54686973", Assert.Throws<InvalidDataException>(() =>
            new AudioDecoder { Openers = [] }.Decode(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Empty_file_and_no_file_are_named()
    {
        string path = _media.PathOf("empty.mp3");
        File.WriteAllBytes(path, []);
        Assert.Contains($"'{path}' is empty", Assert.Throws<InvalidDataException>(() =>
            AudioDecoder.Default.Decode(path)).Message,
            StringComparison.Ordinal);
        Assert.Throws<InvalidDataException>(() => AudioDecoder.Default.Decode(ReadOnlyMemory<byte>.Empty));
        Assert.Contains("none.wav", Assert.Throws<FileNotFoundException>(() =>
            AudioDecoder.Default.Decode(_media.PathOf("none.wav"))).Message,
            StringComparison.Ordinal);
        Assert.Throws<FileNotFoundException>(() => AudioDecoder.Default.Decode(_media.Folder));
    }

    [Fact]
    public void Without_ffmpeg_WAV_still_works_and_the_rest_says_what_is_missing()
    {
        var decoder = new AudioDecoder { Openers = [new FFmpegProgram { Folder = _media.Folder }.OpenAudio] };
        string path = _media.PathOf("voice.ogg");
        File.WriteAllText(path, "OggS");
        TestMedia.ExpectAdvice(path, () => decoder.Decode(path));
        TestMedia.ExpectAdvice("bytes", () => decoder.Decode("OggS"u8.ToArray(), name: "bytes"));
        Assert.Equal(Tone(10), decoder.Decode(Wav("tone.wav", new(Tone(10), 8000))).Samples);
    }

    // Names that a careless command line takes for options or for other places.
    [Theory]
    [InlineData("-i.flac")]
    [InlineData("http:x.flac")]
    [InlineData("concat:a|b.flac")]
    [InlineData("a \"quoted\" name %d.flac")]
    [InlineData("pipe:0")]
    public void Strange_file_names_are_only_names(string name)
    {
        if (OperatingSystem.IsWindows())
            return; // no such names there
        string path = _media.PathOf(name);
        File.Move(_media.Make("tone.flac", "-i", Wav("source.wav", new(Tone(100), 8000))), path);
        if (TestMedia.IsWithoutFFmpeg(path, () => AudioDecoder.Default.Decode(path)))
            return;
        Assert.Equal(Tone(100), AudioDecoder.Default.Decode(path).Samples);
        Assert.Equal(Tone(100), AudioDecoder.Default.Decode(Path.GetRelativePath(Environment.CurrentDirectory, path)).Samples);
    }

    [Theory]
    [InlineData("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.wav\n#EXT-X-ENDLIST\n")]
    [InlineData("list.txt", "ffconcat version 1.0\nfile secret.wav\n")]
    public void File_that_points_to_other_files_is_refused(string name, string content)
    {
        Wav("secret.wav", new(Tone(8000), 8000));
        string path = _media.PathOf(name);
        File.WriteAllText(path, content);
        Assert.Contains($"'{path}'", Assert.Throws<InvalidDataException>(() => AudioDecoder.Default.Decode(path)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Another_decoder_can_be_put_before_ffmpeg()
    {
        var decoder = new AudioDecoder { Openers = [(_, _, _) => null, (_, name, _) => new Silence(name)] };
        Waveform sound = decoder.Decode("strange"u8.ToArray(), name: "bytes");
        Assert.Equal((12, 2, 11_025), (sound.Length, sound.Channels, sound.SampleRateHz));
    }

    // Behind four bytes that only the test knows stands a WAV file.
    [Fact]
    public void NAudio_can_be_plugged_in()
    {
        string path = Wav("tone.wav", new([.. Tone(3000), .. Tone(3000).Select(x => -x)], 22_050, channels: 2));
        File.WriteAllBytes(path, [.. "ours"u8, .. File.ReadAllBytes(path)]);
        var decoder = new AudioDecoder { Openers = [(path, name, _) => new NAudioReader(path, name)] };
        Waveform sound = decoder.Decode(path);
        Assert.Equal((2, 22_050), (sound.Channels, sound.SampleRateHz));
        Assert.Equal([.. Tone(3000), .. Tone(3000).Select(x => -x)], sound.Samples);
    }

    sealed class NAudioReader(ISampleProvider samples, Stream file, string name)
        : AudioReader(name, samples.WaveFormat.SampleRate, samples.WaveFormat.Channels)
    {
        public NAudioReader(string path, string name) : this(new FileStream(path, FileMode.Open) { Position = 4 }, name) { }

        NAudioReader(FileStream file, string name) : this(new WaveFileReader(file).ToSampleProvider(), file, name) { }

        public override int Read(Span<float> interleaved) =>
            samples.Read(interleaved[..(interleaved.Length / Channels * Channels)]);

        protected override void Dispose(bool disposing)
        {
            file.Dispose();
            base.Dispose(disposing);
        }
    }

    sealed class Silence(string name) : AudioReader(name, 11_025, 2)
    {
        int _left = 12;

        public override int Read(Span<float> interleaved)
        {
            int moments = Math.Min(Math.Min(5, _left), interleaved.Length / 2);
            interleaved[..(2 * moments)].Clear();
            _left -= moments;
            return 2 * moments;
        }
    }

    [Fact]
    public void Cancelling_stops_reading()
    {
        using var cancel = new CancellationTokenSource();
        using AudioReader wav = AudioDecoder.Default.Open(Wav("tone.wav", new(Tone(50_000), 8000)), cancel.Token);
        string path = _media.Make("long.flac", "-f", "lavfi", "-i", "anullsrc=duration=600:sample_rate=48000");
        if (TestMedia.IsWithoutFFmpeg(path, () => AudioDecoder.Default.Decode(path)))
            return;
        using AudioReader flac = AudioDecoder.Default.Open(path, cancel.Token);
        float[] block = new float[1000];
        Assert.Equal(1000, wav.Read(block));
        Assert.Equal(1000, flac.Read(block));
        cancel.Cancel();
        Assert.Throws<OperationCanceledException>(() => wav.Read(block));
        Assert.Throws<OperationCanceledException>(() => flac.ReadWaveform());
    }

    [Fact]
    public void Parts_of_a_sound_are_read_where_they_lie()
    {
        string path = Wav("tone.wav", new(Tone(50_000), 8000));
        Waveform whole = AudioDecoder.Default.Decode(path, 16_000);
        using AudioReader reader = AudioDecoder.Default.Open(path).Convert(16_000, null);
        Assert.Equal(30_000, reader.Skip(30_000));
        Assert.Equal(whole.Slice(30_000, 20_000).Samples, reader.ReadWaveform(20_000).Samples);
        Assert.Equal(50_000, reader.Skip(long.MaxValue));
        Assert.Equal(0, reader.ReadWaveform().Length);
    }

    [Fact, Trait("Speed", "Slow")]
    public void Three_hours_stream_through_in_bounded_memory()
    {
        using AudioReader reader = AudioDecoder.Default.Open(new EndlessWav(seconds: 3 * 3600)).Convert(16_000, 1);
        float[] block = new float[16_000];
        long before = GC.GetAllocatedBytesForCurrentThread(), samples = 0;
        double power = 0;
        for (int got; (got = reader.Read(block)) > 0; samples += got)
            power += block[0] * block[0];
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.Equal(3L * 3600 * 16_000, samples);
        Assert.True(power > 0);
        Assert.True(allocated < 1_000_000, $"{allocated} bytes were allocated");
    }

    [Fact]
    public void Sound_of_a_sample_a_second_does_not_fill_the_memory()
    {
        byte[] file = WavFiles.File(WavFiles.Chunk("fmt ", WavFiles.Format(1, 1, 8, rate: 1)), WavFiles.Chunk("data", new byte[2000]));
        using AudioReader reader = AudioDecoder.Default.Open(file).Convert(16_000, 1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Equal(32_000_000, reader.Skip(long.MaxValue));
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.True(allocated < 5_000_000, $"{allocated} bytes were allocated");
    }

    // A streamed WAV file of 8 kHz stereo, 16 bits, that is nowhere as a whole.
    sealed class EndlessWav(int seconds) : ForwardStream
    {
        static readonly byte[] Header = WavFiles.File("RIFF", uint.MaxValue, WavFiles.Chunk("fmt ", WavFiles.Format(1, 2, 16)),
            WavFiles.Chunk("data", [], claimed: uint.MaxValue));
        long _at;

        public override int Read(Span<byte> buffer)
        {
            long left = Header.Length + seconds * 8000L * 4 - _at;
            int count = (int)Math.Min(buffer.Length, left);
            for (int i = 0; i < count; i++, _at++)
                buffer[i] = _at < Header.Length ? Header[_at] : (byte)((_at - Header.Length) % 4000 / 100);
            return count;
        }
    }
}
