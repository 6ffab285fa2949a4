namespace MLNetMultimodal.Transforms;

/// <summary>What a tower makes of the rows of a batch.</summary>
/// <param name="rows">The most rows.</param>
/// <param name="width">E.</param>
abstract class EmbedPart(int rows, int width)
{
    readonly float[] _missing = [.. Enumerable.Repeat(float.NaN, width)];

    public int Rows => rows;

    public int Width => width;

    /// <summary>What is wrong with a row's item; null where nothing is.</summary>
    public abstract Exception? Error(int slot);

    /// <summary>Told that those of the first <paramref name="count"/> slots that are not embedded yet will not be.</summary>
    public virtual void Abandon(int count) { }

    /// <summary>The embedding of an item that could be read, [E].</summary>
    protected abstract ReadOnlySpan<float> Values(int slot);

    /// <summary>The row's embedding, [E], all NaN where it is missing.</summary>
    /// <exception cref="InvalidDataException">The row's item cannot be read and <paramref name="onError"/> is <see
    /// cref="OnError.Throw"/>.</exception>
    public ReadOnlySpan<float> Embedding(int slot, OnError onError) => Error(slot) is not { } error ? Values(slot)
        : onError == OnError.Throw ? throw error : _missing;

    public int Failures(int count)
    {
        int failures = 0;
        for (int slot = 0; slot < count; slot++)
            if (Error(slot) is not null) failures++;
        return failures;
    }
}
