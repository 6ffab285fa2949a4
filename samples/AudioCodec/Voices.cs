using MLNetMultimodal.Media.Audio;

/// <summary>Sounds in the manner of voiced speech, for a run without recordings: harmonics of a gliding pitch under two
/// resonances.</summary>
static class Voices
{
    const int SampleRateHz = 8000;

    /// <summary>Writes <c>0_voice0_0.wav</c> and so on: ten words of two voices.</summary>
    public static void Write(string folder, int takes)
    {
        Directory.CreateDirectory(folder);
        for (int word = 0; word < 10; word++)
            for (int voice = 0; voice < 2; voice++)
                for (int take = 0; take < takes; take++)
                    WavWriter.Save(new(Speak(word, voice, take), SampleRateHz), Path.Combine(folder, $"{word}_voice{voice}_{take}.wav"));
    }

    static float[] Speak(int word, int voice, int take)
    {
        var random = new Random(word * 1000 + voice * 100 + take);
        double pitch = (110 + 80 * voice) * (0.9 + 0.2 * random.NextDouble()), glide = 0.6 * random.NextDouble() - 0.3, phase = 0;
        double low = 300 + 50 * word, high = 900 + 130 * ((word * 7) % 10);
        var samples = new float[3000 + random.Next(1000)];
        for (int i = 0; i < samples.Length; i++)
        {
            double at = (double)i / samples.Length, hz = pitch * (1 + glide * at);
            phase += hz / SampleRateHz;
            for (int h = 1; h * hz < 2000; h++)
                samples[i] += (float)(0.05 * Math.Sin(Math.PI * at) * (Peak(h * hz, low) + 0.5 * Peak(h * hz, high)) * Math.Sin(2 * Math.PI * h * phase));
        }
        return samples;
    }

    static double Peak(double hz, double center) => 1 / (1 + (hz - center) * (hz - center) / (120 * 120));
}
