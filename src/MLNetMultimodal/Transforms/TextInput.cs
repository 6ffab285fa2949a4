using Microsoft.ML;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Transforms;

/// <summary>Texts of a batch.</summary>
/// <param name="rows">The most rows.</param>
/// <param name="width">E.</param>
/// <param name="column">What messages call the column.</param>
sealed class TextPart(int rows, int width, string column) : EmbedPart(rows, width)
{
    /// <summary>[rows], the text of each row; several rows, and other batches, may share one.</summary>
    public RecentText?[] Texts { get; } = new RecentText?[rows];

    /// <summary>[rows], true where this batch embeds the row's text, and no other row does.</summary>
    public bool[] Owns { get; } = new bool[rows];

    /// <summary>Position of the first row in its pass.</summary>
    public long FirstRow { get; set; }

    /// <summary>Slots of texts to embed, by length.</summary>
    public List<int> Order { get; } = new(rows);

    /// <summary>Their tokens, in that order.</summary>
    public List<int> Lengths { get; } = new(rows);

    /// <summary>[B, L], the token ids of the texts that run together.</summary>
    public long[] Ids { get; set; } = [];

    /// <summary>[B, E], their embeddings.</summary>
    public float[] Embeds { get; set; } = [];

    public override Exception? Error(int slot) => Texts[slot]!.Unreadable is { } reason
        ? new InvalidDataException(
            $"row {FirstRow + slot}, column '{column}': the text cannot be tokenised: {reason.Message}", reason)
        : null;

    /// <summary>Says that this batch will not embed those of its texts that it has not.</summary>
    public override void Abandon(int count)
    {
        for (int slot = 0; slot < count; slot++)
            if (Owns[slot] && !Texts[slot]!.Computed) Texts[slot]!.Abandoned = true;
    }

    protected override ReadOnlySpan<float> Values(int slot) => Texts[slot]! is { Computed: true } text ? text.Embedding
        : throw new InvalidOperationException($"row {FirstRow + slot}, column '{column}': the text was to be embedded with an "
            + "earlier row, which failed; its error says why.");
}

/// <summary>From a column of texts to embeddings: tokenising on any thread, then the text tower for texts of like length
/// together. A text that comes again within the last few thousand distinct ones of a pass is embedded once.
/// An empty text is a text like any other.</summary>
sealed class TextInput(MultimodalModel model, string column, int batchSize) : EmbedInput
{
    public override DataViewSchema.Column Find(DataViewSchema schema) => Columns.FindTexts(schema, column);

    public override EmbedPart NewPart(int rows) => new TextPart(rows, model.EmbeddingWidth, column);

    public override Action<EmbedPart, int> Reader(DataViewRow input)
    {
        ValueGetter<ReadOnlyMemory<char>> getter = input.GetGetter<ReadOnlyMemory<char>>(Find(input.Schema));
        var recent = new RecentTexts(model.EmbeddingWidth);
        ReadOnlyMemory<char> text = default;
        return (texts, slot) =>
        {
            var part = (TextPart)texts;
            getter(ref text);
            part.Owns[slot] = recent.Put(ref part.Texts[slot], text.Span);
        };
    }

    /// <summary>Tokenises; what goes wrong is kept for the text.</summary>
    public override void Prepare(EmbedPart texts, int slot, long row)
    {
        var part = (TextPart)texts;
        part.FirstRow = row - slot;
        if (!part.Owns[slot]) return;
        RecentText text = part.Texts[slot]!;
        text.Unreadable = null;
        try
        {
            text.Tokens = model.Texts.Encode(text.Text);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            text.Unreadable = e;
        }
    }

    /// <summary>Embeds the texts that this batch owns, short ones first, those of one length in alphabetical order: texts that begin
    /// alike run together.</summary>
    public override void Run(EmbedPart texts, int count)
    {
        var part = (TextPart)texts;
        part.Order.Clear();
        for (int slot = 0; slot < count; slot++)
            if (part.Owns[slot] && part.Texts[slot]!.Unreadable is null) part.Order.Add(slot);
        part.Order.Sort((a, b) => Length(a) is var x && Length(b) is var y && x != y ? x.CompareTo(y)
            : string.CompareOrdinal(part.Texts[a]!.Text, part.Texts[b]!.Text)); // no two are alike
        part.Lengths.Clear();
        foreach (int slot in part.Order) part.Lengths.Add(Length(slot));
        foreach (var (first, batch) in model.Definition.TextBatches(part.Lengths, batchSize)) Embed(part, first, batch);

        int Length(int slot) => part.Texts[slot]!.Tokens.Count;
    }

    void Embed(TextPart part, int start, int count)
    {
        int width = model.EmbeddingWidth, length = model.Definition.PaddedLength(Text(count - 1).Tokens.Count);
        if (part.Ids.Length < count * length) part.Ids = new long[batchSize * length];
        if (part.Embeds.Length < count * width) part.Embeds = new float[count * width];
        Span<long> ids = part.Ids.AsSpan(0, count * length);
        for (int row = 0; row < count; row++) model.Texts.Pad(Text(row).Tokens, ids.Slice(row * length, length));
        model.EmbedIds(part.Ids.AsMemory(0, count * length), count, length, part.Embeds.AsSpan(0, count * width));
        for (int row = 0; row < count; row++)
        {
            part.Embeds.AsSpan(row * width, width).CopyTo(Text(row).Embedding);
            Text(row).Computed = true;
        }

        RecentText Text(int row) => part.Texts[part.Order[start + row]]!;
    }
}
