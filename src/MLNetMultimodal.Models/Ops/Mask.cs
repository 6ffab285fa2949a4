namespace MLNetMultimodal.Models.Ops;

/// <summary>Which keys a query may attend to. The default lets every query attend to every key; the parts given are
/// combined.</summary>
/// <param name="Keep">Boolean, [B, Lk] or [B, 1 or nh, Lq, Lk]: true for a key that may be attended to; null keeps all.
/// A query that may attend to nothing gets the mean over all keys.</param>
/// <param name="Causal">True: query i attends to keys 0..i only.</param>
/// <param name="Bias">Added to the scaled scores before the softmax, broadcast to [B, nh, Lq, Lk]; null adds nothing.</param>
/// <param name="Places">Int64 [B, Lq], with <paramref name="Causal"/>: the place of each query among the keys, where queries are
/// not 0 to Lq - 1: a query attends to the keys up to its place.</param>
public readonly record struct Mask<T>(T? Keep = null, bool Causal = false, T? Bias = null, T? Places = null) where T : class
{
    /// <summary>True where nothing is masked.</summary>
    public bool IsEmpty => Keep is null && !Causal && Bias is null;
}
