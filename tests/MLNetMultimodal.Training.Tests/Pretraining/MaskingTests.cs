using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Training.Tests;

public sealed class MaskingTests
{
    [Theory]
    [InlineData(1, 1)]
    [InlineData(4, 0)]
    [InlineData(7, 29)]
    [InlineData(7, 49)]
    [InlineData(14, 118)]
    public void Blocks_hide_just_so_many_patches(int side, int count)
    {
        var masked = new bool[side * side];
        for (int row = 0; row < 50; row++)
        {
            var random = new SampleRandom(1, 2, row);
            Masking.Blocks(ref random, side, count, masked);
            Assert.Equal(count, masked.Count(m => m));
        }
    }

    [Fact]
    public void Blocks_hang_together()
    {
        // Of single patches 6 of 16 neighbours would share a mask of 40 %; rectangles have more.
        var masked = new bool[14 * 14];
        double same = 0, pairs = 0;
        for (int row = 0; row < 200; row++)
        {
            var random = new SampleRandom(3, 0, row);
            Masking.Blocks(ref random, 14, 78, masked);
            for (int i = 0; i < masked.Length; i++)
                if (masked[i] && i % 14 < 13) (same, pairs) = (same + (masked[i + 1] ? 1 : 0), pairs + 1);
        }
        Assert.True(same / pairs > 0.7, $"the right neighbour of a hidden patch is hidden in {same / pairs:p0} of cases; of single patches 40 % were");
    }

    [Fact]
    public void Every_patch_is_hidden_about_as_often()
    {
        var seen = new int[49];
        var order = new long[49];
        for (int row = 0; row < 4000; row++)
        {
            var random = new SampleRandom(5, 0, row);
            Masking.Shuffle(ref random, order);
            Assert.Equal(Enumerable.Range(0, 49).Select(i => (long)i), order.Order());
            foreach (long patch in order[..12]) seen[patch]++;
        }
        double mean = 4000 * 12 / 49.0, deviation = Math.Sqrt(mean * (1 - 12 / 49.0));
        Assert.All(seen, count => Assert.InRange(count, mean - 5 * deviation, mean + 5 * deviation));
    }

    [Theory]
    [InlineData(200, 0.65, 10)]
    [InlineData(8, 0.65, 10)]
    [InlineData(1, 0.1, 10)]
    public void Spans_hide_at_least_one_place_and_at_most_the_share(int length, double share, int span)
    {
        var masked = new bool[length];
        double sum = 0;
        for (int row = 0; row < 500; row++)
        {
            var random = new SampleRandom(7, 0, row);
            Masking.Spans(ref random, share, span, masked);
            Assert.Contains(true, masked);
            sum += masked.Count(m => m);
        }
        if (length >= 10 * span) Assert.InRange(sum / 500 / length, 0.6 * share, share);
    }

    [Fact]
    public void Of_chosen_words_most_are_hidden_some_are_others_and_some_stay()
    {
        int[] words = [.. Enumerable.Range(1, 18)];
        int chosen = 0, masked = 0, same = 0, other = 0;
        for (int row = 0; row < 3000; row++)
        {
            var random = new SampleRandom(9, 0, row);
            long[] ids = [.. Enumerable.Range(0, 20).Select(i => 100L + i)], before = [.. ids], labels = [.. ids.Select(_ => MaskedLoss.Ignored)];
            Masking.Words(ref random, 0.15, words, maskId: 999, vocabulary: 90, ids, labels);
            Assert.Equal((before[0], before[19]), (ids[0], ids[19])); // not among the words
            for (int i = 0; i < 20; i++)
            {
                if (labels[i] == MaskedLoss.Ignored)
                {
                    Assert.Equal(before[i], ids[i]);
                    continue;
                }
                Assert.Equal(before[i], labels[i]);
                chosen++;
                if (ids[i] == 999) masked++;
                else if (ids[i] == before[i]) same++;
                else
                {
                    other++;
                    Assert.InRange(ids[i], 0, 89);
                }
            }
        }
        Assert.InRange(chosen / 3000.0 / 18, 0.145, 0.155);
        Assert.InRange((double)masked / chosen, 0.78, 0.82);
        Assert.InRange((double)same / chosen, 0.08, 0.12);
        Assert.InRange((double)other / chosen, 0.08, 0.12);
    }

    [Theory]
    [InlineData(0.15, 0, 0)]
    [InlineData(0.15, 1, 1)]
    [InlineData(0.01, 3, 1)]
    [InlineData(1, 5, 5)]
    public void At_least_one_word_is_chosen_where_there_is_one(double share, int count, int expected)
    {
        for (int row = 0; row < 20; row++)
        {
            var random = new SampleRandom(9, 0, row);
            long[] ids = new long[6], labels = [.. ids.Select(_ => MaskedLoss.Ignored)];
            Masking.Words(ref random, share, [.. Enumerable.Range(0, count)], 9, 5, ids, labels);
            Assert.Equal(expected, labels.Count(l => l != MaskedLoss.Ignored));
        }
    }

    static MaskedPictures Rows(bool inBlocks, int hidden = 3, int seed = 1, AugmentationOptions? augmentation = null, int side = 2, int masks = 1)
    {
        var images = ImagePreprocessing.Clip(8);
        IEnumerable<RgbImage> pictures = StripedPictures.Rows(6, seed: 4).Select(r => images.ResizeAndCrop(ImageDecoder.Decode(r.Image, "row")));
        return new(PictureStore.InMemory(images, pictures), images, augmentation ?? new() { HorizontalFlip = 0.5f }, side, hidden, inBlocks, seed, masks);
    }

    static string Text(MaskedBatch batch) => string.Join(';', batch.Inputs.Concat(batch.Whole).OrderBy(i => i.Key)
        .Select(i => $"{i.Key} {Convert.ToHexString(i.Value.Bytes.Span)}").Append(Convert.ToHexString(batch.Masked.Bytes.Span)));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_batch_follows_from_seed_epoch_and_row_alone(bool inBlocks)
    {
        using MaskedPictures rows = Rows(inBlocks, 8, side: 4), again = Rows(inBlocks, 8, side: 4), otherSeed = Rows(inBlocks, 8, seed: 2, side: 4);
        string batch = Text(rows.Make(new[] { 4, 1, 3 }, 7));
        rows.Make(new[] { 0, 2, 5 }, 8);
        Assert.Equal(batch, Text(rows.Make(new[] { 4, 1, 3 }, 7)));
        Assert.Equal(batch, Text(again.Make(new[] { 4, 1, 3 }, 7)));
        Assert.NotEqual(batch, Text(rows.Make(new[] { 4, 1, 3 }, 8)));
        Assert.NotEqual(batch, Text(otherSeed.Make(new[] { 4, 1, 3 }, 7)));
        byte[] alone = rows.Make(new[] { 1 }, 7).Masked.Bytes.ToArray(), among = rows.Make(new[] { 4, 1, 3 }, 7).Masked.Bytes.ToArray();
        Assert.Equal(alone, among[16..32]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void An_evaluation_varies_nothing(bool inBlocks)
    {
        using MaskedPictures rows = Rows(inBlocks, augmentation: new() { HorizontalFlip = 1, Erase = 1 }), plain = Rows(inBlocks, augmentation: new());
        Assert.Equal(Text(plain.Make(new[] { 0, 1 }, IMaskedRows.Evaluation)), Text(rows.Make(new[] { 0, 1 }, IMaskedRows.Evaluation)));
        Assert.NotEqual(Text(plain.Make(new[] { 0, 1 }, 0)), Text(rows.Make(new[] { 0, 1 }, 0)));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void What_is_seen_and_what_is_hidden_are_all_patches(int hidden)
    {
        using MaskedPictures rows = Rows(inBlocks: false, hidden);
        MaskedBatch batch = rows.Make(new[] { 0, 1, 2, 3, 4, 5 }, 3);
        long[] keep = batch.Inputs["ids_keep"].ToInt64s(), restore = batch.Inputs["ids_restore"].ToInt64s(), masked = batch.Masked.ToInt64s();
        for (int b = 0; b < 6; b++)
        {
            long[] own = keep[(b * (4 - hidden))..((b + 1) * (4 - hidden))], places = restore[(4 * b)..(4 * b + 4)];
            Assert.Equal([0, 1, 2, 3], places.Order());
            for (int k = 0; k < own.Length; k++) Assert.Equal(k, places[own[k]]); // where the decoder finds what was seen
            for (int patch = 0; patch < 4; patch++) Assert.Equal(own.Contains(patch) ? 0 : 1, masked[4 * b + patch]);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_picture_is_hidden_in_several_ways_beside_each_other(bool inBlocks)
    {
        using MaskedPictures once = Rows(inBlocks, 8, side: 4), rows = Rows(inBlocks, 8, side: 4, masks: 3);
        MaskedBatch batch = rows.Make(new[] { 4, 1 }, 7), single = once.Make(new[] { 4, 1 }, 7);
        Assert.Equal([6L, 16L], batch.Masked.Shape.Select(d => (long)d));
        Assert.Equal(single.Whole["pixel_values"].Bytes.ToArray(), batch.Whole["pixel_values"].Bytes.ToArray());
        byte[][] masks = [.. batch.Masked.Bytes.ToArray().Chunk(16)];
        Assert.Equal(single.Masked.Bytes.ToArray(), masks[0].Concat(masks[3]));
        Assert.Equal(6, masks.Select(Convert.ToHexString).Distinct().Count());
        Assert.All(masks, m => Assert.Equal(8, m.Sum(v => v)));
        if (inBlocks) return;
        long[] keep = batch.Inputs["ids_keep"].ToInt64s();
        for (int m = 0; m < 6; m++) Assert.All(keep[(8 * m)..(8 * m + 8)], patch => Assert.Equal(0, masks[m][patch]));
    }

    [Fact]
    public void Everything_may_be_hidden_from_a_student()
    {
        using MaskedPictures rows = Rows(inBlocks: true, hidden: 4);
        Assert.All(rows.Make(new[] { 0, 1 }, 0).Masked.Bytes.ToArray(), m => Assert.Equal(1, m));
    }
}
