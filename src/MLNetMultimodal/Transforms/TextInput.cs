using Microsoft.ML;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Transforms;

/// <summary>Texts of a batch.</summary>
/// <param name="rows">B.</param>
/// <param name="width">E.</param>
sealed class TextPart(int rows, int width) : EmbedPart(new float[rows * width], new Exception?[rows])
{
    public ReadOnlyMemory<char>[] Texts { get; } = new ReadOnlyMemory<char>[rows];

    public IReadOnlyList<int>[] Tokens { get; } = new IReadOnlyList<int>[rows];

    /// <summary>[B, L], L the longest text of the batch.</summary>
    public long[] Ids { get; set; } = [];
}

/// <summary>From a column of texts to embeddings: tokenising on any thread, then the text tower for the whole batch, as long as
/// its longest text.
/// An empty text is a text like any other.</summary>
sealed class TextInput(MultimodalModel model, string column)
{
    public DataViewSchema.Column Find(DataViewSchema schema)
    {
        DataViewSchema.Column found = Columns.Find(schema, column);
        Columns.CheckTexts(column, Columns.ItemType(found), Columns.IsVector(found));
        return found;
    }

    public TextPart NewPart(int rows) => new(rows, model.EmbeddingWidth);

    public Action<TextPart, int> Reader(DataViewRow input)
    {
        ValueGetter<ReadOnlyMemory<char>> text = input.GetGetter<ReadOnlyMemory<char>>(Find(input.Schema));
        return (part, slot) => text(ref part.Texts[slot]);
    }

    /// <summary>Tokenises; what goes wrong is kept for the row.</summary>
    public void Prepare(TextPart part, int slot, long row)
    {
        part.Errors[slot] = null;
        try
        {
            part.Tokens[slot] = model.Texts.Encode(part.Texts[slot].ToString());
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            part.Tokens[slot] = [];
            part.Errors[slot] = new InvalidDataException($"row {row}, column '{column}': the text cannot be tokenised: {e.Message}", e);
        }
    }

    /// <summary>[B, L] -> [B, E].</summary>
    public void Run(TextPart part, int count)
    {
        if (part.Failures(count) == count) return;
        int length = model.Definition.PaddedLength(part.Tokens.Take(count).Max(t => t.Count));
        if (part.Ids.Length < count * length) part.Ids = new long[part.Tokens.Length * length];
        Span<long> ids = part.Ids.AsSpan(0, count * length);
        for (int slot = 0; slot < count; slot++) model.Texts.Pad(part.Tokens[slot], ids.Slice(slot * length, length));
        model.EmbedIds(part.Ids.AsMemory(0, count * length), count, length, part.Embeds.AsSpan(0, count * model.EmbeddingWidth));
    }
}
