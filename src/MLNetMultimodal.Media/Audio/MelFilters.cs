using System.Numerics;

namespace MLNetMultimodal.Media.Audio;

// Triangular bands over the bins of a spectrum; each keeps only the bins where it is not zero. Immutable.
sealed class MelFilters
{
    readonly (int First, float[] Weights)[] _bands;

    public MelFilters(LogMelConfig config)
    {
        int bins = config.FftSamples / 2 + 1;
        double low = config.Scale.ToMel(config.MinHz), high = config.Scale.ToMel(config.HighestHz);
        double[] corners = [.. Enumerable.Range(0, config.MelBins + 2)
            .Select(i => low + (high - low) * i / (config.MelBins + 1))]; // in mel: where bands begin, peak and end
        double[] cornersHz = [.. corners.Select(mel => config.Scale.ToHz(mel))];
        double[] binsHz = [.. Enumerable.Range(0, bins).Select(k => (double)k * config.SampleRateHz / config.FftSamples)];
        double[] along = config.TrianglesInMel ? [.. binsHz.Select(hz => config.Scale.ToMel(hz))] : binsHz;
        double[] at = config.TrianglesInMel ? corners : cornersHz;
        _bands = [.. Enumerable.Range(0, config.MelBins).Select(band =>
            Band(along, at[band], at[band + 1], at[band + 2],
                config.EqualArea ? 2 / (cornersHz[band + 2] - cornersHz[band]) : 1))];
    }

    // power [bins] -> bands [F], a frame a lane
    public void Apply(ReadOnlySpan<Vector<float>> power, Span<Vector<float>> bands)
    {
        for (int band = 0; band < _bands.Length; band++)
        {
            (int first, float[] weights) = _bands[band];
            Vector<float> sum = Vector<float>.Zero;
            for (int i = 0; i < weights.Length; i++)
                sum = Vector.MultiplyAddEstimate(power[first + i], new(weights[i]), sum);
            bands[band] = sum;
        }
    }

    static (int First, float[] Weights) Band(double[] along, double begin, double peak, double end, double height)
    {
        double[] all = [.. along.Select(x =>
            height * Math.Max(0, Math.Min((x - begin) / (peak - begin), (end - x) / (end - peak))))];
        int first = Math.Max(0, Array.FindIndex(all, w => w > 0)), last = Array.FindLastIndex(all, w => w > 0);
        return (first, [.. all[first..Math.Max(first, last + 1)].Select(w => (float)w)]);
    }
}
