namespace MLNetMultimodal.Training;

/// <summary>The pairs that an epoch is drawn from: two items for each row, and groups of rows that belong together.</summary>
/// <param name="first">Items that pick: pictures or sounds. The set closes them.</param>
/// <param name="second">Items that are picked: texts, or pictures beside sounds. The set closes them.</param>
/// <param name="groups">For each row its group; rows of one group belong together: each item fits those of the others.</param>
sealed class PairSet(PairItems first, PairItems second, IReadOnlyList<int> groups) : IDisposable
{
    public int Count => groups.Count;

    public PairItems First => first;

    public PairItems Second => second;

    public int Group(int row) => groups[row];

    /// <summary>The rows of each group, by its number.</summary>
    public IReadOnlyList<IReadOnlyList<int>> Members { get; } =
        [.. Enumerable.Range(0, groups.Count).GroupBy(row => groups[row]).OrderBy(g => g.Key).Select(g => g.ToArray())];

    /// <summary>Makes one batch; one call at a time, on any thread.</summary>
    public PairBatch Make(ReadOnlyMemory<int> rows, int epoch) =>
        new(first.Make(rows, epoch), second.Make(rows, epoch), [.. rows.ToArray().Select(row => (long)groups[row])]);

    public void Dispose()
    {
        first.Dispose();
        second.Dispose();
    }
}

/// <summary>A batch ready for the engine.</summary>
/// <param name="First">Pictures or sounds.</param>
/// <param name="Second">Texts, or pictures beside sounds.</param>
/// <param name="Groups">[B].</param>
sealed record PairBatch(ItemBatch First, ItemBatch Second, long[] Groups)
{
    public int Count => Groups.Length;
}
