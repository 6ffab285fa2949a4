namespace MLNetMultimodal.Training;

/// <summary>The order in which an epoch sees the rows.</summary>
static class EpochOrder
{
    /// <summary>All rows, shuffled; the same for the same seed and epoch.</summary>
    public static int[] Of(int rows, int seed, int epoch)
    {
        int[] order = [.. Enumerable.Range(0, rows)];
        new Random(Seed(seed, epoch, -1)).Shuffle(order);
        return order;
    }

    /// <summary>A seed made of others, equal on every machine.</summary>
    public static int Seed(int a, int b, int c)
    {
        ulong x = (uint)a * 0x9E3779B97F4A7C15UL ^ (uint)b * 0xC2B2AE3D27D4EB4FUL ^ (uint)c * 0x165667B19E3779F9UL;
        x ^= x >> 32;
        x *= 0xD6E8FEB86659FD93UL;
        x ^= x >> 32;
        return (int)(x & int.MaxValue);
    }
}
