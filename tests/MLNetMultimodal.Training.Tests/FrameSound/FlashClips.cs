using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Tests.Audio;
using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Training.Tests;

/// <summary>A clip of 8 frames and 1.28 seconds, as long as the spectrogram of the tiny fusion lasts, in which two coloured flashes, at
/// random times, come with two tones, one for each colour.</summary>
/// <param name="Moments">When each of the two is, 0 to 7: number of the frame and of the moment of the sound.</param>
/// <param name="Frames">8 pictures.</param>
/// <param name="Sound">The soundtrack.</param>
sealed record FlashClip(int[] Moments, RgbImage[] Frames, Waveform Sound)
{
    /// <summary>As the trainer keeps it.</summary>
    public FrameSoundItem Item(FrameSoundClip clip) => new(Frames, clip.Sounds.Apply(Sound));

    /// <summary>As a video without loss.</summary>
    public string Save(TestMedia media, string name)
    {
        string raw = media.PathOf(name + ".raw"), sound = media.PathOf(name + ".wav");
        File.WriteAllBytes(raw, [.. Frames.SelectMany(f => f.Pixels)]);
        WavWriter.Save(Sound, sound, WavEncoding.Float32);
        return media.Make(name + ".mkv", "-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", $"{Frames[0].Width}x{Frames[0].Height}",
            "-framerate", "6.25", "-i", raw, "-i", sound, "-c:v", "ffv1", "-pix_fmt", "bgr0", "-c:a", "pcm_f32le");
    }
}

static class FlashClips
{
    public const int Moments = 8;
    const int Side = 16, SampleRateHz = 16_000, MomentSamples = 2560; // 16 spectrogram frames of 10 ms

    static readonly (byte R, byte G, byte B)[] Colours =
        [(255, 40, 40), (40, 255, 40), (40, 40, 255), (255, 255, 40), (255, 40, 255), (40, 255, 255)];

    static float Pitch(int colour) => 300 * MathF.Pow(1.6f, colour);

    public static FlashClip[] Make(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => Make(random))];
    }

    static FlashClip Make(Random random)
    {
        int[] moments = Two(random, Moments), colours = Two(random, Colours.Length);
        var frames = new byte[Moments][];
        for (int t = 0; t < Moments; t++) frames[t] = [.. Enumerable.Range(0, 3 * Side * Side).Select(_ => (byte)random.Next(60))];
        var samples = new float[Moments * MomentSamples];
        for (int i = 0; i < samples.Length; i++) samples[i] = 0.01f * (2 * random.NextSingle() - 1);
        foreach (var (moment, colour) in moments.Zip(colours))
        {
            var (r, g, b) = Colours[colour];
            for (int i = 0; i < frames[moment].Length; i++) frames[moment][i] = (i % 3) switch { 0 => r, 1 => g, _ => b };
            for (int i = 0; i < MomentSamples; i++)
                samples[moment * MomentSamples + i] += 0.4f * MathF.Sin(i * Pitch(colour) * MathF.Tau / SampleRateHz);
        }
        return new(moments, [.. frames.Select(pixels => new RgbImage(Side, Side, pixels))], new(samples, SampleRateHz));
    }

    static int[] Two(Random random, int count)
    {
        int first = random.Next(count);
        return [first, (first + 1 + random.Next(count - 1)) % count];
    }
}
