using Microsoft.ML;

namespace MLNetMultimodal.Transforms;

/// <summary>From a column to embeddings: preparing on any thread, then the model's tower for the whole batch.</summary>
abstract class EmbedInput
{
    /// <exception cref="ArgumentException">The column is missing or of the wrong type.</exception>
    public abstract DataViewSchema.Column Find(DataViewSchema schema);

    public abstract EmbedPart NewPart(int rows);

    /// <summary>Binds to a row of the source: the result copies the row's item into a slot.</summary>
    public abstract Action<EmbedPart, int> Reader(DataViewRow input);

    /// <summary>Decodes and preprocesses; what goes wrong is kept for the row.</summary>
    public abstract void Prepare(EmbedPart part, int slot, long row);

    /// <summary>Embeds the first <paramref name="count"/> slots.</summary>
    public abstract void Run(EmbedPart part, int count);
}
