using MLNetMultimodal.Media.Audio;

namespace MLNetMultimodal.Media.Tests.Audio;

// The case of audio front ends: sounds, and what the reference implementations make of them.
static class AudioGolden
{
    public static readonly Golden Case = new("audio-frontend");

    public static string[] Sounds { get; } =
        [.. Case.Case.GetProperty("waveforms").EnumerateObject().Select(w => Path.GetFileNameWithoutExtension(w.Name))];

    public static TheoryData<string> Names() => [.. Sounds];

    public static Waveform Sound(string name) => AudioDecoder.Default.Decode(Case.PathOf(name + ".wav"));

    public static double Tolerance(string kind, string field = "atol") =>
        Case.Case.GetProperty("tolerance").GetProperty(kind).GetProperty(field).GetDouble();

    public static int[] Shape(string tensor) =>
        [.. Case.Case.GetProperty("io.safetensors").GetProperty(tensor).GetProperty("shape").EnumerateArray().Select(n =>
            n.GetInt32())];

    // The 16 kHz features were computed from this.
    public static Waveform At16000(string name)
    {
        string tensor = $"out.{name}.resample_16000";
        return new(Case.Floats(tensor), 16_000, Shape(tensor)[0]);
    }

    // [rows, columns] -> [columns, rows]
    public static float[] Transposed(ReadOnlySpan<float> values, int columns)
    {
        int rows = values.Length / columns;
        float[] result = new float[values.Length];
        for (int i = 0; i < values.Length; i++)
            result[i % columns * rows + i / columns] = values[i];
        return result;
    }
}
