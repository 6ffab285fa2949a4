using System.Buffers;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Inference;

/// <summary>A causal text encoder that computes what the texts of a batch begin with alike once, and nothing behind the pooled
/// tokens. Thread-safe.</summary>
/// <param name="program">The encoder.</param>
/// <param name="session">Its <see cref="ICausalTextProgram.SharingPrefixes"/>.</param>
/// <param name="alone">The encoder itself, for one text without padding; null where that is not sooner.</param>
sealed class PrefixSharingEncoder(ICausalTextProgram program, Lazy<OnnxSession> session, Lazy<OnnxSession>? alone = null) : IEncoder
{
    public void Run<T>(ReadOnlyMemory<T> input, ReadOnlySpan<long> shape, Span<float> output) where T : unmanaged
    {
        if ((object)input is not ReadOnlyMemory<long> ids || ids.IsEmpty || shape.Length != 2 || ids.Length != shape[0] * shape[1])
            throw new ArgumentException($"the input must be {program.Inputs[0]}, but has {input.Length} elements of {typeof(T).Name} "
                + $"and the shape [{string.Join(", ", shape.ToArray())}].", nameof(input));
        if (alone is not null && shape[0] == 1 && program.PooledToken(ids.Span) == ids.Length - 1)
        {
            alone.Value.Run(ids, shape, output);
            return;
        }
        long[] first = ArrayPool<long>.Shared.Rent(ids.Length), of = ArrayPool<long>.Shared.Rent(ids.Length), batch = shape.ToArray();
        int prefixes = Find(ids, (int)shape[1], first, of);
        session.Value.Run([(ids, batch), (first.AsMemory(0, prefixes), [prefixes]), (of.AsMemory(0, ids.Length), batch)], output);
        ArrayPool<long>.Shared.Return(first);
        ArrayPool<long>.Shared.Return(of);
    }

    public IReadOnlyDictionary<string, TensorData> Run(IReadOnlyDictionary<string, TensorData> inputs)
    {
        string name = program.Inputs[0].Name;
        if (!inputs.TryGetValue(name, out TensorData? given) || given is not { Type: DType.I64, Shape: [> 0, > 0] })
            return session.Value.Run(inputs); // says what is wrong
        long[] ids = given.ToInt64s(), first = new long[ids.Length], of = new long[ids.Length];
        int prefixes = Find(ids, (int)given.Shape[1], first, of);
        return session.Value.Run(new Dictionary<string, TensorData>(inputs)
        {
            [ICausalTextProgram.FirstInput] = TensorData.From(first.AsSpan(0, prefixes), prefixes),
            [ICausalTextProgram.OfInput] = TensorData.From(of, [.. given.Shape]),
        });
    }

    /// <summary>The distinct beginnings of texts: in alphabetical order, what a text shares with any before it, it shares with the
    /// last.</summary>
    /// <param name="ids">[B, L].</param>
    /// <param name="length">L.</param>
    /// <param name="first">Takes the place of a token of each, n of at most B L.</param>
    /// <param name="of">Takes the one that each token ends, [B, L].</param>
    /// <returns>n.</returns>
    internal int Find(ReadOnlyMemory<long> ids, int length, Span<long> first, Span<long> of)
    {
        var tokens = new int[ids.Length / length]; // of each text, those that count
        for (int text = 0; text < tokens.Length; text++) tokens[text] = program.PooledToken(ids.Span.Slice(text * length, length)) + 1;
        ReadOnlySpan<long> Text(int text) => ids.Span.Slice(text * length, tokens[text]);
        int[] order = [.. Enumerable.Range(0, tokens.Length)];
        Array.Sort(order, (a, b) => Text(a).SequenceCompareTo(Text(b)));
        int count = 0;
        for (int i = 0; i < order.Length; i++)
        {
            int text = order[i], alike = i == 0 ? 0 : Text(text).CommonPrefixLength(Text(order[i - 1]));
            Span<long> own = of.Slice(text * length, length);
            if (alike > 0) of.Slice(order[i - 1] * length, alike).CopyTo(own);
            for (int token = alike; token < tokens[text]; token++)
            {
                first[count] = text * length + token;
                own[token] = count++;
            }
            own[tokens[text]..].Fill(own[tokens[text] - 1]); // nobody asks for these
        }
        return count;
    }
}
