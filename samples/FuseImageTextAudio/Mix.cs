using MLNetMultimodal.Media.Audio;
using MLNetMultimodal.Media.Images;

namespace FuseImageTextAudio;

/// <summary>How much each sense is spoilt. None of them is enough alone, and what spoils one is drawn without looking at the
/// others.</summary>
sealed record Noise
{
    /// <summary>Standard deviation of the noise on each pixel, of 0 to 255.</summary>
    public double Pixels { get; init; } = 40;

    /// <summary>Probability that a square of half the picture's edge is black.</summary>
    public double Covered { get; init; } = 0.5;

    /// <summary>Probability that a note names another class, drawn evenly from the other nine.</summary>
    public double WrongWord { get; init; } = 0.2;

    /// <summary>Probability that it names none.</summary>
    public double NoWord { get; init; } = 0.2;

    /// <summary>Probability that each letter of a note is replaced by one drawn at random.</summary>
    public double Typos { get; init; } = 0.05;

    /// <summary>Loudness of white noise over the speech, relative to it, in dB; 0 is as loud.</summary>
    public double Decibels { get; init; }

    /// <summary>Probability that another digit is spoken.</summary>
    public double WrongDigit { get; init; } = 0.15;
}

/// <summary>Makes rows of pictures, notes and recordings.</summary>
sealed class Mix(Noise noise, string[] classes, int seed)
{
    static readonly string[] s_notes = ["seen today, looks like a {}", "customer says {}", "{} in good condition", "one {}, size m", "returned: {}"];

    readonly Random _random = new(seed);

    /// <summary>A row of a class.</summary>
    /// <param name="label">The class, 0 to 9.</param>
    /// <param name="picture">Its picture.</param>
    /// <param name="recordings">Recordings of each digit.</param>
    public MixedRow Row(int label, RgbImage picture, ILookup<int, Waveform> recordings) => new()
    {
        Image = ImageEncoder.EncodePng(Spoil(picture)),
        Text = Note(label),
        Audio = Speak([.. recordings[_random.NextDouble() < noise.WrongDigit ? Other(label) : label]]),
        LabelText = classes[label],
    };

    int Other(int label) => (label + 1 + _random.Next(classes.Length - 1)) % classes.Length;

    double Normal() => Math.Sqrt(-2 * Math.Log(1 - _random.NextDouble())) * Math.Cos(2 * Math.PI * _random.NextDouble());

    RgbImage Spoil(RgbImage picture)
    {
        (int width, int height) = (picture.Width, picture.Height);
        var pixels = new byte[picture.Pixels.Length];
        bool covered = _random.NextDouble() < noise.Covered;
        int top = _random.Next(height / 2 + 1), left = _random.Next(width / 2 + 1);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
            {
                int at = 3 * (y * width + x);
                bool black = covered && y >= top && y < top + height / 2 && x >= left && x < left + width / 2;
                pixels.AsSpan(at, 3).Fill((byte)Math.Clamp((black ? 0 : picture.Pixels[at]) + noise.Pixels * Normal(), 0, 255));
            }
        return new(width, height, pixels);
    }

    string Note(int label)
    {
        double draw = _random.NextDouble();
        string word = draw < noise.WrongWord ? classes[Other(label)] : draw < noise.WrongWord + noise.NoWord ? "item" : classes[label];
        string note = s_notes[_random.Next(s_notes.Length)].Replace("{}", word, StringComparison.Ordinal);
        return new([.. note.Select(c => char.IsLetter(c) && _random.NextDouble() < noise.Typos ? (char)('a' + _random.Next(26)) : c)]);
    }

    float[] Speak(Waveform[] recordings)
    {
        ReadOnlySpan<float> speech = recordings[_random.Next(recordings.Length)].Samples;
        double power = 0;
        foreach (float s in speech) power += s * s / speech.Length;
        double loud = Math.Sqrt(power) * Math.Pow(10, noise.Decibels / 20);
        var samples = new float[speech.Length];
        for (int i = 0; i < samples.Length; i++) samples[i] = (float)(speech[i] + loud * Normal());
        return samples;
    }
}
