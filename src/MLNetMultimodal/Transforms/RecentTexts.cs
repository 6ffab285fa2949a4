namespace MLNetMultimodal.Transforms;

/// <summary>A text of a pass, once for all rows that have it. The batch that it was first read into embeds it; rows of later
/// batches are served after that batch.</summary>
/// <param name="width">E.</param>
sealed class RecentText(int width)
{
    public string Text { get; set; } = "";

    /// <summary>[L], once its batch is prepared.</summary>
    public IReadOnlyList<int> Tokens { get; set; } = [];

    /// <summary>[E], once its batch is computed.</summary>
    public float[] Embedding { get; } = new float[width];

    /// <summary>Why it cannot be tokenised; null where it can.</summary>
    public Exception? Unreadable { get; set; }

    /// <summary>True once <see cref="Embedding"/> holds its values.</summary>
    public bool Computed { get; set; }

    /// <summary>True where the batch that was to embed it never will.</summary>
    public bool Abandoned { get; set; }

    /// <summary>Slots of batches that hold it.</summary>
    public int Holders { get; set; }

    /// <summary>False once newer texts have taken its place.</summary>
    public LinkedListNode<RecentText>? Place { get; set; }
}

/// <summary>The last distinct texts of one pass, so that a repeated text is embedded once. It is asked in the order of the rows,
/// by one thread at a time, and so decides the same in every pass. What has fallen out is used again for new texts.</summary>
/// <param name="width">E.</param>
/// <param name="most">Texts that are remembered.</param>
sealed class RecentTexts(int width, int most = RecentTexts.Most)
{
    /// <summary>Texts that are remembered: 8 MB of embeddings of 512 values.</summary>
    public const int Most = 4096;

    readonly Dictionary<string, RecentText> _known = new(StringComparer.Ordinal);
    readonly LinkedList<RecentText> _byUse = new(); // the last used first
    readonly Stack<RecentText> _free = new();

    /// <summary>Puts a text into a slot, in place of what was there.</summary>
    /// <param name="slot">A slot of a batch.</param>
    /// <param name="text">The row's text.</param>
    /// <returns>True where the slot's batch has to embed it.</returns>
    public bool Put(ref RecentText? slot, ReadOnlySpan<char> text)
    {
        if (slot is { } before && --before.Holders == 0 && before.Place is null) _free.Push(before);
        if (_known.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(text, out slot))
        {
            slot.Holders++;
            _byUse.Remove(slot.Place!);
            _byUse.AddFirst(slot.Place!);
            bool again = slot.Abandoned;
            slot.Abandoned = false;
            return again;
        }
        if (_known.Count >= most) Forget(_byUse.Last!.Value);
        if (!_free.TryPop(out slot)) slot = new(width);
        (slot.Text, slot.Tokens, slot.Unreadable) = (text.ToString(), [], null);
        (slot.Computed, slot.Abandoned, slot.Holders) = (false, false, 1);
        _known.Add(slot.Text, slot);
        slot.Place = _byUse.AddFirst(slot);
        return true;
    }

    void Forget(RecentText oldest)
    {
        _known.Remove(oldest.Text);
        _byUse.RemoveLast();
        oldest.Place = null;
        if (oldest.Holders == 0) _free.Push(oldest);
    }
}
