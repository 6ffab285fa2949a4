using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Inference.Tests;

public sealed class PrefixSharingEncoderTests : IDisposable
{
    const int Length = 6, End = 49, Width = 12;
    const float SameSums = 2e-6f; // the same products in matrices of other heights

    static readonly long[] Texts =
    [
        1, 5, 6, 7, End, End,
        1, 5, 6, 8, End, 0,    // begins as the first, filled up otherwise
        2, 5, 6, 7, End, End,  // differs from the first in its first token only
        1, 5, End, 3, 4, 9,    // short; what follows its end does not count
        1, 5, 6, 7, End, 0,    // the first again
        1, 1, 1, 1, 1, 1,      // without end: its highest id, the first of equals
    ];

    static readonly ICausalTextProgram Text = (ICausalTextProgram)new ClipModel(ClipConfig.Tiny).Encoders[Modality.Text];
    static readonly Dictionary<string, TensorData> Weights = Tiny.Weights(new ClipModel(ClipConfig.Tiny));

    readonly OnnxSession _plain = OnnxSession.Open(Text, Weights), _sharing = OnnxSession.Open(Text.SharingPrefixes, Weights);
    readonly PrefixSharingEncoder _encoder;

    public PrefixSharingEncoderTests() => _encoder = new(Text, new(_sharing));

    public void Dispose()
    {
        _plain.Dispose();
        _sharing.Dispose();
    }

    static float[] Run(IEncoder encoder, long[] ids, int length)
    {
        var embeds = new float[ids.Length / length * Width];
        encoder.Run<long>(ids, [ids.Length / length, length], embeds);
        return embeds;
    }

    [Fact]
    public void Embeddings_are_those_of_texts_that_share_nothing()
    {
        float[] expected = Run(_plain, Texts, Length);
        Difference.Small(expected, Run(_encoder, Texts, Length), SameSums);
        foreach (int[] pair in new int[][] { [0, 1], [0, 2], [0, 3], [0, 5] })
            Assert.True(Difference.Max(expected.AsSpan(pair[0] * Width, Width), expected.AsSpan(pair[1] * Width, Width)) > 1e-3f);
    }

    [Theory, InlineData(1), InlineData(2), InlineData(7), InlineData(40)]
    public void Batches_of_every_size_agree(int count)
    {
        var random = new Random(count);
        long[] ids = [.. Enumerable.Range(0, count * Length).Select(i => (long)(i % Length < 2 ? random.Next(2) : random.Next(50)))];
        Difference.Small(Run(_plain, ids, Length), Run(_encoder, ids, Length), SameSums);
    }

    [Theory, InlineData(3), InlineData(2), InlineData(60)]
    public void The_end_is_found_as_in_the_graph(int endToken)
    {
        var model = new ClipModel(ClipConfig.Tiny with { Text = ClipConfig.Tiny.Text with { EndTokenId = endToken } });
        var text = (ICausalTextProgram)model.Encoders[Modality.Text];
        using OnnxSession plain = OnnxSession.Open(text, Weights), sharing = OnnxSession.Open(text.SharingPrefixes, Weights);
        Difference.Small(Run(plain, Texts, Length), Run(new PrefixSharingEncoder(text, new(sharing)), Texts, Length), SameSums);
    }

    [Fact]
    public void Equal_beginnings_are_computed_once_and_nothing_after_the_end()
    {
        var first = new long[Texts.Length];
        var of = new long[Texts.Length];
        int count = _encoder.Find(Texts, Length, first, of);
        // 1; 1 5; 1 5 6; 1 5 6 7; its end; 1 5 6 8; its end; 2 and four more; the end of 1 5.
        Assert.Equal(5 + 2 + 5 + 1, count);
        Assert.Equal(count, first.Take(count).Distinct().Count());
        Assert.All(of, prefix => Assert.InRange(prefix, 0, count - 1));
        long[] Of(int text, int tokens) => of[(text * Length)..(text * Length + tokens)];
        Assert.Equal(Of(0, 5), Of(4, 5));
        Assert.Equal(Of(0, 3), Of(1, 3));
        Assert.Equal(Of(0, 2), Of(3, 2));
        Assert.Empty(Of(0, 5).Intersect(Of(2, 5)));
        for (int place = 0; place < Texts.Length; place++)
        {
            int token = place % Length, text = place / Length;
            if (token > Text.PooledToken(Texts.AsSpan(text * Length, Length))) continue;
            int other = (int)first[of[place]];
            Assert.Equal(token, other % Length);
            Assert.Equal(Texts[(text * Length)..(place + 1)], Texts[(other - token)..(other + 1)]);
        }
    }

    [Fact]
    public void One_text_runs_alone_where_all_its_tokens_count()
    {
        long[] one = [1, 5, 6, 7, 8, End];
        var other = new ClipModel(ClipConfig.Tiny);
        using OnnxSession alone = OnnxSession.Open(Text, Tiny.Weights(other, seed: 2)); // other weights show who ran
        var encoder = new PrefixSharingEncoder(Text, new(_sharing), new(alone));
        Assert.Equal(Run(alone, one, Length), Run(encoder, one, Length));
        long[] padded = [1, 5, 6, 7, End, End], two = [.. one, .. one];
        Assert.Equal(Run(_encoder, padded, Length), Run(encoder, padded, Length));
        Assert.Equal(Run(_encoder, two, Length), Run(encoder, two, Length));
        Assert.Throws<InvalidOperationException>(() => Run(encoder, [1, 2, 3, 4, 5, 6, 7, 8, End], 9)); // longer than the context
    }

    [Fact]
    public void Tensors_by_name_give_the_same()
    {
        var inputs = new Dictionary<string, TensorData> { ["input_ids"] = TensorData.From(Texts, Texts.Length / Length, Length) };
        Assert.Equal(Run(_encoder, Texts, Length), _encoder.Run(inputs)["text_embeds"].ToSingles());
        inputs["input_ids"] = TensorData.From(new float[6], 1, 6);
        Assert.Contains("input_ids", Assert.Throws<ArgumentException>(() => _encoder.Run(inputs)).Message);
        Assert.Contains("input_ids", Assert.Throws<ArgumentException>(() => _encoder.Run(new Dictionary<string, TensorData>())).Message);
    }

    [Fact]
    public void Ids_that_do_not_fit_are_refused()
    {
        var embeds = new float[Width];
        Assert.Contains("input_ids", Assert.Throws<ArgumentException>(() => _encoder.Run<long>(new long[5], [1, 6], embeds)).Message);
        Assert.Contains("input_ids", Assert.Throws<ArgumentException>(() => _encoder.Run<float>(new float[6], [1, 6], embeds)).Message);
        Assert.Contains("input_ids", Assert.Throws<ArgumentException>(() => _encoder.Run<long>(Array.Empty<long>(), [1, 0], embeds)).Message);
        Assert.Throws<InvalidOperationException>(() => _encoder.Run<long>(new long[] { 1, 999 }, [1, 2], embeds)); // no such id
        Assert.Throws<InvalidOperationException>(() => _encoder.Run<long>(new long[9], [1, 9], embeds));           // longer than the context
    }
}
