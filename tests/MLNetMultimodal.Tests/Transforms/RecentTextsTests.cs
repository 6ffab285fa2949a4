using MLNetMultimodal.Transforms;

namespace MLNetMultimodal.Tests.Transforms;

public sealed class RecentTextsTests
{
    [Fact]
    public void Repeated_text_is_embedded_by_the_first_that_has_it()
    {
        var recent = new RecentTexts(width: 2);
        RecentText? a = null, b = null, c = null;
        Assert.True(recent.Put(ref a, "cat"));
        Assert.True(recent.Put(ref b, "dog"));
        Assert.False(recent.Put(ref c, "cat"));
        Assert.Same(a, c);
        Assert.NotSame(a, b);
    }

    [Fact]
    public void Text_whose_batch_failed_or_was_skipped_is_embedded_again()
    {
        var recent = new RecentTexts(width: 2);
        TextPart first = new(2, 2, "Caption"), second = new(2, 2, "Caption");
        first.Owns[0] = recent.Put(ref first.Texts[0], "cat");
        first.Owns[1] = recent.Put(ref first.Texts[1], "dog");
        first.Texts[0]!.Computed = true;
        second.Owns[0] = recent.Put(ref second.Texts[0], "dog");
        Assert.False(second.Owns[0]);
        first.Abandon(2);
        Assert.False(recent.Put(ref second.Texts[1], "cat"));
        Assert.True(recent.Put(ref second.Texts[1], "dog"));
        Assert.False(recent.Put(ref second.Texts[0], "dog"));
    }

    [Fact]
    public void Row_whose_text_was_not_embedded_has_no_value()
    {
        var recent = new RecentTexts(width: 2);
        var part = new TextPart(1, 2, "Caption") { FirstRow = 7 };
        recent.Put(ref part.Texts[0], "cat");
        string message = Assert.Throws<InvalidOperationException>(() => part.Embedding(0, OnError.Missing).Length).Message;
        Assert.Contains("row 7, column 'Caption'", message, StringComparison.Ordinal);
        part.Texts[0]!.Computed = true;
        Assert.Equal(2, part.Embedding(0, OnError.Throw).Length);
    }

    [Fact]
    public void The_text_that_was_used_longest_ago_is_forgotten()
    {
        var recent = new RecentTexts(width: 2, most: 2);
        RecentText? slot = null;
        Assert.True(recent.Put(ref slot, "a"));
        Assert.True(recent.Put(ref slot, "b"));
        Assert.False(recent.Put(ref slot, "a"));
        Assert.True(recent.Put(ref slot, "c"));
        Assert.False(recent.Put(ref slot, "a"));
        Assert.True(recent.Put(ref slot, "b"));
    }

    [Fact]
    public void What_a_batch_still_holds_is_not_used_for_another_text()
    {
        var recent = new RecentTexts(width: 2, most: 1);
        RecentText? held = null, slot = null;
        recent.Put(ref held, "held");
        for (int i = 0; i < 10; i++)
        {
            recent.Put(ref slot, $"text {i}");
            Assert.NotSame(held, slot);
        }
        Assert.Equal("held", held!.Text);
        RecentText before = held;
        recent.Put(ref held, "other");
        Assert.Same(before, held); // now it is
    }
}
