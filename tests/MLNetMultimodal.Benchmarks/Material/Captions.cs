using MLNetMultimodal.Media.Text;

namespace MLNetMultimodal.Benchmarks.Material;

/// <summary>Short texts like captions, no two alike.</summary>
static class Captions
{
    static readonly string[] Openings =
        ["a photo of", "a close-up of", "a drawing of", "two people see", "someone paints", "there is", "we saw", "a child has"];
    static readonly string[] Qualities =
    [
        "small", "bright red", "old", "wooden", "blurry", "shiny", "half-finished", "striped", "heavy", "pale green", "broken",
        "tiny",
    ];
    static readonly string[] Things =
    [
        "bicycle", "tabby cat", "teapot", "sailing boat", "lighthouse", "accordion", "umbrella", "tractor", "sunflower",
        "penguin", "suitcase", "typewriter",
    ];
    static readonly string[] Places =
    [
        "on the beach", "in a kitchen", "under an apple tree", "beside the road", "at night", "in the snow", "on a market stall",
        "near the river", "behind a window", "in someone's hand", "on a stage",
    ];

    /// <summary>Labels such as <c>bright red teapot</c>, no two alike.</summary>
    public static string[] Labels { get; } = [.. Qualities.SelectMany(quality => Things.Select(thing => $"{quality} {thing}"))];

    /// <summary>The first captions of an endless list; each of 40 to 70 characters.</summary>
    public static string[] Take(int count) => [.. Enumerable.Range(0, count).Select(i =>
    {
        int n = i;
        string Next(string[] words)
        {
            string word = words[n % words.Length];
            n /= words.Length;
            return word;
        }
        string text = $"{Next(Openings)} a {Next(Qualities)} {Next(Things)} {Next(Places)}";
        return n == 0 ? text + "." : $"{text}, number {n}.";
    })];

    /// <summary>The same captions, each behind a number of its own: few share more than the start token.</summary>
    public static string[] TakeNumbered(int count) => [.. Take(count).Select((text, i) => $"{i} {text}")];

    /// <summary>What part of the tokens of texts that stand side by side has a beginning that no text before it has.</summary>
    public static double DistinctShare(TextTokenizer tokenizer, string[] texts, int batch)
    {
        int distinct = texts.Chunk(batch).Sum(part => part.SelectMany(text =>
        {
            IReadOnlyList<int> ids = tokenizer.Encode(text);
            return ids.Select((_, i) => string.Join(' ', ids.Take(i + 1)));
        }).Distinct().Count());
        return (double)distinct / texts.Sum(text => tokenizer.Encode(text).Count);
    }

    /// <summary>Token ids of each text, without padding.</summary>
    public static long[][] Ids(TextTokenizer tokenizer, IEnumerable<string> texts) =>
        [.. texts.Select(text => tokenizer.Encode(text).Select(id => (long)id).ToArray())];
}
