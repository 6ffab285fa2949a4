namespace MLNetMultimodal.Training;

/// <summary>Random numbers that depend on nothing but seed, epoch and sample, so that they are the same on any number of threads
/// and after resuming
/// (SplitMix64, Steele et al. 2014).</summary>
struct SampleRandom(int seed, int epoch, long index)
{
    const ulong Step = 0x9E3779B97F4A7C15;
    ulong _state = Mix(Mix(Mix((uint)seed + Step) ^ (uint)epoch) ^ (ulong)index);

    static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>Evenly from 0 up to, but not including, 1.</summary>
    public double Next() => (Mix(_state += Step) >> 11) * (1.0 / (1L << 53));

    /// <summary>Evenly between two numbers.</summary>
    public double Between(double min, double max) => min + (max - min) * Next();

    /// <summary>Evenly from 0 to <paramref name="max"/>, both included.</summary>
    public int UpTo(int max) => (int)(Next() * (max + 1.0));

    /// <summary>True with probability <paramref name="p"/>.</summary>
    public bool Chance(double p) => Next() < p;
}
