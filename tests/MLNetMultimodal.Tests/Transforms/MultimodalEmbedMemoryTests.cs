using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLNetMultimodal.Tests.Transforms;

/// <summary>Tests that measure the whole process, and so run while no other does.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public sealed class AloneCollection
{
    public const string Name = "alone";
}

[Collection(AloneCollection.Name)]
public sealed class MultimodalEmbedMemoryTests(TinyModel tiny) : IClassFixture<TinyModel>
{
    readonly MLContext _ml = new(1);

    [Fact]
    public void Memory_of_a_long_pass_stays_flat() => CheckMemory(1_000, 4_000, 64 << 20);

    [Fact, Trait("Speed", "Slow")]
    public void Memory_of_100_000_rows_stays_within_a_tenth_of_that_of_20_000() => CheckMemory(20_000, 100_000, null);

    /// <summary>Working set and managed heap while row <paramref name="late"/> is served, against row <paramref name="early"/>. The
    /// heap is collected after every <paramref name="early"/> rows: what the collector holds ready for the rows to come is not
    /// memory of the pass.</summary>
    void CheckMemory(int early, int late, long? allowedBytes)
    {
        PairRow[] rows = tiny.Rows;
        IDataView data = _ml.Data.LoadFromEnumerable(Enumerable.Range(0, late).Select(i => rows[i % rows.Length]));
        IDataView view = _ml.Transforms.MultimodalEmbed(new() { LoadedModel = tiny.Model, Image = "ImagePath", Text = "Caption" }).Fit(data).Transform(data);
        long managed = 0, working = 0;
        using DataViewRowCursor cursor = view.GetRowCursor(view.Schema);
        var embedding = cursor.GetGetter<VBuffer<float>>(view.Schema["Embedding"]);
        VBuffer<float> value = default;
        while (cursor.MoveNext())
        {
            embedding(ref value);
            if ((cursor.Position + 1) % early != 0) continue;
            (long Managed, long Working) now = Memory();
            if (cursor.Position == early - 1) (managed, working) = now;
        }
        var (managedLate, workingLate) = Memory();
        long allowed = allowedBytes ?? working / 10;
        Assert.True(managedLate - managed <= (allowedBytes ?? Math.Max(managed / 10, 2 << 20)),
            $"managed {managed:N0} -> {managedLate:N0} bytes");
        Assert.True(workingLate - working <= allowed, $"working set {working:N0} -> {workingLate:N0} bytes");
    }

    static (long Managed, long Working) Memory()
    {
        long managed = GC.GetTotalMemory(forceFullCollection: true);
        using var process = System.Diagnostics.Process.GetCurrentProcess();
        return (managed, process.WorkingSet64);
    }
}
