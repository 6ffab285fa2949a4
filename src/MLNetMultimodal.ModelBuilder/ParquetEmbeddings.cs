using Parquet;
using Parquet.Schema;

namespace MLNetMultimodal.ModelBuilder;

/// <summary>Apache Parquet: the columns <c>modality</c> and <c>input</c>, text, and <c>embedding</c>, a list of floats.</summary>
static class ParquetEmbeddings
{
    const int RowsPerGroup = 4096;
    const int DefinedElement = 2; // the level of a value in a list that may be null, as all readers expect lists

    /// <summary>Writes rows, a group of a few thousand at a time.</summary>
    /// <param name="stream">What is written to.</param>
    /// <param name="width">E.</param>
    /// <param name="rows">The rows; each is used before the next is asked for.</param>
    public static async Task WriteAsync(Stream stream, int width, IEnumerable<EmbeddedRow> rows)
    {
        DataField<string> modality = new("modality", false), input = new("input", false);
        DataField<float> element = new("element", false);
        var schema = new ParquetSchema(modality, input, new ListField("embedding", element));
        await using ParquetWriter writer = await ParquetWriter.CreateAsync(schema, stream);
        var modalities = new List<string>();
        var inputs = new List<string>();
        float[] values = new float[RowsPerGroup * width];
        int[] defined = new int[values.Length], repeated = new int[values.Length];
        Array.Fill(defined, DefinedElement);
        for (int i = 0; i < repeated.Length; i++) repeated[i] = i % width == 0 ? 0 : 1; // 0 begins a list
        foreach (EmbeddedRow row in rows)
        {
            row.Embedding.CopyTo(values.AsMemory(inputs.Count * width));
            modalities.Add(row.Modality);
            inputs.Add(row.Input);
            if (inputs.Count == RowsPerGroup) await Flush();
        }
        if (inputs.Count > 0) await Flush();

        async Task Flush()
        {
            int length = inputs.Count * width;
            using ParquetRowGroupWriter group = writer.CreateRowGroup();
            await group.WriteAsync(modality, modalities);
            await group.WriteAsync(input, inputs);
            await group.WriteAllPartsAsync<float>(
                element, values.AsMemory(0, length), defined.AsMemory(0, length), repeated.AsMemory(0, length), CancellationToken.None);
            group.CompleteValidate();
            modalities.Clear();
            inputs.Clear();
        }
    }
}
