using System.Runtime.ExceptionServices;

namespace MLNetMultimodal.Training;

/// <summary>Decodes items on all cores.</summary>
static class ParallelDecoding
{
    /// <summary>All items, in their order.</summary>
    /// <param name="count">How many.</param>
    /// <param name="decode">Decodes one, on any thread.</param>
    /// <exception cref="InvalidDataException">An item cannot be read: the first one's reason.</exception>
    public static T[] Run<T>(int count, Func<int, T> decode)
    {
        var items = new T[count];
        var errors = new Exception?[count];
        Parallel.For(0, count, i =>
        {
            try
            {
                items[i] = decode(i);
            }
            catch (InvalidDataException e)
            {
                errors[i] = e;
            }
        });
        if (Array.Find(errors, e => e is not null) is { } first) ExceptionDispatchInfo.Throw(first);
        return items;
    }
}
