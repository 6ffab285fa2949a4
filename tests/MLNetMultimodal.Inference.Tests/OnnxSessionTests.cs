using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Inference.Tests;

public sealed class OnnxSessionTests : IDisposable
{
    readonly OnnxSession _text = new(OnnxRecorder.Record(Tiny.Clip.Encoders[Modality.Text], Tiny.Weights(Tiny.Clip)), threads: 1);

    public void Dispose() => _text.Dispose();

    static long[] Ids(int seed) => [.. Enumerable.Range(0, 4).Select(i => i == 3 ? Tiny.Tokenizer.EndId : (long)((seed * 31 + i * 7) % 500))];

    [Fact]
    public void Two_threads_on_one_session_get_what_each_would_get_alone()
    {
        int width = Tiny.Clip.EmbeddingWidth;
        float[][] expected = [.. Enumerable.Range(0, 200).Select(i => Embed(Ids(i)))];
        var got = new float[200][];
        Thread[] threads = [.. Enumerable.Range(0, 2).Select(t => new Thread(() =>
        {
            for (int i = t; i < got.Length; i += 2) got[i] = Embed(Ids(i));
        }))];
        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads) thread.Join();
        Assert.Equal(expected, got);

        float[] Embed(long[] ids)
        {
            var embeds = new float[width];
            _text.Run<long>(ids, [1, ids.Length], embeds);
            return embeds;
        }
    }

    [Fact]
    public void A_missing_input_is_named_with_those_given()
    {
        var error = Assert.Throws<ArgumentException>(() => _text.Run(new Dictionary<string, TensorData> { ["ids"] = TensorData.From(Ids(1), 1, 4) }));
        Assert.Contains("input_ids Int64 [batch, sequence] is missing; given are ids", error.Message);
    }

    [Fact]
    public void A_wrong_type_or_rank_is_refused()
    {
        TensorData[] wrongs = [TensorData.From(new float[4], 1, 4), TensorData.From(Ids(1), 4), TensorData.From(Array.Empty<long>(), 0, 4)];
        foreach (TensorData wrong in wrongs)
        {
            var error = Assert.Throws<ArgumentException>(() => _text.Run(new Dictionary<string, TensorData> { ["input_ids"] = wrong }));
            Assert.Contains("must be input_ids Int64 [batch, sequence]", error.Message);
        }
        Assert.Throws<ArgumentException>(() => _text.Run<double>(new double[4], [1, 4], new float[Tiny.Clip.EmbeddingWidth]));
    }

    [Fact]
    public void Wrong_counts_are_refused_before_anything_runs()
    {
        int width = Tiny.Clip.EmbeddingWidth;
        Assert.Contains("must have 8 elements, but has 4", Assert.Throws<ArgumentException>(() => _text.Run<long>(Ids(1), [2, 4], new float[2 * width])).Message);
        Assert.Contains($"[1, {width}]", Assert.Throws<ArgumentException>(() => _text.Run<long>(Ids(1), [1, 4], new float[width + 1])).Message);
    }

    [Fact]
    public void An_id_beyond_the_table_and_a_text_beyond_the_positions_are_errors_that_name_the_model()
    {
        var embeds = new float[Tiny.Clip.EmbeddingWidth];
        var error = Assert.Throws<InvalidOperationException>(() => _text.Run<long>(new long[] { 1, 1_000_000 }, [1, 2], embeds));
        Assert.Contains("'text_model' failed on input_ids [1, 2]", error.Message);
        int tooLong = Tiny.ContextLength + 1;
        Assert.Throws<InvalidOperationException>(() => _text.Run<long>(new long[tooLong], [1, tooLong], embeds));
    }

    [Fact]
    public void Negative_threads_are_refused() => Assert.Throws<ArgumentOutOfRangeException>(() => new InferenceOptions { Threads = -1 });
}
