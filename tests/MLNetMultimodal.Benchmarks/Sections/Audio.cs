using System.Diagnostics;
using MLNetMultimodal.Benchmarks.Material;
using MLNetMultimodal.Benchmarks.Running;
using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Benchmarks.Sections;

/// <summary>Sounds from the file to what a model takes, on one core.</summary>
static class Audio
{
    const int Rounds = 5, LongSeconds = 3 * 60 * 60;
    const double LeastTimesRealTime = 100;

    public static Dictionary<string, Func<string[], object>> Jobs { get; } = new()
    {
        ["audio-long"] = arguments => ReadLong(int.Parse(arguments[0])),
    };

    public static void Measure(BenchmarkRun run)
    {
        int seconds = run.Size(60, 2);
        FrontEnds(run, seconds);
        Decoding(run, seconds);
        Resampling(run, seconds);
        Long(run);
        run.Note("One thread each, in this process but for the long sound, which has a process of its own on one core. "
            + $"Noise of {seconds} s, in 32-bit floats for front ends and resampling; \"x real time\" is seconds of sound in a second.");
    }

    static float[] Noise(int count)
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
    }

    // Some to warm up, until the code is compiled for speed, then rounds.
    static void Add(BenchmarkRun run, string what, double seconds, int sampleRateHz, Action work, Bound? wanted = null)
    {
        for (int i = 0; i < (run.Quick ? 1 : Rounds); i++) work();
        double[] rates = [.. Enumerable.Range(0, run.Quick ? 1 : Rounds).Select(_ => Alternation.Rate(seconds, work))];
        run.Say($"{what}: {Quantity.Of(rates, "x real time")}");
        run.Add(new(what, Quantity.Of(rates, "x real time"), Wanted: wanted));
        run.Add(new($"{what}: samples", Quantity.Of([.. rates.Select(r => r * sampleRateHz / 1e6)], "million samples/s")));
    }

    static void FrontEnds(BenchmarkRun run, int seconds)
    {
        (string Name, LogMelConfig Config)[] frontEnds =
            [("Kaldi filter bank (AST, ImageBind)", LogMelConfig.Kaldi()), ("Whisper log-mel", LogMelConfig.Whisper()), ("CLAP mel", LogMelConfig.Clap())];
        foreach (var (name, config) in frontEnds)
        {
            var spectrogram = new LogMelSpectrogram(config);
            float[] sound = Noise(config.SampleRateHz * seconds);
            Add(run, name, seconds, config.SampleRateHz, () => spectrogram.Compute(sound), Bound.AtLeast(LeastTimesRealTime));
        }
        (string Name, SpectrogramPreprocessing Made)[] whole =
            [("AST's input of 10 s", SpectrogramPreprocessing.Ast()), ("Whisper's of 30 s", SpectrogramPreprocessing.Whisper()), ("CLAP's of 10 s", SpectrogramPreprocessing.Clap())];
        foreach (var (name, made) in whole)
        {
            int rate = made.LogMel.SampleRateHz;
            var sound = new Waveform(Noise(made.MaxSamples), rate);
            var values = new float[made.Frames * made.LogMel.MelBins];
            Add(run, name, (double)made.MaxSamples / rate, rate, () => made.Apply(sound, values), Bound.AtLeast(LeastTimesRealTime));
        }
    }

    static void Decoding(BenchmarkRun run, int seconds)
    {
        const int rate = 44_100, wanted = 16_000;
        string folder = Generated.Folder(run, "sounds", $"stereo noise, {seconds} s, seed 1, WAV and Ogg", into =>
        {
            string wav = Path.Combine(into, "noise.wav");
            WavWriter.Save(new(Noise(2 * rate * seconds), rate, channels: 2), wav);
            if (!FFmpegProgram.Default.IsAvailable) return;
            using Process ffmpeg = Process.Start(new ProcessStartInfo("ffmpeg",
                ["-nostdin", "-v", "error", "-i", wav, "-c:a", "libvorbis", Path.Combine(into, "noise.ogg")]))!;
            ffmpeg.WaitForExit();
        });
        string ogg = Path.Combine(folder, "noise.ogg");
        string[] files = File.Exists(ogg) ? [Path.Combine(folder, "noise.wav"), ogg] : [Path.Combine(folder, "noise.wav")];
        if (files.Length < 2) run.Note("Ogg was not measured: ffmpeg is missing (apt-get install ffmpeg).");
        foreach (string file in files)
        {
            int length = AudioDecoder.Default.Decode(file, wanted, 1).Length;
            if (length != seconds * wanted)
                throw new BenchmarkException($"'{file}' has {length} samples at {wanted} Hz, not {seconds * wanted}.");
            Add(run, $"44.1 kHz stereo {Path.GetExtension(file)[1..].ToUpperInvariant()} file to 16 kHz mono", seconds, 2 * rate,
                () => AudioDecoder.Default.Decode(file, wanted, 1));
        }
    }

    static void Resampling(BenchmarkRun run, int seconds)
    {
        foreach (var (from, to) in ((int, int)[])[(44_100, 16_000), (48_000, 16_000), (8000, 16_000), (192_000, 16_000)])
        {
            float[] sound = Noise(from * seconds);
            Add(run, $"resampling {from:n0} to {to:n0} Hz", seconds, from, () => SincResampler.Resample(sound, from, to));
        }
    }

    static void Long(BenchmarkRun run)
    {
        int seconds = run.Size(LongSeconds, 60);
        var (answer, _) = ChildProcess.Run("audio-long", [$"{seconds}"], cores: 1);
        string what = $"{seconds / 3600.0:0.##} hours of 44.1 kHz stereo WAV to 16 kHz mono, streamed";
        run.Add(new(what, Quantity.Of(seconds / answer.GetProperty("cpu").GetDouble(), "x real time")));
        run.Add(new($"{what}: peak memory", Quantity.Of(answer.GetProperty("peak").GetInt64() / 1e6, "MB")));
    }

    /// <summary>The child's work: reads a WAV file that is made while it is read.</summary>
    static object ReadLong(int seconds)
    {
        long samples = 0;
        using (AudioReader reader = AudioDecoder.Default.Open(new EndlessWav(seconds)).Convert(16_000, 1))
        {
            var block = new float[16_000];
            while (reader.Read(block) is var got and > 0) samples += got;
        }
        if (samples != seconds * 16_000L) throw new BenchmarkException($"{samples} samples came out of {seconds} s.");
        using Process self = Process.GetCurrentProcess();
        return new { cpu = self.TotalProcessorTime.TotalSeconds, peak = self.PeakWorkingSet64 };
    }

    /// <summary>A WAV file of 16 bits, 44.1 kHz, two channels, of noise that repeats, as long as wanted; its header says no length,
    /// as that of a recording under way.</summary>
    sealed class EndlessWav(int seconds) : Stream
    {
        const int Period = 251;

        readonly byte[] _header = Header();
        readonly long _length = 44 + seconds * 44_100L * 4;
        long _at;

        static byte[] Header()
        {
            using var stream = new MemoryStream();
            WavWriter.Write(new(new float[2], 44_100, channels: 2), stream);
            byte[] header = stream.ToArray()[..44];
            header.AsSpan(4, 4).Fill(0xff);
            header.AsSpan(40, 4).Fill(0xff);
            return header;
        }

        public override int Read(Span<byte> buffer)
        {
            int count = (int)Math.Min(buffer.Length, _length - _at);
            for (int i = 0; i < count; i++, _at++) buffer[i] = _at < 44 ? _header[_at] : (byte)((_at - 44) * 37 % Period);
            return count;
        }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override void Flush() { }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
