using System.Numerics;

namespace MLNetMultimodal.Media.Audio;

// The power spectra of as many real frames at once as a vector of the machine has lanes, in single precision: a frame a lane,
// so that every step of the transform is one vector operation whatever its length. (The managed packages take one frame at a
// time: measured, Math.NET needs 114 us for a frame of 400 samples, which is slower than the whole front end may be, and NWaves
// and FftSharp know powers of 2 only.) Cooley and Tukey 1965, in Stockham's order; a frame of n samples as n / 2 complex
// numbers. Immutable; the caller brings the working memory.
sealed class RealFft
{
    static readonly int[] Radixes = [4, 5, 3, 2, 7];

    readonly int _half;
    readonly Pass[] _passes;
    readonly Complex[] _turns; // exp(-2 pi i k / size), k to size / 2

    // x[q + stride (p + groups t)] -> y[q + stride (radix p + u)], summed over t with the weights [p, u, t] (real, imaginary).
    sealed record Pass(int Radix, int Groups, int Stride, float[] Weights);

    public RealFft(int size)
    {
        _half = size / 2;
        _passes = [.. Plan(_half)];
        _turns = [.. Enumerable.Range(0, _half + 1).Select(k => Turn(k, size))];
    }

    // Lengths that the passes can take apart.
    public static bool Knows(int size)
    {
        int rest = size > 0 && size % 2 == 0 ? size / 2 : 0;
        foreach (int radix in Radixes)
            while (rest > 0 && rest % radix == 0)
                rest /= radix;
        return rest == 1;
    }

    // frames [size], which are overwritten -> power [size / 2 + 1]; work [size]
    public void Power(Span<Vector<float>> frames, Span<Vector<float>> power, Span<Vector<float>> work)
    {
        Span<Vector<float>> x = frames, y = work;
        foreach (Pass pass in _passes)
        {
            Run(pass, x, y);
            Span<Vector<float>> swapped = x;
            x = y;
            y = swapped;
        }
        for (int k = 0; k <= _half; k++)
        {
            int a = 2 * (k % _half), b = 2 * ((_half - k) % _half);
            Vector<float> evenReal = x[a] + x[b], evenImaginary = x[a + 1] - x[b + 1], // of the samples 0, 2, 4 …, twice
                oddReal = x[a + 1] + x[b + 1], oddImaginary = x[b] - x[a];             // of the samples 1, 3, 5 …, twice
            float c = (float)_turns[k].Real, s = (float)_turns[k].Imaginary;
            Vector<float> real = evenReal + (c * oddReal - s * oddImaginary),
                imaginary = evenImaginary + (c * oddImaginary + s * oddReal);
            power[k] = (real * real + imaginary * imaginary) * 0.25f;
        }
    }

    static void Run(Pass pass, ReadOnlySpan<Vector<float>> x, Span<Vector<float>> y)
    {
        (int radix, int groups, int stride, float[] weights) = pass;
        for (int p = 0; p < groups; p++)
            for (int u = 0; u < radix; u++)
            {
                ReadOnlySpan<float> row = weights.AsSpan(2 * radix * (p * radix + u), 2 * radix);
                for (int q = 0; q < stride; q++)
                {
                    Vector<float> real = Vector<float>.Zero, imaginary = Vector<float>.Zero;
                    for (int t = 0, from = 2 * (q + stride * p); t < row.Length; t += 2, from += 2 * stride * groups)
                    {
                        Vector<float> a = x[from], b = x[from + 1], c = new(row[t]), s = new(row[t + 1]);
                        real = Vector.MultiplyAddEstimate(a, c, Vector.MultiplyAddEstimate(-b, s, real));
                        imaginary = Vector.MultiplyAddEstimate(a, s, Vector.MultiplyAddEstimate(b, c, imaginary));
                    }
                    int to = 2 * (q + stride * (radix * p + u));
                    (y[to], y[to + 1]) = (real, imaginary);
                }
            }
    }

    static IEnumerable<Pass> Plan(int length)
    {
        int stride = 1;
        foreach (int radix in Radixes)
            for (; length % radix == 0; length /= radix, stride *= radix)
            {
                int groups = length / radix;
                float[] weights = new float[2 * groups * radix * radix];
                for (int i = 0; i < weights.Length / 2; i++)
                {
                    (int p, int u, int t) = (i / (radix * radix), i / radix % radix, i % radix);
                    Complex weight = Turn((long)p * u + (long)groups * t * u, length);
                    (weights[2 * i], weights[2 * i + 1]) = ((float)weight.Real, (float)weight.Imaginary);
                }
                yield return new(radix, groups, stride, weights);
            }
    }

    static Complex Turn(long part, int whole) => Complex.FromPolarCoordinates(1, -2 * Math.PI * (part % whole) / whole);
}
