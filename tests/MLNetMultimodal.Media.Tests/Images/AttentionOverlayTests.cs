using MLNetMultimodal.Media.Images;

namespace MLNetMultimodal.Media.Tests.Images;

public sealed class AttentionOverlayTests
{
    static readonly RgbImage Grey = new(8, 4, [.. Enumerable.Repeat((byte)100, 3 * 8 * 4)]);

    static (byte R, byte G, byte B) At(RgbImage image, int x, int y) => (image.Pixels[3 * (y * image.Width + x)],
        image.Pixels[3 * (y * image.Width + x) + 1], image.Pixels[3 * (y * image.Width + x) + 2]);

    [Fact]
    public void What_was_looked_at_is_lit_and_the_rest_dimmed()
    {
        RgbImage drawn = AttentionOverlay.Draw(Grey, [0, 0.2f], 1, 2, scale: 3);
        Assert.Equal((24, 12), (drawn.Width, drawn.Height));
        Assert.Equal((50, 50, 50), At(drawn, 0, 5)); // half as bright where nobody looked
        var (r, g, b) = At(drawn, 23, 5);            // 0.3 of its own grey, 0.7 of yellow
        Assert.Equal((208, 208, 30), (r, g, b));
        Assert.All(Enumerable.Range(1, 23), x => Assert.True(At(drawn, x, 5).R >= At(drawn, x - 1, 5).R, $"column {x}"));
    }

    [Fact]
    public void Only_shares_count_and_nothing_looked_at_is_a_dim_picture()
    {
        Assert.Equal(AttentionOverlay.Draw(Grey, [1, 2, 3, 4], 2, 2).Pixels, AttentionOverlay.Draw(Grey, [0.1f, 0.2f, 0.3f, 0.4f], 2, 2).Pixels);
        Assert.All(AttentionOverlay.Draw(Grey, [0, 0, 0, 0], 2, 2).Pixels, p => Assert.Equal(50, p));
    }

    [Fact]
    public void Wrong_maps_are_refused()
    {
        Assert.Contains("weights must be [2, 2], 4 values, but has 3", Assert.Throws<ArgumentException>(() => AttentionOverlay.Draw(Grey, [1, 2, 3], 2, 2)).Message, StringComparison.Ordinal);
        Assert.Contains("but one is NaN", Assert.Throws<ArgumentException>(() => AttentionOverlay.Draw(Grey, [float.NaN], 1, 1)).Message, StringComparison.Ordinal);
        Assert.Contains("but one is -1", Assert.Throws<ArgumentException>(() => AttentionOverlay.Draw(Grey, [-1], 1, 1)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => AttentionOverlay.Draw(Grey, [1], 1, 1, scale: 2000));
    }
}
