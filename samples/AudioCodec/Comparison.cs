using System.Globalization;
using MLNetMultimodal.Media.Audio;

/// <summary>A recording named WORD_SPEAKER_TAKE.wav.</summary>
sealed class Recording
{
    public string Path { get; set; } = "";

    public string Speaker { get; set; } = "";

    public int Take { get; set; }

    public static Recording Of(string path)
    {
        string[] parts = System.IO.Path.GetFileNameWithoutExtension(path).Split('_');
        return new() { Path = path, Speaker = parts[1], Take = int.Parse(parts[2], CultureInfo.InvariantCulture) };
    }
}

/// <summary>A recording after a way of coding.</summary>
sealed record Comparison(Recording Recording, string Way, float[] Heard, double SiSdr, double MelDistance, double Kbps)
{
    public static float[] Sound(string path, int rateHz) => AudioDecoder.Default.Decode(path, rateHz, channels: 1).Samples.ToArray();

    /// <summary>From the first to the last 20 ms whose power is within 40 dB of the loudest 20 ms.</summary>
    public static Range Audible(float[] sound, int rateHz)
    {
        int frame = rateHz / 50;
        double[] powers = [.. sound.Chunk(frame).Select(f => f.Average(s => (double)s * s))];
        double least = powers.Max() * 1e-4;
        int first = Array.FindIndex(powers, p => p >= least), last = Array.FindLastIndex(powers, p => p >= least);
        return (first * frame)..Math.Min(sound.Length, (last + 1) * frame);
    }
}
